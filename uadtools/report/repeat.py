"""What an image's history amounts to: the pipe that repeats it, and what one writes of it in a paper."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from uadtools import methods
from uadtools.errors import UadError
from uadtools.models.checkpoint import is_bundled

Line = Mapping[str, Any]
FILE = "FILE.nii.gz"
"""Stands for the files that a history names, and for those that it does not."""
DAMAGED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def pipe(history: Sequence[Line], product: str, *, unlike: bool = False) -> str:
    """Return the commands that make the product of a history from SCAN.nii.gz; '' where they are not known.

    unlike: whether the scan was found to be unlike what the model learnt from.
    """
    commands: list[list[str]] = []
    try:
        for line in history:
            arguments = line["arguments"]
            if line["tool"] == "uad-score" and "normal" in arguments:
                commands[-1] += ["--reference", FILE]
            else:
                commands.append([line["tool"], *_WORDS[line["tool"]](line, history, unlike)])
    except DAMAGED:
        return ""
    if not commands:
        return ""
    commands[0].insert(1, "SCAN.nii.gz")
    commands[-1] += ["-o", f"{product}.nii.gz"]
    if len(commands) > 1:
        commands[0] += ["-o", "-"]
    return " |\n  ".join(map(shlex.join, commands))


def options_as_words(**options: Any) -> Iterator[str]:
    """Write options as words; what is None, False or empty is not given."""
    for name, value in options.items():
        option = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is True:
                yield option
            elif each is not None and each is not False:
                yield from (option, str(each))


def _listed(values: Any) -> str | None:
    return ",".join(f"{value:g}" for value in values) if values else None


def _preprocess(line: Line, history: Sequence[Line], unlike: bool) -> Iterator[str]:
    given, intensity = line["arguments"], line["arguments"]["intensity"]
    kind = intensity["kind"]
    return options_as_words(
        model=next(iter(_models(history)), None),
        shape=_listed(given["grid"]["shape"]),
        spacing=_listed(given["grid"]["spacing"]),
        brain=FILE if given["brain"] == "file" else given["brain"],
        bias_correct=given["bias_correct"],
        register=_file(given["register"]),
        intensity=f"ct:{intensity['center']:g},{intensity['width']:g}" if kind == "ct" else kind,
        match_histogram=given["match_histogram"],
        seed=given["seed"],
        volume=given["volume"],
        series=given.get("series"),
        channel=[f"{name}={name}.nii.gz" for name in given.get("channels", [])],
        align=given.get("align"),
    )


def _simulate(line: Line, history: Sequence[Line], unlike: bool) -> Iterator[str]:
    given = dict(line["arguments"])
    listed = {name: _listed(given.pop(name, None)) for name in ("size", "count", "masks_box")}
    return options_as_words(**given | listed | {"masks": FILE if given.get("masks") else None, "seed": line["seed"]})


def _heal(line: Line, history: Sequence[Line], unlike: bool) -> Iterator[str]:
    given = line["arguments"]["models"][0] if "models" in line["arguments"] else line["arguments"]
    own = methods.glances()[given["method"]].options
    options = {name: given[name] for name in ("t", "steps", *own) if name in given}
    options |= {"samples": given["samples"]} if given.get("samples", 1) > 1 else {}
    options |= {"combine": given["combine"]} if len(given.get("t", [])) > 1 else {}
    options |= {name: FILE for name in ("condition", "features") if name in given or name in line["arguments"]}
    return options_as_words(model=_models([line]), method=given["method"], **options, seed=line.get("seed"))


def _score(line: Line, history: Sequence[Line], unlike: bool) -> Iterator[str]:
    given = line["arguments"]
    return options_as_words(metric=given["metric"], signed=given["signed"], contrast=given.get("contrast"))


def _postproc(line: Line, history: Sequence[Line], unlike: bool) -> Iterator[str]:
    given = {"smooth": 0.0, **line["arguments"]}
    names = ("median", "smooth", "erode", "threshold", "min_size", "dilate", "largest", "native")
    forced = unlike and "withheld" not in given
    return options_as_words(**{name: given[name] for name in names}, force_detection=forced)


_WORDS = {
    "uad-preprocess": _preprocess,
    "uad-simulate": _simulate,
    "uad-heal": _heal,
    "uad-score": _score,
    "uad-postproc": _postproc,
}


def _models(history: Sequence[Line]) -> list[str]:
    """Name the models of a history as --model takes them: a bundled one's name, else a file."""
    named = [str(line["model"]) for line in history if line.get("tool") == "uad-heal" and line.get("model")]
    models = [one for several in named for one in several.split(", ")]
    return [one.partition(":")[0] + ("" if is_bundled(one) else ".safetensors") for one in models]


