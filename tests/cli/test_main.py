import sys

import pytest

from uadtools import __version__
from uadtools.cli import _common
from uadtools.cli.main import COMMANDS, main


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
