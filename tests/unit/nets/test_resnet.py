"""The image encoder, as a ResNet and as what sees a part of an image only."""

import numpy as np
import pytest
import torch

from uadtools.nets.masked import MaskedAutoencoder
from uadtools.nets.resnet import Norm, ResNet, seen_at


@pytest.fixture
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = ResNet(base=4, blocks=(1, 2, 1), dimension=5)
        for norm in (m for m in made.modules() if isinstance(m, Norm)):
            torch.nn.init.normal_(norm.bias)  # a bias at hidden places would be seen
    return made


@pytest.fixture
def half_seen():
    """Images of 4x4 squares of 16 pixels, what is seen of them, and the same with other contents where nothing is."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 1, 64, 64, generator=generator)
    seen = torch.rand(3, 1, 4, 4, generator=generator) < 0.35
    seen[:, :, 1, 2] = True
    pixels = seen_at(x, seen)
    assert 0.2 < pixels.float().mean() < 0.6
    return x, seen, torch.where(pixels, x, 100 * torch.randn(x.shape, generator=generator))


@pytest.mark.parametrize("training", [True, False])
def test_what_is_hidden_has_no_influence(net, half_seen, training):
    x, seen, other = half_seen
    net.train(training)
    for one, two in zip(net.features(x, seen), net.features(other, seen), strict=True):
        assert torch.equal(one, two)
        assert not one[~seen_at(one, seen).expand_as(one)].any()
        assert one.std() > 0.01


def test_what_is_seen_has_influence(net, half_seen):
    x, seen, _ = half_seen
    net.eval()
    assert not torch.equal(net.features(x, seen)[-1], net.features(2 * x, seen)[-1])


def test_an_image_that_is_all_seen_is_an_image(net, half_seen):
    x = half_seen[0]
    everything = torch.ones(3, 1, 4, 4, dtype=torch.bool)
    for training in (True, False):
        net.train(training)
        for one, two in zip(net.features(x, everything), net.features(x), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-4)


def test_statistics_are_those_of_what_is_seen():
    norm, x = Norm(2), torch.randn(4, 2, 8, 8) * 3 + 5
    seen = torch.rand(4, 1, 4, 4) < 0.5
    seen[0] = True
    visible = x.permute(0, 2, 3, 1)[seen_at(x, seen)[:, 0]]
    made = norm(x, seen).permute(0, 2, 3, 1)[seen_at(x, seen)[:, 0]]
    torch.testing.assert_close(made.mean(dim=0), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(made.var(dim=0, correction=0), torch.ones(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(norm.running_mean, 0.1 * visible.mean(dim=0), rtol=0, atol=1e-5)


def test_sizes(net):
    assert net.widths == [16, 32, 64]
    assert [tuple(f.shape) for f in net.eval().features(torch.zeros(2, 1, 32, 64))] == [
        (2, 16, 8, 16), (2, 32, 4, 8), (2, 64, 2, 4)
    ]  # fmt: skip
    assert net(torch.zeros(2, 1, 30, 50)).shape == (2, 5)


def test_a_batch_is_its_items(net, half_seen):
    x = half_seen[0]
    net.eval()
    alone = torch.cat([net(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(x), alone, rtol=0, atol=1e-5)


def test_a_resnet_50_has_its_parameters():
    """25.56 million with three colours and a thousand classes; ours has one colour and makes 512 numbers."""
    net = ResNet(base=64, blocks=(3, 4, 6, 3), dimension=512)
    published = 25_557_032 - 2 * 64 * 49 - (2048 * 1000 + 1000) + (2048 * 512 + 512)
    assert sum(p.numel() for p in net.parameters()) == published


def test_the_decoder_paints_from_what_is_seen(net, half_seen):
    x, seen, other = half_seen
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        painter = MaskedAutoencoder(net, width=32)
    painted = painter(x, seen)
    assert painted.shape == x.shape
    assert torch.equal(painted, painter(other, seen))
    painted.sum().backward()
    assert all(p.grad is not None for name, p in painter.named_parameters() if "head" not in name)


def test_the_decoder_gets_no_narrower_than_it_may(net):
    widths = [up[0].in_channels for up in MaskedAutoencoder(net, width=32).up]
    assert widths == [32, 16, 8, 8]
    assert np.all(np.diff(widths) <= 0)


@pytest.mark.parametrize(("recipe", "step", "both"), [("cddpm", 128, 256), ("cddpm-code", 512, 1024)])
def test_step_and_code_are_as_long_as_the_paper_and_the_program_have_them(recipe, step, both):
    """Every residual block is told both: 128 numbers each in the paper, 512 each in the program."""
    from uadtools.models.model import build
    from uadtools.nets.blocks import ResBlock
    from uadtools.training.recipe import load_recipe

    with torch.device("meta"):
        net = build(load_recipe(recipe)).unet
    assert net.time_embed[-1].out_features == step
    assert {part.embed.in_features for part in net.modules() if isinstance(part, ResBlock)} == {both}