def _file(name: str | None) -> str | None:
    """Return the name of a template as --register takes it, without that of a file."""
    return FILE if name and name != "mni" and Path(name).suffix else name


def paragraph(history: Sequence[Line], version: str) -> str:
    """Write what was done as the methods section of a paper would, with sources."""
    sentences = [f"Anomalies were detected with uadtools {version} (research software)."]
    for line in history:
        try:
            sentences += [_SENTENCES[line["tool"]](line)] if line.get("tool") in _SENTENCES else []
        except (*DAMAGED, UadError):
            sentences.append(f"What {line.get('tool')} did is not known.")
    return " ".join(sentences)


def _of_preprocess(line: Line) -> str:
    given = line["arguments"]
    brains = {
        "auto": "by deepbet (Fisch et al. 2024) unless the scan was skull-stripped",
        "deepbet": "by deepbet (Fisch et al. 2024)",
        "hd-bet": "by HD-BET (Isensee et al. 2019)",
        "synthstrip": "by SynthStrip (Hoopes et al. 2022)",
        "file": "by a mask that was given",
    }
    size = " x ".join(f"{value:g}" for value in given["grid"]["spacing"])
    parts = [f"brought linearly onto a grid of {size} mm voxels"]
    if given["brain"] in brains:
        parts.insert(0, f"the brain found {brains[given['brain']]}")
    if given["bias_correct"]:
        parts.insert(-1, "N4 bias correction (Tustison et al. 2010) applied")
    if given["register"]:
        onto = "the MNI152 template" if given["register"] == "mni" else "a template"
        parts.insert(-1, f"an affine registration to {onto} applied")
    kind = given["intensity"]
    window = {
        "percentile": f"the brain's percentiles {kind['low']:g} and {kind['high']:g} brought to 0 and 1",
        "zscore": "three standard deviations around the brain's mean brought to 0 and 1",
        "ct": f"a window of {kind['width']:g} HU around {kind['center']:g} HU brought to 0 and 1",
    }
    parts += [window[kind["kind"]]] if kind["kind"] in window else []
    return f"For each scan, {', '.join(parts[:-1])}, and {parts[-1]}."


def _of_heal(line: Line) -> str:
    given = line["arguments"]["models"][0] if "models" in line["arguments"] else line["arguments"]
    told = " ".join((methods.get(given["method"]).__doc__ or "").split("\n\n")[0].split())
    what, _, source = told.partition(" Source: ")
    source = source.rstrip(".")
    steps = f" at t = {', '.join(map(str, given['t']))}" if "t" in given else ""
    model = f" with the model {line['model']}" if line.get("model") else ""
    cited = f" ({source})" if source and not source.startswith("none") else ""
    what = what[0].lower() + what[1:].rstrip(".")
    done = "How anomalous each voxel is was told" if "product" in line else "The healthy counterpart was made"
    return f"{done} by the method {given['method']}{cited}{model}{steps}: {what}."


def _of_score(line: Line) -> str:
    given = line["arguments"]
    if "normal" in given:
        return f"Scores were put in units of those of {given['normal']['scans']} healthy scans."
    only = {"bright": ", of what is brighter than its healthy counterpart", "dark": ", of what is darker"}
    only["hyperintense"] = f"{only['bright']}, times its intensity above the brain's median"
    return f"The anomaly score was the metric {given['metric']}{only.get(given['signed'], '')}."


def _of_postproc(line: Line) -> str:
    given = line["arguments"]
    if "withheld" in given:
        return "Nothing was detected, as the scan is unlike what the model learnt from."
    source = {"model": ", which the model recommends", "otsu": " (Otsu 1979)", "scanwise": ", found on healthy scans"}
    parts = [f"a median filter of {given['median']} voxels"] if given["median"] > 1 else []
    parts += [f"a Gaussian of {given['smooth']:g} voxels"] if given.get("smooth") else []
    parts += [f"an erosion of the brain by {given['erode']}"] if given["erode"] else []
    parts += [f"the threshold {given['threshold']:.4g}{source.get(given['threshold_from'], '')}"]
    parts += [f"components of at least {given['min_size']} voxels"] if given["min_size"] > 1 else []
    parts += [f"a dilation by {given['dilate']}"] if given["dilate"] else []
    return f"Detections are what is left after {', '.join(parts)} (post-processing as in Behrendt et al. 2023)."


_SENTENCES = {
    "uad-preprocess": _of_preprocess,
    "uad-heal": _of_heal,
    "uad-score": _of_score,
    "uad-postproc": _of_postproc,
}
