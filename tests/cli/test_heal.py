import json

import numpy as np
import pytest

from uadtools.grids.grid import Grid
from uadtools.models.checkpoint import file_hash
from uadtools.volume.io import Image, save, to_bytes
from uadtools.volume.stream import read_image, read_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def heal(uad, prepared, tiny_model, here):
    """Heal the prepared scan with these options, and return its healed image."""

    def run(*options):
        result = uad("heal", prepared, "--model", tiny_model, "-o", "out.nii", "--force", *options)
        assert (result.status, result.out, result.err) == (0, b"", "")
        return read_image(here / "out.nii").data

    return run


def test_a_file_becomes_a_file_named_after_it_in_the_current_folder(uad, prepared, tiny_model, here):
    (here / "in").mkdir()
    prepared = prepared.rename(here / "in" / "p_preprocessed.nii.gz")
    result = uad("heal", prepared, "--model", tiny_model)
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert names(here) == ["in", "p_healed.json", "p_healed.nii.gz"]
    scan, made = read_image(prepared), read_image(here / "p_healed.nii.gz")
    assert made.role == "healed"
    assert made.grid.same(scan.grid)
    np.testing.assert_array_equal(made.data > 0, scan.data > 0)
    assert np.abs(made.data - scan.data).max() > 0.05


def test_the_json_beside_it_says_how_it_was_made(uad, prepared, tiny_model, here):
    uad("heal", prepared, "--model", tiny_model, "--method", "ddim", "-t", 9, "--steps", 2, "--seed", 5)
    kept = json.loads((here / "p_healed.json").read_text())
    assert kept == read_image(here / "p_healed.nii.gz").provenance
    (line,) = kept["history"]
    assert (line["tool"], line["seed"]) == ("uad-heal", 5)
    assert line["model"] == f"tiny:{file_hash(tiny_model)}"
    assert line["arguments"] == {
        "method": "ddim", "t": [9], "steps": 2, "eta": 0.0, "solver": "ddim", "samples": 1, "combine": "mean"
    }  # fmt: skip


def test_without_provenance_there_is_none(uad, prepared, tiny_model, here):
    assert uad("heal", prepared, "--model", tiny_model, "--no-provenance").status == 0
    assert names(here) == ["p.nii.gz", "p_healed.nii.gz"]
    assert read_image(here / "p_healed.nii.gz").provenance == {}


