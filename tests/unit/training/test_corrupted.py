"""Batches of corrupted slabs, and the loss that is taken on them."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from uadtools.corrupting.config import CorruptionConfig
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.interface.learning import Batch, Corrupted
from uadtools.methods import restoration
from uadtools.training.corrupted import Corruptor, load_masks
from uadtools.training.data import Slices
from uadtools.volume.io import Image, save

CPU = torch.device("cpu")
SEEDS = np.array([3, 2**62, 11])
CHOSEN = np.array([1, 7, 13])


@pytest.fixture(scope="module")
def slices():
    """Two scans of eight slices of 24x20."""
    y, x = np.mgrid[-12:12, -10:10]
    brain = np.hypot(y / 1.1, x) < 9
    waves = 0.5 + 0.3 * np.sin(x / 3)[None] * np.cos(y / 4)[None] + 0.02 * np.arange(16)[:, None, None]
    return Slices((waves * brain).astype(np.float16), np.repeat([0, 1], 8))


@pytest.fixture(scope="module")
def corruptor():
    return Corruptor(CorruptionConfig.model_validate({"domains": {"contrast": 0.5}}), 2)


def test_a_batch_equals_its_items(slices, corruptor):
    together, told = corruptor(slices, CHOSEN, SEEDS, step=10**6, device=CPU)
    assert together.seen.shape == (3, 5, 24, 20)
    assert together.healthy.shape == together.changed.shape == together.brain.shape == (3, 1, 24, 20)
    for i in range(3):
        alone, one = corruptor(slices, CHOSEN[i : i + 1], SEEDS[i : i + 1], step=10**6, device=CPU)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[i], rtol=0, atol=0)
        assert one.items[0] == told.items[i]


def test_a_batch_of_two_contrasts_equals_its_items_and_is_made_again(slices):
    others = np.where(slices.pixels > 0, 1.1 - slices.pixels, 0).astype(np.float16)[:, None]
    both, corruptor = replace(slices, others=others), Corruptor(CorruptionConfig(), 2, channels=2)
    together, told = corruptor(both, CHOSEN, SEEDS, step=10**6, device=CPU)
    assert together.seen.shape == (3, 10, 24, 20)
    assert together.healthy.shape == (3, 2, 24, 20)
    assert together.changed.shape == together.brain.shape == (3, 1, 24, 20)
    for i, line in enumerate(json.loads(json.dumps(told.rows()))):
        alone, _ = corruptor(both, CHOSEN[i : i + 1], SEEDS[i : i + 1], step=10**6, device=CPU)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[i], rtol=0, atol=0)
        item = corruptor.remade(both, line.pop("slice"), line)
        np.testing.assert_array_equal(2 * torch.from_numpy(item.seen) - 1, together.seen[i])


def test_what_was_told_makes_the_item_again(slices, corruptor):
    """As a line of drawn.jsonl has it."""
    batch, told = corruptor(slices, CHOSEN, SEEDS, step=10**6, device=CPU)
    for i, line in enumerate(json.loads(json.dumps(told.rows()))):
        item = corruptor.remade(slices, line.pop("slice"), line)
        np.testing.assert_array_equal(2 * torch.from_numpy(item.seen) - 1, batch.seen[i])
        assert item.ceiling == batch.ceiling[i]


def test_structures_are_those_of_the_slice_and_its_neighbours(slices, corruptor):
    """What was told makes the item again with them, too, and they change it; a batch has each item's own."""
    known = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None] // 2 + 1, slices.pixels.shape).copy()
    labelled = Slices(slices.pixels, slices.scans, known)
    batch, told = corruptor(labelled, CHOSEN, SEEDS, step=10**6, device=CPU)
    plain, _ = corruptor(slices, CHOSEN, SEEDS, step=10**6, device=CPU)
    changed = [not torch.equal(a, b) for a, b in zip(batch.healthy, plain.healthy, strict=True)]
    assert changed == [bool(item["contrast"]["levels"]) for item in told.items]
    assert any(changed)
    for i, line in enumerate(json.loads(json.dumps(told.rows()))):
        item = corruptor.remade(labelled, line.pop("slice"), line)
        np.testing.assert_array_equal(2 * torch.from_numpy(item.seen) - 1, batch.seen[i])


