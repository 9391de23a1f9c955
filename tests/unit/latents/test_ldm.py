"""Latent diffusion: where it heals, and what it leaves alone."""

from types import SimpleNamespace

import pytest
import torch

from uadtools.diffusion.process import both
from uadtools.diffusion.samplers import ddpm
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.latents import ldm
from uadtools.latents._region import grown

SCHEDULE = Schedule.of("linear")


class Model:
    """Latents are means over 4x4 pixels in two channels; the network believes in latents of 0.3 everywhere."""

    schedule = SCHEDULE
    config = SimpleNamespace(
        region=ldm.RegionConfig(bounds=(2, 3, 5, 7, 50, 200)), schedule=SimpleNamespace(steps=1000)
    )

    def __init__(self, limits):
        self.net, self.limits, self.asked = self, limits.repeat(6, 1, 1), []

    def encode(self, x):
        return torch.nn.functional.avg_pool2d(x, 4).repeat(1, 2, 1, 1)

    def decode(self, z):
        self.z = z
        return torch.nn.functional.interpolate(z[:, :1], scale_factor=4)

    def predict(self, x_t, t, *, clamp=False):
        self.asked += [(int(step), clamp) for step in torch.as_tensor(t).expand(len(x_t))[::2]]  # two slices each
        return both(torch.full_like(x_t, 0.3), "x0", x_t, t, self.schedule)


def noises(shape=(2, 2, 4, 4)):
    generator = torch.Generator().manual_seed(0)
    return lambda: torch.randn(shape, generator=generator)


LIMITS = torch.full((4, 4), 1e-4)


@pytest.mark.parametrize("variant", ["c", "d"])
def test_the_region_is_healed_and_the_rest_is_left_exactly_as_it_was(x, variant):
    model = Model(LIMITS)
    made = ldm.heal(model, x, ldm.Options(variant=variant), noises())
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[0, :, :1, :2] = True
    torch.testing.assert_close(made.maps["region"], torch.nn.functional.interpolate(region.float(), scale_factor=4))
    z = model.encode(x)
    outside = ~region.expand_as(z)
    assert torch.equal(model.z[outside], z[outside])
    torch.testing.assert_close(model.z[~outside], torch.full((4,), 0.3), rtol=0, atol=1e-3)
    assert made.maps["bound"].shape == x.shape
    assert not any(clamp for _, clamp in model.asked)


@pytest.mark.parametrize("variant", ["b", "c", "d"])
def test_a_region_that_grows_is_healed_in_all_of_it(x, variant):
    model, look = Model(LIMITS), Model.predict

    def predict(x_t, t, *, clamp=False):
        """Another belief on the way back than that which finds the region."""
        believed = torch.full_like(x_t, 0.6)
        return both(believed, "x0", x_t, t, SCHEDULE) if isinstance(t, int) else look(model, x_t, t, clamp=clamp)

    model.predict = predict
    made = ldm.heal(model, x, ldm.Options(t=50, variant=variant, grow=1), noises())
    region = torch.zeros(2, 1, 4, 4)
    region[0, :, :2, :3] = 1  # the lesion's cells are the first two of the first row
    torch.testing.assert_close(made.maps["region"], torch.nn.functional.interpolate(region, scale_factor=4))
    healed = (region > 0).expand_as(model.z) | (variant == "b")
    expected = torch.where(healed, 0.6, model.encode(x))
    torch.testing.assert_close(model.z, expected, rtol=0, atol=1e-3)


def test_a_region_of_a_volume_grows_along_all_axes():
    region = torch.zeros(1, 1, 5, 6, 7, dtype=torch.bool)
    region[0, 0, 2, 0, 3] = True
    made = grown(region, 2)
    assert made.sum() == 5 * 3 * 5
    assert made[0, 0, :, :3, 1:6].all()
    assert grown(region, 0) is region


