import sys

import pytest

from uadtools import __version__
from uadtools.cli import _common
from uadtools.cli.main import COMMANDS, main
from uadtools.errors import UadError


@pytest.fixture
def uad_alone(monkeypatch, capsys):
    """Run `uad` on these words."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["uad", *words])
        try:
            main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_uad_alone_lists_the_commands(words, uad_alone):
    status, out, err = uad_alone(*words)
    assert (status, err) == (0, "")
    for name, what in COMMANDS.items():
        assert f"  {name:<12}{what}" in out


def test_uad_tells_its_version(uad_alone):
    assert uad_alone("--version") == (0, f"uadtools {__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_uad_command_is_uad_dash_command(name, uad_alone, monkeypatch):
    seen = []
    monkeypatch.setattr(_common.Command, "call", lambda command, words: seen.append((command.name, words)))
    uad_alone(name, "a", "--force")
    assert seen == [(f"uad-{name}", ["a", "--force"])]


def test_an_unknown_command_is_wrong_usage(uad_alone):
    status, out, err = uad_alone("reconstruct")
    assert (status, out) == (2, "")
    there_are = f"there is no such command (there are: {', '.join(COMMANDS)})"
    assert err == f"uad: error: reconstruct: {there_are} (uad --help tells more)\n"


@pytest.mark.parametrize(
    ("words", "spread"),
    [
        ("a b", "a b"),
        ("a -x b c", "a -x b -x c"),
        ("a -x b c -q d", "a -x b -x c -q d"),
        ("-x b - c", "-x b - c"),
        ("-x b -- c", "-x b -- c"),
        ("-x", "-x"),
        ("-x -q", "-x -q"),
        ("-y b c", "-y b c"),
        ("-x=b c", "-x=b c"),
        ("-x b -x c", "-x b -x c"),
    ],
)
def test_a_variadic_option_takes_the_words_up_to_the_next_option(words, spread):
    assert _common.spread(words.split(), ("-x",)) == spread.split()


@pytest.mark.parametrize(
    ("words", "current", "lines"),
    [
        ("a --new b", "a --new b", 0),
        ("--old a --old=b=c", "--new a --new=b=c", 1),
        ("--older -- --old", "--older -- --old", 0),
    ],
)
def test_an_old_name_of_an_option_is_put_right_and_told_once(words, current, lines):
    told = []
    assert _common.renewed(words.split(), {"--old": "--new"}, told.append) == current.split()
    assert told == ["--old is called --new (the old name works for this version only)"] * lines


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UadError("a:\nwrong\n(do it)"), 1, "uad-x: error: a: wrong (do it)"),
        (MemoryError(), 1, "uad-x: error: out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 TiB"), 1, "uad-x: error: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "uad-x: error: out of memory"),
        (PermissionError(13, "Permission denied", "a.nii"), 1, "uad-x: error: a.nii: Permission denied"),
        (KeyboardInterrupt(), 130, "uad-x: interrupted"),
    ],
)
def test_what_can_go_wrong_is_one_line(error, status, said, capsys, monkeypatch):
    monkeypatch.setattr(_common, "_abandon_stdout", lambda: None)  # it is pytest's
    with pytest.raises(SystemExit) as left, _common.boundary("uad-x"):
        raise error
    assert left.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError(), AssertionError()])
def test_a_bug_is_not_hidden(error):
    with pytest.raises(type(error)), _common.boundary("uad-x"):
        raise error
