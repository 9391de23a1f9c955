"""uad: `uad COMMAND ...` is the same as `uad-COMMAND ...`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer.core

from uadtools import __version__
from uadtools.errors import UadError, near
from uadtools.program.command import Command, boundary, complete, complete_variable, usage

COMMANDS = {
    "run": "find lesions in raw scans, and show them, in one go",
    "bids": "do so with a BIDS data set, as BIDS Apps do",
    "preprocess": "bring raw scans onto a model's grid",
    "train": "learn healthy anatomy from healthy scans",
    "heal": "turn scans into the healthy scans that a model believes in",
    "score": "score how much each voxel differs from its healed self",
    "postproc": "turn score maps into detections",
    "report": "show a scan and what was found in it in one page of HTML",
    "simulate": "draw lesions of known truth, or artefacts, into healthy scans",
    "calibrate": "find a threshold, what it promises and what it leaves",
    "eval": "measure detections or score maps against the truth",
    "bench": "compare methods on the same scans",
    "models": "list, explain and check models, and import those of other programs",
}
OWN = {
    "help COMMAND": "tell what a command does, and its options",
    "--install-completion [SHELL]": "let a shell (bash, zsh, fish) complete commands, options and choices",
    "--version": "show the version",
}
"""What uad has itself."""
SHELLS = ("bash", "zsh", "fish")


def overview() -> str:
    lines = [
        "uad finds lesions in brain scans without ever having been shown one. Not a medical device.",
        "",
        "Usage: uad COMMAND [ARGUMENTS]...     (the same as uad-COMMAND)",
        "",
        *(f"  {name:<12}{what}" for name, what in COMMANDS.items()),
        "",
        *(f"  uad {words:<30}{what}" for words, what in OWN.items()),
        "",
        "  uad run scan.nii.gz -o out/",
        "  uad preprocess scan.nii.gz -o - | uad heal | uad score | uad postproc --native -o lesions.nii.gz",
    ]
    return "\n".join(lines)


class Programs(typer.core.TyperGroup):
    """All commands as those of one program, each loaded when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return typer.main.get_command(command_of(cmd_name).app()) if cmd_name in COMMANDS else None


def command_of(name: str) -> Command:
    """Return a command by its name. Raises UadError for what is none."""
    if name not in COMMANDS:
        raise usage(f"there is no such command{near(name, COMMANDS)} (there are: {', '.join(COMMANDS)})", name)
    command: Command = import_module(f"uadtools.cli.{name}").COMMAND
    return command


def install_completion(shell: str = "") -> None:
    """Let a shell, by default the one that runs, complete the words of uad and of every uad-COMMAND."""
    from typer import _completion_shared as completion

    shell = shell or completion._get_shell_name() or ""
    if shell not in SHELLS:
        raise UadError(f"--install-completion: {shell or 'which shell?'} (there are: {', '.join(SHELLS)})")
    _, path = completion.install(shell, "uad", complete_variable("uad"))
    for name in (f"uad-{name}" for name in COMMANDS):
        if shell == "bash":  # one file, since each costs a line in .bashrc
            script = completion.get_completion_script(prog_name=name, complete_var=complete_variable(name), shell=shell)
            path.write_text(f"{path.read_text()}\n{script}\n")
        else:
            completion.install(shell, name, complete_variable(name))
    print(f"completion for {shell} installed in {path.parent}; it takes effect in the next shell")


def main() -> None:
    words = sys.argv[1:]
    if instruction := os.environ.get(complete_variable("uad")):
        complete(Programs(name="uad"), "uad", instruction)
    if words and words[0] in COMMANDS:
        sys.argv = [f"uad-{words[0]}", *words[1:]]
        command_of(words[0]).run()
        return
    with boundary("uad"):
        match words:
            case [] | ["-h" | "--help" | "help"]:
                print(overview())
            case ["--version"]:
                print(f"uadtools {__version__}")
            case ["help", name, *more]:
                command_of(name).call([*more, "--help"])
            case ["--install-completion", *shell]:
                install_completion(*shell[:1])
            case [word, *_]:
                command_of(word)
