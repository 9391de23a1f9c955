"""A model fitted to a scan: a toy network that knows two tissues sees them at other levels, and a lesion."""

import numpy as np
import pytest
import torch
from torch import nn

from uadtools.errors import UadError
from uadtools.healing.adapt import Curve, fitted, heal_adapted
from uadtools.healing.batches import ScanSlices, heal_slices
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.config import ModelConfig
from uadtools.models.model import Model, load_model
from uadtools.volume.stream import last_by

KNOWN = (-0.4, 0.4)
"""The tissues' levels that the network learnt, in the units of [-1, 1]."""
CONFIG = ModelConfig.of_kind("restoration")(name="toy", grid={"shape": (16, 16, 8), "spacing": (2, 2, 2)})


class KnowsTissues(nn.Module):
    """Restores every voxel to the mean of the known levels, each by how near it is; 0 and below -0.9 stays."""

    def forward(self, x, t):
        away = torch.cat([(x - level) ** 2 for level in KNOWN], dim=1)
        nearest = ((-away / 0.05).softmax(dim=1) * torch.tensor(KNOWN)[:, None, None]).sum(dim=1, keepdim=True)
        return torch.cat([torch.where(x > -0.9, nearest - x, 0), torch.zeros_like(x)], dim=1)


class LeavesAll(nn.Module):
    def forward(self, x, t):
        return torch.zeros_like(x).repeat(1, 2, 1, 1)


def toy(net):
    return Model(CONFIG, net.requires_grad_(False), torch.device("cpu"))


@pytest.fixture(scope="module")
def how():
    return plan(CONFIG, adapt="curve")


@pytest.fixture(scope="module")
def lesion():
    mask = np.zeros((8, 1, 16, 16), bool)
    mask[:, :, 6:9, 6:9] = True
    return mask


@pytest.fixture(scope="module")
def scan(lesion):
    """Two tissues at 0.42 and 0.82, which the network knows at 0.3 and 0.7, and a lesion at 0.1, in [0, 1]."""
    x = np.full((8, 1, 16, 16), 0.42, np.float32)
    x[:, :, :, 8:] = 0.82
    x += np.random.default_rng(0).normal(0, 0.01, x.shape).astype(np.float32)
    x[lesion] = 0.1
    return ScanSlices(x, np.arange(8))


def away(scan, healed, where):
    return float(np.abs(scan.x - healed.x.mean(axis=(0, 1)))[where].mean())


def healed_by(model, scan, how):
    return heal_slices(model, [scan], how, seed=0, batch=0, watch=lambda *_: None)[0]


def test_a_curve_begins_as_none_rises_and_leads_back():
    curve, x = Curve(), torch.linspace(-1.2, 1.2, 101)
    torch.testing.assert_close(curve(x), x)
    with torch.no_grad():
        curve.steepness.copy_(torch.tensor([4.0, -4, 1, 0, -1, 2, 8, -8]))
        rises = curve.knots.diff()
        assert bool((curve(x).diff() > 0).all())
        torch.testing.assert_close(curve.knots[[0, -1]], torch.tensor([-1.0, 1.0]))
        assert 2 < float(rises.max() / rises.min()) <= 3.0 + 1e-4
        torch.testing.assert_close(curve.back(curve(x)), x)


def test_tissue_at_other_levels_is_left_and_the_lesion_is_not(scan, lesion, how):
    model = toy(KnowsTissues())
    before = healed_by(model, scan, how)
    after, notes = heal_adapted(model, scan, how, seed=0, batch=0, watch=lambda *_: None)
    assert away(scan, after, ~lesion) < 0.5 * away(scan, before, ~lesion)
    assert away(scan, after, lesion) > 0.8 * away(scan, before, lesion)
    assert notes["residual"][1] < 0.5 * notes["residual"][0]
    assert notes["curve"][0] == 0
    assert notes["curve"][-1] == 1


def test_a_network_that_leaves_all_is_left_as_it_is(scan, how):
    healed, notes = heal_adapted(toy(LeavesAll()), scan, how, seed=0, batch=0, watch=lambda *_: None)
    np.testing.assert_allclose(healed.x[0, 0], scan.x, atol=1e-6)
    np.testing.assert_allclose(notes["curve"], np.linspace(0, 1, 9), atol=1e-3)


@pytest.mark.parametrize("adapt", ["curve", "all"])
def test_the_layers_that_are_fitted_are_those_of_a_copy(tiny_guided, adapt):
    how = plan(CONFIG, adapt=adapt)
    model = load_model(tiny_guided["restoration"], device="cpu")
    weights = {name: value.clone() for name, value in model.net.state_dict().items()}
    x = np.random.default_rng(0).uniform(0.2, 0.8, (8, 1, 16, 16)).astype(np.float32)
    scan = ScanSlices(x, np.arange(8))
    fit = fitted(model, scan, healed_by(model, scan, how), how)
    assert all(torch.equal(value, weights[name]) for name, value in model.net.state_dict().items())
    changed = {
        name for name, value in fit.model.net.state_dict().items() if not torch.equal(value, weights[name].float())
    }
    assert bool(changed) == (adapt == "all")
    assert all("norm" in name for name in changed)
    assert not any(weight.requires_grad for weight in fit.model.net.parameters())


def test_the_history_tells_the_fit_and_the_same_seed_gives_the_same(tiny_guided, phantom):
    model = load_model(tiny_guided["restoration"], device="cpu")
    first, again = (heal(phantom, model, adapt="all") for _ in range(2))
    np.testing.assert_array_equal(first.need("healed").data, again.need("healed").data)
    line = last_by(first.product, "uad-heal")
    assert line["arguments"]["adapt"] == "all"
    assert len(line["adapted"]["curve"]) == 9
    assert line["threshold"] is None
    plain = last_by(heal(phantom, model).product, "uad-heal")
    assert "adapted" not in plain
    assert "adapt" not in plain["arguments"]


@pytest.mark.parametrize(
    ("config", "options", "named"),
    [
        (None, {"method": "blur"}, "--method blur"),
        (CONFIG, {"t": (500, 999)}, "--method restore"),
        (CONFIG, {"flips": True}, "--method restore"),
        (ModelConfig.of_kind("diffusion")(name="m"), {"method": "ddim"}, "--method ddim"),
        (ModelConfig.of_kind("diffusion")(name="m"), {"method": "andi", "steps": 1}, "--method andi"),
    ],
)
def test_other_ways_to_heal_are_refused(config, options, named):
    with pytest.raises(UadError, match=named):
        plan(config, adapt="curve", **options)


def test_there_are_two_things_to_fit():
    with pytest.raises(UadError, match="--adapt layers: there are curve and all"):
        plan(CONFIG, adapt="layers")
