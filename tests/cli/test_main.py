import runpy
import signal
import sys
import threading

import pytest

from uadtools import __version__
from uadtools.cli.main import COMMANDS, main
from uadtools.cli.score import COMMAND as SCORE
from uadtools.errors import UadError
from uadtools.program import command


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


def test_python_m_uadtools_is_uad(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["uad", "--version"])
    runpy.run_module("uadtools", run_name="__main__")
    assert capsys.readouterr() == (f"uadtools {__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_uad_command_is_uad_dash_command(name, uad_alone, monkeypatch):
    seen = []
    monkeypatch.setattr(command.Command, "call", lambda command, words: seen.append((command.name, words)))
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
    assert command.spread(words.split(), ("-x",)) == spread.split()


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
    assert command.renewed(words.split(), {"--old": "--new"}, told.append) == current.split()
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
    monkeypatch.setattr(command, "_abandon_stdout", lambda: None)  # it is pytest's
    with pytest.raises(SystemExit) as left, command.boundary("uad-x"):
        raise error
    assert left.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError(), AssertionError()])
def test_a_bug_is_not_hidden(error):
    with pytest.raises(type(error)), command.boundary("uad-x"):
        raise error


@pytest.mark.parametrize("words", [("help", "heal"), ("heal", "--help")])
def test_help_of_a_command_is_asked_for_in_either_order(words, uad_alone):
    status, out, err = uad_alone(*words)
    assert (status, err) == (0, "")
    assert out.startswith("Usage: uad-heal [OPTIONS]")


def test_help_of_a_part_of_a_command_and_of_uad_itself(uad_alone):
    assert uad_alone("help", "models", "info")[1].startswith("Usage: uad-models info")
    assert uad_alone("help") == uad_alone()


@pytest.mark.parametrize(("words", "meant"), [(("heel",), "heal"), (("help", "heel"), "heal"), (("rum",), "run")])
def test_a_command_that_was_meant_is_named(words, meant, uad_alone):
    status, out, err = uad_alone(*words)
    assert (status, out) == (2, "")
    assert f"{words[-1]}: there is no such command, did you mean {meant}? (there are: run, " in err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("heal", "x", "--medthod", "sss"), "No such option: --medthod, did you mean --method? (uad-heal --help"),
        (("heal", "x", "--metric", "l1"), "No such option: --metric (uad-heal --help"),
        (("heal", "x", "--method", "restor"), "no method 'restor', did you mean restore? (there are: ae, "),
        (("heal", "x", "--model", "any-smal"), "any-smal: No such file or directory, did you mean any-small? ("),
        (("models", "info", "t1-smal"), "t1-smal: No such file or directory, did you mean t1-small? ("),
        (("score", "x", "--signed", "drak"), "Invalid value for '--signed': 'drak' is not one of"),
        (("train", "x", "-o", "m", "--recipe", "cdpm"), "no recipe 'cdpm', did you mean cddpm? (there are: ae, "),
    ],
)
def test_a_word_that_was_meant_is_named(words, meant, uad):
    name, *rest = words
    result = uad(name, *rest)
    assert result.status in (1, 2)
    assert result.out == b""
    assert meant in result.err


@pytest.mark.parametrize(
    ("program", "line", "goes_on"),
    [
        ("uad", "uad he", ["heal"]),
        ("uad", "uad heal --me", ["--method"]),
        ("uad", "uad models in", ["info"]),
        ("uad-heal", "uad-heal --method ss", ["sss"]),
        ("uad-heal", "uad-heal --model t", ["t1-ddpm", "t1-small"]),
        ("uad-score", "uad-score --metric p", ["product", "probability", "perceptual"]),
        ("uad-train", "uad-train --recipe sp", ["spark"]),
        ("uad-models", "uad-models info any", ["any-small"]),
    ],
)
def test_a_shell_is_told_how_words_go_on(program, line, goes_on, shell):
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    done = shell(f"COMP_WORDS='{line}' COMP_CWORD={len(line.split()) - 1} {variable}=complete_bash {program}")
    assert (done.status, done.err) == (0, "")
    assert done.out.decode().split() == goes_on


def test_one_command_installs_completion_for_all(uad_alone, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    for _ in range(2):
        status, out, err = uad_alone("--install-completion", "bash")
        assert (status, err) == (0, "")
        assert str(here) in out
    assert (here / ".bashrc").read_text().split() == ["source", f"'{here}/.bash_completions/uad.sh'"]
    script = (here / ".bash_completions" / "uad.sh").read_text()
    for program in ("uad", *(f"uad-{name}" for name in COMMANDS)):
        assert script.count(f" {program}\n") == 1
    assert uad_alone("--install-completion", "fish")[0] == 0
    assert (here / ".config/fish/completions/uad-heal.fish").is_file()


def test_a_shell_that_is_not_known_is_told(uad_alone):
    status, out, err = uad_alone("--install-completion", "tcsh")
    assert (status, out) == (1, "")
    assert err == "uad: error: --install-completion: tcsh (there are: bash, zsh, fish)\n"


@pytest.mark.parametrize("place", ["app", "call"])
def test_an_interrupt_before_the_options_are_read_is_one_line(place, monkeypatch, capsys):
    def interrupted(*anything):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.Command, place, interrupted)
    monkeypatch.setattr(command.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(command.threading, "active_count", lambda: 1)  # pytest may have threads of its own
    with pytest.raises(SystemExit, match="130"):
        SCORE.run()
    assert capsys.readouterr().err == "uad-score: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_which_compiled_code_made_an_error_is_an_interrupt(number, monkeypatch, capsys):
    """As pydantic does when it is building a schema."""

    def built(*anything):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ValueError("error building a validator: KeyboardInterrupt") from None

    monkeypatch.setattr(command.Command, "app", built)
    monkeypatch.setattr(command, "_interrupted", threading.Event())
    monkeypatch.setattr(command.threading, "active_count", lambda: 1)
    before = {known: signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit, match="130"):
            SCORE.run()
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
    assert capsys.readouterr().err == "uad-score: interrupted\n"
