"""docs/leaderboard.md, written from the figures that leaderboard.py measured, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from textwrap import fill
from typing import Any

import survey_table
from healers import table
from real_patients import SCANS

from uadtools.files import written
from uadtools.metrics.intervals import bootstrap

FIGURES, PAGE = Path("experiments/data/leaderboard.json"), Path("docs/leaderboard.md")
BASELINE, HEADCT, CHOICE = "intensity threshold", "HeadCT", "**what `uad-heal` takes**"
HOURS = {"any-small": 10.0, "t1-small": 10.6, "flair-small": 11.6, "headct": 1.2, "t1-ddpm": 1.5}
"""Of training on one core, with those of the model that it began as, as the cards say."""
LESIONS = {
    **survey_table.LESIONS,
    "glioma-like, dark": ("dark", {"kind": "glioma", "tone": "dark"}),
    "glioma-like, bright": ("bright", {"kind": "glioma", "tone": "bright"}),
}
"""By test: the sign of what is drawn, and what uad-simulate draws."""
Found = Mapping[str, Any]
Rows = Mapping[str, Mapping[str, Any]]


def page(found: Found, names: Sequence[str] = ()) -> None:
    """Write the page of all that was measured. names: of the methods that are to be."""
    tests = {name: one["tests"] for name, one in found.items()}
    shown = {BASELINE: tests[BASELINE], CHOICE: taken(tests), **tests}
    real = [scan.name for scan in SCANS]
    dates, machines = (sorted({one[about] for one in found.values()}) for about in ("date", "machine"))
    parts = {
        "real": tabled(shown, real, "auprc"),
        "real_dice": tabled(shown, real, "best_dice"),
        "heads": tabled(shown, list(LESIONS), "auprc"),
        "heads_dice": tabled(shown, list(LESIONS), "best_dice"),
        "headct": stacks(tests),
        "costs": costs(found),
        "missing": said("Not measured yet on any test", [name for name in names if name not in found]),
        "count": max(len(rows) for one in tests.values() for kind, rows in one.items() if kind in LESIONS),
        "measured": fill(f"Measured on {' and '.join(dates)}, on {'; '.join(machines)}, shared.", 100),
    }
    with written(PAGE, force=True) as part:
        part.write_text(TEXT.format(**parts))


def taken(tests: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """Return the figures of each case by the model that uad-heal takes for it when none is named."""
    made: dict[str, dict[str, Any]] = {}
    for one in tests.values():
        for test, rows in one.items():
            made.setdefault(test, {}).update({name: row for name, row in rows.items() if row.get("own")})
    return made


def tabled(shown: Mapping[str, Rows], names: Sequence[str], figure: str) -> str:
    """Write a column for each measured test, a line for each method: the threshold, then by the mean of both signs."""
    names = [name for name in names if any(rows.get(name) for rows in shown.values())]
    measured = {method: rows for method, rows in shown.items() if any(rows.get(name) for name in names)}
    whole = max((len(rows.get(name, ())) for rows in measured.values() for name in names), default=0)
    full = {name: max(len(rows.get(name, ())) for rows in measured.values()) for name in names}
    assert whole

    def rank(method: str) -> tuple[bool, int, float]:
        rows = measured[method]
        there = [name for name in names if rows.get(name)]
        return method != BASELINE, -len(there), -mean(_mean(rows[name], "both", figure) for name in there)

    order = sorted(measured, key=rank)
    best = {
        name: max(_mean(measured[m][name], "both", figure) for m in order if measured[m].get(name)) for name in names
    }
    lines = []
    for method in order:
        cells = [_cell(measured[method].get(name, {}), full[name], figure, best[name]) for name in names]
        lines.append([method, *cells])
    left = [method for method, rows in shown.items() if method not in measured and not rows.keys() <= {HEADCT}]
    return table(["method", *names], lines) + said("\nNot measured there", left)


def said(what: str, methods: Sequence[str]) -> str:
    """Write a line of prose that lists methods, if there are any."""
    return (
        fill(f"{what}: {'; '.join(methods)}.", 100, replace_whitespace=False, break_on_hyphens=False) + "\n"
        if methods
        else ""
    )


def _cell(rows: Rows, count: int, figure: str, best: float) -> str:
    """Write the mean of both signs, its interval where there are scans enough, and what is had if the sign is told."""
    if len(rows) < count:
        return "–"
    both = _mean(rows, "both", figure)
    text = f"{both:.3f}"
    text = f"**{text}**" if both == best else text
    interval = bootstrap([row["both"][figure] for row in rows.values()])
    if interval is not None:
        text += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return text + (f" / {_mean(rows, 'told', figure):.3f}" if all("told" in row for row in rows.values()) else "")


def _mean(rows: Rows, sign: str, figure: str) -> float:
    return mean(row[sign][figure] for row in rows.values())


def stacks(tests: Mapping[str, Rows]) -> str:
    """Write the figures of HeadCT, the best pooled AUPRC last."""
    rows = {method: one[HEADCT][HEADCT] for method, one in tests.items() if one.get(HEADCT)}
    lines = []
    for method, row in sorted(rows.items(), key=lambda item: item[1]["both"]["auprc_pooled"]):
        both = row["both"]
        low, high = both["interval"]
        figures = [f"{both[name]:.3f}" for name in ("auprc_pooled", "best_dice_pooled")]
        lines.append([method, f"{both['auprc']:.3f} [{low:.3f}, {high:.3f}]", *figures, f"{row['seconds']:.2f}"])
    return table(["method", "AUPRC", "pooled", "best Dice, pooled", "seconds, 100 images"], lines)


def costs(found: Found) -> str:
    """Write what each method takes: training, network, and of a whole scan time and memory."""
    lines = []
    for method, one in found.items():
        rows = [row for test, cases in one["tests"].items() if test != HEADCT for row in cases.values()]
        if rows:
            model = one["about"]["model"]
            size = [f"{HOURS[model]:g}", f"{one['parameters'] / 1e6:.1f} M"] if model else ["0", "0"]
            seconds = median(row["seconds"] for row in rows)
            memory = min(row["memory_mb"] for row in rows)
            lines.append([method, model or "none", *size, str(one["evaluations"]), f"{seconds:.1f}", f"{memory}"])
    head = ["method", "model", "hours of training", "parameters", "evaluations of a slice", "seconds a scan", "peak MB"]
    return table(head, lines)


TEXT = """# Leaderboard

