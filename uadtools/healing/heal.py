"""uad-heal: turn a scan into the healthy scan that the model believes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadtools import methods
from uadtools.anatomy.intensity import inside
from uadtools.errors import UadError
from uadtools.grids.slices import filled, to_slices, to_solid, to_volume
from uadtools.healing.choice import ready
from uadtools.healing.combine import combine
from uadtools.healing.engines import load_once
from uadtools.healing.expected import expected_of, on_grid
from uadtools.healing.likeness import noted
from uadtools.healing.plan import Plan, Watch
from uadtools.healing.plan import plan as settle_plan
from uadtools.healing.recommended import detection
from uadtools.models.checkpoint import DEFAULT, bundled, read_config
from uadtools.models.config import IntensityConfig, ModelConfig, parse
from uadtools.models.exported import ExportedModel
from uadtools.volume.io import Image
from uadtools.volume.roles import in_channel
from uadtools.volume.stream import Study, last_by, record, study_of

if TYPE_CHECKING:
    from uadtools.healing.batches import HealedSlices, ScanSlices
    from uadtools.models.model import Model

    Loaded = Model | ExportedModel


TOGETHER = "uad-preprocess SCAN --channel NAME=FILE"


def heal(
    study: Study | Image,
    model: Loaded | Path | str | None = None,
    how: Plan | None = None,
    *,
    condition: Study | None = None,
    seed: int = 0,
    batch: int = 0,
    watch: Watch = lambda done, total: None,
    **options: Any,
) -> Study:
    """Heal a study's scan; adds `healed`, the method's maps, and `spread` (deviation over draws) where there are more.

    A method that heals nothing adds its maps alone, the one that says how anomalous each voxel is in front.

    study: scan and, where it has one, brain (else the brain is where the scan is above 0). model: a file, a bundled
    model's name, or none for the bundled one that does the method and suits the scan; the scan is then prepared
    first, as uad-preprocess would by default, unless it was. A loaded model wants a scan that was prepared for it.
    options: of uad-heal, such as method="sss" and t=300 (see `plan`), in place of `how`, which has them settled. batch:
    slices at a time, 0 for a size that suits the device. condition: a prepared image on the scan's grid to condition
    the model on in the scan's place (cddpm). watch: told the evaluations done and to do. What a slice gets depends on
    seed, its position, t and the draw alone. Raises UadError when scan, model and options do not fit.
    """
    if how and options:
        raise UadError(f"{', '.join(options)}: the plan is settled (name options, or give a plan)")
    study = study_of(study)
    if isinstance(model, str | Path) or (model is None and how is None):
        study, path = ready(study, model, how.method if how else options.get("method"))
        how = how or settle_plan(read_config(path) if path else None, **options)
        model = load_once(path, how) if path else None
    how = how or settle_plan(model.config if model else None, **options)
    return heal_together([study], model, how, condition=condition, seed=seed, batch=batch, watch=watch)[0]


def _comparing_by(features: Path, model: Loaded) -> Loaded:
    """Return the model with other features by which it compares images."""
    from uadtools.models.features import load_features
    from uadtools.models.model import Model

    assert isinstance(model, Model)  # an exported one heals as its options were when it was exported
    return replace(model, features=load_features(features, model.device))


def heal_together(
    studies: Sequence[Study],
    model: Loaded | None = None,
    how: Plan | None = None,
    *,
    condition: Study | None = None,
    seed: int = 0,
    batch: int = 0,
    watch: Watch = lambda done, total: None,
) -> list[Study]:
    """Heal several studies as heal() does one; their slices share batches, which moves last bits at most."""
    how = how or settle_plan(model.config if model else None)
    if not methods.needs_model(how.method):
        return [study.adding(_by_itself(study, how)) for study in studies]
    if model is None:
        raise UadError(f"--method {how.method} needs a model")
    if features := getattr(how.options[0], "features", None):
        model = _comparing_by(Path(features), model)
    scans = [slices_of(study, model) for study in studies]
    if condition:
        pairs = [(one, _condition(condition, study, how, model)) for one, study in zip(scans, studies, strict=True)]
        scans = [replace(one, condition=_cut(images, one.positions, model)) for one, images in pairs]
    healed_slices, fits = _healed_slices(model, scans, how, seed=seed, batch=batch, watch=watch)
    arguments = how.arguments | ({"condition": condition.name} if condition else {})
    notes: dict[str, Any] = {"seed": seed, "model": model.name or model.config.name, "engine": model.ENGINE}
    notes |= detection(how, model.config)
    notes |= {"maps": list(how.maps)} if how.maps else {}
    notes |= {} if how.heals else {"product": how.product}
    notes |= {"contrasts": list(model.config.contrasts)} if model.channels > 1 else {}
    healed = []
    for study, scan_slices, slices, fit in zip(studies, scans, healed_slices, fits, strict=True):
        scan = study.need("scan")
        said = noted(study, _brain(study, scan), model.config)
        provenance = record(scan, "uad-heal", arguments, **notes, **fit) | said
        healed.append(_with_healed(study, scan_slices, slices, how, model, provenance))
    return healed


def slices_of(study: Study, model: Loaded) -> ScanSlices:
    """Return the slices of a study to heal. Raises UadError as heal() does."""
    from uadtools.healing.batches import ScanSlices

    positions = positions_of(study, model)
    return ScanSlices(_cut(_seen(study, model.config), positions, model), positions)


def _healed_slices(
    model: Loaded, scans: Sequence[ScanSlices], how: Plan, **settings: Any
) -> tuple[list[HealedSlices], list[dict[str, Any]]]:
    """Heal the slices of scans, and say what is to be noted of each alone."""
    from uadtools.healing.batches import heal_slices

    if not how.adapt:
        return heal_slices(model, scans, how, **settings), [{} for _ in scans]
    from uadtools.healing.adapt import heal_adapted

    assert not isinstance(model, ExportedModel)  # engines has none for it
    pairs = [heal_adapted(model, scan, how, **settings) for scan in scans]
    return [healed for healed, _ in pairs], [{"adapted": fit} for _, fit in pairs]


def positions_of(study: Study, model: Loaded) -> NDArray[np.intp]:
    """Return the z of the slices to heal; 0 for a volume that is healed whole. Raises UadError as heal() does."""
    check_prepared(study, model.config)
    scan, others = study.need("scan"), _seen(study, model.config)[1:]
    study.check_grids(scan, *others, advice=f"prepare them together: {TOGETHER}")
    for image in others:
        _check_range(image, f"{study.name}: {image.role}", TOGETHER)
    return np.zeros(1, np.intp) if model.config.solid else filled(_brain(study, scan))


def _seen(study: Study, config: ModelConfig) -> list[Image]:
    """Return a study's scan, in all contrasts that a model sees. Raises UadError where one is missing."""
    return [study.need("scan"), *study.of_contrasts(config.contrasts[1:])]


