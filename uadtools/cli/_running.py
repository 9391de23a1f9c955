"""What uad-run and uad-bids share: options of the steps, and what is said in the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from uadtools import methods
from uadtools.cli import heal, postproc, preprocess, score
from uadtools.errors import Misuse
from uadtools.program import command as c
from uadtools.program import options as o

STEPS = {"preprocess": preprocess, "heal": heal, "score": score, "postproc": postproc}
_SETTING = re.compile(r"(?P<step>[a-z]+)\.(?P<option>[A-Za-z][\w-]*)(=(?P<value>.*))?", re.DOTALL)

MODEL = o.option(
    """--model M
    A model file, or the name of a bundled model. Default: the bundled model that suits the scan. Repeat it for the mean
    of several models' scores.""",
    autocompletion=o.bundled_names,
)
METHOD = o.option(
    "--method NAME  How to heal; uad-heal --help lists the methods. Default: the model's own.",
    autocompletion=methods.names,
)
SIGNED = o.option(
    f"--signed {o.choices(score.Signed)}  Only what is brighter, darker or, in FLAIR, hyperintense. Default: both."
)
BRAIN = o.option("""--brain auto|none|deepbet|hd-bet|synthstrip|FILE
    How the brain is found, as uad-preprocess does, or a mask on the scan's grid. Default: auto.""")
THRESHOLD = o.option("""--threshold model|otsu|scanwise|voxelwise|X|FILE.json
    Detect what scores above this, as uad-postproc does. Default: model.""")
SET = o.option("""--set STEP.OPTION[=VALUE]
    Any other option of uad-preprocess, uad-heal, uad-score or uad-postproc, such as preprocess.register=mni,
    preprocess.bias-correct or postproc.erode=0. Repeat it for several.""")


def steps_of(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read what --set says, each as the command of its step would. Raises Misuse."""
    steps: dict[str, dict[str, Any]] = {}
    for text in settings:
        setting = _SETTING.fullmatch(text)
        if not setting or setting["step"] not in STEPS or setting["option"] in ("h", "help", "version"):
            raise c.usage(f"{text}: expected STEP.OPTION=VALUE; steps are {', '.join(STEPS)}", "--set")
        option, value = setting["option"].replace("_", "-"), setting["value"]
        words = [f"-{option}", *([value] if value is not None else [])]
        if len(option) > 1:
            words = [f"--{option}" if value is None else f"--{option}={value}"]
        try:
            given = STEPS[setting["step"]].COMMAND.given(words)
        except Misuse as error:
            raise c.usage(f"{text}: {error}", "--set") from None
        options = steps.setdefault(setting["step"], {})
        for name, read in given.items():
            options[name] = options[name] + read if isinstance(read, list) and name in options else read
    return steps


def finish(
    results: Sequence[dict[str, Any]], tell: Callable[[str], None], *, index: Path | None, as_json: bool, strict: bool
) -> None:
    """Say what became of the scans, and where to look at it, and leave. index: of the reports, where there is one."""
    if as_json:
        c.print_json(results)
    failed, skipped = (sum(key in row for row in results) for key in ("error", "skipped"))
    if len(results) > 1 or skipped:
        tell(f"{len(results) - failed - skipped} done, {skipped} done before, {failed} failed")
    pages = [str(index)] if index else [row["report"] for row in results if "report" in row]
    if pages:
        tell(f"to look at in a browser: {', '.join(pages[:3])}{' ...' if len(pages) > 3 else ''}")
    c.leave(results, strict)
