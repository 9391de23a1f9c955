"""What the way up of the U-Net sees of the way down: all layers, or the residual blocks alone."""

import pytest
import torch

from uadtools.nets.blocks import ResBlock
from uadtools.nets.unet import UNet

SIZES = {"base": 8, "groups": 4, "attention": (), "middle_attention": False}


def drawn(**sizes):
    torch.manual_seed(0)
    net = UNet(**SIZES | sizes).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return net


@pytest.mark.parametrize("resample", ["residual", "conv", "pool"])
@pytest.mark.parametrize("res_blocks", [1, 2])
@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 2, 3)])
def test_with_skips_of_blocks_there_are_as_many_blocks_up_as_down(multipliers, res_blocks, resample):
    net = drawn(multipliers=multipliers, res_blocks=res_blocks, resample=resample, skips="blocks")
    assert len(net.up) == len(multipliers) * res_blocks
    assert len(drawn(multipliers=multipliers, res_blocks=res_blocks, resample=resample).up) == len(multipliers) * (
        res_blocks + 1
    )
    x = torch.randn(2, 1, 16, 8)
    assert net(x, torch.tensor([3, 700])).shape == x.shape


@pytest.mark.parametrize("skips", ["all", "blocks"])
@pytest.mark.parametrize("resample", ["residual", "conv"])
def test_every_skip_reaches_the_output(skips, resample):
    """What any stage on the way down makes is seen on the way up, beside what comes from below."""
    net, x, t = drawn(multipliers=(1, 2), res_blocks=2, resample=resample, skips=skips), torch.randn(1, 1, 8, 8), None
    made, seen = [], []
    for stage in (*net.down, *([net.first] if skips == "all" else [])):
        stage.register_forward_hook(lambda stage, _, out: made.append((stage, out)))
    for stage in net.up:
        stage.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(x, t)

    def is_block(stage):
        first = next(stage.children(), None)
        return isinstance(first, ResBlock) and first.resample == "none"

    expected = [out for stage, out in made if skips == "all" or is_block(stage)]
    assert len(expected) == len(seen) == (6 if skips == "all" else 4)
    for wide, skip in zip(seen, reversed(expected), strict=True):
        torch.testing.assert_close(wide[:, -skip.shape[1] :], skip, rtol=0, atol=0)


def test_slabs_go_in_and_two_channels_come_out():
    net = drawn(multipliers=(1, 2), res_blocks=1, in_channels=7, out_channels=2, patch=2, skips="blocks")
    assert net(torch.randn(3, 7, 16, 8), torch.tensor([0, 500, 999])).shape == (3, 2, 16, 8)
