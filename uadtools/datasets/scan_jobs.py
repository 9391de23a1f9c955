"""Which scans are to be prepared, and where what is made of each goes: named ones, those of BIDS, or of a layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uadtools.concerns import Tell, silent
from uadtools.datasets import bids as data_sets
from uadtools.datasets.layouts import Found, layout_of
from uadtools.datasets.sources import NO_SCAN, scans
from uadtools.errors import Misuse, UadError
from uadtools.volume.stream import base_name


@dataclass(frozen=True)
class ScanJob:
    """One input, and where what is made of it goes; None: not wanted, and for the output: where the sink says.

    found: what a layout says of it.
    """

    source: str
    output: Path | None = None
    brain: Path | None = None
    picture: Path | None = None
    found: Found | None = None

    @property
    def name(self) -> str:
        """What files beside its result are called after."""
        if self.found:
            return self.found.name
        return "stdin" if self.source == "-" else base_name(Path(self.source))


def jobs_of(
    inputs: Sequence[str],
    output: Path | str | None,
    bids: Path | str | None,
    suffix: str | None,
    tell: Tell = silent,
    layout: str | None = None,
) -> list[ScanJob]:
    """List the scans that are meant; tell: of those of a data set who have none, or no mask.

    layout: the only input is a folder as it is handed out. Raises UadError, also for options that do not go together.
    """
    if layout is not None:
        return _handed_out(layout, inputs, output, bids, suffix, tell)
    if bids is None:
        data_sets.check_idle(suffix)
        if not inputs:
            raise UadError(NO_SCAN)
        return [ScanJob(file) for file in scans(inputs)]
    return _derivatives(Path(bids), suffix or data_sets.SUFFIX, data_sets.check_output(inputs, output), tell)


def _derivatives(root: Path, suffix: str, out: Path, tell: Tell) -> list[ScanJob]:
    return [
        ScanJob(
            str(scan),
            data_sets.derivative(scan, root, out, "preproc"),
            data_sets.derivative(scan, root, out, "brain", "mask"),
        )
        for scan in data_sets.scans(root, suffix, tell)
    ]


def _handed_out(
    layout: str,
    inputs: Sequence[str],
    output: Path | str | None,
    bids: Path | str | None,
    suffix: str | None,
    tell: Tell,
) -> list[ScanJob]:
    if bids is not None or len(inputs) != 1 or inputs[0] == "-":
        raise Misuse("--layout: takes its scans from one data set (name its folder, and nothing else)")
    if output is None or str(output) == "-" or str(output).lower().endswith(data_sets.FILES):
        raise Misuse("--layout: writes scans, masks and lists (name a folder for them with -o)")
    found = layout_of(layout).find(Path(inputs[0]), suffix, tell)
    return [ScanJob(str(f.path), Path(output) / f"{f.name}_preprocessed.nii.gz", found=f) for f in found]
