"""Several models: the mean of their scores, exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.healing.combine import mean_residual
from uadtools.healing.ensemble import Member, heal_with
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.model import load_model
from uadtools.scoring.score import score


class Halved(torch.nn.Linear):
    """Believes in minus half of what it sees."""

    def __init__(self):
        super().__init__(1, 1)

    def forward(self, x, t):
        return -0.5 * x


@pytest.fixture(scope="module")
def members(tiny_model):
    model = load_model(tiny_model, device="cpu", precision="fp32")
    other = replace(model, name="other", net=Halved())
    return [Member(one, plan(one.config, t=(t,))) for one, t in ((model, 100), (other, 300))]


def test_the_score_of_several_is_the_mean_of_their_scores(phantom, members):
    alone = [score(heal(phantom, m.model, m.plan, seed=3)).need("score").data for m in members]
    made = score(heal_with([phantom], members, seed=3)[0])
    np.testing.assert_allclose(made.need("score").data, np.mean(alone, axis=0), rtol=0, atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    line = made.need("healed").provenance["history"][-1]
    assert [way["t"] for way in line["arguments"]["models"]] == [[100], [300]]
    assert line["model"].endswith(", other")
    assert line["threshold"] is None


def test_one_member_is_healed_as_ever(phantom, members):
    one, same = heal_with([phantom], members[:1])[0], heal(phantom, members[0].model, members[0].plan)
    np.testing.assert_array_equal(one.need("healed").data, same.need("healed").data)
    assert one.need("healed").provenance == same.need("healed").provenance


def test_what_is_done_is_told_from_nothing_to_all(phantom, members):
    told = []
    heal_with([phantom], members, batch=2, watch=lambda done, total: told.append(done / total))
    assert told == sorted(told)
    assert told[-1] == 1
    assert 0.3 < told[len(told) // 2] < 0.7


def test_maps_that_only_one_has_have_no_mean(phantom, members):
    several = replace(members[1], plan=plan(members[1].model.config, t=(100,), samples=2))
    made = heal_with([phantom], [several, several])[0]
    assert made.need("spread").data.max() > 0
    with pytest.raises(UadError, match=r"different maps \(none and spread\)"):
        heal_with([phantom], [members[0], several], watch=lambda done, total: pytest.fail("healed first"))


def test_models_on_different_grids_are_refused(phantom, members):
    model = members[0].model
    config = model.config.model_copy(update={"grid": model.config.grid.model_copy(update={"spacing": (1.0, 1.0, 1.0)})})
    other = Member(replace(model, config=config), members[0].plan)
    with pytest.raises(
        UadError, match=r"different grids or intensities: 16x16x8 voxels of 2 x .* and 16x16x8 voxels of 1"
    ):
        heal_with([phantom], [members[0], other])


@pytest.fixture
def of_two(phantom, tiny_config, save_random, tmp_path):
    """A study of two contrasts, and two models that see both."""
    other = phantom.need("scan").derive(0.9 * phantom.need("scan").data, "scan:FLAIR")
    config = tiny_config.model_copy(update={"contrasts": ("T1", "FLAIR")})
    model = load_model(save_random(config, tmp_path / "two.safetensors"), device="cpu", precision="fp32")
    members = [Member(one, plan(one.config, t=(100,))) for one in (model, replace(model, name="other", net=Halved()))]
    return phantom.adding(other, phantom.need("scan")), members


def test_each_contrast_is_the_mean_of_its_own(of_two):
    study, members = of_two
    alone, made = [heal(study, m.model, m.plan, seed=3) for m in members], heal_with([study], members, seed=3)[0]
    for channel in ("", ":FLAIR"):
        scan = study.need(f"scan{channel}").data
        apart = [np.abs(one.need(f"healed{channel}").data - scan) for one in (*alone, made)]
        np.testing.assert_allclose(apart[2], (apart[0] + apart[1]) / 2, rtol=0, atol=1e-5)
        assert np.abs(apart[0] - apart[1]).max() > 0.1
    assert made.product.role == "healed"


def test_models_of_different_contrasts_are_refused(of_two, members):
    study, two = of_two
    with pytest.raises(UadError, match="different contrasts: one and T1, FLAIR"):
        heal_with([study], [members[0], two[0]])


def test_the_residual_is_the_mean_wherever_the_scan_is():
    rng = np.random.default_rng(0)
    scan, healings = rng.random(4000, np.float32), rng.random((3, 4000), np.float32)
    made = mean_residual(scan, healings)
    np.testing.assert_allclose(np.abs(scan - made), np.abs(scan - healings).mean(axis=0), rtol=0, atol=1e-6)
    assert made.min() >= 0
    assert made.max() <= 1
    clear = (healings.mean(axis=0) < scan) & (scan > 0.7)
    assert (made[clear] <= scan[clear]).all()
    np.testing.assert_allclose(mean_residual(scan, healings[:1]), healings[0], rtol=0, atol=1e-6)