def _cut(images: Sequence[Image], positions: NDArray[np.intp], model: Loaded) -> NDArray[np.float32]:
    """Return slices of images, their channels, (S, C, H, W); of a volume that is healed whole (1, 1, D, H, W)."""
    if model.config.solid:
        return to_solid(images[0].data)
    return np.concatenate([to_slices(image.data)[positions] for image in images], axis=1)


def _with_healed(
    study: Study, slices: ScanSlices, healed: HealedSlices, plan: Plan, model: Loaded, provenance: dict[str, Any]
) -> Study:
    """Give a study what its healed slices come to: the product and the maps, 0 outside the brain."""
    scan = study.need("scan")
    brain, image, images = _brain(study, scan), replace(scan, provenance=provenance), list[Image]()
    if plan.heals:
        per_t = healed.x.mean(axis=1, dtype=np.float64).astype(np.float32)
        combined = combine(slices.x, per_t, plan.combine)
        for channel, name in enumerate(("", *model.config.contrasts[1:])):
            volume = _placed(combined[:, channel : channel + 1], slices.positions, scan)
            images.append(image.derive(inside(volume, brain), in_channel("healed", name)))
    maps = {role: healed.maps[role] for role in sorted(healed.maps, key=lambda role: role != plan.product)}
    if model.expected and plan.expected:
        expected = on_grid(expected_of(scan, brain, model.expected), scan.data.shape)
        images.append(image.derive(np.where(brain, expected, 0).astype(np.float32), "expected"))
    if healed.x.shape[0] * healed.x.shape[1] > 1:
        maps["spread"] = healed.x.reshape(-1, *healed.x.shape[2:]).std(axis=0).mean(axis=1, keepdims=True)
    for role, values in maps.items():
        placed = _placed(values, slices.positions, scan)
        images.append(image.derive(np.where(brain, placed, 0).astype(np.float32), role))
    return study.adding(*images)


