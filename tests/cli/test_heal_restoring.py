"""uad-heal with restoration models, and what uad-score makes of their maps."""

import json

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.io import save
from uadtools.volume.stream import read_image


@pytest.fixture
def healthy(phantom, here):
    """A folder of eight scans like the phantom."""
    (here / "healthy").mkdir()
    scan, rng = phantom.need("scan"), np.random.default_rng(0)
    for k in range(8):
        noise = 0.02 * rng.standard_normal(scan.data.shape)
        data = np.where(scan.data > 0, np.clip(scan.data + noise, 0.01, 1), 0).astype(np.float32)
        save(scan.derive(data, "scan"), here / "healthy" / f"h{k}.nii.gz")
    return here / "healthy"


@pytest.fixture
def referenced(uad, tiny_guided, healthy, here):
    """The tiny restoration model, told of those scans."""
    result = uad("models", "reference", tiny_guided["restoration"], "--healthy", healthy, "-o", "r.safetensors", "-q")
    assert (result.status, result.out, result.err) == (0, b"", "")
    return here / "r.safetensors"


@pytest.mark.parametrize("known", [False, True])
def test_files_and_a_pipe_make_the_same_score(uad, prepared, tiny_guided, referenced, here, known):
    model = referenced if known else tiny_guided["restoration"]
    assert uad("heal", prepared, "--model", model).status == 0
    assert (here / "p_probability.nii.gz").exists()
    assert (here / "p_expected.nii.gz").exists() == known
    (told,) = uad("score", prepared, here / "p_healed.nii.gz", "-o", "files.nii", "--json").json
    assert told["metric"] == ("relative" if known else "product")
    stream = uad("heal", prepared, "--model", model, "-o", "-").out
    (here / "stream.nii").write_bytes(uad("score", "-", stdin=stream).out)
    np.testing.assert_array_equal(read_image(here / "stream.nii").data, read_image(here / "files.nii").data)


def test_a_map_that_is_part_of_the_score_is_missed(uad, prepared, tiny_guided, here):
    uad("heal", prepared, "--model", tiny_guided["restoration"])
    (here / "p_probability.nii.gz").rename(here / "elsewhere.nii.gz")
    healed = here / "p_healed.nii.gz"
    uad("score", prepared, healed).fails("score", 1, "p_probability.nii.gz: not there", "--metric l1")
    assert uad("score", prepared, healed, "--metric", "l1", "-o", "l1.nii").status == 0
    assert uad("score", prepared, healed, "--probability", here / "elsewhere.nii.gz", "-o", "there.nii").status == 0
    there, plain = (read_image(here / name).data for name in ("there.nii", "l1.nii"))
    assert (there <= plain + 1e-6).all()
    assert there.sum() < plain.sum()


def test_a_reference_leaves_the_weights_and_is_told(uad, tiny_guided, referenced):
    before, after = read_tensors(tiny_guided["restoration"]), read_tensors(referenced)
    assert set(after) - set(before) == {"reference.expected"}
    assert all((before[name] == after[name]).all() for name in before)
    assert read_config(referenced).reference.scans == 8
    uad("models", "check", referenced)


def test_too_few_healthy_scans_make_no_reference(uad, tiny_guided, healthy):
    few = sorted(healthy.glob("*.nii.gz"))[:3]
    result = uad("models", "reference", tiny_guided["restoration"], "--healthy", *few, "-o", "r.safetensors")
    result.fails("models", 1, "3 healthy scans: a reference needs at least 8")


@pytest.mark.parametrize(
    ("options", "other"),
    [
        (("-t", 100), ()),
        (("--flips",), ()),
        (("--method", "disyre", "--steps", 3), ("--method", "disyre", "--steps", 2)),
        (("--method", "disyre", "--accumulate", "mean"), ("--method", "disyre")),
    ],
)
def test_options_have_an_effect(uad, prepared, tiny_guided, here, options, other):
    for name, words in (("a.nii", options), ("b.nii", other)):
        assert uad("heal", prepared, "--model", tiny_guided["restoration"], "-o", name, *words).status == 0
    one, two = (read_image(here / name).data for name in ("a.nii", "b.nii"))
    assert np.abs(one - two).max() > 1e-5
    line = json.loads((here / "a.json").read_text())["history"][-1]
    assert line["maps"] == ["probability"]


def test_a_method_without_noise_has_no_draws(uad, prepared, tiny_guided):
    words = ("--model", tiny_guided["restoration"], "--samples", 3, "-o", "a.nii")
    uad("heal", prepared, *words).fails("heal", 1, "--samples has no effect with --method restore")


def test_several_severities_are_averaged(uad, prepared, tiny_guided, here):
    model = tiny_guided["restoration"]
    for name, steps in (("both", (200, 900)), ("low", (200,)), ("high", (900,))):
        words = [word for t in steps for word in ("-t", t)]
        assert uad("heal", prepared, "--model", model, "-o", f"{name}.nii", *words).status == 0
    both, low, high = (read_image(here / f"{name}.nii").data for name in ("both", "low", "high"))
    inside = both > 0
    np.testing.assert_allclose(both[inside], ((low + high) / 2)[inside], rtol=0, atol=1e-3)


def test_chain_and_thresholds_of_the_model_are_taken_by_sign(uad, prepared, tiny_guided, here):
    chain = "defaults.chain={median = 3, erode = 1, min_size = 2}"
    levels = 'defaults.thresholds={"restore 999" = 0.02, "restore 999 dark" = 0.01}'
    model = here / "m.safetensors"
    words = ("--set", "defaults.metric=product", "--set", chain, "--set", levels, "-o", model)
    assert uad("models", "settle", tiny_guided["restoration"], *words).status == 0
    stream = uad("heal", prepared, "--model", model, "-o", "-").out
    for sign, level in (("both", 0.02), ("dark", 0.01), ("bright", 0.02)):
        scored = uad("score", "-", "--signed", sign, stdin=stream).out
        (told,) = uad("postproc", "-", "-o", f"{sign}.nii", "--json", stdin=scored).json
        assert (told["threshold"], told["threshold_from"]) == (level, "model")
        steps = json.loads((here / f"{sign}.json").read_text())["history"][-1]["arguments"]
        assert (steps["median"], steps["erode"], steps["min_size"]) == (3, 1, 2)
    scored = uad("score", "-", "--metric", "l1", stdin=stream).out
    (told,) = uad("postproc", "-", "-o", "l1.nii", "--median", 1, "--json", stdin=scored).json
    assert told["threshold_from"] == "otsu"
    assert json.loads((here / "l1.json").read_text())["history"][-1]["arguments"]["median"] == 1
