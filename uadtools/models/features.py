"""Features of published networks, by which images are compared: made into a file of their own, and read from it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadtools.errors import UadError
from uadtools.files import parse_json
from uadtools.models.checkpoint import (
    FEATURES,
    KEY,
    check_place,
    file_hash,
    located,
    read_metadata,
    read_tensors,
    write_tensors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from uadtools.nets.lpips import Lpips

LAYER = re.compile(r"(?:^|\.)(?:features|slice\d)\.(\d+)\.(weight|bias)$")
LEARNT = re.compile(r"(?:^|\.)lin(\d)\.model\.1\.weight$")
HOW = 'torch.save(lpips.LPIPS(net="alex").state_dict(), FILE) has all'


def named(path: Path) -> str:
    """Return what a file of features is called in provenance, by its name and hash; torch is not loaded.

    Raises UadError when it is none.
    """
    _kind(path)
    return f"{path.name}:{file_hash(path)}"


def import_features(checkpoint: Path, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Make a file of the features by which LPIPS compares images; returns the file, the network, and how it is named.

    checkpoint: AlexNet or VGG16 by torchvision's names of its layers, or by LPIPS' own, and LPIPS' weights of their
    channels. Raises UadError for a file that has not both, or others.
    """
    from uadtools.models.foreign import check_finite, read_weights

    check_place(out, force=force)
    weights = _ours(read_weights(checkpoint))
    kind = _kind_of(weights, checkpoint)
    check_finite(checkpoint, weights)
    weights = {name: value.float() for name, value in weights.items()}
    _built(kind, weights, checkpoint)
    about = {"kind": kind, "checkpoint": checkpoint.name, "sha256": file_hash(checkpoint, 64)}
    write_tensors(out, weights, {FEATURES: json.dumps(about)})
    return {"features": str(out), "network": kind, "name": named(out)}


def load_features(path: Path, device: torch.device) -> Lpips:
    """Load a file of features. Raises UadError when it is none, or damaged."""
    return _loaded(path, named(path), device)


@lru_cache(maxsize=2)
def _loaded(path: Path, name: str, device: torch.device) -> Lpips:
    return _built(_kind(path), read_tensors(path), path).to(device).eval().requires_grad_(False)


def _kind(path: Path) -> Any:
    """Return which network a file holds, as its metadata say. Raises UadError where it holds no features."""
    metadata = read_metadata(located(path))
    try:
        return parse_json(metadata.get(FEATURES, ""))["kind"]
    except (ValueError, LookupError, TypeError):
        what, use = ("a model, which ", "--model takes it; ") if KEY in metadata else ("", "")
        raise UadError(
            f"{path}: {what}holds no features ({use}`uad-models import --from lpips` makes a file of them)"
        ) from None


def _ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name weights as nets.lpips does, and leave out what is not used."""
    layers = {f"features.{m[1]}.{m[2]}": value for key, value in tensors.items() if (m := LAYER.search(key))}
    learnt = {f"weights{m[1]}": value.flatten() for key, value in tensors.items() if (m := LEARNT.search(key))}
    return layers | learnt


def _kind_of(weights: Mapping[str, Tensor], path: Path) -> Any:
    from uadtools.nets.lpips import LAYERS

    places = {int(name.split(".")[1]) for name in weights if name.startswith("features.")}
    kind = next((kind for kind, layers in LAYERS.items() if {*layers.convolutions} == places), None)
    if kind is None:
        raise UadError(f"{path}: no AlexNet or VGG16 with torchvision's or LPIPS' names of its layers in it ({HOW})")
    missing = [f"lin{i}.model.1.weight" for i in range(5) if f"weights{i}" not in weights]
    if missing:
        raise UadError(f"{path}: LPIPS' weights of the channels are not in it, such as {missing[0]} ({HOW})")
    return kind


def _built(kind: Any, weights: Mapping[str, Tensor], path: Path) -> Lpips:
    from uadtools.nets.lpips import LAYERS, Lpips

    try:
        net = Lpips(kind, tuple(len(weights[f"features.{place}.weight"]) for place in LAYERS[kind].convolutions))
        net.load_state_dict(dict(weights))
    except (LookupError, TypeError, RuntimeError) as error:
        problem = str(error).strip().splitlines()[-1].strip()
        raise UadError(f"{path}: not the layers of {kind} ({problem})") from None
    return net
