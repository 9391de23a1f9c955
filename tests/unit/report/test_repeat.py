"""The commands and the words that a history amounts to."""

import shlex
from pathlib import Path

import pytest

from uadtools.models.checkpoint import file_hash, located
from uadtools.report.repeat import paragraph, pipe

PREPROCESS = {
    "tool": "uad-preprocess",
    "version": "0.1.0",
    "arguments": {
        "grid": {"shape": [96, 96, 96], "spacing": [2.0, 2.0, 2.0]},
        "intensity": {"kind": "percentile", "low": 1.0, "high": 99.0, "center": 40.0, "width": 80.0},
        "brain": "deepbet", "bias_correct": True, "register": "mni", "order": ["brain"], "match_histogram": False,
        "seed": 3, "volume": None,
    },
}  # fmt: skip
HEAL = {
    "tool": "uad-heal",
    "arguments": {"method": "ddim", "t": [200, 300], "steps": 10, "eta": 0.5, "samples": 2, "combine": "vote"},
    "model": f"t1-ddpm:{file_hash(located(Path('t1-ddpm')))}",
    "seed": 7,
}
SCORE = {"tool": "uad-score", "arguments": {"metric": "l1", "signed": "dark"}}
NORMAL = {"tool": "uad-score", "arguments": {"normal": {"scans": 20, "per": "voxel", "smooth": 1.5}}}
POSTPROC = {
    "tool": "uad-postproc",
    "arguments": {"median": 5, "smooth": 0.5, "erode": 3, "min_size": 7, "dilate": 0, "largest": True,
                  "threshold": 0.25, "threshold_from": "otsu", "native": True},
}  # fmt: skip


def test_a_pipe_has_every_setting():
    text = pipe([PREPROCESS, HEAL, SCORE, NORMAL, POSTPROC], "detection")
    assert [shlex.split(line) for line in text.split("|")] == [
        shlex.split(line)
        for line in (
            "uad-preprocess SCAN.nii.gz --model t1-ddpm --shape 96,96,96 --spacing 2,2,2 --brain deepbet "
            "--bias-correct --register mni --intensity percentile --seed 3 -o -",
            "uad-heal --model t1-ddpm --method ddim -t 200 -t 300 --steps 10 --eta 0.5 --samples 2 --combine vote "
            "--seed 7",
            "uad-score --metric l1 --signed dark --reference FILE.nii.gz",
            "uad-postproc --median 5 --smooth 0.5 --erode 3 --threshold 0.25 --min-size 7 --dilate 0 --largest "
            "--native -o detection.nii.gz",
        )
    ]


def test_a_model_that_does_not_ship_is_a_file_and_a_template_of_ones_own_is_not_named():
    line = {**PREPROCESS, "arguments": {**PREPROCESS["arguments"], "register": "smith.nii.gz", "brain": "file"}}
    text = pipe([line, {**HEAL, "model": "mine:99"}], "healed")
    assert "--model mine.safetensors" in text
    assert "--model t1-ddpm.safetensors" in pipe([line, {**HEAL, "model": "t1-ddpm:0123"}], "healed")
    assert "--register FILE.nii.gz" in text
    assert "--brain FILE.nii.gz" in text
    assert "smith" not in text


def test_what_was_detected_against_a_warning_is_forced():
    assert "--force-detection" in pipe([SCORE, POSTPROC], "detection", unlike=True)
    held = {**POSTPROC, "arguments": {**POSTPROC["arguments"], "withheld": "a CT"}}
    assert "--force-detection" not in pipe([SCORE, held], "detection", unlike=True)


def test_a_history_cannot_smuggle_commands_in():
    evil = {**SCORE, "arguments": {"metric": "l1; rm -rf ~\n", "signed": "$(reboot)"}}
    words = shlex.split(pipe([evil], "score"))
    assert words == [
        "uad-score",
        "SCAN.nii.gz",
        "--metric",
        "l1; rm -rf ~\n",
        "--signed",
        "$(reboot)",
        "-o",
        "score.nii.gz",
    ]


@pytest.mark.parametrize(
    "line",
    [{}, {"tool": "uad-heal"}, {"tool": "other", "arguments": {}}, {"tool": "uad-heal", "arguments": {"method": []}},
     {"tool": "uad-score", "arguments": None}, {"tool": ["uad-score"], "arguments": {}},
     {**POSTPROC, "arguments": {"threshold": "high"}}],
)  # fmt: skip
def test_what_is_not_known_is_not_made_up(line):
    assert pipe([SCORE, line], "detection") == ""
    assert paragraph([line], "1").startswith("Anomalies were detected with uadtools 1")
    assert pipe([], "scan") == ""


def test_methods_are_told_with_their_sources():
    text = paragraph([PREPROCESS, HEAL, SCORE, NORMAL, POSTPROC], "0.1.0")
    sources = ("Fisch et al. 2024", "Tustison et al. 2010", "Song et al. 2021", "Otsu 1979", "Behrendt et al. 2023")
    for words in (*sources, "MNI152", HEAL["model"], "t = 200, 300", "darker", "20 healthy scans"):
        assert words in text
