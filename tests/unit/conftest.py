"""A phantom head for the tests of what happens before a model sees a scan."""

import numpy as np
import pytest

from uadtools.volume.grid import Grid
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
