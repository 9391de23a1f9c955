"""Doubling and convolving, folded into one transposed convolution."""

import pytest
import torch

from uadtools.nets.blocks import Resampling, ResBlock
from uadtools.nets.unet import UNet

SMALL = {"base": 8, "multipliers": (1, 2), "res_blocks": 1, "groups": 4, "attention": ()}


@pytest.mark.parametrize("skips", ["all", "blocks"])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("resample", ["residual", "conv", "pool"])
@pytest.mark.parametrize("embedding", ["add", "scale_shift"])
def test_a_folded_unet_predicts_the_same(axes: int, resample: str, embedding: str, skips: str) -> None:
    torch.manual_seed(0)
    how = {"resample": resample, "embedding": embedding, "skips": skips, "middle_attention": axes == 2}
    net = UNet(**SMALL, axes=axes, **how).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x, t = torch.randn(2, 1, *[8, 12, 4][:axes]), torch.tensor([3, 700])
    before = net(x, t)
    net.fold()
    with torch.inference_mode():
        after = net(x, t)
    assert (after - before).abs().max() < 1e-5 * before.abs().max()


@pytest.mark.parametrize("resample", ["residual", "conv", "pool"])
def test_a_unet_whose_way_up_sees_the_blocks_alone(resample: str) -> None:
    """It has one block a level on the way up, not two, and folds like the others."""
    torch.manual_seed(0)
    lean, full = (
        UNet(**SMALL, in_channels=5, out_channels=2, resample=resample, skips=s).eval() for s in ("blocks", "all")
    )
    assert len(lean.up) == 2 < len(full.up)
    for weight in lean.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x, t = torch.randn(2, 5, 8, 12), torch.tensor([3, 700])
    before = lean(x, t)
    assert before.shape == (2, 2, 8, 12)
    lean.fold()
    with torch.inference_mode():
        assert (lean(x, t) - before).abs().max() < 1e-5 * before.abs().max()


def test_folding_replaces_the_convolutions_that_follow_a_doubling_and_no_others() -> None:
    net = UNet(**SMALL)
    net.fold()
    folded = [part for part in net.modules() if isinstance(part, torch.nn.ConvTranspose2d)]
    assert len(folded) == 1
    assert folded[0].weight.shape == (16, 16, 4, 4)
    blocks = [part for part in net.modules() if isinstance(part, ResBlock) and part.resample == "up"]
    assert [block.in_conv for block in blocks] == folded


def test_a_doubling_without_a_convolution_stays() -> None:
    layer = Resampling(8, "up", convolve=False)
    layer.fold()
    assert layer(torch.ones(1, 8, 2, 2), torch.empty(0)).shape == (1, 8, 4, 4)
