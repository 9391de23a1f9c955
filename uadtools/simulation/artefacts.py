"""Artefacts of MRI: a head that moves, a ghost of it, brightness that drifts. No lesions, but easily taken for some.

Definitions follow TorchIO (Perez-Garcia et al. 2021), and so do the ranges at strength 1. An artefact that changes the
lines of k-space along one axis needs the Fourier transform along that axis only.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Floats = NDArray[np.floating[Any]]
Drawn = dict[str, Any]
Spacing = tuple[float, float, float]

MOVES, DEGREES, MILLIMETRES = 2, 10.0, 10.0
"""How often the head moves, and how far at most about and along each axis."""
GHOSTS, DIMMED, KEPT = (4, 10), (0.5, 1.0), 0.02
"""Fewest and most ghosts n, how much of every n-th line is lost, and the share of lines, in the middle, that is not."""
ORDER, COEFFICIENT = 3, 0.5
"""Of the polynomial that is the logarithm of the drifting brightness, and the largest of its coefficients."""
BRIGHTEST = 99
"""Percentile of the signal that drifting brightness leaves as it is."""


def motion(data: Floats, spacing: Spacing, rng: np.random.Generator, strength: float) -> tuple[Floats, Drawn]:
    """Let the head move twice while k-space is filled, line by line along a random axis.

    data: (X, Y, Z), at least 0; strength: scales angles and distances. The lines of the middle, which make most of the
    image, show the head where it was. The image is the magnitude, as scanners give it; TorchIO takes the real part.
    """
    axis = int(rng.integers(3))
    degrees = strength * rng.uniform(-DEGREES, DEGREES, (MOVES, 3))
    shifts = strength * rng.uniform(-MILLIMETRES, MILLIMETRES, (MOVES, 3))
    times = np.sort(rng.uniform(0, 1, MOVES))
    count = data.shape[axis]
    part = np.searchsorted(times, np.arange(count) / count, side="right")  # which stretch of time a line is from
    lines = _lines(data, axis)
    moved = (k for k in range(MOVES + 1) if k != part[count // 2])
    for k, turn, shift in zip(moved, degrees, shifts, strict=True):
        lines = np.where(_along(part == k, axis), _lines(_moved(data, spacing, turn, shift), axis), lines)
    drawn = {"axis": axis, "times": times.tolist(), "degrees": degrees.tolist(), "millimetres": shifts.tolist()}
    return _image(lines, axis), drawn


def ghost(data: Floats, spacing: Spacing, rng: np.random.Generator, strength: float) -> tuple[Floats, Drawn]:
    """Dim every n-th line of k-space along a random axis, which repeats the head n times along it.

    data: (X, Y, Z), at least 0; strength: scales how much of the lines is lost. The middle lines stay as they are.
    """
    axis, count = int(rng.integers(3)), int(rng.integers(*GHOSTS, endpoint=True))
    dimmed = strength * rng.uniform(*DIMMED)
    size = data.shape[axis]
    line = np.arange(size)
    weight = np.where((line % count == 0) & (np.abs(line - size // 2) > KEPT * size / 2), 1 - dimmed, 1)
    drawn = {"axis": axis, "ghosts": count, "dimmed": dimmed}
    return _image(_lines(data, axis) * _along(weight, axis), axis), drawn


def bias(data: Floats, spacing: Spacing, rng: np.random.Generator, strength: float) -> tuple[Floats, Drawn]:
    """Multiply by a smooth field, exp of a polynomial of third order, and scale so that the brightest tissue stays so.

    data: (X, Y, Z), at least 0; strength: scales the coefficients. The 99th percentile of what is above 0 is kept, as
    scanners and preprocessing would; TorchIO leaves it as it comes.
    """
    axes = [np.linspace(-1, 1, n) for n in data.shape]
    powers = [p for p in product(range(ORDER + 1), repeat=3) if 0 < sum(p) <= ORDER]
    coefficients = strength * rng.uniform(-COEFFICIENT, COEFFICIENT, len(powers))
    log = np.zeros(data.shape)
    for (i, j, k), c in zip(powers, coefficients, strict=True):
        log += c * axes[0][:, None, None] ** i * axes[1][:, None] ** j * axes[2] ** k
    changed = data * np.exp(log)
    signal = data > 0
    kept = np.percentile(data[signal], BRIGHTEST) / np.percentile(changed[signal], BRIGHTEST)
    return changed * kept, {"coefficients": coefficients.tolist()}


Artefact = Callable[[Floats, Spacing, np.random.Generator, float], tuple[Floats, Drawn]]
ARTEFACTS: dict[str, Artefact] = {"motion": motion, "ghost": ghost, "bias": bias}


def _moved(data: Floats, spacing: Spacing, degrees: Floats, shift: Floats) -> Floats:
    """Turn a volume about its middle, and shift it; degrees about and mm along each array axis."""
    matrix = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * np.array(spacing)
    matrix /= np.array(spacing)[:, None]
    middle = (np.array(data.shape) - 1) / 2
    offset = middle - matrix @ middle - shift / np.array(spacing)
    return np.asarray(ndimage.affine_transform(data, matrix, offset, order=1))


def _lines(data: Floats, axis: int) -> NDArray[np.complex128]:
    """Return k-space along one axis, its middle in the middle."""
    return np.asarray(np.fft.fftshift(np.fft.fft(data, axis=axis), axes=axis))


def _image(lines: NDArray[np.complex128], axis: int) -> Floats:
    return np.asarray(np.abs(np.fft.ifft(np.fft.ifftshift(lines, axes=axis), axis=axis)))


def _along(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Lay one value per line along an axis of three."""
    shape = [1, 1, 1]
    shape[axis] = len(values)
    return values.reshape(shape)
