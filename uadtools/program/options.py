"""Options and arguments as commands declare them, and those that several share.

A text declares one: its names and what it takes, then, after two spaces or a new line, its help.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Literal, get_args

import typer

from uadtools import __version__

Form = Literal["sform", "qform", "pixdim"]
Precision = Literal["auto", "fp32", "bf16"]


def option(declared: str, default: Any = None, **more: Any) -> Any:
    """Make an option. default: what it is where it is not given; ... where it must be. more: for typer.Option."""
    names, takes, text = _read(declared)
    return typer.Option(default, *names, metavar=takes, help=text, show_default=default is not None, **more)


flag = partial(option, default=False)


def argument(declared: str, default: Any = None, **more: Any) -> Any:
    """Make an argument. more: for typer.Argument."""
    _, takes, text = _read(declared)
    return typer.Argument(default, metavar=takes, help=text, show_default=default is not None, **more)


def choices(kinds: Any) -> str:
    """List what a Literal allows, as help shows what an option takes."""
    return "|".join(get_args(kinds))


def _read(declared: str) -> tuple[list[str], str | None, str]:
    """Part the names of an option, what it takes, and its help."""
    head, text = re.split(r"  |\n", declared, maxsplit=1)
    names = [word for word in head.split() if word.startswith("-")]
    return names, " ".join(head.split()[len(names) :]) or None, " ".join(text.split())


def bundled_names() -> list[str]:
    """List the models that ship, for a shell that completes a name."""
    from uadtools.models.checkpoint import bundled

    return [path.stem for path in bundled()]


def recipe_names() -> list[str]:
    """List the recipes that ship, for a shell that completes a name."""
    from uadtools.training.recipe import names

    return names()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uadtools {__version__}")
        raise typer.Exit


def _check_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise typer.BadParameter(f"{name}: there are auto, cpu, cuda, cuda:N and mps")
    return name


INPUTS = argument("""IN
    Images (NIfTI, .mgz, .nrrd), folders and lists (.txt, .csv, .jsonl) of them, or - for a stream on standard input
    (which no IN means, too).""")
OUTPUT = option("""--output -o OUT
    A file (.nii or .nii.gz), a folder (any other name), or - for a stream on standard output. Default: files in the
    current folder, named after the input; a stream if the input is one.""")
FORCE = flag("--force  Replace files that exist.")
JSON = flag("--json  Write the result as JSON to standard output.")
QUIET = flag("--quiet -q  Say nothing but errors; no progress bar.")
VERBOSE = flag("--verbose -v  Say what is done, on standard error.")
VERSION = flag("--version  Show the version.", callback=_show_version, is_eager=True)
PROVENANCE = option(
    """--provenance/--no-provenance
    Keep the history and the chain of grids in a header extension, and beside files as JSON. Some foreign tools cannot
    read a piped image with an extension; without it --native is impossible.""",
    True,
)
ANONYMOUS = flag("""--anonymous
    Call the scan after the output's file, and name no file in what is written.""")
VOLUME = option("--volume N  Which volume of a 4-D image, counted from 0.", min=0)
GEOMETRY = option(f"""--geometry {choices(Form)}
    Where a scan lies whose header contradicts itself: sform, qform; pixdim where it has neither, so that left and right
    are a guess. Default: sform, and what is strange is told.""")
NAN = option("""--nan X
    What NaN in a scan become, such as 0. Default: background, where they surround the scan; others are refused.""")
SERIES = option("--series N|UID|NAME  Which series of a folder of DICOM that holds several.")
SEED = option("--seed N  The same seed gives the same result.", 0, min=0, max=2**63 - 1)
DEVICE = option("--device auto|cpu|cuda|cuda:N|mps  Where torch computes.", "auto", callback=_check_device)
PRECISION = option(
    f"""--precision {choices(Precision)}
    What torch computes in; auto: bf16 where the hardware multiplies in it, else fp32.""",
    "auto",
)
STRICT = flag("""--strict
    Leave with exit status 3 where something speaks against a result, such as a scan that is unlike what the model
    learnt from (the concerns in --json); what is made is written.""")
KEEP_NAMES = flag("""--keep-names
    Call scans by the names of their files; they may be patients' names. Default: Scan, or Scan 1, 2, ...""")
BATCH = option("--batch N  Slices at a time, which small scans share; 0: what suits the device.", 0, min=0)
LABEL = option("""--label N...
    The labels of the truth that count as lesion. Default: all; of a truth with the labels 1 and 2, as in the WMH
    challenge, 1, and 2 counts neither way.""")
IGNORE = option("--ignore N...  The labels of the truth that count neither way.")

FEATURES = option("""--features FILE|MODEL
    Look at healed scans by these features, LPIPS' (uad-models import --from lpips) or those of a model that
    removes noise, such as t1-ddpm: how far scan and healed are apart, and how well it was restored.""")
NORMAL = option("""--normal FILE...
    Prepared scans of healthy people, none of PRED's: add how much nearer to them, as a set, the healed scans are
    than the scans; with --features.""")

BIDS = option("""--bids DIR
    Take what the step before made in DIR, a data set of BIDS derivatives, and write into it, or into that of -o;
    what is done is skipped.""")
SUFFIX = option("--suffix NAME  Which scans of it. Default: T1w.")

# the chain from score to detection
MEDIAN = option(
    "--median SIZE  Median filter of SIZE x SIZE x SIZE voxels; 1: none. Default: the model's, else 5.", min=1
)
SMOOTH = option(
    """--smooth SIGMA
    Smooth with a Gaussian of this deviation in voxels, after the median; 0: none. Default: the model's, else 0.""",
    min=0,
    max=100,
)
ERODE = option(
    """--erode N
    Take N layers of voxels off the brain, where skull stripping leaves its traces. Default: the model's, else 3.""",
    min=0,
)
MIN_SIZE = option("--min-size N  Drop components of fewer than N voxels. Default: the model's, else 7.", min=0)
DILATE = option("--dilate N  Add N layers of voxels to what was found. Default: 0.", min=0)
LARGEST: Any = option("--largest  Keep only the largest component.")
