"""How the help of a command is laid out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import typer.core

from uadtools import methods

GROUP = "uadtools.method"
"""Where a context keeps the method whose options alone help is to show; an empty string: all."""


class Grouped(typer.core.TyperCommand):
    """A command whose help has a section for each method with options, or of the one that --method names alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = [words[1] for words in pairwise(args) if words[0] == "--method"]
        named += [word.partition("=")[2] for word in args if word.startswith("--method=")]
        ctx.meta[GROUP] = named[0] if named else ""
        if named and {"-h", "--help"} & set(args):
            methods.check(named[0])
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            panel = getattr(parameter, "rich_help_panel", None)
            group = f"Options of --method {panel}" if panel else f"{parameter.param_type_name.capitalize()}s"
            if (row := parameter.get_help_record(ctx)) and ctx.meta[GROUP] in ("", *(panel or "").split(", ")):
                groups.setdefault(group, []).append(row)
        for group, rows in groups.items():
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)
