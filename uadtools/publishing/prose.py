"""How a comparison was done, in words, with what its methods are from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uadtools import methods
from uadtools.bench.table import Table
from uadtools.evaluation.reports import Row

SOURCE = re.compile(r"Source:\s*((?:[^\n]|\n(?!\n))+)")
METRICS = (
    "AUPRC is average precision; thresholds are those with the best pooled Dice on the scans for that; intervals are "
    "95% percentile bootstraps over scans; differences are tested by permutation (10,000 rounds, paired by scan), "
    "corrected by Holm over the methods."
)


def methods_text(table: Table) -> str:
    """Return the text, as Markdown: data, folds, post-processing, and each method with its source."""
    config = table["config"]
    parts = [
        f"Compared with uadtools {table['version']}, seed {config['seed']}.",
        _people(config, table["folds"]),
        " ".join(_sets(config["set"])),
        f"Scores were post-processed alike: {_listed(config['postproc'])}. {METRICS}",
    ]
    rows = [
        _method(row, table["methods"].get(row["name"], {}), table["training"].get(row["name"]))
        for row in config["method"]
    ]
    return "\n\n".join([part for part in parts if part]) + "\n\n" + "\n".join(rows) + "\n"


def _people(config: Mapping[str, Any], folds: Sequence[int]) -> str:
    if not config["folds"]:
        return ""
    alike = f", alike in {', '.join(config['data']['stratify'])}" if config["data"]["stratify"] else ""
    done = "" if len(folds) == config["folds"] else f"; this is fold {', '.join(map(str, folds))}"
    return (
        f"The people were parted into {config['folds']} folds{alike}: those of one were judged, those of the next gave "
        f"thresholds and chose weights, and the others were learnt from, in turn{done}."
    )


def _sets(sets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for part in sets:
        drawn = part["simulate"]
        lesions = f"{_listed(drawn)} drawn into healthy scans" if drawn else "lesions as experts drew them"
        contrast = "" if part["contrast"] == 1 else f", at a contrast of {part['contrast']:g}"
        yield f"{part['name']}: {lesions}{contrast}."


def _method(row: Mapping[str, Any], about: Row, training: Row | None) -> str:
    """Say of a method what it is, what it was given, how it was trained, and where all that is from."""
    doc = methods.get(about["heals_by"]).__doc__ if about else ""
    what, source = (doc or "").split("Source:")[0].split("\n\n")[0].strip(), SOURCE.search(doc or "")
    sources = [" ".join(source[1].split()).rstrip(".")] if source else []
    sources += [about["source"]] if about.get("source") else []
    parts = [f"- **{row['name']}**: {' '.join(what.split())}"]
    given = _listed(row["heal"])
    parts += [f"Healed by {given}."] if given else []
    if training:
        changes = f", with {', '.join(row['changes'])}" if row["changes"] else ""
        parts.append(f"Trained by the recipe {row['recipe']}{changes}: {_trained(training)}.")
    parts += [f"Model: {row['model']}."] if row["model"] else []
    parts += [f"Post-processing of its own: {_listed(row['postproc'])}."] if row["postproc"] else []
    return " ".join([*parts, f"Source: {'; '.join(sources) or 'none'}."])


def _trained(training: Row) -> str:
    return (
        f"{training['steps']:,.0f} steps, {training['minutes']:.1f} min, {training['slices']:,.0f} slices, "
        f"{training['parameters']:,.0f} parameters"
    )


def _listed(table: Mapping[str, Any]) -> str:
    """List what a table of settings says."""
    return ", ".join(f"{name} {_said(value)}" for name, value in table.items() if value not in (None, [], ()))


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