def test_a_stream_becomes_a_stream_with_the_healed_scan_in_front(uad, phantom, tiny_model, here):
    stdin = b"".join(map(to_bytes, phantom.images.values()))
    result = uad("heal", "--model", tiny_model, stdin=stdin)
    assert (result.status, result.err) == (0, "")
    assert names(here) == []
    (here / "s.nii").write_bytes(result.out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["healed", "scan", "brain"]
    for role in ("scan", "brain"):
        np.testing.assert_array_equal(study.need(role).data, phantom.need(role).data)
    assert uad("heal", "-", "-o", "-", "--model", tiny_model, stdin=stdin).out == result.out


def test_a_stream_to_a_file(uad, phantom, tiny_model, here):
    stdin = to_bytes(phantom.need("scan"))
    assert uad("heal", "-o", "h.nii.gz", "--model", tiny_model, stdin=stdin).out == b""
    assert uad("heal", "-o", "folder", "--model", tiny_model, stdin=stdin).out == b""
    assert names(here) == ["folder", "h.json", "h.nii.gz"]
    assert names(here / "folder") == ["phantom_healed.json", "phantom_healed.nii.gz"]
    np.testing.assert_array_equal(
        read_image(here / "h.nii.gz").data, read_image(here / "folder" / "phantom_healed.nii.gz").data
    )


def test_a_file_is_called_what_it_is_called_now(uad, scan, tiny_model, here):
    """And not what it was called when it was prepared; a stream carries the name on."""
    uad("preprocess", scan, "--model", tiny_model, "-o", "t.nii")
    assert uad("heal", "t.nii", "--model", tiny_model).status == 0
    assert (here / "t_healed.nii.gz").exists()
    stream = uad("heal", "t.nii", "--model", tiny_model, "-o", "-").out
    assert uad("score", "-o", "out", stdin=stream).status == 0
    assert names(here / "out") == ["t_score.json", "t_score.nii.gz"]


def test_studies_in_one_file_keep_their_names(uad, scan, tiny_model, here):
    (here / "b.nii.gz").write_bytes(scan.read_bytes())
    (here / "s.nii").write_bytes(uad("preprocess", scan, "b.nii.gz", "--model", tiny_model, "-o", "-").out)
    assert uad("heal", "s.nii", "--model", tiny_model, "-o", "out", "--no-provenance").status == 0
    assert names(here / "out") == ["b_healed.nii.gz", "raw_healed.nii.gz"]


def test_the_model_is_loaded_once_for_a_cohort(uad, prepared, tiny_model, here, monkeypatch):
    from uadtools.models import model

    calls, load = [], model.load_model
    monkeypatch.setattr(model, "load_model", lambda path, **options: calls.append(path) or load(path, **options))
    (here / "q.nii.gz").write_bytes(prepared.read_bytes())
    assert uad("heal", prepared, "q.nii.gz", "--model", tiny_model, "-o", "out").status == 0
    assert names(here / "out") == ["p_healed.json", "p_healed.nii.gz", "q_healed.json", "q_healed.nii.gz"]
    assert calls == [tiny_model]
    p, q = (read_image(here / "out" / f"{name}_healed.nii.gz") for name in "pq")
    np.testing.assert_array_equal(p.data, q.data)


def test_nothing_is_overwritten_without_force(uad, prepared, tiny_model, here):
    (here / "p_healed.nii.gz").write_text("mine")
    uad("heal", prepared, "--model", tiny_model).fails("heal", 1, "p_healed.nii.gz", "exists (--force replaces it)")
    assert (here / "p_healed.nii.gz").read_text() == "mine"
    assert uad("heal", prepared, "--model", tiny_model, "--force").status == 0
    assert read_image(here / "p_healed.nii.gz").role == "healed"


def test_the_bundled_model_is_the_default(uad, prepared):
    """It wants another grid than this scan's."""
    models = "the one of any-small, flair-small, t1-small that suits it"
    said = uad("heal", prepared, "--prepared").fails("heal", 1, f"p: not prepared for {models}: 16x16x8", "96x96x96")
    assert "(uad-preprocess SCAN -o - | uad-heal -o OUT.nii.gz)" in said.err
    said = uad("heal", prepared, "--prepared", "--model", "flair-small")
    said.fails("heal", 1, "p: not prepared for model flair-small", "--model flair-small")


def test_the_bundled_model_that_can_do_the_method_is_taken(uad, prepared):
    """Where the default cannot."""
    said = uad("heal", prepared, "--prepared", "--method", "sss")
    said.fails("heal", 1, "p: not prepared for model t1-ddpm", "--model t1-ddpm")
    both = uad("heal", prepared, "--prepared", "--method", "sss", "--model", "any-small")
    both.fails("heal", 1, "--method sss does not work with models of kind 'restoration'", "disyre, restore")


def test_what_is_not_said_is_the_models_default(heal):
    np.testing.assert_array_equal(heal(), heal("--method", "sss", "-t", 200, "--samples", 1, "--seed", 0))


@pytest.mark.parametrize("method", ["ddim", "ddpm"])
def test_method_has_an_effect(method, heal):
    made, other = heal("--method", method, "-t", 9, *(["--steps", 3] if method == "ddim" else [])), heal("-t", 9)
    assert np.abs(made - other).max() > 1e-3


@pytest.mark.parametrize("kind", ["ae", "dae", "fanogan", "svae", "vae"])
def test_a_model_heals_in_the_way_it_was_trained_for(kind, uad, prepared, tiny_models, here):
    result = uad(
        "heal", prepared, "--model", tiny_models[kind], "--json", "-v", "--device", "cpu", "--precision", "fp32"
    )
    known = {"name": "p", "output": "p_healed.nii.gz", "method": kind, "concerns": [], "unlike": None}
    model = f"tiny-{kind}:{file_hash(tiny_models[kind])}"
    assert result.json == [known | {"model": model}]
    assert result.err == f"uad-heal: p: {kind}, cpu, torch.float32, torch, {model}\n"
    scan, made = read_image(prepared).data, read_image(here / "p_healed.nii.gz").data
    np.testing.assert_array_equal(made > 0, scan > 0)
    words = ["--method", kind, "--precision", "fp32", "--seed", 7, "--force"]
    assert uad("heal", prepared, "--model", tiny_models[kind], *words).status == 0
    np.testing.assert_array_equal(read_image(here / "p_healed.nii.gz").data, made)
    for option in (("-t", 100), ("--samples", 2), ("--steps", 3)):
        result = uad("heal", prepared, "--model", tiny_models[kind], "--force", *option)
        result.fails("heal", 1, f"{option[0]} has no effect with --method {kind}")


@pytest.mark.parametrize("method", ["blur", "threshold"])
def test_a_baseline_needs_no_model(method, uad, prepared, tiny_model, here):
    result = uad("heal", prepared, "--method", method, "-v")
    assert (result.status, result.out, result.err) == (0, b"", f"uad-heal: p: {method}\n")
    scan, made = read_image(prepared).data, read_image(here / "p_healed.nii.gz").data
    np.testing.assert_array_equal(made > 0, scan > 0)
    (line,) = json.loads((here / "p_healed.json").read_text())["history"]
    assert line["arguments"] == {"method": method} | ({"sigma": 12.0} if method == "blur" else {})
    refused = ("heal", prepared, "--method", method, "--force")
    uad(*refused, "--model", tiny_model).fails("heal", 2, "--model", f"--method {method} needs no model")
    uad(*refused, "-t", 300).fails("heal", 1, f"-t has no effect with --method {method}")
    uad(*refused, "--samples", 2).fails("heal", 1, "--samples has no effect")
    uad(*refused, "--combine", "mean").fails("heal", 2, "--combine")
    uad(*refused, "--maps").fails("heal", 2, "--maps")


def test_threshold_heals_to_the_median_of_the_brain(uad, prepared, mask, here):
    data = read_image(prepared).data
    for options, brain in (((), data > 0), (("--brain", mask), read_image(mask).data > 0)):
        assert uad("heal", prepared, "--method", "threshold", "--force", *options).status == 0
        made = read_image(here / "p_healed.nii.gz").data
        np.testing.assert_array_equal(made, np.where(brain, np.median(data[brain]), 0).astype(np.float32))


def test_sigma_has_an_effect(uad, prepared, here):
    made = []
    for width in (2, 12, 40):
        assert uad("heal", prepared, "--method", "blur", "--sigma", width, "--force").status == 0
        made.append(read_image(here / "p_healed.nii.gz").data)
    scan = read_image(prepared).data
    distance = [np.abs(scan - each).mean() for each in made]
    assert distance[0] < distance[1] < distance[2]
    assert uad("heal", prepared, "--method", "blur", "--force").status == 0
    np.testing.assert_array_equal(read_image(here / "p_healed.nii.gz").data, made[1])
    uad("heal", prepared, "--method", "blur", "--sigma", 0, "--force").fails(
        "heal", 1, "--sigma 0: a width in mm, above 0"
    )
    uad("heal", prepared, "--method", "threshold", "--sigma", 3, "--force").fails("heal", 1, "--sigma has no effect")


def test_a_baseline_takes_a_stream_and_is_scored(uad, phantom, here):
    stdin = b"".join(map(to_bytes, phantom.images.values()))
    healed = uad("heal", "--method", "threshold", stdin=stdin).out
    (here / "s.nii").write_bytes(healed)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["healed", "scan", "brain"]
    assert uad("score", "-o", "score.nii", stdin=healed).status == 0
    assert read_image(here / "score.nii").data.max() > 0.1


def test_a_baseline_loads_neither_torch_nor_pydicom(shell, prepared):
    code = (
        "import sys; from uadtools.cli.heal import COMMAND; "
        "COMMAND.call(['p.nii.gz', '--method', 'blur']); sys.exit(bool({'torch', 'pydicom'} & sys.modules.keys()))"
    )
    result = shell(f'python -c "{code}"')
    assert result.status == 0, result.err


def test_t_has_an_effect(heal):
    assert np.abs(heal("-t", 9) - heal("-t", 100)).max() > 1e-2


def test_several_t_are_combined_by_their_mean(heal):
    each = [heal("-t", t) for t in (9, 100, 200)]
    made = heal("-t", 9, "-t", 100, "-t", 200)
    np.testing.assert_allclose(made, np.mean(each, axis=0), atol=1e-3)
    np.testing.assert_array_equal(made, heal("-t", 9, "-t", 100, "-t", 200, "--combine", "mean"))


def test_combine_vote_takes_the_middle_residual(heal, phantom):
    scan = phantom.need("scan").data
    each = [np.abs(scan - heal("-t", t)) for t in (9, 100, 200)]
    made = heal("-t", 9, "-t", 100, "-t", 200, "--combine", "vote")
    np.testing.assert_allclose(np.abs(scan - made), np.median(each, axis=0), atol=1e-6)


def test_combine_needs_several_t(uad, prepared, tiny_model):
    for rule in ("mean", "vote"):
        uad("heal", prepared, "--model", tiny_model, "--combine", rule).fails("heal", 2, "--combine", "one -t")
    uad("heal", prepared, "--combine", "median").fails("heal", 2, "--combine", "mean", "vote")


def test_a_solver_adds_no_noise(uad, prepared, tiny_model):
    words = ["heal", prepared, "--model", tiny_model, "--method", "ddim", "--solver", "dpm", "--eta", 1]
    uad(*words).fails("heal", 1, "--eta has no effect with --solver dpm")


@pytest.mark.parametrize("option", [("--steps", 2), ("--eta", 1), ("--solver", "dpm"), ("--solver", "heun")])
def test_steps_eta_and_solver_have_an_effect_on_ddim_alone(option, uad, heal, prepared, tiny_model):
    ddim = ("--method", "ddim", "-t", 20, "--steps", 5)
    assert np.abs(heal(*ddim) - heal(*ddim, *option)).max() > 1e-3
    for method in ("sss", "ddpm"):
        result = uad("heal", prepared, "--model", tiny_model, "--method", method, *option)
        result.fails("heal", 1, f"{option[0]} has no effect with --method {method}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-t", 1000), "-t 1000: outside 0 to 999"),
        (("-t", -1), "-t -1: outside"),
        (("-t", 5, "-t", 5), "the same step twice"),
        (("--method", "ddim", "-t", 5, "--steps", 7), "--steps 7: from -t 5 there are 1 to 6"),
        (
            ("--method", "magic"),
            "no method 'magic' (there are: ae, andi, anofpdm, autoddpm, bernoulli, binary, blur, cddpm, ",
        ),
        (
            ("--method", "vae"),
            "--method vae does not work with models of kind 'diffusion' (this one can do: andi, autoddpm, ",
        ),
        (("--sigma", 3), "--sigma has no effect with --method sss"),
    ],
)
def test_what_the_model_cannot_do_is_refused(options, said, uad, prepared, tiny_model, here):
    uad("heal", prepared, "--model", tiny_model, *options).fails("heal", 1, said)
    assert names(here) == ["p.nii.gz"]


