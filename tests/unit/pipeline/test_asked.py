"""What each step is told, and the pipe that says the same."""

from pathlib import Path

import pytest

from uadtools.errors import Misuse
from uadtools.pipeline.asked import asked
from uadtools.pipeline.folder import Place
from uadtools.pipeline.run import _watch

PLACE = Place(Path("out/a_detection.nii.gz"), Path("out/a.html"))


def test_nothing_asked_is_the_plain_pipe():
    assert asked().pipe("a.nii.gz", PLACE) == " |\n  ".join(
        [
            "uad-preprocess a.nii.gz -o -",
            "uad-heal",
            "uad-score",
            "tee out/a_score.nii",
            "uad-postproc --native -o -",
            "tee out/a_detection.nii",
            "uad-report -o out/a.html",
        ]
    )


def test_words_are_those_of_the_commands():
    steps = {
        "preprocess": {"bias_correct": False},
        "heal": {"samples": 2},
        "postproc": {"min_size": 3, "largest": True},
    }
    pipe = asked(model=["m.st", "n.st"], t=[3, 5], seed=1, threshold=0.5, steps=steps).pipe("-x y.nii", PLACE)
    first, second, _, _, fifth = pipe.split(" |\n  ")[:5]
    assert first == "uad-preprocess './-x y.nii' --model m.st --seed 1 --no-bias-correct -o -"
    assert second == "uad-heal --model m.st --model n.st -t 3 -t 5 --seed 1 --samples 2"
    assert fifth == "uad-postproc --threshold 0.5 --min-size 3 --largest --native -o -"


def test_a_zero_that_is_given_reaches_its_step():
    steps = {"preprocess": {"nan": 0.0}, "postproc": {"min_size": 0, "erode": 0, "dilate": 0}}
    pipe = asked(volume=0, t=0, threshold=0.0, steps=steps).pipe("a.nii", PLACE)
    first, second, _, _, fifth = pipe.split(" |\n  ")[:5]
    assert first == "uad-preprocess a.nii --volume 0 --nan 0.0 -o -"
    assert second == "uad-heal -t 0"
    assert fifth == "uad-postproc --threshold 0.0 --min-size 0 --erode 0 --dilate 0 --native -o -"


def test_the_usual_seed_is_none():
    assert asked(seed=0) == asked()


def test_scans_are_prepared_for_the_model_that_does_the_method():
    assert asked(method="sss").steps["preprocess"] == {"model": "t1-ddpm"}
    assert asked(method="restore").steps["preprocess"] == {}
    assert asked(method="sss", steps={"preprocess": {"like": "sss"}}).steps["preprocess"] == {"like": "sss"}


def test_settings_are_what_changes_a_voxel():
    one, other = (asked(device=device, seed=2, brain=Path("b.nii")).settings for device in ("cpu", "cuda"))
    assert one == other
    assert one["preprocess"] == {"brain": "b.nii", "seed": 2}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({"cure": {}}, "no such step"),
        ({"heal": {"force": True}}, "no effect"),
        ({"score": {"geometry": "sform"}}, "no effect"),
        ({"heal": {"t": [3]}}, "leave one out"),
    ],
)
def test_what_cannot_be_is_refused(steps, words):
    with pytest.raises(Misuse, match=words):
        asked(t=5, steps=steps)


def test_progress_is_that_of_all_scans_together():
    seen = []
    for number, share in ((1, 25.0), (2, 80.4)):
        _watch(lambda *told: seen.append(told), number, 2, share, f"healing {number}")
    _watch(lambda *told: seen.append(told), 2, 2, 99.9, "")
    assert seen == [(25, 200, "1 of 2: healing 1"), (180, 200, "2 of 2: healing 2"), (200, 200, None)]
