"""Sick scans from the command line: what is trained with them, how that heals, and what is told of wrong ones."""

from pathlib import Path

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.io import Image, save
from uadtools.volume.stream import read_image

METHODS = {"classifier": ("counterfactual", "guided"), "cfg": ("anofpdm", "cfg", "derivative")}
CHAIN = ("--median", 1, "--erode", 0, "--min-size", 1)


@pytest.fixture
def scans(here, phantom):
    """Healthy scans h1 and h2, and sick ones s3 and s4 with a bright lesion each, and its mask."""
    scan = phantom.need("scan")
    for i in (1, 2, 3, 4):
        mask, data = np.zeros(scan.data.shape, np.uint8), scan.data * (1 - 0.02 * i)
        if i > 2:
            mask[5:9, 6:9, i] = 1
            save(Image(mask, scan.grid), here / f"s{i}_mask.nii.gz")
        save(Image(np.where(mask, 1, data).astype(np.float32), scan.grid), here / f"{'s' if i > 2 else 'h'}{i}.nii.gz")
    return here


@pytest.fixture
def train(uad, scans, tiny_model):
    """Train on h1 and s3 with these words."""
    settings = ["grid.shape=[16, 16, 8]", f"network.pretrained={tiny_model}", "training.steps=4", "training.batch=4",
                "training.log_every=1", "training.validate_every=2", "training.validation_slices=4",
                "optimiser.decay=0", "data.min_brain=0.05"]  # fmt: skip
    settings = [word for setting in settings for word in ("--set", setting)]
    return lambda *words, recipe="classifier", data=("h1.nii.gz",), sick=("--sick", "s3.nii.gz"): uad(
        "train", *data, *sick, "--recipe", recipe, "-o", "m.safetensors", *settings, *words
    )


def weights(path):
    return {name: tensor.float().numpy() for name, tensor in read_tensors(path).items()}


@pytest.mark.parametrize("recipe", METHODS)
def test_one_file_holds_what_is_healed_with(train, uad, tiny_model, here, recipe):
    told = train("--json", recipe=recipe)
    assert told.status == 0, told.err
    config, made = read_config(here / "m.safetensors"), weights("m.safetensors")
    assert (told.json["steps"], config.training["sick_slices"], config.training["slices"]) == (4, 6, 12)
    assert config.training["data"] == ["h1.nii.gz", "s3.nii.gz"]
    assert config.training["started_from"].startswith("tiny:")
    if recipe == "classifier":
        frozen = weights(tiny_model)
        assert all(np.array_equal(made[f"unet.{name}"], value) for name, value in frozen.items())
        assert not np.array_equal(made["classifier.first.weight"], frozen["first.weight"])
    info = uad("models", "info", "m.safetensors", "--json").json
    assert (info["kind"], tuple(info["methods"])) == (recipe, METHODS[recipe])
    assert uad("models", "check", "m.safetensors").status == 0


@pytest.mark.parametrize("recipe", METHODS)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(train, here, recipe):
    words = ("--val", "h2.nii.gz", "--val-sick", "s4.nii.gz", "--sick-slices", "s3_mask.nii.gz", "s4_mask.nii.gz",
             "--set", "data.apart=4")  # fmt: skip
    whole = train(*words, "--json", recipe=recipe)
    assert whole.status == 0, whole.err
    before = weights("m.safetensors")
    assert train(*words, "--force", "--time", "0s", recipe=recipe).status == 0
    again = train(*words, "--resume", "--json", recipe=recipe)
    assert again.json["best_validation"] == whole.json["best_validation"] > 0
    assert all(np.array_equal(before[name], value) for name, value in weights("m.safetensors").items())
    image = read_image(here / "s3_mask.nii.gz")
    save(Image(np.roll(image.data, 1, 2), image.grid), here / "s3_mask.nii.gz", force=True)
    train(*words, "--resume", "--steps", 5, recipe=recipe).fails("train", 1, "belongs to a run with another data")