@pytest.mark.parametrize("variant", ["c", "d"])
def test_what_is_kept_is_noised_to_each_step_or_clean(x, variant):
    """The network sees it so, at every step: as clean as the scan's own latent, or as noisy as what is healed."""
    z = Model(LIMITS).encode(x)
    outside = torch.ones_like(z, dtype=torch.bool)
    outside[0, :, :1, :2] = False
    for kept in ("noised", "clean"):
        model, seen = Model(LIMITS), []

        def predict(x_t, t, *, clamp=False, model=model, seen=seen):
            if isinstance(t, int):  # on the way back; the bound asks with a tensor
                seen.append((t, x_t.clone()))
            return both(torch.full_like(x_t, 0.3), "x0", x_t, t, SCHEDULE)

        model.predict = predict
        ldm.heal(model, x, ldm.Options(t=300, variant=variant, bounds=2, outside=kept), noises())
        walked = [x_t for t, x_t in seen if t <= 300]
        assert all(torch.equal(x_t[outside], z[outside]) for x_t in walked) == (kept == "clean")
        assert not torch.allclose(walked[0][~outside], z[~outside], atol=0.05)
        assert torch.equal(model.z[outside], z[outside])
    with pytest.raises(UadError, match="--outside has no effect with --variant a or b"):
        ldm.Options(variant="b", outside="clean")


def test_where_nothing_is_unlikely_nothing_is_healed(x):
    model = Model(torch.full((4, 4), 1e9))
    made = ldm.heal(model, x, ldm.Options(), noises())
    assert not made.maps["region"].any()
    assert torch.equal(made.healed, model.decode(model.encode(x)))


def test_where_all_is_unlikely_it_is_plain_ddpm(x):
    """With the same noise: what is kept takes none."""
    model, draw = Model(torch.zeros(4, 4)), noises()
    model.predict = lambda x_t, t, clamp=False: both(0.8 * x_t, "x0", x_t, t, SCHEDULE)
    ldm.heal(model, x, ldm.Options(t=20, variant="c", bounds=3), draw)
    again = noises()
    z = model.encode(x)
    for _ in range(3):
        again()
    from uadtools.diffusion.process import add_noise

    *_, last = ddpm(model, add_noise(z, 20, again(), SCHEDULE), 20, again)
    torch.testing.assert_close(model.z, last.x_t, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "bounds", "walk"),
    [
        (ldm.Options(t=30, variant="a"), 0, 31),
        (ldm.Options(t=30, variant="b"), 200, 31),
        (ldm.Options(t=30, variant="c", bounds=7), 7, 31),
        (ldm.Options(t=500, variant="d"), 50, 30),
        (ldm.Options(t=500, variant="d", steps=50), 50, 50),
        (ldm.Options(t=9, variant="d"), 50, 10),
        (ldm.Options(t=30, variant="c", steps=5, bounds=2), 2, 5),
        (ldm.Options(t=30, variant="c", repeats=3, bounds=2), 2, 30 * 3 + 1),
        (ldm.Options(t=30, variant="b", bounds=2), 2, 31),
    ],
)
def test_evaluations(x, options, bounds, walk):
    model = Model(LIMITS)
    made = ldm.heal(model, x, options, noises())
    assert len(model.asked) == bounds + walk == options.evaluations((16, 16))
    looked = [t for t, _ in model.asked[:bounds]]
    assert all(400 <= t < 600 for t in looked)
    assert len(set(looked)) == bounds
    assert set(made.maps) == set(options.maps) == (set() if options.variant == "a" else {"bound", "region"})


