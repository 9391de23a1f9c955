"""What the history of an image tells of uad-simulate."""

import numpy as np

from uadtools.grids.grid import Grid
from uadtools.simulation.history import contrast_level
from uadtools.volume.io import Image


def test_a_contrast_level_that_is_no_number_is_none():
    line = {"tool": "uad-simulate", "arguments": {"kind": "contrast", "level": "2"}}
    image = Image(np.ones((2, 2, 2)), Grid((2, 2, 2), np.eye(4)), provenance={"history": [line]})
    assert contrast_level(image) is None
