"""The codebook: what is nearest, how it learns, what becomes of codes that nobody uses."""

import pytest
import torch

from uadtools.nets.vqvae import VQVAE, Codebook


@pytest.fixture
def book():
    made = Codebook(4, 2)
    made.codes.copy_(torch.tensor([[0.0, 0], [1, 0], [0, 1], [5, 5]]))
    made.sums.copy_(made.codes)
    return made


def test_the_nearest_code_is_found(book):
    z = torch.tensor([[0.1, 0.1], [0.9, -0.3], [4, 9]]).T.reshape(1, 2, 1, 3)
    found = book(z)
    assert found.indices.tolist() == [[[0, 1, 3]]]
    torch.testing.assert_close(found.codes[0, :, 0].T, book.codes[[0, 1, 3]], rtol=0, atol=0)
    torch.testing.assert_close(book.look_up(found.indices), found.codes, rtol=0, atol=0)


def test_codes_follow_the_latents_they_stand_for(book):
    z = torch.tensor([[0.2, 0], [0.4, 0], [0.6, 0.0]]).T.reshape(1, 2, 1, 3)
    book.decay = 0.0
    book.follow(z, torch.tensor([[[0, 0, 1]]]))
    torch.testing.assert_close(book.codes[:2], torch.tensor([[0.3, 0], [0.6, 0]]), rtol=0, atol=1e-4)


def test_a_code_moves_as_slowly_as_the_average(book):
    z = torch.full((1, 2, 8, 8), 1.0)
    book.follow(z, torch.zeros(1, 8, 8, dtype=torch.int64))
    count = 0.99 + 0.01 * 64
    torch.testing.assert_close(book.codes[0], torch.full((2,), 0.64 / count), rtol=0, atol=1e-4)
    torch.testing.assert_close(book.codes[3], torch.full((2,), 5.0), rtol=0, atol=1e-3)  # unused, and not yet dead


def test_dead_codes_are_put_where_latents_are(book):
    book.counts[3] = 0.01
    z = torch.full((1, 2, 2, 2), 2.0)
    book.follow(z, torch.zeros(1, 2, 2, dtype=torch.int64))
    torch.testing.assert_close(book.codes[3], torch.full((2,), 2.0), rtol=0, atol=1e-4)
    assert book.counts[3] == 1


@pytest.mark.parametrize(("widths", "factor"), [((4,), 2), ((4, 8), 4), ((4, 4, 8), 8)])
def test_sizes(widths, factor):
    net = VQVAE(widths=widths, residuals=1, codes=5, dimension=3)
    x = torch.randn(2, 1, 3 * factor, 5 * factor)
    assert net.encode(x).shape == (2, 3, 3, 5)
    assert net.quantise(x).indices.shape == (2, 3, 5)
    assert net(x).shape == x.shape
    assert not isinstance(net.decoder[-1], torch.nn.ReLU)


def test_a_hundred_random_latents_are_stable():
    """Codes are their own nearest codes, and nothing is not a number."""
    torch.manual_seed(0)
    net = VQVAE(widths=(4, 8), residuals=1, codes=32, dimension=4).eval()
    indices = torch.randint(32, (100, 6, 6))
    codes = net.codebook.look_up(indices)
    assert torch.equal(net.codebook(codes).indices, indices)
    image = net.decode(codes)
    assert image.isfinite().all()
    assert net.quantise(image).codes.isfinite().all()


def test_volumes_have_one_more_axis():
    net = VQVAE(widths=(4, 8), residuals=1, codes=5, dimension=3, axes=3)
    x = torch.randn(2, 1, 8, 12, 16)
    assert net.quantise(x).indices.shape == (2, 2, 3, 4)
    assert net(x).shape == x.shape


def test_half_precision_finds_the_codes_of_full(book):
    torch.manual_seed(0)
    book.codes.copy_(100 + torch.randn(4, 2))
    z = 100 + torch.randn(1, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = book(z)
    assert torch.equal(found.indices, book(z).indices)