class Answers(torch.nn.Module):
    """A network with one answer."""

    def __init__(self, residual, logit):
        super().__init__()
        self.answer = torch.cat([residual, logit], dim=1)

    def forward(self, x, t):
        return self.answer


def mending(net, items):
    return restoration.loss(None, net, Batch(items.healthy, SEEDS, items), 0)


def test_the_loss_rewards_what_is_mended_and_told(slices, corruptor):
    items, _ = corruptor(slices, CHOSEN, SEEDS, step=0, device=CPU)
    assert items.changed.any()
    missing = items.healthy - items.seen[:, 2:3]
    sure = torch.where(items.changed > 0, 12.0, -12.0)
    losses = {
        name: mending(Answers(*answer), items).item()
        for name, answer in {
            "perfect": (missing, sure),
            "not mended": (0 * missing, sure),
            "not told": (missing, 0 * sure - 3),
            "wrong": (0 * missing, -sure),
        }.items()
    }
    assert losses["perfect"] < 0.25 * losses["not told"]
    assert losses["perfect"] < losses["not mended"] < losses["wrong"]
    assert losses["not told"] < losses["wrong"]


def test_what_lies_outside_the_brain_is_not_counted(slices, corruptor):
    items, _ = corruptor(slices, CHOSEN, SEEDS, step=0, device=CPU)
    outside = 1 - items.brain
    plain, other = (mending(Answers(outside * by, outside * by), items) for by in (0.0, 5.0))
    torch.testing.assert_close(plain, other, rtol=0, atol=0)


def test_soft_dice_is_that_of_the_whole_batch():
    """A slice without a change counts by what is found in it alone."""
    zero, one = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    both = Corrupted(
        torch.cat([zero, zero]), torch.cat([zero, zero]), torch.cat([one, zero]), torch.cat([one, one]), torch.zeros(2)
    )
    made = mending(Answers(torch.zeros(2, 1, 2, 2), 40 * torch.cat([one, -one])), both)
    assert made.item() == pytest.approx(0.0, abs=1e-4)


def test_masks_become_shapes_on_the_models_voxels(tmp_path):
    data = np.zeros((40, 40, 30), np.uint8)
    data[10:22, 8:28, 6:24] = 1
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1, 1, 1])), tmp_path / "mask.nii.gz")
    shapes = load_masks([str(tmp_path)], (2.0, 2.0, 2.0), 3)
    assert shapes
    for shape in shapes:
        assert shape.shape[0] == 7
        assert shape.min() >= 0
        assert shape.max() <= 1
    largest = max((shape[3] > 0.5).sum() for shape in shapes)
    assert largest == pytest.approx(60, abs=15)  # 12 x 20 mm


def test_masks_too_small_are_refused(tmp_path):
    data = np.zeros((20, 20, 20), np.uint8)
    data[10, 10, 10] = 1
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "mask.nii.gz")
    with pytest.raises(UadError, match="no lesion of 6 pixels"):
        load_masks([str(tmp_path)], (2.0, 2.0, 2.0), 3)


@pytest.mark.parametrize("role", ["healed", "score"])
def test_what_is_no_mask_of_lesions_gives_no_shapes(role, tmp_path):
    grid = Grid((40, 40, 30), np.eye(4))
    save(Image(np.ones(grid.shape, np.float32), grid, role), tmp_path / "a.nii")
    with pytest.raises(UadError, match=rf"a.nii: is a {role}, not a mask of lesions"):
        load_masks([str(tmp_path / "a.nii")], (2.0, 2.0, 2.0), 3)
