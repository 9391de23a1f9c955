"""Labels from the command line: what is trained with them, what is told, and what follows from it, to the report."""

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.io import Image, save
from uadtools.volume.stream import read_image

CHAIN = ("--median", 1, "--erode", 0, "--min-size", 1)


@pytest.fixture
def train(uad, scans, tiny_guided):
    """Train on s1 with these words."""
    settings = ["grid.shape=[16, 16, 8]", f"features.pretrained={tiny_guided['restoration']}", "training.steps=4",
                "training.batch=2", "training.log_every=1", "training.validate_every=2", "head.width=8"]  # fmt: skip
    settings = [word for setting in settings for word in ("--set", setting)]
    return lambda *words, data=("s1.nii.gz",): uad(
        "train", *data, "--recipe", "fewshot", "-o", "m.safetensors", *settings, *words
    )


def weights(path):
    return {name: tensor.float().numpy() for name, tensor in read_tensors(path).items()}


def test_a_classifier_is_trained_and_its_file_holds_the_frozen_network(train, uad, tiny_guided, here):
    told = train("--labels", "s1_mask.nii.gz", "--json")
    assert told.status == 0, told.err
    assert told.json["steps"] == 4
    config, made = read_config(here / "m.safetensors"), weights("m.safetensors")
    assert config.features.engine == "restoration"
    assert config.training["slices_with_lesions"] == 1
    assert config.training["started_from"].startswith("tiny-restoration:")
    frozen = weights(tiny_guided["restoration"])
    assert all(np.array_equal(made[f"frozen.{name}"], value) for name, value in frozen.items())
    info = uad("models", "info", "m.safetensors", "--json").json
    assert (info["kind"], info["methods"], info["scored_by"]) == ("fewshot", ["fewshot"], "anomaly")
    assert uad("models", "check", "m.safetensors").status == 0


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(train, here):
    words = ("--labels", "s1_mask.nii.gz", "s2_mask.nii.gz", "--val", "s2.nii.gz")
    whole = train(*words, "--json").json
    before = weights("m.safetensors")
    assert train(*words, "--force", "--time", "0s").status == 0
    assert train(*words, "--resume", "--json").json["best_validation"] == whole["best_validation"] > 0
    assert all(np.array_equal(before[name], value) for name, value in weights("m.safetensors").items())
    save(Image(np.roll(read_image(here / "s1_mask.nii.gz").data, 2, 0), read_image(here / "s1.nii.gz").grid),
         here / "s1_mask.nii.gz", force=True)  # fmt: skip
    train(*words, "--resume", "--steps", 5).fails("train", 1, "belongs to a run with another data")


def test_from_a_few_labels_to_a_report(train, uad, here):
    assert train("--labels", "s1_mask.nii.gz").status == 0
    result = uad("heal", "s2.nii.gz", "--model", "m.safetensors")
    assert (result.status, result.out, result.err) == (0, b"", "")
    image, brain = read_image(here / "s2_anomaly.nii.gz"), read_image(here / "s2.nii.gz").data > 0
    assert image.role == "anomaly"
    np.testing.assert_array_equal(image.data > 0, brain)
    assert image.provenance["history"][-1]["arguments"] == {"method": "fewshot", "looks": 1}
    assert uad("score", "s2.nii.gz", "s2_anomaly.nii.gz").status == 0
    stream = uad("heal", "s2.nii.gz", "--model", "m.safetensors", "-o", "-").out
    assert uad("score", "-o", "pipe.nii.gz", stdin=stream).status == 0
    np.testing.assert_array_equal(read_image(here / "pipe.nii.gz").data, read_image(here / "s2_score.nii.gz").data)
    assert uad("postproc", "s2_score.nii.gz", "--threshold", "otsu", *CHAIN).status == 0
    told = uad("eval", "s2_score.nii.gz", "--truth", "s2_mask.nii.gz", "--json")
    assert 0 < told.json["scans"][0]["auprc"] <= 1
    assert uad("report", "s2_detection.nii.gz", "-o", "s2.html").status == 0
    assert "uad-heal SCAN.nii.gz --model few.safetensors --method fewshot" in (here / "s2.html").read_text().replace(
        "fewshot.safetensors", "few.safetensors"
    )


def test_it_is_compared(train, compared):
    assert train("--labels", "s1_mask.nii.gz").status == 0
    methods = {"threshold": 'heal = { method = "threshold" }', "few": 'model = "m.safetensors"'}
    row = compared("s1.nii.gz", "s2.nii.gz", methods)["few"]
    assert row["auprc"]["value"] > 0
    assert row["healthy_l1"] is None


