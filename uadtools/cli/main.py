"""uad: `uad COMMAND ...` is the same as `uad-COMMAND ...`."""

from __future__ import annotations

import sys
from importlib import import_module

from uadtools import __version__
from uadtools.cli._common import boundary, usage

COMMANDS = {
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


def overview() -> str:
    lines = [
        "uad finds lesions in brain scans without ever having been shown one. Not a medical device.",
        "",
        "Usage: uad COMMAND [ARGUMENTS]...     (the same as uad-COMMAND; uad COMMAND --help tells more)",
        "",
        *(f"  {name:<12}{what}" for name, what in COMMANDS.items()),
        "",
        "  uad preprocess scan.nii.gz -o - | uad heal | uad score | uad postproc --native -o lesions.nii.gz",
    ]
    return "\n".join(lines)


def main() -> None:
    words = sys.argv[1:]
    if words and words[0] in COMMANDS:
        sys.argv = [f"uad-{words[0]}", *words[1:]]
        import_module(f"uadtools.cli.{words[0]}").main()
        return
    with boundary("uad"):
        if not words or words[0] in ("-h", "--help"):
            print(overview())
        elif words[0] == "--version":
            print(f"uadtools {__version__}")
        else:
            raise usage(f"there is no such command (there are: {', '.join(COMMANDS)})", words[0])
