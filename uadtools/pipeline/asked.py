"""What is asked of the four steps, each in its command's words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadtools.datasets.sources import Sources, words
from uadtools.errors import Misuse
from uadtools.grids.placement import Form
from uadtools.healing.choice import bundled_for
from uadtools.models.checkpoint import default_path
from uadtools.pipeline.folder import Place
from uadtools.report.repeat import options_as_words
from uadtools.volume.io import stem

STEPS = ("preprocess", "heal", "score", "postproc")
Options = Mapping[str, Mapping[str, Any]]
"""Options of steps by their names, as the step's command calls them, with _ for -."""
READ_ONCE = ("volume", "geometry", "nan", "series")
"""How files are read, which the first step does alone."""
OF_FILES = (
    "inputs", "output", "bids", "suffix", "scan", "save_brain", "picture", "maps", "jobs", "skip_failed", "prepared",
    "native", "dicom_seg", "strict", "provenance", "anonymous", "force", "as_json", "quiet", "verbose", "version",
)  # fmt: skip
"""Options of the steps' commands that have no effect where all is done in one."""
ADVICE = {"dicom_seg": "--dicom-seg writes it for folders of DICOM"}
"""What to do instead of giving these."""
SAME_VOXELS = ("device", "precision", "batch")
"""Options that change last bits at most."""


@dataclass(frozen=True)
class Asked:
    """The options of each of STEPS that are not left to their defaults."""

    steps: dict[str, dict[str, Any]]

    @property
    def settings(self) -> dict[str, Any]:
        """What a result depends on, as JSON holds it."""
        options = {
            step: {name: value for name, value in given.items() if name not in SAME_VOXELS}
            for step, given in self.steps.items()
        }
        return dict(json.loads(json.dumps(options, default=str)))

    def of_scan(self, channels: Sequence[str]) -> Asked:
        """Return what is asked for one scan. channels: words for the files of its other contrasts."""
        return Asked(
            self.steps | {"preprocess": self.steps["preprocess"] | ({"channel": [*channels]} if channels else {})}
        )

    def pipe(self, source: str, place: Place, *, dicom_seg: bool = False) -> str:
        """Return the commands that do the same with a file, for a shell; of a stream they make the detections alone.

        dicom_seg: the file is a folder of DICOM, and the detection is written for it, too.
        """
        stream = source == "-"
        file = f"./{source}" if source.startswith("-") and not stream else source
        ends = {"preprocess": ["-o", "-"], "postproc": ["--native", "-o", f"{place.page.parent}/" if stream else "-"]}
        lines = [[f"uad-{step}", *_words(self.steps[step]), *ends.get(step, [])] for step in STEPS]
        lines[0].insert(1, file)
        if not stream:
            lines.insert(3, ["tee", str(_plain(place.score))])
            lines += [["tee", str(_plain(place.detection))], ["uad-report", "-o", str(place.page)]]
        pipe = " |\n  ".join(map(shlex.join, lines))
        if not dicom_seg:
            return pipe
        written = ["--native", "--dicom-seg", file, *_words({"series": self.steps["preprocess"].get("series")})]
        written += ["--force", "-o", str(_plain(place.detection))]
        again = ["uad-postproc", str(_plain(place.score)), *_words(self.steps["postproc"]), *written]
        return f"{pipe}\n{shlex.join(again)}"


def asked(  # noqa: PLR0913  one parameter per option
    *,
    model: Sources = (),
    method: str | None = None,
    t: int | Sequence[int] = (),
    signed: str | None = None,
    brain: Path | str | None = None,
    threshold: float | str | None = None,
    adapt: bool = False,
    force_detection: bool = False,
    device: str | None = None,
    precision: str | None = None,
    seed: int | None = None,
    volume: int | None = None,
    geometry: Form | None = None,
    series: str | None = None,
    steps: Options | None = None,
) -> Asked:
    """Tell each step its options. steps: further ones of each. Raises Misuse for those that cannot be."""
    models, own = words(model), {step: dict((steps or {}).get(step, {})) for step in STEPS}
    first = models[0] if models else _of_method(method)
    given: dict[str, dict[str, Any]] = {
        "preprocess": {"model": None if "like" in own["preprocess"] else first, "brain": brain},
        "heal": {"model": models, "method": method, "t": [t] if isinstance(t, int) else list(t)},
        "score": {"signed": signed},
        "postproc": {"threshold": threshold, "adapt": adapt, "force_detection": force_detection},
    }
    given["preprocess"] |= {"volume": volume, "geometry": geometry, "series": series}
    given["heal"] |= {"device": device, "precision": precision}
    for step in ("preprocess", "heal"):
        given[step]["seed"] = seed or None  # 0 is what they take by themselves
    if unknown := (steps or {}).keys() - set(STEPS):
        raise Misuse(f"--set {min(unknown)}: there is no such step (there are: {', '.join(STEPS)})")
    for step, options in own.items():
        common = {name: value for name, value in given[step].items() if value not in (None, []) and value is not False}
        for name in options:
            if name in OF_FILES or (name in READ_ONCE and step != "preprocess"):
                advice = ADVICE.get(name, "leave it out")
                raise Misuse(f"--set {step}.{name.replace('_', '-')}: has no effect in uad-run ({advice})")
            if name in common and not (step == "preprocess" and name == "model"):
                raise Misuse(
                    f"--set {step}.{name.replace('_', '-')}: uad-run is told the same otherwise (leave one out)"
                )
        given[step] = common | options
    return Asked(given)


def _of_method(method: str | None) -> str | None:
    """Name the bundled model that scans are prepared for where a method is named and no model; None for the default."""
    path = bundled_for(method)
    return None if path == default_path() else path.stem


def _plain(path: Path) -> Path:
    """Name the file that a stream is saved in, which is not compressed."""
    return path.with_name(f"{stem(path)}.nii")


def _words(options: Mapping[str, Any]) -> list[str]:
    """Write options as words; --no-NAME where one that has both is off."""
    off = {f"no_{name}": True for name, value in options.items() if value is False}
    return list(options_as_words(**options, **off))
