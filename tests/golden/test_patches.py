"""Where pDDPM's patches lie, and what it stitches of them (golden/data/07)."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from uadtools.diffusion.patches import boxes
from uadtools.diffusion.process import Prediction
from uadtools.diffusion.schedule import Schedule
from uadtools.methods import pddpm


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "07_patches.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


class Blur:
    """The network that stood in: 0.95 times a mean over 5x5 pixels, with zeros around. It predicts x0."""

    schedule = Schedule.of("cosine")

    def predict(self, x_t, t, *, clamp=False):
        x0 = 0.95 * F.avg_pool2d(F.pad(x_t, (2, 2, 2, 2)), 5, 1)
        return Prediction(x0, x_t)


def as_theirs(found):
    """Their boxes are x from, y from, x to, y to."""
    return np.array([[box.left, box.top, box.right, box.bottom] for box in found])


@pytest.mark.parametrize(("size", "patch", "name"), [
    (96, 48, "boxes_p48_overlap0"),
    (96, 48, "cutboxes_p48_overlap0"),
    (96, 48, "boxes_p48_overlap1"),
    (96, 60, "boxes_p60_overlap1"),
    (120, 60, "boxes_p60_overlap0"),  # theirs run past the border of 96 pixels, as if there were 120
    (120, 60, "cutboxes_p60_overlap1"),
])  # fmt: skip
def test_boxes(golden, size, patch, name):
    np.testing.assert_array_equal(as_theirs(boxes((size, size), patch)), golden[name])


def healed(golden, patch):
    """Heal with one noise field for all patches of a slice, as they do; in [0, 1]."""
    x = 2 * torch.from_numpy(golden["input01"]) - 1
    noise = torch.from_numpy(golden["noise"])
    made = pddpm.heal(Blur(), x, pddpm.Options(t=499, patch=patch), lambda: noise).healed
    return (made.numpy() + 1) / 2


def test_stitched_without_overlap(golden):
    np.testing.assert_allclose(healed(golden, 48), golden["stitched_p48_overlap0_cut"], rtol=0, atol=1e-5)


def test_overlaps_are_averaged(golden):
    """By the count of each pixel, once: the published average divides inside its loop, and so is not what was meant."""
    np.testing.assert_allclose(healed(golden, 60), golden["stitched_p60_overlap1_avg_INTENDED"], rtol=0, atol=1e-5)
    counts = sum(np.pad(np.ones((60, 60)), ((t, 96 - b), (le, 96 - r))) for t, le, b, r in boxes((96, 96), 60))
    np.testing.assert_array_equal(counts, golden["overlap_count_p60"])
