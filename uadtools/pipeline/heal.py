"""uad-heal: turn a scan into the healthy scan that the model believes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadtools import methods
from uadtools.diffusion.process import Prediction
from uadtools.errors import UadError
from uadtools.methods.combine import Rule, combine
from uadtools.models.checkpoint import DEFAULT
from uadtools.models.config import IntensityConfig, ModelConfig, parse
from uadtools.models.model import Model
from uadtools.noise.source import SliceNoise
from uadtools.volume.intensity import inside
from uadtools.volume.io import Image
from uadtools.volume.slices import filled, from_network, to_network, to_slices, to_volume
from uadtools.volume.stream import Study, record

Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """How to heal: the method's options for each t, the draws per t, and how they are combined."""

    method: str
    options: tuple[Any, ...]
    samples: int = 1
    combine: Rule = "mean"

    @property
    def evaluations(self) -> int:
        """Network evaluations per slice."""
        return self.samples * sum(int(o.evaluations) for o in self.options)

    @property
    def arguments(self) -> dict[str, Any]:
        first = {f.name: getattr(self.options[0], f.name) for f in fields(self.options[0])}
        return {
            "method": self.method,
            **first,
            "t": [o.t for o in self.options],
            "samples": self.samples,
            "combine": self.combine,
        }


def plan(
    config: ModelConfig,
    *,
    method: str | None = None,
    t: Sequence[int] = (),
    samples: int | None = None,
    combine: Rule = "mean",
    **options: Any,
) -> Plan:
    """Settle how to heal; what is not given is the model's default, or the paper's where the model has none.

    options: the method's own, such as steps and eta. Raises UadError when they do not fit the method or the model.
    """
    name = method or config.defaults.method
    module = methods.get(name)
    if config.kind not in module.KINDS:
        able = ", ".join(methods.able(config.kind)) or "none of this version"
        raise UadError(f"--method {name} does not work with models of kind '{config.kind}' (this one can do: {able})")
    known = {f.name for f in fields(module.Options)}
    given = {key: value for key, value in options.items() if value is not None}
    if unknown := given.keys() - known:
        raise UadError(f"--{', --'.join(sorted(unknown))} has no effect with --method {name} (leave it out)")
    ours = name == config.defaults.method
    steps = tuple(t) or (config.defaults.t if ours else (module.Options().t,))
    if bad := [s for s in steps if not 0 <= s < config.schedule.steps]:
        raise UadError(f"-t {bad[0]}: outside 0 to {config.schedule.steps - 1}, the model's steps")
    if len(set(steps)) < len(steps):
        raise UadError(f"-t {' -t '.join(map(str, steps))}: the same step twice (--samples draws a step several times)")
    chosen = tuple(module.Options(t=s, **given) for s in steps)
    if too_long := [o for o in chosen if not 1 <= o.evaluations <= o.t + 1]:
        raise UadError(f"--steps {too_long[0].evaluations}: from -t {too_long[0].t} there are 1 to {too_long[0].t + 1}")
    count = samples if samples is not None else (config.defaults.samples if ours and not t else 1)
    if count < 1:
        raise UadError(f"--samples {count}: at least 1 is needed")
    return Plan(name, chosen, count, combine)


def heal(
    study: Study,
    model: Model,
    how: Plan | None = None,
    *,
    seed: int = 0,
    batch: int = 0,
    model_name: str = "",
    watch: Watch = lambda done, total: None,
) -> Study:
    """Heal a study's scan; adds `healed`, and `spread` (standard deviation over the draws) where there are several.

    study: scan and, where it has one, brain (else the brain is where the scan is above 0), on the model's grid. batch:
    slices at a time, 0 for a size that suits the device. watch: told the evaluations done and to do. What a slice gets
    depends on seed, its position, t and the draw alone. Raises UadError when the scan was not prepared for the model.
    """
    how = how or plan(model.config)
    scan = study.need("scan")
    brain = _brain(study, scan)
    check_prepared(scan, brain, model.config, study.name)
    positions = filled(brain)
    x = to_slices(scan.data)[positions]
    draws = _draws(model, x, positions, how, seed, batch or (64 if model.device.type == "cuda" else 16), watch)
    per_t = draws.mean(axis=1, dtype=np.float64).astype(np.float32)
    provenance = record(
        scan,
        "uad-heal",
        how.arguments,
        seed=seed,
        model=model_name or model.config.name,
        threshold=_threshold(how, model.config),
    )
    start = replace(scan, provenance=provenance)
    made = [start.derive(inside(_placed(combine(x, per_t, how.combine), positions, scan), brain), "healed")]
    if draws.shape[0] * draws.shape[1] > 1:
        spread = draws.reshape(-1, *x.shape).std(axis=0)
        made.append(start.derive(np.where(brain, _placed(spread, positions, scan), 0).astype(np.float32), "spread"))
    return study.adding(*made)


