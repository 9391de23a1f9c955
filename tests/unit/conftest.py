"""Phantoms: a head for what happens before a model sees a scan, a brain and masks for simulated lesions."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from uadtools.anatomy.intensity import percentile
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image

CENTRE = np.array([5.0, -20.0, 12.0])


def ellipsoid(grid, radii, centre=CENTRE):
    """The voxels within an ellipsoid; centre and radii in mm."""
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    places = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return (((places - centre) / radii) ** 2).sum(axis=-1) < 1


@pytest.fixture(scope="session")
def head_grid():
    """50x60x50 voxels of 4 mm, LAS."""
    return Grid((50, 60, 50), np.array([[-4, 0, 0, 103], [0, 4, 0, -138], [0, 0, 4, -86], [0, 0, 0, 1.0]]))


@pytest.fixture(scope="session")
def brain(head_grid):
    """The mask of a brain of 1,215 mL."""
    return Image(ellipsoid(head_grid, (62, 78, 60)).astype(np.uint8), head_grid, "brain")


@pytest.fixture(scope="session")
def head(head_grid, brain):
    """A head of 2,681 mL, int16: textured brain, dark skull, bright scalp, and nothing around it."""
    texture = np.random.default_rng(0).integers(300, 700, head_grid.shape)
    data = np.where(ellipsoid(head_grid, (80, 100, 80)), 900, 0)
    data[ellipsoid(head_grid, (72, 90, 70))] = 50
    return Image(np.where(brain.data > 0, texture, data).astype(np.int16), head_grid)


@pytest.fixture(scope="session")
def stripped(head, brain):
    """The head with nothing left but its brain."""
    return head.derive(head.data * (brain.data > 0), "scan")


LEVELS = (0.2, 0.53, 0.8)
"""Of fluid, grey matter and white matter in the layered brain."""


def in_ball(centre, radius, shape):
    offset = np.moveaxis(np.indices(shape), 0, -1) - centre
    return np.linalg.norm(offset, axis=-1) <= radius


@pytest.fixture(scope="session")
def ball():
    """Make the mask of a ball in the layered brain's volume; centre and radius in voxels."""
    return lambda centre, radius: in_ball(centre, radius, (48, 48, 48))


@pytest.fixture(scope="session")
def layered(ball):
    """A prepared round brain of 2 mm: fluid around grey around white matter, and a ventricle left of the middle."""
    data = np.zeros((48, 48, 48), np.float32)
    for radius, level in zip((21, 19, 15), LEVELS, strict=True):
        data[ball((23.5, 23.5, 23.5), radius)] = level
    data[ball((18, 23, 23), 3)] = LEVELS[0]
    brain = data > 0
    data[brain] += 0.01 * np.random.default_rng(0).standard_normal(int(brain.sum()))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-50, -60, -40)
    return Image(data, Grid(data.shape, affine))


@pytest.fixture(scope="session")
def mni_mask():
    """Make a mask of balls at places in mm; its first axis runs to the left, as in the published ones."""
    affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    grid = Grid((91, 109, 91), affine)

    def make(*centres, radius=4.0):
        data = np.zeros(grid.shape, np.uint8)
        for centre in centres:
            data |= in_ball((np.linalg.inv(affine) @ [*centre, 1])[:3], radius, grid.shape)
        return Image(data, grid)

    return make


GREY_LEVELS = {"T1": (0.1, 0.55, 0.9), "T2": (1.0, 0.45, 0.25), "FLAIR": (0.1, 0.75, 0.5)}
"""Of fluid, grey and white matter."""


def anatomy_of(kind, seed):
    """A head of 380 mL, 2 mm: folded cortex around white matter, two ventricles, fluid in folds; and its tissues."""
    rng = np.random.default_rng(seed)
    radii = np.array([22, 26, 20]) * rng.uniform(0.97, 1.03, 3)
    offset = (np.moveaxis(np.indices((54, 62, 50)), 0, -1) - [26.5, 30.5, 24.5]) / radii
    reach = np.linalg.norm(offset, axis=-1)
    folds = 0.06 * np.cos(9 * np.arctan2(np.abs(offset[..., 0]), offset[..., 1])) * np.cos(7 * offset[..., 2])
    tissue = np.select([reach > 1, reach > 0.9 + folds, reach > 0.74 + folds], [0, 1, 2], 4).astype(np.uint8)
    ventricle = (
        ((np.abs(offset[..., 0]) - 0.15) / 0.1) ** 2 + (offset[..., 1] / 0.35) ** 2 + (offset[..., 2] / 0.2) ** 2
    )
    tissue[ventricle < 1] = 1
    levels = np.array([0, *GREY_LEVELS[kind][:2], 0, GREY_LEVELS[kind][2]])
    data = gaussian_filter(levels[tissue] * (tissue > 0), 0.4) + 0.015 * rng.standard_normal(tissue.shape)
    return percentile(data, tissue > 0, 1, 99), tissue


@pytest.fixture(scope="session")
def anatomy():
    """Make a prepared head of a contrast, (X, Y, Z) float32, and its tissues: anatomy(kind, seed)."""
    return anatomy_of


@pytest.fixture(scope="session")
def random_unet():
    """Make a small U-Net with random weights, none of its layers left at zero; sizes: other ones."""
    import torch

    from uadtools.nets.unet import UNet

    usual = {"base": 8, "groups": 4, "multipliers": (1, 2, 3), "attention": (4,), "heads": 2}

    def made(**sizes):
        torch.manual_seed(0)
        net = UNet(**usual | sizes).eval()
        for weight in net.parameters():
            torch.nn.init.normal_(weight, std=0.2)
        return net

    return made
