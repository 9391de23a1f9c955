"""Classifiers of noisy images, and U-Nets that are told a class."""

import pytest
import torch
from torch import nn

from uadtools.nets.blocks import sinusoid
from uadtools.nets.classifier import HEALTHY, NONE, SICK, ClassConditioned, ClassifiedDiffusion, Classifier
from uadtools.nets.unet import UNet

SIZES = {"base": 8, "groups": 4, "multipliers": (1, 2, 3), "attention": (4,), "heads": 2}


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    net = Classifier(**SIZES)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.2)
    return net.eval()


@torch.no_grad()
def test_a_classifier_is_the_way_down_of_a_unet_and_a_mean_over_places(classifier, random_unet):
    unet, x, t = random_unet(), torch.randn(2, 1, 16, 16), torch.tensor([3, 70])
    own = classifier.state_dict()
    way_down = {name: weight for name, weight in unet.state_dict().items() if name in own}
    assert {name.split(".")[0] for name in own} - {name.split(".")[0] for name in way_down} == {"head", "head_norm"}
    classifier.load_state_dict(own | way_down)
    middle = unet.middle(unet.features(x, t)[-1], unet.time_embed(sinusoid(t, 8, "cos_sin")))
    seen = nn.functional.silu(classifier.head_norm(middle)).mean(dim=(2, 3))
    torch.testing.assert_close(classifier(x, t), classifier.head(seen)[:, 0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_image_is_judged_alike_in_any_batch_and_by_its_step(classifier):
    x, t = torch.randn(3, 1, 16, 16), torch.tensor([3, 70, 400])
    together = classifier(x, t)
    assert together.shape == (3,)
    alone = torch.cat([classifier(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert (classifier(x, t.flip(0)) != together)[[0, 2]].all()


def test_the_frozen_network_stays_as_it_heals():
    net = ClassifiedDiffusion(UNet(**SIZES, dropout=0.5), Classifier(**SIZES, dropout=0.5)).train()
    assert net.classifier.training
    assert not any(part.training for part in net.unet.modules())
    assert {name.partition(".")[0] for name, weight in net.named_parameters() if weight.requires_grad} == {"classifier"}


@torch.no_grad()
def test_a_network_that_begins_with_one_that_was_told_nothing_answers_as_that_whatever_it_is_told(random_unet):
    plain, x, t = random_unet(embedding="scale_shift"), torch.randn(3, 1, 16, 16), torch.tensor([3, 70, 400])
    net = ClassConditioned(random_unet(embedding="scale_shift", condition=5), 5)
    before = net(x, t, torch.tensor([HEALTHY, SICK, NONE]))
    net.start(plain.state_dict())
    for kinds in ([HEALTHY, SICK, NONE], [NONE, HEALTHY, SICK]):
        torch.testing.assert_close(net(x, t, torch.tensor(kinds)), plain(x, t), rtol=0, atol=1e-5)
    assert not torch.allclose(before, plain(x, t), atol=1e-2)


@torch.no_grad()
def test_each_class_says_something_of_its_own(random_unet):
    net = ClassConditioned(random_unet(condition=5), 5)
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([70])
    told = [net(x, t, torch.tensor([kind])) for kind in (HEALTHY, SICK, NONE)]
    assert not torch.allclose(told[0], told[1], atol=1e-3)
    assert not torch.allclose(told[0], told[2], atol=1e-3)
    for kind in (HEALTHY, SICK, NONE):
        assert torch.equal(net.unet(x, t, net.code(kind, 1)), told[kind])
