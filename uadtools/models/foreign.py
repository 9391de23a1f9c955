"""Reading checkpoints of other programs: their weights by our names, and what they tell of the model's settings."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from uadtools.errors import UadError
from uadtools.files import DEEPEST
from uadtools.models import foreign_names as names
from uadtools.models.checkpoint import read_tensors
from uadtools.models.config import Settings
from uadtools.models.foreign_programs import CODEBOOK, CONDITIONED, FIRST, Program

if TYPE_CHECKING:
    from torch import Tensor

_FAULTS = (LookupError, ArithmeticError, ValueError, TypeError, RuntimeError)
_AVERAGED = r"(^|[._])ema[._]"
"""In the name of what holds averaged weights, which are preferred."""

LEARNED = "the network tells its learned variance, too, which uad-heal --method ddpm takes"


@dataclass(frozen=True)
class Foreign:
    """A checkpoint's weights by our names; the settings that it tells; and what is to be said of it."""

    weights: dict[str, Tensor]
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def read_foreign(path: Path, program: Program, channels: int = 1) -> Foreign:
    """Read a checkpoint of another program. Code in it is never run.

    channels: that its network takes and gives, one for each contrast. Raises UadError for a file that is no checkpoint
    or would need its code, and for a network that we do not have.
    """
    tensors = read_weights(path)
    try:
        foreign = _of_program(tensors, program, channels)
    except UadError as error:
        raise UadError(f"{path}: {error}") from None
    except _FAULTS as error:
        raise UadError(f"{path}: its weights are not those of a network of {program} ({error})") from None
    check_finite(path, foreign.weights)
    return foreign


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by the names of the tables they are in. Raises UadError as read_foreign."""
    try:
        _check_packing(path)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None
    found = read_tensors(path) if path.suffix == ".safetensors" else _unpickled(path)
    try:
        return dict(_tensors(found))
    except UadError as error:
        raise UadError(f"{path}: {error}") from None


def check_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise UadError for weights that are no numbers."""
    learnt = {name: value.float() for name, value in weights.items() if value.is_floating_point()}
    bad = [name for name, value in learnt.items() if not value.isfinite().all()]
    if bad:
        raise UadError(f"{path}: {bad[0]} holds NaN or infinity (was its training cut short?)")


def check_fit(settings: Settings, weights: Mapping[str, Tensor], where: str) -> None:
    """Raise UadError that names weights which are missing, too many or of another shape than the settings say."""
    import torch

    from uadtools.models.model import build

    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in build(settings, where).state_dict().items()}
    shapes = _shapes(weights)
    faults = {
        "without": sorted(expected.keys() - shapes.keys()),
        "with unknown": sorted(shapes.keys() - expected.keys()),
        "of another shape:": [
            f"{name} {shapes[name]} instead of {shape}"
            for name, shape in expected.items()
            if shapes.get(name, shape) != shape
        ],
    }
    if lines := [f"{what} {_few(which)}" for what, which in faults.items() if which]:
        raise UadError(f"{where}: not the network that its shapes and settings say: {'; '.join(lines)}")


def _few(which: list[str]) -> str:
    return ", ".join(which[:3]) + (f" and {len(which) - 3} more" if len(which) > 3 else "")


def _unpickled(path: Path) -> Any:
    """Read a pickle in which there is nothing but tensors and plain containers."""
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch says anything of a damaged file: struct.error, AssertionError, OSError
        named = re.search(r"GLOBAL (?:<class ')?([\w.]+)", str(error))
        if not named:
            raise UadError(f"{path}: not a checkpoint of torch.save, or cut short") from None
        raise UadError(
            f"{path}: refused, because it holds {named[1]}, which is not opened without running code (in its own "
            "program, save the plain weights: torch.save(model.state_dict(), FILE))"
        ) from None


def _check_packing(path: Path) -> None:
    """Raise UadError for an archive that unpacks to more than it is, as torch.save writes none; OSError for no file."""
    with path.open("rb") as file:
        try:
            entries = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise UadError(f"{path}: a compressed archive, which torch.save does not write (refused)")


def _tensors(data: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """List the tensors in what a program saved, by the names of the tables they are in.

    Raises UadError for tables without end, and for what `_check_plain` refuses.
    """
    import torch

    if isinstance(data, torch.Tensor):
        _check_plain(name, data)
        yield name, data
    elif isinstance(data, dict):
        if depth > DEEPEST:
            raise UadError("tables without end in one another (save a state dict)")
        for key, value in data.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key), depth + 1)


def _check_plain(name: str, data: Tensor) -> None:
    """Raise UadError for a tensor whose numbers are not all there, or no real ones."""
    import torch

    if data.layout != torch.strided:
        raise UadError(f"{name} is no plain tensor but {data.layout} (save it with .to_dense())")
    if data.is_quantized or data.is_complex() or data.device.type != "cpu":
        raise UadError(f"{name} is no plain tensor but of {data.dtype} on {data.device} (save it with .float())")
    if data.numel() * data.element_size() > data.untyped_storage().nbytes():
        raise UadError(f"{name} has {data.numel():,} numbers, and fewer are stored (save it with .contiguous())")


