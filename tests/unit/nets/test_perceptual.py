"""How unlike images are in the features of a U-Net."""

import pytest
import torch
from torch import nn

from uadtools.models.model import PERCEIVED, load_model
from uadtools.nets.perceptual import Perceptual


class Told(nn.Module):
    """Makes of an image the features that are written down for it, by its first pixel."""

    def __init__(self, *levels):
        super().__init__()
        self.levels = levels

    def features(self, x, t):
        self.t = t
        kinds = x[:, 0, 0, 0].long()
        return [level[kinds] for level in self.levels]


def test_directions_of_features_are_compared_at_each_level_and_averaged():
    fine = torch.zeros(2, 2, 4, 4)
    fine[0, :, :, :] = torch.tensor([3.0, 4.0]).view(2, 1, 1)
    fine[1, :, :, :] = torch.tensor([8.0, 6.0]).view(2, 1, 1)  # 0.04 + 0.04 of unit length
    fine[1, :, 2:] = 10 * fine[0, :, 2:]  # longer, not elsewhere
    coarse = torch.tensor([[1.0, 0, 0], [0, 0, 2]]).view(2, 3, 1, 1)  # 2, everywhere
    net = Told(fine, coarse)
    x, other, t = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), torch.tensor([50])
    made = Perceptual(net)(x, other, t)
    expected = torch.tensor([1.04, 1.04, 1.0, 1.0]).view(1, 1, 4, 1).expand(1, 1, 4, 4)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)
    assert net.t.tolist() == [50, 50]
    assert not Perceptual(net)(x, x, t).any()


@pytest.mark.parametrize("skips", ["all", "blocks"])
@pytest.mark.parametrize("resample", ["residual", "conv", "pool"])
@pytest.mark.parametrize("patch", [1, 2])
@torch.no_grad()
def test_features_are_what_the_way_down_makes_before_it_halves(random_unet, skips, resample, patch):
    net, x, t = (
        random_unet(skips=skips, resample=resample, patch=patch, res_blocks=2),
        torch.randn(2, 1, 32, 16),
        torch.tensor([3, 70]),
    )
    made = []
    for stage in net.down:
        stage.register_forward_hook(lambda stage, _, out: made.append(out))
    levels = net.features(x, t)
    assert [level.shape for level in levels] == [
        (2, 8 * c, 32 // patch // s, 16 // patch // s) for c, s in ((1, 1), (2, 2), (3, 4))
    ]
    for level, place in zip(levels, (1, 4, 7), strict=True):
        torch.testing.assert_close(level, made[place], rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_perceives(tiny_model, precision):
    model = load_model(tiny_model, device="cpu", precision=precision)
    x, other = torch.rand(3, 1, 16, 16) - 0.5, torch.rand(3, 1, 16, 16) - 0.5
    made, alike = model.perceive(x, other), model.perceive(x, x)
    assert made.shape == x.shape
    assert made.dtype == torch.float32
    assert ((made > 1e-4) & (made < 4)).all()
    assert not alike.any()
    torch.testing.assert_close(model.perceive(other, x), made, rtol=0, atol=1e-2 if precision == "bf16" else 1e-6)
    if precision == "bf16":
        exact = load_model(tiny_model, device="cpu", precision="fp32").perceive(x, other)
        torch.testing.assert_close(made, exact, rtol=0.1, atol=0.02)


def test_a_model_is_asked_at_a_step_as_far_along_whatever_it_has(tiny_model):
    model, asked = load_model(tiny_model, device="cpu", precision="fp32"), []
    model.net.time_embed.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    model.perceive(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
    from uadtools.nets.blocks import sinusoid

    torch.testing.assert_close(asked[0], sinusoid(torch.tensor([PERCEIVED] * 2), model.net.base, model.net.sinusoid))
