"""Gliomas painted into healthy scans: a core of fluid in a solid rim, in a halo of oedema along white matter.

For tests, and no model of growth: nothing is computed from rates of cells, and none is enhanced by a contrast agent.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from uadtools.errors import UadError
from uadtools.simulation.lesions import (
    MOST_OF_ROOM,
    Floats,
    LesionedScan,
    Levels,
    Mask,
    Tone,
    blob_at,
    lowest,
    paint,
    smooth,
    tissue_box,
    tissue_levels,
)
from uadtools.volume.io import Image

DIAMETERS = (20.0, 60.0)
"""Smallest and largest glioma with its halo, in mm of the ball of the same volume."""
SOLID = (0.4, 0.6)
"""Diameter of core and rim together, as a share of that of the whole."""
RIM = (0.1, 0.2)
"""Mean thickness of the rim, as a share of the diameter of core and rim."""
PUSH = (0.08, 0.16)
"""How far tissue is pushed away at most, as a share of the diameter of core and rim."""
REACH, FADE = 0.6, 10.0
"""Where it is pushed farthest, in diameters of core and rim from the middle; mm from the brain's border where less."""
SLOW = 12.0
"""How many times farther the halo spreads in white matter than in grey; in fluid it does not."""
LOWEST, MIDLINE = 0.45, 0.1
"""Shares of the tissue's height, from below, and of its width, to either side, in which no glioma has its middle.

There are brain stem, cerebellum and corpus callosum.
"""
UNEVEN = 0.15
"""How much levels vary within a part, as a share of the way from fluid to grey matter: one deviation."""
FRONT = 0.3
"""Share of a halo's change that is lost on the way to its border."""
EDGE, TEXTURE = 1.0, 0.5
"""Deviation, in voxels, of the Gaussian that softens borders; share of the fine texture that is left."""
Spacing = tuple[float, float, float]


def with_glioma(
    scan: Image, tone: Tone, rng: np.random.Generator, *, size: tuple[float, float] = DIAMETERS
) -> tuple[LesionedScan, dict[str, float | list[int]]]:
    """Paint a glioma into a healthy scan; size: smallest and largest diameter of the whole, in mm.

    dark, as in T1: the core is like fluid, the rim between grey and white matter, the halo about grey matter. bright,
    as in FLAIR and T2: halo and rim are brighter than white matter, the core is like fluid or bright, at random. both:
    one of these. The label is 1 in the core, 2 in the rim and 3 in the halo, and levels are theirs; all is truth, as
    "whole tumour" of BraTS, and tissue that was but pushed away is not. Returns also what else was drawn: the middle in
    voxels, the diameter of core and rim and how far tissue was pushed, in mm. Raises UadError when there is no room.
    """
    brain, spacing = scan.data > 0, scan.grid.spacing
    levels = tissue_levels(scan.data[brain])
    diameter = float(rng.uniform(*size))
    solid = diameter * float(rng.uniform(*SOLID))
    if math.pi / 6 * diameter**3 > MOST_OF_ROOM * (scan.data > levels.tissue).sum() * math.prod(spacing):
        raise UadError(f"no room for a glioma of {diameter:.3g} mm in this brain (choose a smaller --size)")
    centre = _middle(scan, levels, solid, rng)
    push = solid * float(rng.uniform(*PUSH))
    image = pushed(scan.data, centre, solid, push, spacing)
    inner = blob_at(image > levels.tissue, centre, solid, spacing, rng)
    rough = _rough(image.shape, solid / 8, spacing, rng)
    rim = np.maximum(solid * rng.uniform(*RIM) * (1 + 0.3 * rough), max(spacing))
    core = inner & (ndimage.distance_transform_edt(inner, sampling=spacing) > rim)
    time = spread(inner, resistance(image, brain, levels) * np.exp(0.3 * rough), diameter, spacing)
    whole = lowest(time, diameter, spacing)
    drawn = _drawn_levels(levels, tone, rng)
    wanted = np.select([core, inner], drawn[:2], drawn[2])
    far = np.where(inner, 0, np.minimum(time / time[whole].max(), 1))
    wanted = wanted + FRONT * far**2 * (smooth(image, brain, 1.0) - wanted)
    wanted = ndimage.gaussian_filter(wanted, 0.5) + UNEVEN * (levels.gm - levels.csf) * rough
    changed = paint(image, whole, wanted, whole | (image > levels.tissue), edge=EDGE, texture=TEXTURE)
    changed = np.where(whole | (image > levels.tissue), changed, image)
    label = np.select([core, inner, whole], [1, 2, 3], 0).astype(np.uint8)
    made = LesionedScan(changed, label, drawn, (diameter,))
    return made, {"middle": [int(i) for i in centre], "solid": solid, "push": push}


