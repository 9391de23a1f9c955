"""uad-simulate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-simulate scan_preprocessed.nii.gz --kind blobs          writes scan_simulated.nii.gz and scan_truth.nii.gz
  uad-simulate prepared/*.nii.gz -o lesions/ --kind masks --masks expert-masks/ --seed 1
  uad-simulate prepared/*.nii.gz -o strokes/ --kind cavities --masks stroke-masks/
  uad-simulate prepared/*.nii.gz -o tumours/ --kind glioma --tone bright --picture pictures/
  uad-simulate headct.npz:test -o headct/ --kind sprites
  uad-simulate prepared/*.nii.gz -o dark/ --kind contrast --level 2
  uad-simulate prepared/*.nii.gz -o clinical/ --kind thick --level 5
  uad-preprocess scan.nii.gz -o - | uad-simulate --kind blobs --tone bright --size 10,20 | uad-heal | uad-score -o s.nii
"""
Kind = Literal[
    "blobs", "masks", "cavities", "sprites", "coarse", "motion", "ghost", "bias", "contrast", "blur", "thick", "shift",
    "glioma", "crop",
]  # fmt: skip
Tone = Literal["dark", "bright", "both"]
Interpolation = Literal["linear", "spline"]


def simulate(
    inputs: list[str] | None = o.argument("""IN
        NIfTI files, 2-D images (.png, .jpg, .npz), or - for a stream on standard input (which no IN means, too)."""),
    kind: Kind = o.option(
        f"""--kind {o.choices(Kind)}
        What to draw. Lesions: blobs, or those of expert masks; cavities of their shape, filled with fluid as an
        old stroke is; a sprite in every image of a 2-D stack; a glioma: a core of fluid in a solid rim, in a
        halo of oedema along white matter, with tissue pushed away. No lesions, so that the truth is empty:
        coarse noise, the artefacts motion, ghost and bias, another contrast, and scans that were blurred
        (blur), resampled to thick slices and back (thick), shifted by a part of a voxel (shift), or whose field
        of view ends inside the brain (crop).""",
        ...,
    ),
    output: str | None = o.OUTPUT,
    tone: Tone | None = o.option(f"""--tone {o.choices(Tone)}
        Of blobs and masks: as dark as between fluid and grey matter in T1, or brighter than white matter; of a
        glioma: as in T1, or as in FLAIR; both: each at random. Default: dark."""),
    size: str | None = o.option("""--size MIN,MAX
        Diameters of blobs (default 5,30) or of a whole glioma (20,60) in mm, or of sprites in pixels (5,16)."""),
    count: str | None = o.option("--count MIN,MAX  How many blobs in a scan. Default: 1,3."),
    masks: list[str] | None = o.option("""--masks DIR|FILE...
        Lesion masks in MNI space, of which each scan gets one, moved onto the subject; or masks on the scan's own
        grid."""),
    masks_box: str | None = o.option("""--masks-box ms|mni152|BOX
        Where the tissue of the brains lies that masks were drawn on, which is laid over the subject's: ms (default
        for masks), that of the multiple sclerosis masks of Lesjak et al. 2018, whose brains are smaller than the
        template; mni152 (default for cavities), that of brains stretched to the MNI152 template; or
        XMIN,YMIN,ZMIN,XMAX,YMAX,ZMAX in mm of the masks' world."""),
    strength: float | None = o.option("""--strength X
        Of coarse noise and artefacts; 0 changes nothing. Default: 1, the publications'."""),
    level: float | None = o.option("""--level X
        Of contrast: intensities, which are 0 to 1, are raised to this power; 1 changes nothing (default: 2). Of
        blur: the Gaussian's deviation in mm (1). Of thick: of a slice, in mm, along a random axis (3). Of shift:
        in voxels along each axis, forwards or backwards at random (0.5). Of crop: mm cut off a random side (20)."""),
    interpolation: Interpolation | None = o.option(f"""--interpolation {o.choices(Interpolation)}
        Of shift: linear, which blurs, or cubic splines, which overshoot at edges. Default: linear."""),
    copies: int = o.option("--copies N  Draws for each scan, called NAME_1, NAME_2, ...", 1, min=1),
    picture: Path | None = o.option("""--picture FILE|DIR
        Draw the changed scan and its truth; several scans into a folder."""),
    strict: bool = o.STRICT,
    seed: int = o.SEED,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    nan: float | None = o.NAN,
    series: str | None = o.SERIES,
    provenance: bool = o.PROVENANCE,
    anonymous: bool = o.ANONYMOUS,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Draw lesions of known truth, or artefacts, into healthy scans; writes NAME_simulated and NAME_truth."""
    from uadtools.cohort.simulate import simulate_all

    results = simulate_all(
        inputs or "-",
        output,
        kind=kind,
        masks=masks or (),
        copies=copies,
        picture=picture,
        seed=seed,
        volume=volume,
        geometry=geometry,
        nan=nan,
        series=series,
        provenance=provenance,
        anonymous=anonymous,
        force=force,
        as_json=as_json,
        tell=c.teller("uad-simulate", quiet),
        verbose=verbose,
        tone=tone,
        size=_pair(size, "--size", float),
        count=_pair(count, "--count", int),
        strength=strength,
        level=level,
        interpolation=interpolation,
        masks_box=_box(masks_box),
    )
    if as_json:
        c.print_json(results)
    c.leave(results, strict)


def _pair(text: str | None, option: str, number: Callable[[str], float]) -> tuple[float, float] | None:
    """Understand MIN,MAX, or one number for both."""
    if text is None:
        return None
    try:
        ends = [number(word) for word in text.split(",")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2):
        raise c.usage(f"{text}: MIN,MAX is expected, or one number", option)
    return ends[0], ends[-1]


def _box(text: str | None) -> str | tuple[float, ...] | None:
    """Understand six numbers; anything else is the name of a box."""
    try:
        return None if text is None else tuple(float(word) for word in text.split(","))
    except ValueError:
        return text


COMMAND = c.Command(simulate, "uad-simulate", EXAMPLES, ("--masks",))
main = COMMAND.run
