"""pDDPM noises patches, cDDPM goes by a code."""

from types import SimpleNamespace

import pytest
import torch

from uadtools.diffusion.patches import Box, boxes, masks, positions
from uadtools.diffusion.process import both
from uadtools.diffusion.schedule import Schedule
from uadtools.methods import cddpm, pddpm


class Notes:
    """A model that sees what a function makes of x_t, and notes what it was shown."""

    schedule = Schedule.of("linear")

    def __init__(self, sees=lambda x_t: x_t):
        self.sees, self.shown, self.codes = sees, [], []

    net = SimpleNamespace(encoder="encoder")

    def ask(self, x, *, of):
        assert of == "encoder"
        self.codes.append(x)
        return x.mean(dim=(2, 3))

    def predict(self, x_t, t, *, clamp=False, code=None):
        self.shown.append((x_t, t, clamp, code))
        return both(self.sees(x_t) if code is None else self.sees(x_t) + code[:, :, None, None], "x0", x_t, t,
                    self.schedule, clamp=clamp)  # fmt: skip


def fields(shape, start=1):
    """Noise that is a number, another in each call."""
    count = iter(range(start, 1000))
    return lambda: torch.full(shape, float(next(count)))


@pytest.mark.parametrize(
    ("size", "patch", "stride", "expected"),
    [
        (96, 48, None, [0, 48]),
        (96, 60, None, [0, 36]),
        (96, 32, None, [0, 32, 64]),
        (96, 48, 24, [0, 24, 48]),
        (96, 48, 20, [0, 16, 32, 48]),
        (96, 96, None, [0]),
        (7, 3, 1, [0, 1, 2, 3, 4]),
        (1, 1, None, [0]),
    ],
)
def test_positions_are_even_and_cover(size, patch, stride, expected):
    assert positions(size, patch, stride) == expected


@pytest.mark.parametrize(("patch", "stride"), [(97, None), (0, None), (48, 49), (48, 0)])
def test_patches_that_cannot_cover_are_refused(patch, stride):
    with pytest.raises(ValueError, match="do not cover 96 pixels"):
        positions(96, patch, stride)


def test_boxes_of_a_rectangle_come_row_by_row():
    assert boxes((4, 6), 3) == [Box(0, 0, 3, 3), Box(0, 3, 3, 6), Box(1, 0, 4, 3), Box(1, 3, 4, 6)]


def test_masks_cover_the_image():
    within = masks(boxes((10, 14), 6, 2), (10, 14))
    assert within.dtype == torch.bool
    assert within.flatten(1).sum(dim=1).tolist() == [36] * len(within)
    assert within.sum(dim=0).min() == 1


def test_the_context_of_a_patch_is_clean_and_its_noise_its_own():
    x, model = torch.zeros(2, 1, 8, 8), Notes()
    pddpm.heal(model, x, pddpm.Options(t=400, patch=4), fields(x.shape))
    shown = torch.cat([x_t for x_t, *_ in model.shown])
    assert [len(x_t) for x_t, *_ in model.shown] == [2] * 4  # two slices at a time, as the caller gave
    spread = float((1 - model.schedule.alpha_bar(400)) ** 0.5)
    for i, x_t in enumerate(shown[:, 0]):
        box = boxes((8, 8), 4)[i // 2]
        expected = torch.zeros(8, 8)
        expected[box.top : box.bottom, box.left : box.right] = spread * (i // 2 + 1)
        torch.testing.assert_close(x_t, expected, rtol=0, atol=1e-5)
    assert {(t, clamp) for _, t, clamp, _ in model.shown} == {(400, False)}


def test_only_what_the_model_says_of_a_patch_counts():
    """It knows the truth where there is noise, and says nonsense of the context."""
    x = torch.rand(3, 1, 8, 8)
    model = Notes()
    model.sees = lambda x_t: torch.where(x_t > 50, x, torch.tensor(-9.0))
    made = pddpm.heal(model, x, pddpm.Options(t=999, patch=4), fields(x.shape, 100)).healed
    torch.testing.assert_close(made, x, rtol=0, atol=1e-6)


def test_the_number_of_patches_is_that_of_evaluations():
    assert pddpm.Options(patch=4).evaluations((8, 8)) == 4
    assert pddpm.Options(patch=4, stride=2).evaluations((8, 12)) == 3 * 5
    x, model = torch.zeros(1, 1, 8, 12), Notes()
    pddpm.heal(model, x, pddpm.Options(patch=4, stride=2), fields(x.shape))
    assert len(model.shown) == 15
    assert cddpm.Options().evaluations((8, 8)) == 1


def test_cddpm_goes_by_the_code_of_the_clean_slices():
    x, model = torch.rand(2, 1, 4, 4), Notes()
    made = cddpm.heal(model, x, cddpm.Options(t=7), fields(x.shape)).healed
    ((x_t, t, clamp, code),) = model.shown
    assert torch.equal(model.codes[0], x)
    assert torch.equal(code, x.mean(dim=(2, 3)))
    assert (t, clamp) == (7, False)
    torch.testing.assert_close(made, x_t + code[:, :, None, None], rtol=0, atol=1e-6)


def test_cddpm_can_go_by_another_image():
    x, model = torch.rand(2, 1, 4, 4), Notes()
    cddpm.heal(model, x, cddpm.Options(), fields(x.shape), condition=x / 2)
    assert torch.equal(model.codes[0], x / 2)
    assert model.shown[0][1] == 500