def _by_itself(study: Study, plan: Plan) -> Image:
    """Heal a scan without a model. Raises UadError unless its values are those of a prepared scan."""
    scan, name = study.need("scan"), study.name
    brain = _brain(study, scan)
    _check_range(scan, name, f"uad-preprocess SCAN -o - | uad-heal --method {plan.method} -o OUT.nii.gz")
    _check_contents(scan, brain, name)
    healed = methods.get(plan.method).heal(scan, brain, plan.options[0])
    start = replace(scan, provenance=record(scan, "uad-heal", plan.arguments))
    return start.derive(inside(healed, brain), "healed")


def _condition(condition: Study, study: Study, plan: Plan, model: Loaded) -> list[Image]:
    """Return what to condition on, in all channels. Raises UadError when it does not fit the scan or the method."""
    check_conditioned(plan)
    scan, images = study.need("scan"), [condition.product, *condition.of_contrasts(model.config.contrasts[1:])]
    for image in images:
        if not image.grid.same(scan.grid):
            raise UadError(f"{condition.name}: has another grid than the scan: {image.grid.unlike(scan.grid)}")
        _check_range(image, condition.name, "uad-preprocess")
    return images


def check_conditioned(plan: Plan) -> None:
    """Raise UadError for a method that is not conditioned on an image."""
    if "condition" not in signature(methods.get(plan.method).heal).parameters:
        raise UadError(f"--condition has no effect with --method {plan.method} (leave it out)")


def _brain(study: Study, scan: Image) -> NDArray[np.bool_]:
    return study.brain(scan) & (scan.data > 0)


def check_prepared(study: Study, config: ModelConfig, among: Sequence[str] = ()) -> None:
    """Raise UadError, with the command that helps, unless the scan lies on the model's grid and in [0, 1].

    among: names of the models of which the scan gets the one that suits it; none: it is this one.
    """
    scan, name = study.need("scan"), study.name
    low, high = _range(scan)
    fits = not config.grid.misfit(scan.grid) and low >= 0 and high <= 1
    window = _window(scan)
    other = window is not None and window.kind != "none" and str(window) != str(config.intensity)
    if not fits or other:
        shipped = config.name in [path.stem for path in bundled()]
        option = "" if among or config.name == DEFAULT else f" --model {config.name if shipped else 'MODEL'}"
        model = f"the one of {', '.join(among)} that suits it" if among else f"model {config.name}"
        raise UadError(
            f"{name}: not prepared for {model}: {scan.grid}, values {low:g} to {high:g}{_by(window)}; the "
            f"model wants {config.grid}, values 0 to 1{_by(config.intensity)} "
            f"(uad-preprocess SCAN{option} -o - | uad-heal{option} -o OUT.nii.gz)"
        )
    _check_contents(scan, _brain(study, scan), name)


def _range(scan: Image) -> tuple[float, float]:
    return float(scan.data.min()), float(scan.data.max())


def _check_range(image: Image, name: str, advice: str) -> None:
    low, high = _range(image)
    if low < 0 or high > 1:
        raise UadError(f"{name}: not prepared: values {low:g} to {high:g}, expected 0 to 1 ({advice})")


def _check_contents(scan: Image, brain: NDArray[np.bool_], name: str) -> None:
    """Raise UadError unless there is a brain, and something in it."""
    if not brain.any():
        raise UadError(f"{name}: no voxel above background (is this the right file?)")
    if (scan.data == scan.data[0, 0, 0]).all() or np.ptp(scan.data[brain]) == 0:
        raise UadError(f"{name}: all one value inside the brain (is this the right file?)")


def _window(scan: Image) -> IntensityConfig | None:
    """Return how uad-preprocess made the intensities; None for a scan that somebody else prepared."""
    prepared = last_by(scan, "uad-preprocess")
    try:
        return parse(IntensityConfig, prepared["arguments"]["intensity"], "") if prepared else None
    except (UadError, KeyError, TypeError):
        return None


def _by(window: IntensityConfig | None) -> str:
    return "" if window is None else f" by {window}"


def _placed(slices: NDArray[np.float32], positions: NDArray[np.intp], scan: Image) -> NDArray[np.float32]:
    """Put slices back at their positions in a volume; the others are 0. A volume that was healed whole is one."""
    if slices.ndim == 5:
        return to_volume(slices[0, 0, :, None])
    full = np.zeros((scan.data.shape[2], *slices.shape[1:]), dtype=np.float32)
    full[positions] = slices
    return to_volume(full)