@pytest.mark.parametrize("variant", ["a", "d"])
def test_the_bound_of_the_whole_chain_is_a_map_of_its_own(x, variant):
    model = Model(LIMITS)
    plain = ldm.heal(model, x, ldm.Options(variant=variant, steps=3), noises())
    asked = len(model.asked)
    made = ldm.heal(model, x, ldm.Options(variant=variant, steps=3, chain=40), noises())
    looked = [t for t, _ in model.asked[asked:]][-43:-3]
    assert (min(looked), max(looked)) == (1, 999)
    assert (
        len(model.asked) - 2 * asked
        == 40
        == ldm.Options(variant=variant, chain=40).evaluations((16, 16))
        - (ldm.Options(variant=variant).evaluations((16, 16)))
    )
    assert made.maps.keys() - plain.maps.keys() == {"chain"}
    lesion, rest = made.maps["chain"][0, 0, :4, :8], made.maps["chain"][0, 0, 4:]
    assert lesion.min() > 10 * rest.max()


def test_variant_b_heals_all_and_marks_the_region(x):
    model = Model(LIMITS)
    made = ldm.heal(model, x + 0.1, ldm.Options(variant="b", bounds=5), noises())
    torch.testing.assert_close(made.healed, torch.full_like(x, 0.3), rtol=0, atol=1e-3)
    model = Model(torch.full((4, 4), 1e9))
    made = ldm.heal(model, x, ldm.Options(variant="b", bounds=5), noises())
    assert not made.maps["region"].any()
    torch.testing.assert_close(made.healed, torch.full_like(x, 0.3), rtol=0, atol=1e-3)


def test_without_limits_there_is_no_silent_empty_region(x):
    model = Model(torch.full((4, 4), torch.inf))
    with pytest.raises(UadError, match=r"does not know how much of the bound is healthy.*--variant a\)"):
        ldm.heal(model, x, ldm.Options(), noises())
    ldm.heal(model, x, ldm.Options(variant="a", steps=2), noises())


def test_limits_are_those_of_as_many_steps(x):
    """Fewer steps make a noisier bound, of which more is healthy."""
    model = Model(LIMITS)
    model.limits[-1] = 1e9
    assert ldm.heal(model, x, ldm.Options(variant="b", bounds=50, steps=3), noises()).maps["region"].any()
    assert not ldm.heal(model, x, ldm.Options(variant="b", steps=3), noises()).maps["region"].any()


@pytest.mark.parametrize(
    ("known", "given", "looked"),
    [
        ((50,), {}, 50),
        ((50,), {"variant": "c"}, 50),
        ((50, 200), {"variant": "c"}, 200),
        ((200,), {}, 200),
        ((50, 200), {"variant": "b", "bounds": 50}, 50),
        ((300,), {"variant": "c"}, 200),
        ((50,), {"variant": "a"}, 0),
    ],
)
def test_by_default_the_bound_is_taken_as_often_as_there_are_limits_for(known, given, looked):
    (settled,) = ldm.settle(SimpleNamespace(region=ldm.RegionConfig(bounds=known), schedule=SCHEDULE), given)
    assert ldm.Options(**settled).looked == looked


def test_a_number_of_steps_without_limits_is_refused():
    config = SimpleNamespace(region=ldm.RegionConfig(bounds=(50, 100)), schedule=SCHEDULE)
    with pytest.raises(UadError, match=r"^--bounds 200: the model knows how much is healthy over 50 or 100 steps"):
        ldm.settle(config, {"variant": "c", "bounds": 200})


@pytest.mark.parametrize(("looks", "kept"), [(1, True), (2, False)])
def test_limits_of_models_of_before_are_those_of_their_only_number_of_steps(looks, kept, tiny_guided):
    from uadtools.latents.ldm import build
    from uadtools.models.checkpoint import read_config, read_tensors

    config = read_config(tiny_guided["ldm"])
    region = ldm.RegionConfig(bounds=(50, 200)[:looks])
    net = build(config.model_copy(update={"region": region}))
    weights = {name: tensor.float() for name, tensor in read_tensors(tiny_guided["ldm"]).items()}
    net.load_state_dict(weights | {"limits": torch.full((4, 4), 0.5)})
    assert net.limits.shape == (looks, 4, 4)
    assert net.limits.isfinite().all() == kept
