"""uad-heal with models of patches and codes, and training them from an encoder."""

import json

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config
from uadtools.volume.io import save
from uadtools.volume.stream import read_image


@pytest.fixture
def heal(uad, prepared, tiny_guided, here):
    """Heal the prepared scan with a model of this kind, and return its healed image."""

    def run(kind, *options):
        result = uad("heal", prepared, "--model", tiny_guided[kind], "-o", "out.nii", "--force", *options)
        assert (result.status, result.out, result.err) == (0, b"", "")
        return read_image(here / "out.nii").data

    return run


def test_patch_and_stride_have_an_effect(heal, here):
    whole = heal("pddpm")
    assert np.abs(whole - heal("pddpm", "--patch", 12)).max() > 1e-3
    assert np.abs(whole - heal("pddpm", "--stride", 4)).max() > 1e-3
    line = json.loads((here / "out.json").read_text())["history"][-1]
    assert line["arguments"]["patch"] == [8]
    assert line["arguments"]["stride"] == 4


def test_several_patches_and_t_are_averaged(heal):
    several = heal("pddpm", "--patch", 8, "--patch", 12, "-t", 300, "-t", 500)
    alone = [heal("pddpm", "--patch", p, "-t", t) for p in (8, 12) for t in (300, 500)]
    inside = several > 0
    np.testing.assert_allclose(several[inside], np.mean(alone, axis=0)[inside], rtol=0, atol=1e-4)
    assert np.abs(several - heal("pddpm", "--patch", 8, "--patch", 12, "--combine", "vote")).max() > 1e-3


def test_condition_has_an_effect(heal, phantom, here):
    scan = phantom.images["scan"]
    half = scan.data.copy()
    half[:8] = 0
    save(scan.derive(half, "scan"), here / "half.nii.gz")
    own, cropped = heal("cddpm"), heal("cddpm", "--condition", "half.nii.gz")
    assert np.abs(own - cropped).max() > 1e-4
    arguments = json.loads((here / "out.json").read_text())["history"][-1]["arguments"]
    assert arguments["condition"] == "half.nii.gz"
    np.testing.assert_array_equal(heal("cddpm", "--condition", "p.nii.gz"), own)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("pddpm", ["--patch", 17], ["--patch 17: outside 1 to 16"]),
        ("pddpm", ["--stride", 9], ["--stride 9: leaves gaps"]),
        ("pddpm", ["--method", "sss"], ["models of kind 'pddpm' (this one can do: pddpm)"]),
        ("pddpm", ["--condition", "p.nii.gz"], ["--condition has no effect with --method pddpm"]),
        ("cddpm", ["--patch", 8], ["--patch has no effect with --method cddpm"]),
        ("cddpm", ["--method", "ddpm"], ["models of kind 'cddpm' (this one can do: cddpm)"]),
        ("cddpm", ["--condition", "none.nii.gz"], ["none.nii.gz: No such file"]),
        ("spark", [], ["models of kind 'spark' heal nothing", "encoder.pretrained=FILE"]),
    ],
)
def test_what_the_model_cannot_do_is_refused(kind, options, said, uad, prepared, tiny_guided):
    uad("heal", prepared, "--model", tiny_guided[kind], *options).fails("heal", 1, *said)


@pytest.mark.parametrize("option", ["--patch", "--stride"])
def test_values_out_of_range_are_wrong_usage(option, uad, prepared):
    uad("heal", prepared, option, 0).fails("heal", 2, option)


SIZES = ["encoder.base=4", "encoder.blocks=[1]", "grid.shape=[16,16,8]", "training.batch=2", "training.log_every=1"]
UNET = ["network.base=8", "network.multipliers=[1,2]", "network.groups=4", "network.head_channels=8"]


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


def test_an_encoder_is_trained_and_cddpm_starts_from_it(uad, prepared, here):
    assert (
        uad("train", prepared, "--recipe", "spark", *settings(*SIZES), "--steps", 2, "-o", "e.safetensors").status == 0
    )
    words = ["--recipe", "cddpm", *settings(*SIZES, *UNET, "encoder.pretrained=e.safetensors")]
    assert uad("train", prepared, *words, "--steps", 2, "-o", "c.safetensors").status == 0
    noted = read_config(here / "c.safetensors").training
    assert noted["started_from"].startswith("spark:")
    (here / "e.safetensors").unlink()  # what is resumed needs it no more
    assert uad("train", prepared, *words, "--steps", 4, "--resume", "-o", "c.safetensors").status == 0
    assert read_config(here / "c.safetensors").training == noted | {"steps": 4, "planned": 4} | {
        "best_validation": read_config(here / "c.safetensors").training["best_validation"]
    }
    assert uad("heal", prepared, "--model", "c.safetensors").status == 0


def test_what_is_no_encoder_is_refused(uad, prepared, tiny_model):
    words = ["--recipe", "cddpm", *settings(*SIZES, *UNET, f"encoder.pretrained={tiny_model}")]
    uad("train", prepared, *words, "-o", "c.safetensors").fails("train", 1, "a model of kind 'diffusion', not 'spark'")
    words[-1] = "encoder.pretrained=none.safetensors"
    uad("train", prepared, *words, "-o", "c.safetensors").fails("train", 1, "none.safetensors: No such file")
