"""What networks that know the clean contrasts make of a lesion in one of them, and what losses make of two."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from uadtools import methods
from uadtools.baselines import cevae, dae, mae, svae
from uadtools.diffusion.guidance import scaled_back
from uadtools.diffusion.process import both
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.interface.learning import Batch, Donor
from uadtools.labelled import _lesions, anofpdm
from uadtools.methods import spark
from uadtools.nets.joined import Joined
from uadtools.nets.layout import apart, middle, with_middle
from uadtools.nets.perceptual import Perceptual

SHAPE = (2, 2, 16, 16)
CLEAN = torch.linspace(-0.8, 0.6, 1024).view(SHAPE)
LESION = (slice(None), slice(1, 2), slice(4, 9), slice(6, 12))
"""In the second contrast alone."""


def with_lesion(clean=CLEAN):
    made = clean.clone()
    made[LESION] += 0.3
    return made


class Knows:
    """Sees the clean contrasts behind everything, and nothing but them; features are unlike by 1 everywhere."""

    channels = 2

    def __init__(self, **config):
        self.schedule, self.config = Schedule.of("linear"), SimpleNamespace(**config)
        self.net = SimpleNamespace(encoder=None)

    def predict(self, x_t, t, *, clamp=False, code=None):
        assert x_t.shape == SHAPE
        return both(CLEAN, "x0", x_t, t, self.schedule, clamp=clamp)

    def perceive(self, x, other):
        return torch.ones_like(x[:, :1])

    def ask(self, x, *more, of=None):
        return CLEAN


HOW = {
    **{name: {"t": 60} for name in ("sss", "ddpm", "autoddpm", "cddpm", "thor", "andi")},
    **{name: {"t": 60, "steps": 6} for name in ("ddim", "encode")},
    "pddpm": {"t": 60, "patch": 8}, "distilled": {"t": 60}, "mae": {},
    **{name: {} for name in ("ae", "vae", "cevae", "svae", "dae", "fanogan", "vqvae", "binary")},
}  # fmt: skip


@pytest.mark.parametrize("method", HOW)
def test_who_knows_the_clean_contrasts_gives_them_back_and_maps_the_lesion(method):
    file = methods.get(method)
    model = Knows(walk=SimpleNamespace(goal="progressive"), masking=mae.MaskingConfig(square=4))
    made = file.heal(model, with_lesion(), file.Options(**HOW[method]), lambda: torch.randn(SHAPE))
    if made.healed is not None:
        torch.testing.assert_close(made.healed, CLEAN, rtol=0, atol=1e-4)
    if method in ("andi", "autoddpm", "thor"):
        anomaly, lesion = made.maps["anomaly"], torch.zeros(2, 1, 16, 16, dtype=torch.bool)
        lesion[:, :, *LESION[2:]] = True
        assert anomaly.shape == lesion.shape
        assert anomaly[lesion].min() > 10 * anomaly[~lesion].max()


class Restores:
    """Knows the clean middle slices of both contrasts."""

    channels = 2

    def ask(self, x, t):
        away = CLEAN - middle(x, 2)
        return torch.cat([away, 40 * away.abs().amax(dim=1, keepdim=True) - 4], dim=1)


@pytest.mark.parametrize(("method", "how"), [("restore", {}), ("disyre", {}), ("disyre", {"accumulate": "mean"})])
def test_a_slab_of_two_contrasts_is_restored(method, how):
    file, x = methods.get(method), with_middle(torch.zeros(2, 6, 16, 16), with_lesion())
    assert torch.equal(middle(x, 2), with_lesion())
    assert torch.equal(x[:, [1, 4]], with_lesion())
    made = file.heal(Restores(), x, file.Options(**how), None)
    torch.testing.assert_close(made.healed, CLEAN, rtol=0, atol=1e-5)
    probability = made.maps["probability"]
    assert probability.shape == (2, 1, 16, 16)
    assert (probability[:, :, *LESION[2:]] > 0.9).all()
    assert ((probability > 0.9).sum(dim=(1, 2, 3)) == 30).all()


def test_what_two_images_differ_by_is_the_mean_over_contrasts():
    torch.testing.assert_close(apart(with_lesion(), CLEAN)[:, :, *LESION[2:]], torch.full((2, 1, 5, 6), 0.075))


def test_autoddpm_masks_both_contrasts_alike():
    """Where the map is above the limit in one place, both contrasts come from the walk there, and nowhere else."""
    file, model, x = methods.get("autoddpm"), Knows(), with_lesion()
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    mask[:, :, :5] = True
    made = file.replaced(model, x, CLEAN, mask, file.Options(again=8), lambda: torch.randn(SHAPE))
    torch.testing.assert_close(made[:, :, :5], CLEAN[:, :, :5], rtol=0, atol=1e-5)
    assert torch.equal(made[:, :, 5:], x[:, :, 5:])


def test_anofpdm_maps_the_root_of_the_mean_square_over_steps_and_contrasts():
    x = torch.zeros(1, 2, 1, 1)
    led = [torch.tensor(values).view(1, 2, 1, 1) for values in ([0.2, 0.4], [0.6, 0.0], [9.0, 9.0])]
    plain = [one - away for one, away in zip(led, (0.1, 0.5, 0.3), strict=True)]  # the second step is the last
    found = anofpdm.aggregated(x, led, plain)
    assert found.shape == (1, 1, 1, 1)
    assert found.item() == pytest.approx(((0.04 + 0.16 + 0.36) / 4) ** 0.5 / 2)


def test_each_contrast_is_scaled_back_by_its_own_intensities():
    x0 = torch.stack([torch.linspace(-1, 3, 100), torch.linspace(-1, 0.5, 100)]).view(1, 2, 10, 10)
    made = scaled_back(x0, 0.99)
    torch.testing.assert_close(made[:, :1], scaled_back(x0[:, :1], 0.99), rtol=0, atol=0)
    assert made[0, 0].max().item() == pytest.approx(1)
    torch.testing.assert_close(made[0, 1], x0[0, 1])  # not as bright that anything is to be done


def test_features_of_all_contrasts_are_compared(random_unet):
    net, t = Perceptual(random_unet(in_channels=2, out_channels=2)), torch.tensor([50, 50])
    unlike = net(CLEAN, with_lesion(), t)
    assert unlike.shape == (2, 1, 16, 16)
    assert unlike[:, :, *LESION[2:]].min() > 0
    assert not net(CLEAN, CLEAN, t).any()


def test_a_joined_network_sees_both_contrasts_healed_and_their_mean_score():
    class Heals(nn.Module):
        def forward(self, x, t):
            """Adds 0.3 and 0.1 to the middle slices, and says 2 of each change."""
            return torch.tensor([0.3, 0.1, 2.0]).view(1, 3, 1, 1).expand(len(x), 3, *x.shape[2:])

    class Reads(nn.Module):
        def forward(self, x):
            self.seen = x
            return x[:, :1]

    net = Joined(Heals(), Reads(), 999)
    x = torch.tensor([-0.5, 0.2, 0.9, 0.1, -0.2, 0.3]).view(1, 6, 1, 1).expand(2, 6, 4, 4)
    assert net(x).shape == (2, 1, 4, 4)
    sure = float(1 / (1 + np.exp(-2))) ** 0.5
    torch.testing.assert_close(net.reader.seen[0, :, 0, 0], torch.tensor([*x[0, :, 0, 0], 0.5, -0.1, 0.1 * sure]))


def test_the_first_contrast_tells_where_the_brain_is():
    drawn = torch.Generator().manual_seed(0)
    logit, labels = torch.randn(2, 1, 8, 8, generator=drawn), torch.rand(2, 1, 8, 8, generator=drawn) > 0.5
    slices = torch.rand(2, 2, 8, 8, generator=drawn)
    slices[:, :1, :2], slices[:, 1:, 5:] = -1, -1
    told = _lesions.distance(logit, slices, labels.byte())
    assert told == _lesions.distance(logit, slices[:, :1], labels.byte())
    assert told != _lesions.distance(logit, slices[:, 1:], labels.byte())


SEEDS = np.array([3, 2**63 - 1])


def test_the_noise_of_a_denoiser_differs_between_contrasts_and_lies_in_the_brain_of_the_first():
    recipe = dae.Recipe(name="r", source="tests", contrasts=("T1", "FLAIR"), training={"steps": 1})
    seen, x0 = [], torch.zeros(SHAPE)
    x0[:, 0, :4] = -1
    dae.loss(recipe, lambda x: seen.append(x) or x, Batch(x0, SEEDS), 0)
    noise = seen[0] - x0
    assert not noise[:, :, :4].any()
    assert (noise[:, :, 4:].std(dim=(2, 3)) > 0.05).all()
    assert (noise[:, 0] - noise[:, 1])[:, 4:].abs().amax(dim=(1, 2)).min() > 0.2
    one = recipe.model_copy(update={"contrasts": ()})
    dae.loss(one, lambda x: seen.append(x) or x, Batch(x0[:, :1], SEEDS), 0)
    assert torch.equal(seen[1], seen[0][:, :1])


def test_an_autoencoder_of_windows_sees_both_contrasts_of_each_slice_and_is_judged_by_the_middle_ones():
    recipe = svae.Recipe(
        name="r", source="tests", contrasts=("T1", "FLAIR"), training={"steps": 1}, grid={"shape": (16, 16, 8)},
        network={"base": 8, "multipliers": (1, 2), "latent": 6, "groups": 4, "reach": 1},
    )  # fmt: skip
    net, x0 = svae.build(recipe), torch.rand(2, 6, 16, 16)
    states, _ = net.recurrent(torch.stack([net.encoder(x0[:, [z, 3 + z]]) for z in range(3)], dim=1))
    torch.testing.assert_close(torch.cat(net.encode(x0), dim=1), net.head(states[:, 1]))
    perfect = SimpleNamespace(encode=lambda x: (torch.zeros(2, 6), torch.zeros(2, 6)), decoder=lambda z: x0[:, [1, 4]])
    assert svae.loss(recipe, perfect, Batch(x0, SEEDS), 0) == 0


def test_squares_are_painted_over_in_all_contrasts_each_in_a_value_of_its_own():
    squares, x0 = cevae.SquaresConfig(count=(1, 1), side=(0.5, 0.5)), torch.full(SHAPE, 5.0)
    made = cevae.painted(squares, x0, SEEDS)
    there = made != 5
    assert torch.equal(there[:, 0], there[:, 1])
    assert (there.sum(dim=(2, 3)) == 64).all()
    assert (made[:, 0] != made[:, 1])[there[:, 0]].all()
    assert torch.equal(cevae.painted(squares, x0[:, :1], SEEDS), made[:, :1])


def test_a_masked_autoencoder_hides_the_same_squares_of_all_contrasts():
    recipe = mae.Recipe(
        name="r", source="tests", contrasts=("T1", "FLAIR"), training={"steps": 1}, masking={"square": 4},
        grid={"shape": (16, 16, 8)}, network={"base": 8, "groups": 4, "multipliers": (1, 2)},
    )  # fmt: skip
    seen, x0 = [], torch.rand(SHAPE) + 0.5
    told = mae.loss(
        recipe, lambda x: seen.append(x) or x0 + torch.tensor([1.0, 3.0]).view(1, 2, 1, 1), Batch(x0, SEEDS), 0
    )
    hidden = seen[0][:, 2] == 1
    assert 0 < hidden.float().mean() < 1
    for channel in range(2):
        assert torch.equal(seen[0][:, channel] == 0, hidden)
    assert told.item() == pytest.approx((1 + 9) / 2)


def test_hidden_squares_are_normalised_in_each_contrast():
    """A contrast of half the range says the same, which the mean over both would not."""
    recipe = spark.Recipe(
        name="r", source="tests", contrasts=("T1", "FLAIR"), training={"steps": 1},
        encoder={"base": 4, "blocks": (1, 1)}, grid={"shape": (16, 16, 8)},
    )  # fmt: skip
    x0, painted = torch.rand(SHAPE), torch.rand(SHAPE)
    losses = [
        spark.loss(recipe, lambda x, seen: painted, Batch(x0 * torch.tensor([1.0, scale]).view(1, 2, 1, 1), SEEDS), 0)
        for scale in (1.0, 0.5)
    ]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=0)
    assert spark.build(recipe)(x0, torch.ones(2, 1, 2, 2, dtype=torch.bool)).shape == SHAPE


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (
            ("T1", "FLAIR"),
            (),
            r"sees T1, FLAIR, and the recipe one contrast \(--set 'contrasts=\[\"T1\", \"FLAIR\"\]'\)",
        ),
        ((), ("T1", "FLAIR"), r"sees one contrast, and the recipe T1, FLAIR \(--set 'contrasts=\[\]'\)"),
        (("T1", "FLAIR"), ("FLAIR", "T1"), r"sees T1, FLAIR, and the recipe FLAIR, T1"),
        (("T1",), (), None),
        (("T1", "FLAIR"), ("T1", "FLAIR"), None),
    ],
)
def test_a_donor_of_other_contrasts_is_refused(there, here, said):
    theirs, ours = (SimpleNamespace(contrasts=names, channels=max(1, len(names))) for names in (there, here))
    donor = Donor("d.safetensors", theirs, {})
    if said is None:
        donor.check_contrasts(ours)
        return
    with pytest.raises(UadError, match=rf"^d\.safetensors: {said}"):
        donor.check_contrasts(ours)
