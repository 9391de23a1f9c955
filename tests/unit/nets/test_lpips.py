"""How unlike images are to AlexNet and VGG16, against the same written out step by step."""

import pytest
import torch
import torch.nn.functional as F

from uadtools.errors import UadError
from uadtools.nets.lpips import LAYERS, Lpips

WIDTHS = {"alex": (4, 6, 5, 3, 4), "vgg": (2, 3, 4, 3, 2, 3, 4, 2, 3, 4, 3, 2, 3)}


def network(kind, seed=0):
    """A narrow one, of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Lpips(kind, WIDTHS[kind])
        for value in net.state_dict().values():
            value.copy_(torch.rand_like(value) if value.ndim == 1 else torch.randn_like(value))
    return net.eval()


def alex(state, x):
    """torchvision's AlexNet, up to its last convolution, without what is ours."""

    def conv(x, place, **how):
        return F.relu(F.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], **how))

    one = conv(x, 0, stride=4, padding=2)
    two = conv(F.max_pool2d(one, 3, 2), 3, padding=2)
    three = conv(F.max_pool2d(two, 3, 2), 6, padding=1)
    four = conv(three, 8, padding=1)
    return [one, two, three, four, conv(four, 10, padding=1)]


def vgg(state, x):
    made, place = [], 0
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            x = F.relu(F.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1))
            place += 2
        made.append(x)
        x, place = F.max_pool2d(x, 2, 2), place + 1
    return made


@pytest.mark.parametrize(("kind", "layers"), [("alex", alex), ("vgg", vgg)])
@torch.no_grad()
def test_the_map_is_equation_1_at_each_pixel(kind, layers):
    net, x, other = network(kind), 2 * torch.rand(2, 1, 48, 40) - 1, 2 * torch.rand(2, 1, 48, 40) - 1
    state, total = net.state_dict(), torch.zeros(2, 48, 40)
    colours = zip((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450), strict=True)
    shifts = [[(image - shift) / scale for image in (x, other)] for shift, scale in colours]
    one, two = (torch.cat([pair[i] for pair in shifts], dim=1) for i in range(2))
    for i, (a, b) in enumerate(zip(layers(state, one), layers(state, two), strict=True)):
        units = [y / ((y**2).sum(dim=1, keepdim=True) ** 0.5 + 1e-10) for y in (a, b)]
        level = torch.einsum("c,bchw->bhw", state[f"weights{i}"], (units[0] - units[1]) ** 2)
        total += F.interpolate(level[:, None], size=(48, 40), mode="bilinear", align_corners=False)[:, 0]
    made = net(x, other)
    assert made.shape == (2, 1, 48, 40)
    torch.testing.assert_close(made[:, 0], total, rtol=1e-4, atol=1e-5)
    assert made.min() >= 0 < made.max()
    assert not net(x, x).any()


@torch.no_grad()
def test_contrasts_are_compared_each_by_itself_and_averaged():
    net, x, other = network("vgg"), torch.rand(2, 2, 16, 16), torch.rand(2, 2, 16, 16)
    alone = [net(x[:, i : i + 1], other[:, i : i + 1]) for i in range(2)]
    torch.testing.assert_close(net(x, other), (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_the_smallest_image_that_each_network_sees(kind):
    net, least = network(kind), LAYERS[kind].least
    assert net(torch.rand(1, 1, least, least), torch.rand(1, 1, least, least)).isfinite().all()
    small = torch.rand(1, 1, 40, least - 1)
    with pytest.raises(UadError, match=rf"^--features: slices of {least - 1} pixels, {kind} needs {least} \(leave"):
        net(small, small)
    with pytest.raises(RuntimeError):  # so that it is the least indeed
        net.features(torch.rand(1, 3, least - 1, least - 1))


@pytest.mark.parametrize(("kind", "layers"), [("alex", alex), ("vgg", vgg)])
@torch.no_grad()
def test_an_image_is_described_by_the_mean_of_its_last_features(kind, layers):
    net, x = network(kind), 2 * torch.rand(2, 1, 48, 40) - 1
    colours = zip((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450), strict=True)
    last = layers(net.state_dict(), torch.cat([(x - shift) / scale for shift, scale in colours], dim=1))[-1]
    torch.testing.assert_close(net.describe(x), last.mean(dim=(2, 3)))
