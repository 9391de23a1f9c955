"""The box that holds a mask."""

import numpy as np
import pytest

from uadtools.grids.box import box_of


@pytest.mark.parametrize(
    ("margin", "box"), [(0, np.s_[2:5, 0:1, 3:4]), (1, np.s_[1:6, 0:2, 2:4]), (9, np.s_[0:8, 0:5, 0:4])]
)
def test_a_box_holds_a_mask_and_a_margin_inside_of_the_volume(margin, box):
    mask = np.zeros((8, 5, 4), bool)
    mask[2, 0, 3] = mask[4, 0, 3] = True
    assert box_of(mask, margin) == box


def test_the_box_of_nothing_is_all():
    assert box_of(np.zeros((3, 2, 4), bool), 1) == np.s_[0:3, 0:2, 0:4]