def test_from_sick_scans_to_a_report(train, uad, here):
    assert train().status == 0
    result = uad("heal", "s4.nii.gz", "--model", "m.safetensors", "-t", 60, "--steps", 4)
    assert (result.status, result.out, result.err) == (0, b"", "")
    image = read_image(here / "s4_healed.nii.gz")
    arguments = image.provenance["history"][-1]["arguments"]
    assert arguments == {"method": "guided", "t": [60], "steps": 4, "guidance": 100.0, "combine": "mean"}
    assert uad("score", "s4.nii.gz", "s4_healed.nii.gz").status == 0
    words = ("--model", "m.safetensors", "-t", 60, "--steps", 4, "-o", "-")
    assert uad("score", "-o", "pipe.nii.gz", stdin=uad("heal", "s4.nii.gz", *words).out).status == 0
    np.testing.assert_array_equal(read_image(here / "pipe.nii.gz").data, read_image(here / "s4_score.nii.gz").data)
    assert uad("postproc", "s4_score.nii.gz", "--threshold", "otsu", *CHAIN).status == 0
    told = uad("eval", "s4_score.nii.gz", "--truth", "s4_mask.nii.gz", "--json")
    assert 0 < told.json["scans"][0]["auprc"] <= 1
    assert uad("report", "s4_detection.nii.gz", "-o", "s4.html").status == 0
    assert "--method guided" in (here / "s4.html").read_text()


def healed(uad, model, *words, role="healed"):
    said = uad("heal", "s4.nii.gz", "--model", model, "-t", 60, "--steps", 4, "-o", "x.nii.gz", "--force", *words)
    assert said.status == 0, said.err
    image = read_image(Path("x.nii.gz"))
    assert image.role == role
    return image.data


def test_without_guidance_it_is_encode_and_with_it_is_not(train, uad, tiny_model):
    assert train().status == 0
    plain = healed(uad, tiny_model, "--method", "encode")
    np.testing.assert_allclose(healed(uad, "m.safetensors", "--guidance", 0), plain, rtol=0, atol=1e-6)
    assert np.abs(healed(uad, "m.safetensors", "--guidance", 1e5) - plain).max() > 1e-4


def test_the_options_of_classes_have_an_effect(train, uad, here):
    assert train(recipe="cfg").status == 0
    far = ("--guidance", 1e7)  # so far that x0 leaves 0 to 1, whatever the machine made of four steps
    made = [healed(uad, "m.safetensors", *words) for words in ((), far, (*far, "--percentile", 40))]
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[1], made[2])
    found = healed(uad, "m.safetensors", "--method", "anofpdm", role="anomaly")
    np.testing.assert_array_equal(found > 0, read_image(here / "s4.nii.gz").data > 0)
    assert uad("score", "s4.nii.gz", "x.nii.gz", "-o", "score.nii.gz").status == 0
    heal = ("heal", "s4.nii.gz", "--model", "m.safetensors", "--method")
    uad(*heal, "anofpdm", "--percentile", 90).fails("heal", 1, "--percentile has no effect with --method anofpdm")
    uad(*heal, "guided").fails("heal", 1, "--method guided does not work with models of kind 'cfg'")
    uad(*heal, "cfg", "--samples", 2).fails("heal", 1, "--samples has no effect with --method cfg")