def _threshold(how: Plan, config: ModelConfig) -> float | None:
    """The model's detection threshold for this way of healing, if it has one."""
    steps = [options.t for options in how.options]
    draws = f" x{how.samples}" if how.samples > 1 else ""
    known = config.defaults.thresholds.get(f"{how.method} {','.join(map(str, steps))}{draws}")
    plain = tuple(type(options)(t=options.t) for options in how.options)
    return known if how == Plan(how.method, plain, how.samples) else None


def _brain(study: Study, scan: Image) -> NDArray[np.bool_]:
    if "brain" not in study.images:
        return np.asarray(scan.data > 0)
    brain = study.images["brain"]
    if not brain.grid.same(scan.grid):
        raise UadError(f"{study.name}: the brain mask has another grid ({brain.grid}) than the scan ({scan.grid})")
    return np.asarray((brain.data > 0) & (scan.data > 0))


def check_prepared(scan: Image, brain: NDArray[np.bool_], config: ModelConfig, name: str) -> None:
    """Raise UadError, with the command that helps, unless the scan lies on the model's grid and in [0, 1]."""
    low, high = float(scan.data.min()), float(scan.data.max())
    fits = not config.grid.misfit(scan.grid) and low >= 0 and high <= 1
    window = _window(scan)
    other = window is not None and window.kind != "none" and str(window) != str(config.intensity)
    if not fits or other:
        option = "" if config.name == DEFAULT else " --model MODEL"
        raise UadError(
            f"{name}: not prepared for model {config.name}: {scan.grid}, values {low:g} to {high:g}{_by(window)}; the "
            f"model wants {config.grid}, values 0 to 1{_by(config.intensity)} "
            f"(uad-preprocess SCAN{option} -o - | uad-heal{option} -o OUT.nii.gz)"
        )
    if not brain.any():
        raise UadError(f"{name}: no voxel above background (is this the right file?)")
    if (scan.data == scan.data[0, 0, 0]).all() or np.ptp(scan.data[brain]) == 0:
        raise UadError(f"{name}: all one value inside the brain (is this the right file?)")


def _window(scan: Image) -> IntensityConfig | None:
    """Return how uad-preprocess made the intensities; None for a scan that somebody else prepared."""
    lines = [line for line in scan.provenance.get("history", []) if line.get("tool") == "uad-preprocess"]
    try:
        return parse(IntensityConfig, lines[-1]["arguments"]["intensity"], "") if lines else None
    except (UadError, KeyError, TypeError):
        return None


def _by(window: IntensityConfig | None) -> str:
    return "" if window is None else f" by {window}"


@dataclass(frozen=True)
class _Watched:
    """A model that tells how many slices it was asked about."""

    model: Model
    tick: Callable[[int], None]

    @property
    def schedule(self) -> Any:
        return self.model.schedule

    def predict(self, x_t: Tensor, t: int, *, clamp: bool = False) -> Prediction:
        made = self.model.predict(x_t, t, clamp=clamp)
        self.tick(len(x_t))
        return made


def _draws(  # noqa: PLR0917
    model: Model, x: NDArray[np.float32], positions: NDArray[np.intp], how: Plan, seed: int, batch: int, watch: Watch
) -> NDArray[np.float32]:
    """Heal every slice for every t and draw. x: (S, 1, H, W) in [0, 1]. Returns (T, K, S, 1, H, W) in [0, 1]."""
    module = methods.get(how.method)
    total, done = how.evaluations * len(x), 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        watch(done, total)

    asked = _Watched(model, tick)
    draws = np.empty((len(how.options), how.samples, *x.shape), dtype=np.float32)
    for i, options in enumerate(how.options):
        for k in range(how.samples):
            for start in range(0, len(x), batch):
                part = slice(start, start + batch)
                keys = [(seed, int(z), options.t, k) for z in positions[part]]
                noise = SliceNoise(model.config.noise, (x.shape[2], x.shape[3]), keys, model.device)
                slices = torch.from_numpy(to_network(x[part])).to(model.device)
                healed = module.heal(asked, slices, options, noise).healed
                draws[i, k, part] = from_network(healed.cpu().numpy())
    return draws


def _placed(slices: NDArray[np.float32], positions: NDArray[np.intp], scan: Image) -> NDArray[np.float32]:
    """Put slices back at their positions in a volume; the others are 0."""
    depth = scan.data.shape[2]
    full = np.zeros((depth, *slices.shape[1:]), dtype=np.float32)
    full[positions] = slices
    return to_volume(full)
