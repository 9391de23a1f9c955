#!/usr/bin/env python3
"""Write the man pages from the commands themselves: python man/generate.py. A test fails when they differ."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import typer.main

from uadtools import __version__
from uadtools.cli.main import COMMANDS, OWN
from uadtools.program.command import Command

HERE = Path(__file__).parent
STATUS = [
    ("0", "done"),
    ("1", "the input or the machine stopped it; one line on standard error says why"),
    ("2", "wrong usage"),
    ("3", "with --strict: all is written, and something speaks against a result"),
    ("130", "interrupted"),
    ("141", "the reader of the pipe has gone"),
]


def escape(text: str) -> str:
    """Write text so that roff shows it as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def option(parameter: Any) -> list[str]:
    """Describe one option or argument: its names, its value, its help and its default."""
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        head = f"\\fI{escape(parameter.metavar or names[0].upper())}\\fR"
    else:
        value = f" \\fI{escape(parameter.metavar)}\\fR" if parameter.metavar else ""
        head = ", ".join(f"\\fB{escape(n)}\\fR" for n in names) + value
    default = parameter.default
    shown = default not in (None, False, ()) and default is not ... and parameter.show_default is not False
    told = f" Default: {default}." if shown and not isinstance(default, bool) else ""
    return [".TP", head, escape(f"{parameter.help or ''}{told}")]


def described(command: Command) -> tuple[str, list[str], list[str]]:
    """Return the synopsis of a command, its description with its arguments, and its options."""
    parameters = typer.main.get_command(command.app()).params
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name != "argument"]
    operands = ["\\fICOMMAND\\fR"] if command.parts else [operand(a) for a in arguments]
    return (
        f"\\fB{escape(command.name)}\\fR [\\fIOPTIONS\\fR] " + " ".join(operands),
        [escape(" ".join((command.body.__doc__ or "").split())), *(line for a in arguments for line in option(a))],
        grouped(options),
    )


def grouped(options: list[Any]) -> list[str]:
    """Describe options, those of single methods in sections of their own, as the help has them."""
    groups: dict[str, list[str]] = {"": []}
    for each in options:
        methods = getattr(each, "rich_help_panel", None)
        groups.setdefault(f"Options of --method {methods}" if methods else "", []).extend(option(each))
    return [line for group, lines in groups.items() for line in ([f".SS {escape(group)}"] if group else []) + lines]


def operand(argument: Any) -> str:
    """Show an argument in a synopsis."""
    shown = f"\\fI{escape(argument.metavar)}\\fR"
    return shown if argument.required else f"[{shown}]" + "..." * (argument.nargs == -1)


def part(name: str, command: Command) -> list[str]:
    """Describe a command of a program that has several."""
    synopsis, description, options = described(replace(command, name=f"{name} {command.name}"))
    return [f".SH {command.name.upper()}", synopsis, ".PP", *description, *options]


def page(name: str) -> str:
    """Return the man page of uad-NAME."""
    command = import_module(f"uadtools.cli.{name}").COMMAND
    synopsis, description, options = described(command)
    lines = [
        f'.TH {command.name.upper()} 1 "" "uadtools {__version__}" "User Commands"',
        ".SH NAME",
        f"{escape(command.name)} \\- {escape(COMMANDS[name])}",
        ".SH SYNOPSIS",
        synopsis,
        ".SH DESCRIPTION",
        *description,
        *(line for each in command.parts for line in part(command.name, each)),
        ".SH OPTIONS",
        ".TP",
        "\\fB\\-h\\fR, \\fB\\-\\-help\\fR",
        "Show a summary and exit.",
        *options,
        ".SH EXIT STATUS",
        *(line for status, meaning in STATUS for line in (".TP", status, escape(meaning))),
        ".SH EXAMPLES",
        ".nf",
        *(escape(line.strip()) for line in command.examples.strip().splitlines()),
        ".fi",
        ".SH NOTE",
        "Research software, not a medical device.",
        ".SH SEE ALSO",
        ", ".join(f"\\fBuad\\-{other}\\fR(1)" for other in COMMANDS if other != name),
    ]
    return "\n".join(lines) + "\n"


def overview() -> str:
    """Return the man page of uad itself."""
    lines = [
        f'.TH UAD 1 "" "uadtools {__version__}" "User Commands"',
        ".SH NAME",
        "uad \\- find lesions in brain scans without ever having been shown one",
        ".SH SYNOPSIS",
        "\\fBuad\\fR \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        "\\fBuad\\fR \\fICOMMAND\\fR is the same as \\fBuad\\-\\fR\\fICOMMAND\\fR.",
        "Research software, not a medical device.",
        *(line for name, what in COMMANDS.items() for line in (".TP", f"\\fBuad\\-{name}\\fR(1)", escape(what))),
        ".SH OPTIONS",
        *(line for words, what in OWN.items() for line in (".TP", f"\\fB{escape(words)}\\fR", escape(what))),
    ]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return all pages by file name."""
    return {"uad.1": overview(), **{f"uad-{name}.1": page(name) for name in COMMANDS}}


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text)
