"""A model of restoration from tool to tool: its maps lie beside the healed scan, and scores find them there."""

import json
from pathlib import Path

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.io import save, to_bytes
from uadtools.volume.stream import read_image, read_path


def names(folder, *endings):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(endings or (".nii.gz", ".nii")))


@pytest.fixture(params=["plain", "measured"])
def model(request, tiny_guided, measured_model):
    """A model without a reference, and one with it."""
    return tiny_guided["restoration"] if request.param == "plain" else measured_model


@pytest.fixture
def metric(model):
    return "product" if read_config(model).reference is None else "relative"


@pytest.fixture
def healed(uad, prepared, model, here):
    """The prepared scan p.nii.gz, healed as p_healed.nii.gz, with its maps beside it."""
    result = uad("heal", prepared, "--model", model)
    assert (result.status, result.out, result.err) == (0, b"", "")
    return here / "p_healed.nii.gz"


def test_the_maps_of_the_score_lie_beside_the_healed_scan(healed, metric, here):
    made = {"p_healed.nii.gz", "p.nii.gz", "p_probability.nii.gz"}
    made |= {"p_expected.nii.gz"} if metric == "relative" else set()
    assert set(names(here, ".nii.gz")) == made
    brain = read_image(here / "p.nii.gz").data > 0
    probability = read_image(here / "p_probability.nii.gz")
    assert probability.role == "probability"
    assert (probability.data[~brain] == 0).all()
    assert ((probability.data[brain] > 0) & (probability.data[brain] < 1)).all()
    if metric == "relative":
        expected = read_image(here / "p_expected.nii.gz").data
        np.testing.assert_array_equal(expected > 0, brain)
        assert 0.05 <= expected[brain].min() < expected.max() <= 0.2


@pytest.mark.parametrize("options", [(), ("--signed", "dark"), ("--metric", "product"), ("--metric", "probability")])
def test_files_and_a_pipe_give_the_same_score_voxels(uad, prepared, model, healed, metric, options):
    (told,) = uad("score", prepared, healed, "--json", "-o", "files.nii.gz", *options).json
    assert told["metric"] == (options[1] if options[:1] == ("--metric",) else metric)
    stream = uad("heal", prepared, "--model", model, "-o", "-").out
    assert uad("score", "-o", "pipe.nii.gz", *options, stdin=stream).status == 0
    files, pipe = (read_image(Path(f"{name}.nii.gz")) for name in ("files", "pipe"))
    np.testing.assert_array_equal(files.data, pipe.data)
    assert files.provenance == pipe.provenance
    assert files.data.max() > 1e-3


def test_a_stream_holds_the_maps(uad, phantom, model, metric, here):
    stream = uad("heal", "--model", model, stdin=b"".join(map(to_bytes, phantom.images.values()))).out
    (here / "s.nii").write_bytes(stream)
    (study,) = read_path(here / "s.nii")
    extra = {"expected"} if metric == "relative" else set()
    assert study.images.keys() == {"healed", "scan", "brain", "probability"} | extra


@pytest.mark.parametrize("role", ["probability", "expected"])
def test_a_map_that_was_lost_is_told_where_the_metric_needs_it(uad, prepared, healed, metric, here, role):
    beside = here / f"p_{role}.nii.gz"
    if not beside.exists():
        assert (role, metric) == ("expected", "product")
        told = ("no image of role 'expected', which relative needs", "uad-models reference")
        uad("score", prepared, healed, "--metric", "relative").fails("score", 1, *told)
        return
    moved = beside.rename(here / "elsewhere.nii.gz")
    uad("score", prepared, healed).fails(
        "score", 1, f"p_{role}.nii.gz: not there, and part of the score", "--metric l1"
    )
    assert uad("score", prepared, healed, "--metric", "l1", "-o", "l1.nii.gz").status == 0
    if role == "probability":
        moved_too = ("score", prepared, healed, "--probability", moved, "-o", "there.nii.gz")
        assert uad(*moved_too).status == 0
        moved.rename(beside)
        assert uad("score", prepared, healed).status == 0
        np.testing.assert_array_equal(*(read_image(here / f"{n}.nii.gz").data for n in ("there", "p_score")))
    else:
        assert uad("score", prepared, healed, "--metric", "product", "-o", "product.nii.gz").status == 0