@pytest.mark.parametrize(
    "options",
    [
        ("--steps", 0), ("--eta", 2), ("--eta", -1), ("--samples", 0), ("--seed", -1), ("--seed", 2**64),
        ("--batch", -1), ("--device", "gpu"), ("--device", "cuda:x"), ("--precision", "fp16"), ("--volume", "x"),
        ("-t", "x"), ("--sigma", -1),
    ],
)  # fmt: skip
def test_values_out_of_range_are_wrong_usage(options, uad, prepared):
    uad("heal", prepared, *options).fails("heal", 2, options[0], "uad-heal --help tells more")


def test_samples_are_averaged_and_their_spread_travels_in_the_stream(uad, heal, prepared, tiny_model, here):
    one, two = heal("--samples", 1), heal("--samples", 2)
    assert np.abs(one - two).max() > 1e-3
    result = uad("heal", prepared, "--model", tiny_model, "--samples", 2, "-o", "-")
    (here / "s.nii").write_bytes(result.out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["healed", "spread", "scan"]
    np.testing.assert_array_equal(study.product.data, two)
    spread = study.need("spread").data
    np.testing.assert_allclose(spread[one > 0.01], np.abs(one - two)[one > 0.01], atol=2e-3)


def test_maps_writes_the_spread_beside(uad, prepared, tiny_model, here):
    assert uad("heal", prepared, "--model", tiny_model, "--samples", 2, "--maps").status == 0
    assert names(here) == ["p.nii.gz", "p_healed.json", "p_healed.nii.gz", "p_spread.json", "p_spread.nii.gz"]
    assert read_image(here / "p_spread.nii.gz").role == "spread"


def test_maps_overwrites_nothing(uad, prepared, tiny_model, here):
    (here / "p_spread.nii.gz").write_text("mine")
    uad("heal", prepared, "--model", tiny_model, "--samples", 2, "--maps").fails("heal", 1, "p_spread.nii.gz", "exists")
    assert names(here) == ["p.nii.gz", "p_spread.nii.gz"]


def test_maps_without_effect_is_refused(uad, prepared, tiny_model):
    uad("heal", prepared, "--model", tiny_model, "--maps").fails("heal", 2, "--maps", "one draw")
    result = uad("heal", "--model", tiny_model, "--maps", "--samples", 2, stdin=prepared.read_bytes())
    result.fails("heal", 2, "--maps", "a stream holds them all")


def test_brain_limits_the_healing(heal, mask):
    made = heal("--brain", mask)
    np.testing.assert_array_equal(made > 0, read_image(mask).data > 0)


def test_brain_goes_before_that_of_the_stream(uad, phantom, tiny_model, mask, here):
    stdin = b"".join(map(to_bytes, phantom.images.values()))
    (here / "s.nii").write_bytes(uad("heal", "--model", tiny_model, "--brain", mask, stdin=stdin).out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["healed", "scan", "brain"]
    for role in ("healed", "brain"):
        np.testing.assert_array_equal(study.need(role).data > 0, read_image(mask).data > 0)


def test_the_seed_decides(heal):
    first, again, other = heal("--seed", 1), heal("--seed", 1), heal("--seed", 2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.fixture
def batches(monkeypatch):
    """Notes how many slices the model is asked about at once."""
    from uadtools.models.model import Model

    sizes, predict = [], Model.predict

    def noted(model, x_t, t, **options):
        sizes.append(len(x_t))
        return predict(model, x_t, t, **options)

    monkeypatch.setattr(Model, "predict", noted)
    return sizes


def test_batch_sets_how_many_slices_are_healed_at_once_and_changes_nothing_else(heal, batches):
    made = [heal(*options) for options in ((), ("--batch", 3), ("--batch", 1))]
    assert (batches[0], batches[1], batches[-1]) == (6, 3, 1)
    np.testing.assert_allclose(made[1], made[0], atol=1e-6)
    np.testing.assert_allclose(made[2], made[0], atol=1e-6)


def test_device_and_precision_have_an_effect(uad, heal, prepared, tiny_model):
    exact, rough = heal("--precision", "fp32", "--device", "cpu"), heal("--precision", "bf16", "--device", "cpu")
    assert 1e-5 < np.abs(exact - rough).max() < 0.1
    told = uad("heal", prepared, "--model", tiny_model, "--device", "cpu", "--precision", "bf16", "-v").err
    assert told == f"uad-heal: p: sss, t 200, cpu, torch.bfloat16, torch, tiny:{file_hash(tiny_model)}\n"


def test_a_device_that_is_not_there_is_told(uad, prepared, tiny_model):
    uad("heal", prepared, "--model", tiny_model, "--device", "cuda:99").fails(
        "heal", 1, "--device cuda:99: not available"
    )


def test_volume_chooses_of_a_4d_image(uad, phantom, tiny_model, here):
    import nibabel as nib

    scan = phantom.need("scan")
    pair = np.stack([np.zeros(scan.data.shape, np.float32), scan.data], axis=-1)
    nib.save(nib.Nifti1Image(pair, scan.grid.affine), "four.nii")
    uad("heal", "four.nii", "--model", tiny_model).fails("heal", 1, "four.nii", "2 volumes", "--volume N")
    assert uad("heal", "four.nii", "--model", tiny_model, "--volume", 1).status == 0


def test_json_tells_what_was_done(uad, prepared, tiny_model):
    (told,) = uad("heal", prepared, "--model", tiny_model, "-t", 7, "--json").json
    assert told == {
        "name": "p", "output": "p_healed.nii.gz", "model": f"tiny:{file_hash(tiny_model)}", "method": "sss", "t": [7],
        "samples": 1, "combine": "mean", "concerns": [], "unlike": None,
    }  # fmt: skip


def test_json_and_a_stream_do_not_share_standard_output(uad, prepared):
    uad("heal", prepared, "--json", "-o", "-").fails("heal", 2, "--json", "-o FILE")


def test_quiet_is_silent(uad, prepared, tiny_model):
    assert uad("heal", prepared, "--model", tiny_model, "-v", "-q").err == ""


def test_version(uad):
    assert uad("heal", "--version").out.startswith(b"uadtools ")


def test_a_scan_that_was_prepared_elsewhere_is_taken_when_it_fits(uad, phantom, tiny_model, here):
    """By any tool: the same scan in 64 bits and at another place in the world."""
    scan = phantom.need("scan")
    moved = Grid(scan.grid.shape, scan.grid.affine + np.array([[0, 0, 0, 7]] * 3 + [[0] * 4]))
    save(Image(scan.data.astype(np.float64), moved), here / "there.nii")
    assert uad("heal", "there.nii", "--model", tiny_model).status == 0
    assert read_image(here / "there_healed.nii.gz").grid.same(moved)


class TestOptionsOfMethods:
    def test_the_help_has_a_section_for_each_method_with_options_of_its_own(self, uad):
        text = uad("heal", "--help").out.decode()
        sections = [line for line in text.splitlines() if line.startswith("Options of")]
        methods = (
            "andi", "anofpdm, cfg, derivative, guided", "autoddpm", "autoddpm, ldm",
            "autoddpm, ddim, ddpm, encode, sss, thor", "bernoulli", "blur", "cfg",
            "counterfactual", "ddim, lsegdiff, segment", "ddim", "ddim, ddpm, encode, sss", "ddpm", "derivative",
            "disyre", "ldm", "ldm, transformer", "mae", "pddpm", "restore", "thor", "transformer",
        )  # fmt: skip
        assert sections == [f"Options of --method {names}:" for names in methods]
        assert "--sigma MM" in text.partition("Options of --method blur:")[2].partition("Options of")[0]

    @pytest.mark.parametrize("words", [("--method", "ldm"), ("--method=ldm",)])
    def test_that_of_one_method_is_shown_alone(self, words, uad):
        text = uad("heal", *words, "--help").out.decode()
        assert "--variant a|b|c|d" in text
        assert "--sigma" not in text
        assert "--output" not in text

    def test_an_option_of_another_method_is_refused_whatever_its_value(self, uad, prepared, tiny_model):
        for words in (("--eta", "0"), ("--chain", "0"), ("--patch", "8"), ("--flips",)):
            said = uad("heal", prepared, "--model", tiny_model, "--method", "sss", *words)
            said.fails("heal", 1, f"{words[0]} has no effect with --method sss")


def test_help_of_a_method_that_there_is_not(uad):
    uad("heal", "--method", "nosuch", "--help").fails(
        "heal", 1, "no method 'nosuch' (there are: ae, andi, anofpdm, autoddpm, "
    )
