"""Healed scans by the features of a network: from files and streams, and what cannot be."""

import numpy as np
import pytest
import torch

import uadtools
from uadtools.models.checkpoint import file_hash
from uadtools.models.features import import_features
from uadtools.nets.lpips import Lpips
from uadtools.volume.io import Image, save, to_bytes


@pytest.fixture
def features(here):
    """A narrow VGG16 of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Lpips("vgg", (2, 3, 4, 3, 2, 3, 4, 2, 3, 4, 3, 2, 3))
    weights = {f"features.{name}": value for name, value in net.features.state_dict().items()}
    torch.save(weights | {f"lin{i}.model.1.weight": net.get_buffer(f"weights{i}") for i in range(5)}, here / "w.pth")
    import_features(here / "w.pth", here / "f.safetensors")
    return here / "f.safetensors"


@pytest.fixture
def study(here, phantom):
    """A scan s.nii.gz with a lesion truth.nii.gz, healed but for a shade as h.nii.gz, and the healthy scan n.nii.gz."""
    scan = phantom.need("scan")
    lesion = np.zeros(scan.data.shape, np.uint8)
    lesion[4:8, 5:9, 2:6] = 1
    lesion *= scan.data > 0
    images = {
        "n": scan,
        "s": scan.derive(np.where(lesion, 1, scan.data).astype(np.float32), "scan"),
        "h": scan.derive((0.95 * scan.data).astype(np.float32), "healed"),
        "truth": Image(lesion, scan.grid, "truth", scan.provenance),
    }
    for name, image in images.items():
        save(image, here / f"{name}.nii.gz")
    return images


def test_healed_scans_are_looked_at_and_held_against_healthy_ones(uad, study, features):
    words = ("--scan", "s.nii.gz", "--truth", "truth.nii.gz", "--features", features, "--normal", "n.nii.gz")
    report = uad("eval", "h.nii.gz", *words, "--json").json
    (row,), told = report["scans"], report["normative"]
    assert 0 < row["restoration_quality"] < row["ssim"]
    assert row["perceptual"] > 0
    assert 0 < row["conservation_correction"] <= 1
    assert row["ssim_lesion"] < row["ssim"] < row["ssim_healthy"]
    assert told["features"] == f"f.safetensors:{file_hash(features)}"
    assert told["slices"] == told["healthy_slices"] > 2
    assert 0 < told["healed_to_healthy"] < told["scans_to_healthy"]
    assert told["anomaly_to_healthy"] == 1 - told["healed_to_healthy"] / told["scans_to_healthy"]
    twice = uad("eval", "h.nii.gz", *words, "n.nii.gz", "--json").json["normative"]
    assert twice["healthy_slices"] == 2 * told["healthy_slices"]
    lines = uad("eval", "h.nii.gz", *words).out.decode().splitlines()
    assert [line.split()[0] for line in lines if line] == ["healed", "h", "healed", "all"]
    same = uadtools.evaluate_all(
        "h.nii.gz", scan="s.nii.gz", truth="truth.nii.gz", features=features, normal="n.nii.gz"
    )
    assert (same["normative"], same["scans"]) == (told, report["scans"])


def test_a_stream_and_a_models_own_features(uad, study, tiny_model):
    stream = b"".join(to_bytes(study[name]) for name in ("h", "s"))
    report = uad("eval", "--features", tiny_model, "--json", stdin=stream).json
    (row,) = report["scans"]
    assert 0 < row["perceptual"] < 4
    assert report["normative"] == {"features": f"{tiny_model.name}:{file_hash(tiny_model)}"}
    assert (row["ssim_lesion"], row["conservation_correction"]) == (None, None)
    assert report["mean"]["restoration_quality"] == row["restoration_quality"]


def test_what_cannot_be_is_told_in_one_line(uad, study, features, tiny_models):
    pair = ("h.nii.gz", "--scan", "s.nii.gz")
    uad("eval", *pair, "--normal", "n.nii.gz").fails("eval", 2, "--normal: is held against by --features")
    uad("eval", *pair, "--features", "nowhere.safetensors").fails("eval", 1, "nowhere.safetensors: No such file")
    uad("eval", *pair, "--features", "n.nii.gz").fails("eval", 1, "n.nii.gz")
    uad("eval", *pair, "--features", tiny_models["vae"]).fails("eval", 1, "compares no images")
    uad("eval", *pair, "--features", features, "--normal", "truth.nii.gz").fails("eval", 1, "--normal: truth")
    alone = ("truth.nii.gz", "--truth", "truth.nii.gz", "--features", features)
    uad("eval", *alone).fails("eval", 1, "--features", "holds no scan and its healed self")
    uad("eval", "--healthy", "a.json", "--sick", "b.json", "--features", features).fails("eval", 2, "--features")