def test_a_counterfactual_changes_what_is_salient_and_is_scored_by_its_own_map(train, uad, here, tiny_model):
    assert train().status == 0
    plain = healed(uad, tiny_model, "--method", "encode")
    own = ("--method", "counterfactual")
    np.testing.assert_allclose(healed(uad, "m.safetensors", *own, "--salient", 100), plain, rtol=0, atol=1e-6)
    made = [healed(uad, "m.safetensors", *own, *words) for words in ((), ("--salient", 40), ("--seed", 1))]
    assert all(np.abs(one - plain).max() > 1e-4 for one in made)
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    assert read_image(Path("x_anomaly.nii.gz")).role == "anomaly"
    assert uad("score", "s4.nii.gz", "x.nii.gz", "-o", "score.nii.gz").status == 0
    words = ("--model", "m.safetensors", *own, "-t", 60, "--steps", 4, "--seed", 1, "-o", "-")
    assert uad("score", "-o", "pipe.nii.gz", stdin=uad("heal", "s4.nii.gz", *words).out).status == 0
    scores = [read_image(here / name) for name in ("pipe.nii.gz", "score.nii.gz")]
    np.testing.assert_array_equal(*(score.data for score in scores))
    assert scores[0].provenance["history"][-1]["arguments"]["metric"] == "anomaly"
    heal = ("heal", "s4.nii.gz", "--model", "m.safetensors", *own)
    uad(*heal, "--guidance", 3).fails("heal", 1, "--guidance has no effect with --method counterfactual")
    uad(*heal, "--salient", 101).fails("heal", 2, "--salient")


def test_a_derivative_leads_by_its_guidance_over_its_difference(train, uad, here):
    assert train(recipe="cfg").status == 0
    own = ("--method", "derivative")
    told = healed(uad, "m.safetensors", "--guidance", 1, "--percentile", 100)
    np.testing.assert_allclose(healed(uad, "m.safetensors", *own, "--guidance", 0), told, rtol=0, atol=1e-5)
    made = [healed(uad, "m.safetensors", *own, "--guidance", 1e4, "--difference", d) for d in (0.5, 1)]
    assert np.abs(made[0] - told).max() > 1e-4
    assert not np.array_equal(made[0], made[1])
    words = ("--model", "m.safetensors", *own, "-t", 60, "--steps", 4, "-o", "-")
    assert uad("score", "-o", "pipe.nii.gz", stdin=uad("heal", "s4.nii.gz", *words).out).status == 0
    heal = ("heal", "s4.nii.gz", "--model", "m.safetensors", *own)
    uad(*heal, "--samples", 2).fails("heal", 1, "--samples has no effect with --method derivative")
    uad(*heal, "--difference", 0).fails("heal", 2, "--difference")


def test_they_are_compared(train, compared, here):
    for recipe in METHODS:
        assert train("--force", recipe=recipe).status == 0
        (here / "m.safetensors").rename(here / f"{recipe}.safetensors")
    heal = "heal = { t = 60, steps = 4 }"
    methods = {name: f'model = "{name}.safetensors"\n{heal}' for name in ("classifier", "cfg")}
    for name, file in (("anofpdm", "cfg"), ("derivative", "cfg"), ("counterfactual", "classifier")):
        methods[name] = f'model = "{file}.safetensors"\nheal = {{ method = "{name}", t = 60, steps = 4 }}'
    rows = compared("h1.nii.gz", "h2.nii.gz", methods)
    assert all(row["auprc"]["value"] > 0 for row in rows.values())
    assert rows.keys() == methods.keys()


def test_a_list_tells_who_is_sick(train, here):
    assert train("--sick-slices", "s3_mask.nii.gz", "--set", "data.apart=4").status == 0
    one = weights("m.safetensors")
    (here / "all.csv").write_text("path,sick,truth\nh1.nii.gz,0,\ns3.nii.gz,1,s3_mask.nii.gz\n")
    assert train("--force", "--set", "data.apart=4", data=("all.csv",), sick=()).status == 0
    other = weights("m.safetensors")
    assert all(np.array_equal(one[name], value) for name, value in other.items())


def test_sick_scans_alone_will_do_where_masks_tell_healthy_slices(train, here):
    said = train("--sick-slices", "s3_mask.nii.gz", "--set", "data.apart=4", "--json", data=())
    assert said.status == 0, said.err
    assert read_config(here / "m.safetensors").training["sick_slices"] == 1
    assert said.json["slices"] == 4  # of 6 with enough brain, one beside the lesion is left out on either side


