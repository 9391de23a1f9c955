"""The autoencoder of bits: what is a bit, and what the diffusion model sees of it."""

import pytest
import torch

from uadtools.nets.bits import BitAutoencoder, BitDiffusion


@pytest.fixture
def net():
    torch.manual_seed(0)
    return BitAutoencoder(widths=(4, 8), residuals=1, bits=5)


@pytest.mark.parametrize(("widths", "factor"), [((4,), 2), ((4, 8), 4), ((4, 4, 8), 8)])
def test_sizes(widths, factor):
    net = BitAutoencoder(widths=widths, residuals=1, bits=5)
    x = torch.randn(2, 1, 3 * factor, 5 * factor)
    assert net.encode(x).shape == (2, 5, 3, 5)
    assert net(x).shape == x.shape


def test_bits_are_zeros_and_ones_by_the_sign_of_the_logits(net):
    x = torch.randn(3, 1, 16, 16)
    made, logits = net.encode(x), net.logits(x)
    assert set(made.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(made == 1, logits > 0)
    assert torch.equal(net(x), net.decode(made))
    with torch.autocast("cpu", torch.bfloat16):
        assert net.encode(x).dtype == torch.float32


def test_diffusion_sees_these_bits_and_leaves_the_autoencoder_alone(net):
    x, seen = torch.randn(2, 1, 16, 16), []
    diffusion = BitDiffusion(net, lambda z, t: seen.append((z, t)) or z)
    z = diffusion.encode(x)
    assert torch.equal(z, net.encode(x))
    assert torch.equal(diffusion.decode(z), net(x))
    assert not any(weight.requires_grad for weight in diffusion.parameters())
    assert diffusion(z, torch.tensor([3, 4])) is z
    assert seen[0][1].tolist() == [3, 4]