def pushed(data: Floats, centre: NDArray[np.intp], solid: float, push: float, spacing: Spacing) -> NDArray[np.float32]:
    """Push the tissue of a brain away from a middle, in voxels: by `push` mm at REACH times `solid`, less elsewhere.

    Neither the middle nor the brain's border moves. Nothing is folded over as long as push is below .2 times solid.
    """
    brain = data > 0
    offset = (np.indices(data.shape) - centre[:, None, None, None]) * np.reshape(spacing, (3, 1, 1, 1))
    reach = np.linalg.norm(offset, axis=0) / (REACH * solid)
    border = ndimage.distance_transform_edt(np.pad(brain, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    share = push * np.exp(1 - reach) / (REACH * solid) * np.minimum(border / FADE, 1)  # of the offset
    places = np.indices(data.shape) - share * offset / np.reshape(spacing, (3, 1, 1, 1))
    weight = ndimage.map_coordinates(brain.astype(np.float32), places, order=1)
    moved = ndimage.map_coordinates(data.astype(np.float32), places, order=1)
    return np.where(brain & (weight > 0), moved / np.maximum(weight, 1e-6), data).astype(np.float32)


def resistance(data: Floats, brain: Mask, levels: Levels) -> Floats:
    """Return how slowly a halo spreads: 1 in white matter, SLOW in grey, inf in fluid and outside of the brain."""
    share = np.clip(2 * (smooth(data, brain, 0.5) - levels.gm) / (levels.wm - levels.gm) - 0.5, 0, 1)
    return np.where(brain & (data > levels.tissue), SLOW ** (1 - share), np.inf)


def spread(start: Mask, slowness: Floats, reach: float, spacing: Spacing) -> Floats:
    """Return the least of slowness times mm over all ways from `start`, whose steps are to the 26 neighbours.

    inf where no way leads, and farther from `start` than `reach` mm along an axis.
    """
    cuts = []
    for indices, voxel, length in zip(np.nonzero(start), spacing, start.shape, strict=True):
        margin = math.ceil(reach / voxel)
        cuts.append(slice(max(0, int(indices.min()) - margin), min(length, int(indices.max()) + margin + 1)))
    box = tuple(cuts)
    cost, place = slowness[box], np.arange(start[box].size).reshape(start[box].shape)
    ways: list[tuple[NDArray[Any], ...]] = []
    for step in [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]:
        to, of = (
            tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(sign * np.array(step), cost.shape, strict=True))
            for sign in (1, -1)
        )
        time = math.hypot(*np.multiply(step, spacing)) * (cost[of] + cost[to]) / 2
        open_ = np.isfinite(time)
        ways.append((time[open_], place[of][open_], place[to][open_]))
    times, ends, others = (np.concatenate(part) for part in zip(*ways, strict=True))
    graph = coo_array((times, (ends, others)), shape=(cost.size, cost.size)).tocsr()
    whole = np.full(start.shape, np.inf)
    found = dijkstra(graph, directed=False, indices=np.flatnonzero(start[box]), min_only=True)
    whole[box] = found.reshape(cost.shape)
    return whole


def _middle(scan: Image, levels: Levels, solid: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw a place in white matter, in voxels: high, lateral, and a radius of the solid part from the border."""
    brain, spacing = scan.data > 0, scan.grid.spacing
    white = scan.data > (levels.gm + levels.wm) / 2
    around = ndimage.gaussian_filter(white.astype(np.float32), 3 / np.array(spacing))
    depth = ndimage.distance_transform_edt(np.pad(brain, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    low, high = tissue_box(scan.data, scan.grid, levels)
    places = np.argwhere(white & (depth >= min(solid / 2, 0.8 * float(depth.max()))))
    shares = (places @ scan.grid.affine[:3, :3].T + scan.grid.affine[:3, 3] - low) / (high - low)
    places = places[(shares[:, 2] > LOWEST) & (np.abs(shares[:, 0] - 0.5) > MIDLINE)]
    whiteness = around[tuple(places.T)]
    places = places[whiteness >= 0.8 * whiteness.max(initial=0)]
    if not len(places):
        raise UadError("no white matter with room for a glioma (choose a smaller --size)")
    return np.asarray(places[rng.integers(len(places))])


def _rough(shape: tuple[int, ...], width: float, spacing: Spacing, rng: np.random.Generator) -> Floats:
    """Draw smooth noise of deviation 1; width in mm."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), width / np.array(spacing))
    return np.asarray(noise / noise.std())


def _drawn_levels(levels: Levels, tone: Tone, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the levels of core, rim and halo."""
    fluid, white, above = levels.gm - levels.csf, levels.wm - levels.gm, 1 - levels.wm
    core, rim, halo, bright_core = rng.uniform(size=4)
    level = levels.csf + 0.25 * core * fluid
    if tone == "bright" or (tone == "both" and rng.random() < 0.5):
        level = levels.wm + (0.5 + 0.5 * core) * above if bright_core < 0.5 else level
        drawn = level, levels.wm + (0.7 + 0.3 * rim) * above, levels.wm + (0.4 + 0.3 * halo) * above
    else:
        drawn = level, levels.gm + (0.3 + 0.7 * rim) * white, levels.gm + (0.3 * halo - 0.3) * fluid
    return float(drawn[0]), float(drawn[1]), float(drawn[2])
