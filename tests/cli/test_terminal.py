"""What reaches a terminal: no control characters of files and names, and nothing that Python or NumPy warns of."""

import io
import json
import re
import sys
import warnings

import pytest

from uadtools.models.checkpoint import read_config, read_tensors, save_model
from uadtools.terminal import progress, shown, teller, teller_of_faults

STEER = "\x1b]0;x\x07\x9b2J\u202e"
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b\u00e9\u4e2d", "a b\u00e9\u4e2d"),
        (STEER, r"\x1b]0;x\x07\x9b2J\u202e"),
        ("a\nb\r", r"a\nb\r"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, said):
    assert shown(text) == said


def test_progress_says_what_is_done_escaped(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress(f"running {STEER}", quiet=False) as watch:
        watch(1, 4, f"healing {STEER}")
    said = screen.getvalue()
    assert r"healing \x1b]0;x" in said
    assert STEER not in said


def test_progress_says_what_is_begun_escaped(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress(f"healing {STEER}", quiet=False) as watch:
        watch(1, 4)
    assert r"healing \x1b]0;x" in screen.getvalue()
    assert STEER not in screen.getvalue()


def test_what_is_told_is_escaped(capsys):
    teller("uad-x", quiet=False)(STEER)
    teller_of_faults("uad-x")(STEER)
    said = r"\x1b]0;x\x07\x9b2J\u202e"
    assert capsys.readouterr().err == f"uad-x: {said}\nuad-x: error: {said}\n"


def test_tables_on_a_terminal_are_escaped(uad, here, mask, monkeypatch):
    (here / f"{STEER}.nii.gz").write_bytes(mask.read_bytes())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = uad("eval", f"{STEER}.nii.gz", "--truth", mask).out.decode()
    assert r"\x1b]0;x" in out
    assert STEER not in out


def test_names_of_files_are_shown_escaped(uad, here):
    (here / "l.txt").write_text(f"{STEER}.nii\n")
    result = uad("train", "l.txt", "--recipe", "anoddpm", "-o", "m.safetensors")
    result.fails("train", 1, r"\x1b]0;x\x07\x9b2J\u202e.nii: No such file")
    assert not CONTROLS.search(result.err.rstrip())


def test_keys_and_columns_are_shown_escaped(uad, here, prepared, mask):
    (here / "p.tsv").write_text(f"participant_id\tage{STEER}\np\t3\n")
    (here / "r.toml").write_text('"\\u001b[31m" = 1\nname = "x"\nsource = "x"\n')
    for words in (
        ("eval", prepared, "--truth", mask, "--best", "--by", "sex", "--participants", "p.tsv"),
        ("train", prepared, "--recipe", "r.toml", "-o", "m.safetensors"),
    ):
        result = uad(*words)
        assert result.status == 1
        assert r"\x1b" in result.err
        assert not CONTROLS.search(result.err.rstrip())


def test_a_models_card_is_shown_escaped(uad, here, tiny_model):
    config = read_config(tiny_model).model_copy(update={"licence": STEER, "training": {STEER: STEER}})
    save_model(here / "m.safetensors", config, read_tensors(tiny_model))
    for more in ((), ("--json",)):
        out = uad("models", "info", "m.safetensors", *more).out.decode()
        assert not CONTROLS.search(out)
    assert json.loads(out)["licence"] == STEER


@pytest.fixture
def warns(monkeypatch):
    """Let reading an image warn of something."""
    from uadtools.datasets import sources

    def read(*_):
        warnings.warn("overflow encountered", RuntimeWarning, stacklevel=1)
        return original(*_)

    original = sources.read_path
    monkeypatch.setattr(sources, "read_path", read)


def test_warnings_do_not_reach_the_user_and_are_not_hidden_from_others(uad, here, prepared, warns, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: print(message, file=sys.stderr))  # as Python does
    with warnings.catch_warnings(action="default"):
        result = uad("score", "p.nii.gz", "p.nii.gz", "-o", "s.nii.gz")
    assert (result.status, result.err) == (0, "")
    with pytest.raises(RuntimeWarning):  # as pytest wants it
        uad("score", "p.nii.gz", "p.nii.gz", "-o", "t.nii.gz")
