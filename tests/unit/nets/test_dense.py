import numpy as np
import pytest
import torch

from uadtools.nets.dense import VAE, Autoencoder, Decoder, Encoder, FAnoGAN, SequenceVAE
from uadtools.nets.unet import UNet

SIZES = {"base": 8, "multipliers": (1, 2), "latent": 6, "groups": 4}
SHAPE = (12, 20)
NETS = {"ae": Autoencoder, "vae": VAE, "fanogan": FAnoGAN}


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def images(count=5, channels=1):
    return torch.rand(count, channels, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("shape", [(4, 4), (12, 20), (96, 96)])
def test_from_images_to_vectors_and_back(shape):
    x = torch.rand(3, 1, *shape)
    z = Encoder(shape, (8, 16), 5, groups=4)(x)
    assert z.shape == (3, 5)
    assert Decoder(shape, (8, 16), 5, groups=4)(z).shape == x.shape


@torch.no_grad()
def test_a_spatial_latent_is_a_featureswhose_pixels_are_told_one_by_one():
    net, features = seeded(lambda: Autoencoder(SHAPE, **SIZES, spatial=True)), torch.rand(2, 16, 3, 5)
    codes = net.encoder(images())
    assert codes.shape == (5, 6, 3, 5)
    torch.testing.assert_close(net(images()), net.decoder(codes), rtol=0, atol=0)
    changed = features.clone()
    changed[..., 1, 2] += 1
    differs = (net.encoder.head(changed) != net.encoder.head(features)).any(dim=1)
    assert differs[:, 1, 2].all()
    assert differs.sum() == 2


@pytest.mark.parametrize("kind", NETS)
@torch.no_grad()
def test_an_image_of_a_batch_is_the_image_alone(kind):
    net, x = seeded(lambda: NETS[kind](SHAPE, **SIZES)), images()
    together = net(x)
    assert together.shape == x.shape
    assert together.std() > 0.01
    torch.testing.assert_close(together, torch.cat([net(one[None]) for one in x]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", NETS)
@torch.no_grad()
def test_everything_goes_through_the_bottleneck(kind):
    """As many images as there are numbers in the latent, and one more, cannot all be told apart."""
    net, x = seeded(lambda: NETS[kind](SHAPE, **SIZES)), images()
    code = net.encode(x)[0] if kind == "vae" else net.encoder(x)
    assert code.shape == (5, 6)
    decoder = net.generator if kind == "fanogan" else net.decoder
    torch.testing.assert_close(net(x), decoder(code), rtol=0, atol=0)


def test_a_vae_draws_nothing_when_it_reconstructs():
    net = seeded(lambda: VAE(SHAPE, **SIZES)).train()
    with torch.no_grad():
        torch.testing.assert_close(net(images()), net(images()), rtol=0, atol=0)


def test_mean_and_log_variance_are_two_things():
    mean, log_variance = seeded(lambda: VAE(SHAPE, **SIZES)).encode(images())
    assert mean.shape == log_variance.shape == (5, 6)
    assert (mean - log_variance).abs().max() > 1e-3


@pytest.fixture(scope="module")
def sequence():
    return seeded(lambda: SequenceVAE(SHAPE, **SIZES, reach=2))


@torch.no_grad()
def test_a_window_becomes_its_middle_slice(sequence):
    x = images(channels=5)
    made = sequence(x)
    assert made.shape == (5, 1, *SHAPE)
    torch.testing.assert_close(made, torch.cat([sequence(one[None]) for one in x]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("place", range(5))
@torch.no_grad()
def test_every_slice_of_a_window_counts_on_either_side(sequence, place):
    x = images(1, channels=5)
    other = x.clone()
    other[:, place] = images(1)[:, 0].flip(1)
    assert (sequence(x) - sequence(other)).abs().max() > 1e-5


@torch.no_grad()
def test_the_middle_is_what_the_window_is_read_for():
    """Without the way back, only the slices up to the middle one count."""
    net = seeded(lambda: SequenceVAE(SHAPE, **SIZES, reach=2))
    for name, weight in net.recurrent.named_parameters():
        if name.endswith("_reverse"):
            weight.zero_()
    x = images(1, channels=5)
    for place in range(5):
        other = x.clone()
        other[:, place] = images(1)[:, 0].flip(1)
        assert ((net(x) - net(other)).abs().max() > 1e-5) == (place <= 2)


@torch.no_grad()
def test_above_and_below_are_not_the_same(sequence):
    x = images(1, channels=5)
    assert (sequence(x) - sequence(x.flip(1))).abs().max() > 1e-5


@torch.no_grad()
def test_what_is_generated_lies_in_the_range_of_images():
    net = seeded(lambda: FAnoGAN(SHAPE, **SIZES))
    made = net.generator(100 * torch.randn(4, 6))
    assert made.abs().max() <= 1
    assert net.critic(made).shape == (4, 1)


@torch.no_grad()
def test_a_unet_without_t_is_that_at_step_0():
    net = seeded(lambda: UNet(base=8, multipliers=(1, 2), attention=(), groups=4, res_blocks=1))
    for weight in net.parameters():
        weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(weight.numel()))
    x = images()
    torch.testing.assert_close(net(x), net(x, torch.zeros(5, dtype=torch.int64)), rtol=0, atol=0)
    assert (net(x) - net(x, torch.full((5,), 500))).abs().max() > 1e-3
    assert np.isfinite(net(x).numpy()).all()
