"""Done is done for what heals, scores and detects: the same command again does what is missing, and no more."""

import json
from dataclasses import replace

import numpy as np
import pytest

from uadtools.volume.io import Image, save
from uadtools.volume.stream import read_image

ONE = "1 of 1 done before (--force makes them anew)"
OTSU = ("--threshold", "otsu", "--erode", 0, "--median", 1)


def stamps(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def healing(prepared, tiny_guided):
    """A way to heal that makes a map, too: words for uad-heal."""
    return "heal", prepared, "--model", tiny_guided["restoration"]


@pytest.fixture
def made(uad, healing, prepared):
    """What each step makes of one scan in the current folder, and of it in a folder: its words, to say again."""
    steps = {
        "heal": healing,
        "score": ("score", prepared, "p_healed.nii.gz"),
        "postproc": ("postproc", "p_score.nii.gz", *OTSU),
    }
    folders = {
        "heal": ("heal", prepared, *healing[2:], "-o", "healed/"),
        "score": ("score", "healed/", "--scan", prepared, "-o", "scores/"),
        "postproc": ("postproc", "scores/", *OTSU, "-o", "found/"),
    }
    for words in (*steps.values(), *folders.values()):
        assert uad(*words).status == 0
    return {"file": steps, "folder": folders}


@pytest.mark.parametrize("source", ["file", "folder"])
@pytest.mark.parametrize("tool", ["heal", "score", "postproc"])
def test_the_same_command_again_does_nothing(uad, made, source, tool, here):
    before = stamps(here)
    again = uad(*made[source][tool], "--json")
    assert (again.status, again.lines) == (0, [f"uad-{tool}: {ONE}"])
    assert [(row["name"], row["skipped"]) for row in again.json] == [("p", True)]
    assert stamps(here) == before
    forced = uad(*made[source][tool], "--json", "--force").json[0]
    assert again.json[0] == forced | {"skipped": True}


OTHERS = [
    ("heal", ("--seed", 1)), ("heal", ("-t", 100)), ("heal", ("--precision", "bf16")), ("score", ("--metric", "l2")),
    ("score", ("--signed", "dark")), ("postproc", ("--min-size", 99)), ("postproc", ("--brain", "mask.nii.gz")),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "other"), OTHERS)
def test_what_was_made_with_other_settings_is_refused(uad, made, mask, tool, other, here):
    before = stamps(here)
    why = "exists, and was made with other settings (--force replaces it)"
    uad(*made["file"][tool], *other).fails(tool, 1, "p_", why)
    assert stamps(here) == before


@pytest.mark.parametrize("tool", ["heal", "score", "postproc"])
def test_what_was_made_of_another_scan_is_refused(uad, made, tool, here):
    source = here / {"heal": "p.nii.gz", "score": "p_healed.nii.gz", "postproc": "p_score.nii.gz"}[tool]
    image = read_image(source)
    save(replace(image, data=image.data * np.float32(0.99)), source, force=True)
    before = stamps(here)
    uad(*made["file"][tool]).fails(tool, 1, "p_", "exists, and was made of another scan")
    assert stamps(here) == before


@pytest.mark.parametrize("tool", ["heal", "score", "postproc"])
def test_what_something_else_made_is_refused(uad, made, phantom, tool, here):
    end = {"heal": "healed", "score": "score", "postproc": "detection"}[tool]
    scan = phantom.need("scan")
    save(Image(scan.data, scan.grid), here / f"p_{end}.nii.gz", force=True)
    uad(*made["file"][tool]).fails(tool, 1, f"p_{end}.nii.gz: exists, and uad-{tool} did not make it (--force")


@pytest.mark.parametrize(
    "lost",
    [
        ("p_healed.nii.gz", "p_healed.json"),
        ("p_healed.nii.gz", "p_healed.json", "p_probability.json"),
        ("p_probability.nii.gz", "p_probability.json"),
        ("p_healed.json",),
    ],
)
def test_what_a_killed_run_left_is_made_whole(uad, healing, lost, here):
    uad(*healing)
    before = {path.name: path.read_bytes() for path in here.glob("p_*")}
    for name in lost:
        (here / name).unlink()
    assert uad(*healing).status == 0
    assert {path.name: path.read_bytes() for path in here.glob("p_*")} == before


def test_a_map_of_another_run_is_not_replaced(uad, healing, here):
    uad(*healing, "--seed", 1)
    for name in ("p_healed.nii.gz", "p_healed.json"):
        (here / name).unlink()
    before = stamps(here)
    uad(*healing, "-t", 3).fails("heal", 1, "p_probability.nii.gz: exists, and was made with other settings")
    assert stamps(here) == before


def test_a_raw_scan_is_prepared_and_healed_once(uad, scan, tiny_model, here):
    healing = ("heal", scan, "--model", tiny_model, "-t", 3)
    uad(*healing)
    before = stamps(here)
    assert uad(*healing).err == f"uad-heal: {ONE}\n"
    assert stamps(here) == before
    (here / "raw_healed.nii.gz").unlink()
    (here / "raw_healed.json").unlink()
    assert uad(*healing).status == 0
    uad("preprocess", scan, "--model", tiny_model, "--intensity", "zscore", "--force")
    (here / "raw_healed.nii.gz").unlink()
    (here / "raw_healed.json").unlink()
    uad(*healing).fails("heal", 1, "raw_preprocessed.nii.gz: exists, and was made with other settings")


def test_of_a_folder_the_missing_are_done(uad, prepared, tiny_model, here):
    (here / "in").mkdir()
    for name in "abc":
        (here / f"in/{name}.nii.gz").write_bytes(prepared.read_bytes())
    words = ("heal", "in", "--model", tiny_model, "-o", "out/", "--json")
    first = uad(*words).json
    for path in (here / "out").glob("b_*"):
        path.unlink()
    before = stamps(here / "out")
    again = uad(*words)
    assert (again.status, again.lines) == (0, ["uad-heal: 2 of 3 done before (--force makes them anew)"])
    assert [(row["name"], "skipped" in row) for row in again.json] == [("a", True), ("b", False), ("c", True)]
    assert [row["output"] for row in again.json] == [row["output"] for row in first]
    assert before.items() < stamps(here / "out").items()


def test_what_stands_for_nobody_is_done_once_too(uad, prepared, tiny_model, here):
    healing = ("heal", prepared, "--model", tiny_model, "--anonymous", "-o", "one.nii.gz")
    uad(*healing)
    assert uad(*healing).err == f"uad-heal: {ONE}\n"
    assert "p.nii" not in json.dumps(read_image(here / "one.nii.gz").provenance)


def test_without_history_only_one_of_many_counts_as_done(uad, prepared, tiny_model, here):
    healing = ("--model", tiny_model, "--no-provenance", "-o", "out/")
    uad("heal", prepared, *healing)
    uad("heal", prepared, *healing).fails("heal", 1, "p_healed.nii.gz: exists (--force replaces it)")
    (here / "list.txt").write_text("p.nii.gz\n")
    assert uad("heal", "list.txt", *healing).err == f"uad-heal: {ONE}\n"