def _of_program(tensors: dict[str, Tensor], program: Program, channels: int) -> Foreign:
    if program == "monai" and (books := _prefixes(tensors, names.FIRST_OF_CODEBOOK)):
        return _codebook(_within(tensors, _one(books)))
    theirs = _within(tensors, _prefix(tensors, program))
    _refuse(theirs, program)
    weights = _monai(theirs) if program == "monai" else {names.of_guided(key): value for key, value in theirs.items()}
    shapes = dict(_shapes(weights))
    learned = program == "guided-diffusion" and shapes.get("out_conv.weight", (1,))[0] == 2 * channels
    if learned:  # the second half of the output tells the variance
        shapes |= {name: (channels, *shapes[name][1:]) for name in ("out_conv.weight", "out_conv.bias")}
    _refuse_shapes(shapes, channels)
    network = names.unet_sizes(shapes) | ({"variance": "learned"} if learned else {})
    settings: dict[str, Any] = {"network": network, **_schedule(tensors)}
    if program in CONDITIONED:
        encoder = _encoder(tensors)
        settings["encoder"] = names.encoder_sizes(_shapes(encoder))
        weights = {f"unet.{k}": v for k, v in weights.items()} | {f"encoder.{k}": v for k, v in encoder.items()}
    return Foreign(weights, settings, [LEARNED] if learned else [])


def _shapes(weights: Mapping[str, Tensor]) -> names.Shapes:
    return {name: tuple(value.shape) for name, value in weights.items()}


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _prefixes(keys: Iterable[str], first: str) -> list[str]:
    """List what stands before a network's first weight: one prefix for each network there is."""
    prefixes = [key.removesuffix(first) for key in keys if key.endswith(first)]
    return sorted(prefix for prefix in prefixes if not prefix or prefix.endswith("."))


def _one(prefixes: list[str]) -> str:
    """Return the only prefix, or that of averaged weights. Raises UadError when there are more."""
    best = [prefix for prefix in prefixes if re.search(_AVERAGED, prefix)] or prefixes
    if len(best) > 1:
        raise UadError(f"several networks: {', '.join(prefix or 'one at the top' for prefix in best)} (save only one)")
    return best[0]


def _prefix(tensors: dict[str, Tensor], program: Program) -> str:
    """Return what stands before the network's weights. Raises UadError when it is not there."""
    if prefixes := _prefixes(tensors, FIRST[program]):
        return _one(prefixes)
    others = [other for other, first in FIRST.items() if _prefixes(tensors, first)]
    hint = f" (it looks like one of --from {' or '.join(others)})" if others else ""
    raise UadError(f"no network of {program} in it{hint}" if tensors else "no weights in it (save a state dict)")


def _refuse(weights: Mapping[str, Tensor], program: Program) -> None:
    """Raise UadError for a network that needs more than an image and a step, or is not told to be conditioned."""
    if "label_emb.weight" in weights or "class_embedding.weight" in weights:
        raise UadError("a class-conditional network, which is not supported")
    if any("transformer_blocks" in key for key in weights):
        raise UadError("a network with cross-attention, which is not supported")
    conditioned = "label_emb.0.weight" in weights
    if conditioned and program not in CONDITIONED:
        raise UadError("a network with an image's code as condition (--from cddpm reads it)")
    if program in CONDITIONED and not conditioned:
        raise UadError("a network without a condition (--from pddpm --set kind=diffusion reads it)")


def _refuse_shapes(shapes: names.Shapes, channels: int) -> None:
    first, last = names.shape_of(shapes, "first.weight"), names.shape_of(shapes, "out_conv.weight")
    if len(first) != 4:
        raise UadError(f"a {len(first) - 2}-D network; only 2-D ones are supported")
    if first[1] != channels:
        raise UadError(
            f"a network that takes {first[1]} channels and not {channels}: colour and super-resolution are not "
            'supported, several contrasts have to be named (--set \'contrasts=["T1", "FLAIR"]\')'
        )
    if last[0] != channels:
        raise UadError(f"a network that gives {last[0]} channels and not {channels}, which is not supported")


def _monai(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name MONAI's weights as ours, and make one convolution of its three linear layers of attention."""
    import torch

    fused = {key: value for key, value in tensors.items() if not re.search(r"\.to_[qkv]\.", key)}
    for key in tensors:
        if ".to_q." in key:
            parts = [tensors[key.replace("to_q", f"to_{part}")] for part in "qkv"]
            fused[key.replace("to_q", "qkv")] = torch.cat(parts)
    fused = {k: v[..., None] if v.ndim == 2 and "attention" in k else v for k, v in fused.items()}
    blocks = names.monai_res_blocks(fused)
    renamed = {names.of_monai(key, blocks): value for key, value in fused.items()}
    numbered = names.with_last_numbered(renamed)
    return {numbered[key]: value for key, value in renamed.items()}


def _codebook(tensors: dict[str, Tensor]) -> Foreign:
    """Name the weights of MONAI's VQ-VAE as ours."""
    our_names = names.of_codebook(_shapes(tensors))
    weights = {our_names.get(key, key): value for key, value in tensors.items()}
    return Foreign(weights, {"kind": CODEBOOK, "network": names.codebook_sizes(_shapes(weights))})


def _encoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefixes = _prefixes(tensors, names.FIRST_OF_ENCODER)
    if not prefixes:
        raise UadError(
            "no ResNet encoder in it; the condition cannot be told without (save it with the U-Net's weights)"
        )
    return {names.of_encoder(key): value for key, value in _within(tensors, _one(prefixes)).items()}


def _schedule(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Tell the schedule from the betas that a program may save with its weights. Raises UadError for another one."""
    import numpy as np

    from uadtools.diffusion.schedule import ScheduleKind, betas

    saved = next((value.double().numpy() for key, value in tensors.items() if key.split(".")[-1] == "betas"), None)
    if saved is None:
        return {}
    kinds: tuple[ScheduleKind, ...] = get_args(ScheduleKind)
    for kind in kinds:
        if np.allclose(saved, betas(kind, len(saved)), rtol=1e-3, atol=1e-7):
            return {"schedule": {"kind": kind, "steps": len(saved)}}
    raise UadError(f"a noise schedule that is none of {', '.join(kinds)}, which is not supported")