def test_a_probability_takes_from_the_score(uad, prepared, tiny_guided, here):
    assert uad("heal", prepared, "--model", tiny_guided["restoration"]).status == 0
    for name, options in (("own.nii", ()), ("l1.nii", ("--metric", "l1"))):
        assert uad("score", prepared, "p_healed.nii.gz", "-o", name, *options).status == 0
    own, plain = (read_image(here / name).data for name in ("own.nii", "l1.nii"))
    assert (own <= plain + 1e-6).all()
    assert own.sum() < plain.sum()


def test_a_probability_without_effect_is_refused(uad, prepared, healed, here):
    words = ("score", prepared, healed, "--metric", "l2", "--probability", here / "p_probability.nii.gz")
    uad(*words).fails("score", 2, "--probability", "no effect with --metric l2")


def test_nothing_beside_the_healed_scan_is_overwritten_without_force(uad, prepared, model, here):
    (here / "p_probability.nii.gz").write_text("mine")
    uad("heal", prepared, "--model", model).fails("heal", 1, "p_probability.nii.gz", "exists (--force replaces it)")
    assert (here / "p_probability.nii.gz").read_text() == "mine"
    assert not (here / "p_healed.nii.gz").exists()
    assert uad("heal", prepared, "--model", model, "--force").status == 0


def test_several_models_have_the_mean_of_their_maps_and_files_are_scored_as_a_pipe_is(uad, prepared, tiny_guided, here):
    path = tiny_guided["restoration"]
    (here / "b.safetensors").write_bytes(path.read_bytes())
    models = ("--model", path, "--model", "b.safetensors")
    assert uad("heal", prepared, *models).status == 0
    assert "p_probability.nii.gz" in names(here)
    (told,) = uad("score", prepared, "p_healed.nii.gz", "--json").json
    assert told["metric"] == "product"
    stream = uad("heal", prepared, *models, "-o", "-").out
    assert uad("score", "-o", "pipe.nii.gz", stdin=stream).status == 0
    np.testing.assert_array_equal(*(read_image(here / f"{n}.nii.gz").data for n in ("p_score", "pipe")))


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
    """The model, told of those scans."""
    result = uad("models", "reference", tiny_guided["restoration"], "--healthy", healthy, "-o", "r.safetensors", "-q")
    assert (result.status, result.out, result.err) == (0, b"", "")
    return here / "r.safetensors"


def test_a_reference_leaves_the_weights_and_is_told(uad, tiny_guided, referenced):
    before, after = read_tensors(tiny_guided["restoration"]), read_tensors(referenced)
    assert set(after) - set(before) == {"reference.expected"}
    assert all((before[name] == after[name]).all() for name in before)
    assert read_config(referenced).reference.scans == 8
    assert uad("models", "check", referenced).status == 0


def test_files_and_a_pipe_give_the_same_score_by_a_reference_that_was_learnt(uad, prepared, referenced, here):
    assert uad("heal", prepared, "--model", referenced).status == 0
    assert {"p_probability.nii.gz", "p_expected.nii.gz"} <= set(names(here))
    (told,) = uad("score", prepared, "p_healed.nii.gz", "-o", "files.nii", "--json").json
    assert told["metric"] == "relative"
    stream = uad("heal", prepared, "--model", referenced, "-o", "-").out
    (here / "stream.nii").write_bytes(uad("score", "-", stdin=stream).out)
    np.testing.assert_array_equal(*(read_image(here / f"{n}.nii").data for n in ("stream", "files")))


def test_too_few_healthy_scans_make_no_reference(uad, tiny_guided, healthy):
    few = sorted(healthy.glob("*.nii.gz"))[:3]
    result = uad("models", "reference", tiny_guided["restoration"], "--healthy", *few, "-o", "r.safetensors")
    result.fails("models", 1, "3 healthy scans: a reference needs at least 8")


@pytest.fixture
def heal(uad, prepared, tiny_guided, here):
    def run(*options):
        result = uad("heal", prepared, "--model", tiny_guided["restoration"], "-o", "out.nii", "--force", *options)
        assert (result.status, result.out, result.err) == (0, b"", "")
        maps = ["probability", "spread"] if options.count("-t") > 1 else ["probability"]
        assert json.loads((here / "out.json").read_text())["history"][-1]["maps"] == maps
        return read_image(here / "out.nii").data

    return run


