"""Healed scans as a network sees them, against what it makes of their slices one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.evaluation.evaluate import case
from uadtools.evaluation.normative import Look, Normative, look, looking
from uadtools.grids.grid import Grid
from uadtools.metrics.image import l1, ssim
from uadtools.metrics.normative import frechet
from uadtools.models.model import load_model
from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study

SHAPE = (8, 10, 20)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
BRAIN = np.zeros(SHAPE, bool)
BRAIN[2:-2, 2:-2, 1:-1] = True


def mean_and_peak(x):
    return torch.stack([x.mean(dim=(1, 2, 3)), x.amax(dim=(1, 2, 3))], dim=1)


PLAIN = Look("plain", lambda x, other: (x - other).abs(), mean_and_peak)
"""Of images in [-1, 1], so that what it tells apart is twice what intensities are."""


def image(data, role):
    return Image(np.where(BRAIN, data, 0).astype(np.float32), GRID, role, {"study": "s"})


def scan(seed=0):
    return image(np.random.default_rng(seed).uniform(0.2, 0.8, SHAPE), "scan")


def restored(seed=0):
    before = scan(seed)
    noise = np.random.default_rng(seed + 50).uniform(0, 0.1, SHAPE)
    return Study(f"s{seed}", {"healed": image(before.data + noise, "healed"), "scan": before})


def rows(data):
    """What PLAIN makes of the slices that hold brain."""
    slices = 2 * np.moveaxis(data, 2, 0)[1:-1].astype(np.float64) - 1
    return np.stack([slices.mean((1, 2)), slices.max((1, 2))], axis=1)


def test_a_scan_is_told_apart_from_its_healed_self_inside_the_brain():
    study = restored()
    normative = Normative(PLAIN)
    seen = normative.seen(study, case(study)).likeness
    pair = study.need("scan").data, study.need("healed").data, BRAIN
    assert seen["perceptual"] == pytest.approx(2 * l1(*pair), rel=1e-5)
    assert seen["restoration_quality"] == pytest.approx(ssim(*pair) * (1 - l1(*pair)) * (1 - 2 * l1(*pair)), rel=1e-5)
    assert normative.told() == {"features": "plain"}


def test_a_set_is_held_against_healthy_scans():
    studies = [restored(seed) for seed in (1, 2)]
    normative = Normative(PLAIN, np.concatenate([rows(scan(seed).data) for seed in (3, 4, 5)]))
    for study in studies:
        normative.seen(study, case(study))
    told = normative.told()
    healthy = np.concatenate([rows(scan(seed).data) for seed in (3, 4, 5)])
    away = [frechet(np.concatenate([rows(s.need(role).data) for s in studies]), healthy) for role in ("scan", "healed")]
    assert (told["slices"], told["healthy_slices"]) == (36, 54)
    assert [told["scans_to_healthy"], told["healed_to_healthy"]] == pytest.approx(away, rel=1e-4)
    assert told["anomaly_to_healthy"] == pytest.approx(1 - away[1] / away[0], rel=1e-4)


def test_what_is_healed_all_the_way_is_as_near_as_healthy_scans_are():
    healthy = scan(3)
    normative = Normative(PLAIN, rows(healthy.data))
    study = Study("s", {"healed": replace(healthy, role="healed"), "scan": scan(1)})
    normative.seen(study, case(study))
    assert normative.told()["anomaly_to_healthy"] == pytest.approx(1, abs=1e-6)


def test_of_a_detection_the_voxels_of_the_brain_are_looked_at():
    study = restored()
    mask = Image(np.zeros(SHAPE, np.uint8), GRID, "detection", {"study": "s"})
    truth = Image(np.zeros(SHAPE, np.uint8), GRID, "truth", {"study": "s"})
    whole = Study("s0", {"detection": mask, **study.images, "truth": truth})
    expected = Normative(PLAIN).seen(study, case(study)).likeness["perceptual"]
    assert Normative(PLAIN).seen(whole, case(whole)).likeness["perceptual"] == expected


def test_a_diffusion_model_sees_as_it_perceives(tiny_model):
    seen, model = look(tiny_model), load_model(tiny_model, device="cpu", precision="fp32")
    x, other = torch.rand(2, 2, 1, 32, 32)
    assert torch.equal(seen.unlike(x, other), model.perceive(x, other))
    t = torch.full((2,), 50 * model.schedule.steps // 1000)
    assert torch.allclose(seen.describe(x), model.net.features(x, t)[-1].mean(dim=(2, 3)), atol=1e-6)
    assert seen.name.startswith("tiny.safetensors:")


def test_other_models_compare_no_images(tiny_guided, tiny_models):
    for path in (tiny_guided["restoration"], tiny_models["vae"]):
        with pytest.raises(UadError, match=f"--features {path}: compares no images"):
            look(path)


def test_what_cannot_be_looked_at_is_told():
    score = Image(np.where(BRAIN, 0.5, 0).astype(np.float32), GRID, "score", {"study": "s"})
    truth = Image(np.zeros(SHAPE, np.uint8), GRID, "truth", {"study": "s"})
    study = Study("s", {"score": score, "truth": truth})
    with pytest.raises(UadError, match="--features: s: holds no scan and its healed self"):
        Normative(PLAIN).seen(study, case(study))


def test_healthy_scans_are_read_as_scans_are(tiny_model, tmp_path):
    def put(data, role="scan"):
        save(
            Image(np.where(BRAIN, data, 0).astype(np.float32), GRID, role, {"study": "n"}),
            tmp_path / "n.nii.gz",
            force=True,
        )
        return [str(tmp_path / "n.nii.gz")]

    healthy = scan(3)
    study = Study("s", {"healed": replace(healthy, role="healed"), "scan": healthy})
    both = looking(tiny_model, put(healthy.data))
    both.seen(study, case(study))
    assert looking(tiny_model).healthy is None
    np.testing.assert_allclose(both.before[0], both.healthy, atol=1e-6)
    assert looking(None) is None
    with pytest.raises(UadError, match="--normal: n: not prepared: values 0 to 8"):
        looking(tiny_model, put(np.full(SHAPE, 8)))
    with pytest.raises(UadError, match="--normal: n"):
        looking(tiny_model, put(np.ones(SHAPE), "score"))
    with pytest.raises(UadError, match="--normal: is held against by --features"):
        looking(None, ["n.nii.gz"])