def test_masks_come_from_folders_lists_and_a_column(train, here):
    made = []
    (here / "masks").mkdir()
    for i in (1, 2):
        (here / f"s{i}_mask.nii.gz").rename(here / f"masks/s{i}.nii.gz")
    (here / "masks.txt").write_text("masks/s1.nii.gz\nmasks/s2.nii.gz\n")
    (here / "both.csv").write_text("path,truth\ns1.nii.gz,masks/s1.nii.gz\ns2.nii.gz,masks/s2.nii.gz\n")
    both = ("s1.nii.gz", "s2.nii.gz")
    for words, data in ((("--labels", "masks"), both), (("--labels", "masks.txt"), both), ((), ("both.csv",))):
        assert train(*words, "--force", data=data).status == 0
        made.append(weights("m.safetensors"))
    for other in made[1:]:
        assert all(np.array_equal(made[0][name], value) for name, value in other.items())


def test_label_and_ignore_have_an_effect(train, here):
    image = read_image(here / "s1_mask.nii.gz")
    several = image.data.copy()
    several[9, 6:9, 4], several[10, 6:9, 4] = 2, 3
    save(Image(several, image.grid), here / "s1_mask.nii.gz", force=True)
    made = []
    for words in ((), ("--label", 1), ("--label", 1, 2), ("--label", 1, "--ignore", 2, 3)):
        result = train("--labels", "s1_mask.nii.gz", *words, "--force")
        assert result.status == 0, result.err
        told = "s1_mask.nii.gz: mask: holds the labels 1, 2, 3, and all of them count (--label chooses)"
        assert (told in result.err) == (not words)
        made.append(weights("m.safetensors")["rest.3.weight"])
    assert len({value.tobytes() for value in made}) == 4


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "recipe fewshot learns from masks of lesions, and for s1.nii.gz there are none"),
        (
            ("--labels", "s2_mask.nii.gz"),
            1,
            "s1: --labels: no file fits its name (each scan needs one, of --val, too; rename them)",
        ),
        (("--labels", "s1_mask.nii.gz", "s2_mask.nii.gz"), 1, "s2_mask.nii.gz belongs to no scan by its name"),
        (("--labels", "s1.nii.gz"), 1, "s1.nii.gz: looks like a scan, not like a mask of lesions"),
        (("--labels", "nowhere.nii.gz"), 1, "nowhere.nii.gz: No such file"),
        (("--labels", "nowhere/"), 1, "nowhere/: No such file"),
        (("--labels", "empty.nii.gz"), 1, "--labels: no lesion in any mask"),
        (("--labels", "s1_mask.nii.gz", "--label", 7), 1, "--labels: no lesion in any mask"),
        (("--labels", "small.nii.gz"), 1, "small.nii.gz: mask and s1.nii.gz lie on different grids"),
        (("--labels", "s1_mask.nii.gz", "--label", 1, "--ignore", 1), 2, "--ignore: 1 counts as lesion, too"),
        (("--labels", "s1_mask.nii.gz", "--set", "features.pretrained=none"), 1, "none: No such file"),
    ],
)
def test_what_cannot_be_learnt_from_is_told_in_a_line(train, here, words, status, said):
    image = read_image(here / "s1_mask.nii.gz")
    save(Image(0 * image.data, image.grid), here / "empty.nii.gz")
    save(Image(image.data[:8], image.grid.__class__((8, 16, 8), image.grid.affine)), here / "small.nii.gz")
    result = train(*words)
    assert said in result.err
    assert result.status == status
    assert len([line for line in result.lines if "error" in line]) == 1
    assert not (here / "m.safetensors").exists()


@pytest.mark.parametrize("words", [("--labels", "s1_mask.nii.gz"), ("--label", 1), ("--ignore", 2)])
def test_a_recipe_without_labels_refuses_them(uad, scans, words):
    uad("train", "s1.nii.gz", "--recipe", "ae", "-o", "m.safetensors", *words).fails(
        "train", 1, f"{words[0]}: recipe ae takes no masks of lesions (leave it out)"
    )
    said = "data.lesions: models of kind 'ae' learn without masks"
    uad("train", "--dry-run", "--recipe", "ae", "--set", "data.lesions=0.5").fails("train", 1, said)


def test_what_has_no_effect_is_refused(train, uad):
    assert train("--labels", "s1_mask.nii.gz").status == 0
    heal = ("heal", "s2.nii.gz", "--model", "m.safetensors")
    uad(*heal, "-t", 300).fails("heal", 1, "-t has no effect with --method fewshot")
    uad(*heal, "--samples", 2).fails("heal", 1, "--samples has no effect with --method fewshot")
    uad(*heal, "--method", "restore").fails("heal", 1, "does not work with models of kind 'fewshot'")
    uad("heal", "s2.nii.gz", "--method", "fewshot").fails("heal", 1, "none is bundled", "--recipe fewshot")