def test_options_of_restore_and_disyre_have_an_effect(heal, here):
    assert np.abs(heal() - heal("--flips")).max() > 1e-4
    assert np.abs(heal() - heal("-t", 100)).max() > 1e-4
    walk, mean = heal("--method", "disyre"), heal("--method", "disyre", "--accumulate", "mean")
    assert np.abs(walk - mean).max() > 1e-4
    line = json.loads((here / "out.json").read_text())["history"][-1]
    told = {"method": "disyre", "t": [999], "steps": 5, "accumulate": "mean", "combine": "mean"}
    assert line["arguments"] == told
    np.testing.assert_array_equal(walk, heal("--method", "disyre", "--accumulate", "walk", "--steps", 5))
    assert np.abs(heal("--method", "disyre", "--steps", 3) - heal("--method", "disyre", "--steps", 2)).max() > 1e-5
    np.testing.assert_array_equal(heal("--seed", 1), heal("--seed", 2))  # nothing is drawn


def test_several_severities_are_averaged(heal):
    both, low, high = (heal(*options) for options in (("-t", 200, "-t", 900), ("-t", 200), ("-t", 900)))
    inside = both > 0
    np.testing.assert_allclose(both[inside], ((low + high) / 2)[inside], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--accumulate", "mean"), "--accumulate has no effect with --method restore"),
        (("--method", "disyre", "--flips"), "--flips has no effect with --method disyre"),
        (("--samples", 2), "--samples has no effect with --method restore"),
        (("--steps", 2), "--steps has no effect with --method restore"),
        (("--method", "sss"), "--method sss does not work with models of kind 'restoration'"),
    ],
)
def test_what_has_no_effect_is_refused(uad, prepared, tiny_guided, options, said):
    uad("heal", prepared, "--model", tiny_guided["restoration"], *options).fails("heal", 1, said)


def test_options_of_restoration_are_refused_elsewhere(uad, prepared, tiny_model):
    uad("heal", prepared, "--model", tiny_model, "--flips").fails("heal", 1, "--flips has no effect with --method sss")
    words = ("heal", prepared, "--model", tiny_model, "--accumulate", "walk")
    uad(*words).fails("heal", 1, "--accumulate has no effect with --method sss")
    words = ("heal", prepared, "--model", tiny_model, "--method", "restore")
    uad(*words).fails("heal", 1, "--method restore does not work with models of kind 'diffusion'")


def test_what_a_model_recommends_reaches_the_detection(uad, prepared, tiny_guided, here):
    settled = (
        "--set", "defaults.metric=product", "--set", "defaults.chain={median=1, erode=0, min_size=1}",
        "--set", "defaults.thresholds={'restore 999'=0.03, 'restore 999 dark'=0.02}",
    )  # fmt: skip
    made = uad("models", "settle", tiny_guided["restoration"], *settled, "-o", "m.safetensors")
    assert made.status == 0, made.err
    assert uad("heal", prepared, "--model", "m.safetensors").status == 0
    for signed, level in (("both", 0.03), ("dark", 0.02), ("bright", 0.03)):
        assert uad("score", prepared, "p_healed.nii.gz", "--signed", signed, "-o", "s.nii.gz", "--force").status == 0
        (told,) = uad("postproc", "s.nii.gz", "-o", "d.nii.gz", "--json", "--force").json
        assert (told["threshold"], told["threshold_from"]) == (level, "model")
        score = read_image(here / "s.nii.gz").data
        np.testing.assert_array_equal(read_image(here / "d.nii.gz").data, score > np.float32(level))
    used = json.loads((here / "d.json").read_text())["history"][-1]["arguments"]
    assert (used["median"], used["erode"], used["min_size"]) == (1, 0, 1)
    (told,) = uad("postproc", "s.nii.gz", "-o", "d.nii.gz", "--json", "--force", "--erode", 2).json
    used = json.loads((here / "d.json").read_text())["history"][-1]["arguments"]
    assert (used["median"], used["erode"], used["min_size"]) == (1, 2, 1)