@pytest.mark.parametrize(
    ("words", "how", "status", "said"),
    [
        ((), {"sick": ()}, 2, "recipe classifier learns from healthy and sick scans, and there are no sick ones"),
        ((), {"data": ()}, 1, "--sick: all 8 slices are sick, and none is healthy (both are needed)"),
        ((), {"sick": ("--sick", "h1.nii.gz")}, 1, "--sick: h1.nii.gz is named as healthy, too"),
        ((), {"sick": ("--sick", "copy9.nii.gz")}, 1, "slices are among the healthy ones, too, voxel for voxel"),
        ((), {"sick": ("--sick", "nowhere.nii.gz")}, 1, "nowhere.nii.gz: No such file"),
        (("--sick-slices", "empty.nii.gz"), {}, 1, "s3.nii.gz: is named as sick, and its mask empty.nii.gz holds no"),
        (("--sick-slices", "small.nii.gz"), {}, 1, "small.nii.gz: mask and s3.nii.gz lie on different grids"),
        (("--sick-slices", "s4_mask.nii.gz"), {}, 1, "s3: --sick-slices: no file fits its name"),
        (("--val", "h2.nii.gz"), {}, 1, "--val-sick: all 8 slices are healthy, and none is sick"),
        (("--labels", "s3_mask.nii.gz"), {}, 1, "--labels: recipe classifier takes no masks of lesions"),
        (("--label", 1), {}, 1, "--label has no effect without --sick-slices"),
        (("--set", "data.sick=1"), {}, 1, "data.sick: below 1 is needed, and not 1"),
        (("--set", "p_drop=0.3"), {}, 1, "p_drop: without a meaning for models of kind 'classifier'"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_from_is_told_in_a_line(train, here, words, how, status, said):
    image = read_image(here / "s3_mask.nii.gz")
    save(Image(0 * image.data, image.grid), here / "empty.nii.gz")
    save(Image(image.data[:8], image.grid.__class__((8, 16, 8), image.grid.affine)), here / "small.nii.gz")
    (here / "copy9.nii.gz").write_bytes((here / "h1.nii.gz").read_bytes())
    train(*words, "--set", "data.min_brain=0", **how).fails("train", status, said)
    assert not (here / "m.safetensors").exists()


def test_one_person_among_the_healthy_and_the_sick_is_told(train, here):
    (here / "late").mkdir()
    (here / "s3.nii.gz").rename(here / "late/h1_sick.nii.gz")
    result = train(sick=("--sick", "late"))
    assert result.status == 0
    said = "uad-train: --sick: late/h1_sick.nii.gz is named as one person with h1.nii.gz, among the healthy ones"
    assert [line for line in result.lines if line.startswith(said)]
    assert train("--strict", "--force", sick=("--sick", "late")).status == 3


@pytest.mark.parametrize(
    "words", [("--sick", "s3.nii.gz"), ("--val-sick", "s3.nii.gz"), ("--sick-slices", "s3_mask.nii.gz")]
)
def test_a_recipe_of_healthy_scans_refuses_sick_ones(uad, scans, words):
    said = uad("train", "h1.nii.gz", "--recipe", "ae", "-o", "m.safetensors", *words)
    said.fails("train", 1, "recipe ae is told of no sick scans (leave it out)")
    said = uad("train", "s1.nii.gz", "--recipe", "fewshot", "-o", "m.safetensors", *words)
    said.fails("train", 1, f"--{words[0].removeprefix('--val-').strip('-')}: recipe fewshot is told of no sick scans")
    assert "sick scans, but takes masks of lesions, --labels (leave it out)" in said.err
    uad("train", "--dry-run", "--recipe", "ae", "--set", "data.sick=0.3").fails(
        "train", 1, "data.sick: without a meaning"
    )