**Generated** by `experiments/leaderboard.py` from `experiments/data/leaderboard.json`: do not edit.
Research software, not a medical device; three real patients prove nothing. Every method that needs
no training beyond the models that ship, on every open test that was at hand. Nothing was tuned for
this page, and no threshold was chosen; what was looked at while the models were made, these
patients among it, is told in [results.md](results.md).

    python experiments/leaderboard.py measure scans/ DATA DATA/headct_64.npz    # goes on where it was stopped
    python experiments/leaderboard.py page

`scans/` is what `experiments/ixi_brains.py` makes; DATA holds `ms_mni/` and `m2307/`
([results.md](results.md) says whose they are).
{measured}

A figure is *both signs / sign told*: told, score and threshold know whether lesions are dark or
bright there, so the threshold in the first line is beside every method in either way. Of the score
on the model's grid of 2 mm, inside the brain, after a Gaussian of .6 voxels. Best Dice is a
ceiling, as the truth chose its threshold. **Bold**: the highest of a column, both signs. –: not
measured, as it would have taken too long here; slices of the slow methods are compared in
[results.md](results.md#the-methods-of-the-survey-on-one-diffusion-model).
{missing}
## Real patients

Two patients with multiple sclerosis (Lesjak et al. 2018) and a stroke, by name. AUPRC:

{real}
Best Dice:

{real_dice}
## Lesions drawn into held-out heads

{count} of the 20 heads of IXI (T1) that no training saw, each with every kind of lesion of
`uad-simulate`, from whose generators no training draws. The models' weights were chosen by their
loss on the 20, healthy as they are. Gliomas are judged as a whole, core, rim and oedema
([simulation.md](simulation.md)). Mean AUPRC, with a 95% bootstrap interval over the heads, which is
rough for so few; all 20 are in [results.md](results.md), gliomas aside:

{heads}
Best Dice, mean over heads:

{heads_dice}
## Sprites in HeadCT

The protocol of Pinaya et al. 2022: 100 images of MedNIST's HeadCT (64x64), a sprite in each; mean
over images with its interval, and pooled over all pixels. In print: VAE .464 AUPRC and .533 best
Dice, f-AnoGAN .432 and .492, latent diffusion .955 and .920, pooled. Methods that were trained for
minutes on these images are in [results.md](results.md#headct-with-sprites-and-the-baselines).

{headct}
## What each takes

Hours of one core, by the models' cards, with those of the model that each began as; evaluations of
the network, seconds of one core for a whole scan (healed and scored, median of the scans), and the
most memory that the process held by then, Python and libraries included.

{costs}"""