def test_what_a_model_recommends_passes_through_pipes_by_sign_and_for_its_own_metric(uad, prepared, tiny_guided, here):
    chain = "defaults.chain={median = 3, erode = 1, min_size = 2}"
    levels = 'defaults.thresholds={"restore 999" = 0.02, "restore 999 dark" = 0.01}'
    words = ("--set", "defaults.metric=product", "--set", chain, "--set", levels, "-o", "m.safetensors")
    assert uad("models", "settle", tiny_guided["restoration"], *words).status == 0
    stream = uad("heal", prepared, "--model", "m.safetensors", "-o", "-").out
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


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (["--flips"], "--flips"),
        (["-t", 400], "-t 400"),
        (["-t", 400, "-t", 999], "-t 400,999"),
        (["--method", "disyre"], "--method disyre"),
    ],
)
def test_a_way_of_healing_that_loses_the_models_threshold_is_told_before_it_begins(
    options, how, uad, prepared, tiny_guided, monkeypatch
):
    levels = 'defaults.thresholds={"restore 999" = 0.02}'
    uad("models", "settle", tiny_guided["restoration"], "--set", levels, "-o", "m.safetensors")
    words = ("heal", prepared, "--model", "m.safetensors")
    stream = uad(*words, *options, "-o", "-")
    (line,) = stream.lines
    reason = f"the thresholds of tiny-restoration are not for {how}"
    assert line == (
        f"uad-heal: {reason}, so uad-postproc will take Otsu's, and refuse scanwise and voxelwise ones (leave it out, "
        "or find a threshold with uad-calibrate)"
    )
    scored = uad("score", stdin=stream.out).out
    result = uad("postproc", "-", "-o", "d.nii", "--median", 1, "--erode", 0, "--json", stdin=scored)
    (concern,) = result.json[0]["concerns"]
    assert (concern["code"], concern["value"]) == ("threshold", pytest.approx(result.json[0]["threshold"], abs=1e-5))
    assert f"Otsu's is taken, as {reason} (it always" in concern["text"]
    assert result.lines[0] == f"uad-postproc: p: {concern['text']}"
    monkeypatch.setattr("uadtools.cohort.heal.prefetched", lambda jobs: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # told before the first scan is read
        uad(*words, *options, "--force")


def test_several_models_lose_their_thresholds_and_one_as_it_is_does_not(uad, prepared, tiny_guided):
    levels = 'defaults.thresholds={"restore 999" = 0.02}'
    uad("models", "settle", tiny_guided["restoration"], "--set", levels, "-o", "m.safetensors")
    assert uad("heal", prepared, "--model", "m.safetensors", "-o", "a.nii").err == ""
    said = uad("heal", prepared, "--model", "m.safetensors", "--model", "m.safetensors", "-o", "b.nii").lines[0]
    names = "tiny-restoration and tiny-restoration"
    assert said.startswith(f"uad-heal: the thresholds of {names} are not for the mean of several models, so")


def test_what_scanwise_holds_for_is_told_before_the_stream_comes(uad):
    result = uad("postproc", "--threshold", "scanwise", "-o", "d.nii", stdin=b"")
    assert result.status == 1
    assert result.lines[0].startswith(
        "uad-postproc: --threshold scanwise holds for the default healing of a bundled model"
    )
    assert "no -t, --samples, --flips, --metric or --signed" in result.lines[0]


def test_a_model_fitted_to_the_scan_heals_it_otherwise_and_says_so(uad, prepared, model, healed):
    (told,) = uad("heal", prepared, "--model", model, "--adapt", "curve", "--json", "-o", "adapted.nii.gz").json
    assert told["adapt"] == "curve"
    plain, adapted = read_image(healed), read_image(Path("adapted.nii.gz"))
    assert 0 < np.abs(adapted.data - plain.data).max() < 0.5
    line = adapted.provenance["history"][-1]
    assert line["adapted"]["residual"][1] <= line["adapted"]["residual"][0]
    refused = uad("heal", prepared, "--model", model, "--adapt", "curve", "--method", "disyre")
    assert refused.status == 1
    assert "--adapt: fits a model to what it heals in one evaluation" in refused.err
