"""Walks that keep what is healthy: what they keep, what they replace, and what they ask the network."""

import pytest
import torch
from torch import Tensor

from uadtools.diffusion.process import add_noise, both
from uadtools.diffusion.samplers import ddpm as ddpm_walk
from uadtools.diffusion.schedule import Schedule
from uadtools.diffusion.steps import spaced
from uadtools.errors import UadError
from uadtools.healing.plan import plan
from uadtools.interface.healing import end
from uadtools.methods import autoddpm, ddim, ddpm, encode, sss, thor
from uadtools.models.config import ModelConfig
from uadtools.models.model import Model
from uadtools.noise.config import NoiseConfig
from uadtools.noise.source import SliceNoise

SHAPE = (3, 1, 12, 10)


class Halves:
    """A denoiser that sees half of what it is shown, is told how unlike images are, and notes when it was asked."""

    def __init__(self, unlike: float | Tensor = 1.0) -> None:
        self.schedule, self.unlike, self.asked = Schedule.of("linear"), unlike, []

    def predict(self, x_t, t, *, clamp=False):
        self.asked.append(t)
        return both(x_t / 2, "x0", x_t, t, self.schedule, clamp=clamp)

    def perceive(self, x, other):
        return self.unlike * torch.ones_like(x)


def drawn(seed=0):
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) * 1.8 - 0.9


def keyed(count=SHAPE[0]):
    return SliceNoise(NoiseConfig(kind="gaussian"), SHAPE[1:], [(5, i) for i in range(count)], torch.device("cpu"))


def square():
    """1 in a square of the image, 0 elsewhere."""
    return torch.nn.functional.pad(torch.ones(1, 1, 4, 3), (2, 5, 3, 5))


WALKS = [(autoddpm, {"t": 30, "again": 8}), (thor, {"t": 30, "every": 10}), (thor, {"t": 70})]


@pytest.mark.parametrize(("method", "how"), WALKS)
def test_where_nothing_is_unlike_the_scan_comes_back(method, how):
    x = drawn()
    made = method.heal(Halves(0.0), x, method.Options(**how), keyed())
    assert torch.equal(made.healed, x)
    assert not made.maps["anomaly"].any()


@pytest.mark.parametrize(("method", "how"), WALKS)
def test_what_it_asks_is_what_it_says_it_asks(method, how):
    model, options = Halves(), method.Options(**how)
    method.heal(model, drawn(), options, keyed())
    assert len(model.asked) == options.evaluations(SHAPE[2:])


@pytest.mark.parametrize(("method", "how"), WALKS)
def test_a_slice_heals_the_same_in_any_batch(method, how):
    """Percentiles, largest values and masks are its own: the slices are of other contrasts."""
    x = drawn() * torch.tensor([1.0, 0.3, 0.02]).view(3, 1, 1, 1)
    whole = method.heal(Halves(), x, method.Options(**how), keyed())
    for i in range(3):
        noise = SliceNoise(NoiseConfig(kind="gaussian"), SHAPE[1:], [(5, i)], torch.device("cpu"))
        alone = method.heal(Halves(), x[i : i + 1], method.Options(**how), noise)
        torch.testing.assert_close(alone.healed, whole.healed[i : i + 1], rtol=0, atol=1e-6)
        for role, values in alone.maps.items():
            torch.testing.assert_close(values, whole.maps[role][i : i + 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("method", "how"), WALKS)
def test_there_is_no_anomaly_where_there_is_no_brain(method, how):
    x = drawn()
    x[:, :, :4] = -1
    anomaly = method.heal(Halves(), x, method.Options(**how), keyed()).maps["anomaly"]
    assert not anomaly[:, :, :4].any()
    assert (anomaly[:, :, 4:] > 0).float().mean() > 0.5


def test_autoddpm_keeps_the_scan_outside_of_its_mask():
    x = drawn()
    options = autoddpm.Options(t=30, again=8, mask=0.0)
    healed = autoddpm.heal(Halves(square()), x, options, keyed()).healed
    within = autoddpm.masked(square(), 0.5).expand(SHAPE)
    assert within.sum() == 3 * 6 * 5  # one pixel more on each side
    assert torch.equal(healed[~within], x[~within])
    assert (healed[within] != x[within]).float().mean() > 0.9


def test_autoddpm_with_all_masked_is_ddpm_of_the_first_walk():
    """With a noise that is the same in each draw, as what is kept draws some, too."""
    x, noise, model = drawn(), lambda: torch.full(SHAPE, 0.4), Halves()
    options = autoddpm.Options(t=30, again=8, repeats=3, mask=-1.0)
    first = ddpm.heal(model, x, ddpm.Options(t=30), noise).healed
    second = ddpm_walk(model, add_noise(first, 8, noise(), model.schedule), 8, noise, clamp=True, repeats=3)
    made = autoddpm.heal(model, x, options, noise)
    torch.testing.assert_close(made.healed, end(second), rtol=0, atol=1e-6)
    assert model.asked[-1 - 8 * 3 :] == [s for s in range(8, 0, -1) for _ in range(3)] + [0]


def test_autoddpm_puts_the_scan_back_at_the_noise_level_of_each_step():
    """In an image that is all kept, the network sees the scan, noised to the step that it is asked about."""
    x, model = drawn(), Halves()
    shown = []

    def predict(x_t, t, *, clamp=False):
        shown.append((x_t, t))
        return both(x_t / 2, "x0", x_t, t, model.schedule, clamp=clamp)

    model.predict = predict
    options = autoddpm.Options(again=5, repeats=1)
    autoddpm.replaced(model, x, 0 * x, torch.zeros(SHAPE, dtype=torch.bool), options, lambda: torch.zeros(SHAPE))
    assert [t for _, t in shown] == [5, 4, 3, 2, 1, 0]
    for x_t, t in shown:
        torch.testing.assert_close(x_t, model.schedule.alpha_bar(t) ** 0.5 * x, rtol=0, atol=1e-6)


def test_the_first_map_is_the_distance_times_the_residual_over_its_percentile():
    x, first = torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 4, 5)
    first[0, 0, 0] = torch.tensor([0.1, 0.2, 0.4, 0.4, -0.8])
    found = autoddpm.first_map(x, first, torch.full_like(x, 0.5))
    # of 20 residuals, 0.95 * 19 = 18.05 of the way up: 0.4 + 0.05 * 0.4
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.1, 0.2, 0.4, 0.4, 0.42]) / 0.42 / 2, rtol=0, atol=1e-6)
    assert not found[0, 0, 1:].any()


def test_autoddpm_scores_by_its_first_map():
    """In units of [0, 1]."""
    x, model = drawn(), Halves(0.5)
    made = autoddpm.heal(model, x, autoddpm.Options(t=0, again=0, mask=0.0), lambda: torch.zeros(SHAPE))
    level = model.schedule.alpha_bar(0) ** 0.5 / 2
    torch.testing.assert_close(made.healed, level * level * x, rtol=0, atol=1e-6)
    found = autoddpm.first_map(x, level * x, torch.full_like(x, 0.5))
    torch.testing.assert_close(made.maps["anomaly"], found * (x - made.healed).abs() / 2, rtol=0, atol=1e-6)
    assert torch.equal(made.maps["perceptual"], torch.full_like(x, 0.5))


def test_thor_with_all_replaced_is_ddpm(monkeypatch):
    monkeypatch.setattr(thor, "region", torch.ones_like)
    x, options = drawn(), thor.Options(t=20, every=30)
    assert options.stops == []
    made, plain = (m.heal(Halves(), x, o, keyed()).healed for m, o in ((thor, options), (ddpm, ddpm.Options(t=20))))
    assert torch.equal(made, plain)


def test_thor_goes_on_from_what_it_mixed(monkeypatch):
    """With all replaced, from the x0 that it saw, at the noise level of the stop; with nothing, from the scan."""
    x, model = drawn(), Halves()
    for share in (1.0, 0.0):
        monkeypatch.setattr(thor, "region", lambda found, share=share: share * torch.ones_like(found))
        model.asked.clear()
        shown = []
        monkeypatch.setattr(
            thor, "seen_at", lambda stop, model, x_t, t, noise, shown=shown: shown.append((x_t, t)) or 0.3 * x
        )
        thor.heal(model, x, thor.Options(t=60, every=20), lambda: torch.full(SHAPE, 0.5))
        assert [t for _, t in shown] == [60, 40]
        torch.testing.assert_close(
            shown[1][0],
            add_noise((1 - 0.7 * share) * x, 40, torch.full(SHAPE, 0.5), model.schedule),
            rtol=0, atol=1e-6,
        )  # fmt: skip
        assert model.asked == list(range(20, -1, -1))


def test_thor_spreads_what_it_finds():
    found = torch.zeros(2, 1, 30, 31)
    found[0, 0, 14, 15], found[0, 0, 14, 20], found[1, 0, 0, 0] = 0.2, 0.1, 1e-4
    region = thor.region(found)
    expected = torch.zeros(30, 31)
    expected[8:21, 14:27] = 0.25  # 6 pixels around the half; between the two, closing fills what is narrower than 13
    expected[8:21, 9:22] = 0.5
    expected[14, 15], expected[14, 20] = 1.0, 0.75
    torch.testing.assert_close(region[0, 0], expected, rtol=0, atol=1e-6)
    corner = torch.zeros(30, 31)
    corner[:7, :7], corner[0, 0] = 0.5, 1
    torch.testing.assert_close(region[1, 0], corner, rtol=0, atol=1e-6)


def test_thors_map_is_the_smoothed_distance_times_the_residual():
    x, x0 = torch.zeros(1, 1, 21, 21), torch.full((1, 1, 21, 21), 0.5)
    model = Halves(torch.zeros_like(x))
    model.unlike[0, 0, 10, 10] = 1
    found = thor.found(model, x, x0)
    peak = 1 / sum(torch.exp(torch.tensor(-(i**2) / 8.0)) for i in range(-8, 9)) ** 2
    assert found[0, 0, 10, 10].item() == pytest.approx(peak.item() / 4, rel=1e-5)
    assert found[0, 0, 10, 12].item() == pytest.approx(peak.item() / 4 * torch.tensor(-0.5).exp().item(), rel=1e-5)
    assert found.sum().item() == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ({}, [300, 150, 50]),
        ({"t": 150}, [50]),
        ({"t": 50}, []),
        ({"every": 100}, [300, 200, 100]),
        ({"t": 35, "levels": 100}, [30, 15, 5]),
    ],
)
def test_thor_stops_below_t(options, stops):
    assert thor.Options(**options).stops == stops


def test_defaults_follow_the_models_noise_and_steps():
    plain, short, simplex = (
        ModelConfig.model_validate({"name": "m", "noise": {"kind": kind}, "schedule": {"steps": steps}})
        for kind, steps in (("gaussian", 1000), ("gaussian", 100), ("simplex", 1000))
    )
    stops = [plan(config, method="thor").options[0].stops for config in (plain, short, simplex)]
    assert stops == [[300, 150, 50], [30, 15, 5], [300, 250, 200, 150, 100, 50]]
    assert plan(simplex, method="thor", every=100).options[0].stops == [300, 200, 100]
    assert [plan(c, method="autoddpm").options[0].again for c in (plain, short)] == [50, 5]
    with pytest.raises(UadError, match="--again 100: outside 0 to 99, the model's steps"):
        plan(short, method="autoddpm", again=100)


def test_large_variance_is_drawn_with():
    """With a model that knows nothing: in the first step down from 20, the noise is that of beta."""
    model = Halves()
    made = [
        ddpm.heal(model, torch.zeros(SHAPE), ddpm.Options(t=5, variance=v), keyed()).healed for v in ("small", "large")
    ]
    assert made[1].std() > 1.05 * made[0].std() > 0


def test_the_variance_is_the_learned_one_where_the_network_tells_it():
    kind = ModelConfig.of_kind("diffusion")
    told, untold = (kind(name="m", network={"variance": variance}) for variance in ("learned", "fixed"))
    variances = [
        plan(c, method="ddpm", **o).options[0].variance for c in (told, untold) for o in ({}, {"variance": "large"})
    ]
    assert variances == ["learned", "large", "small", "large"]
    with pytest.raises(UadError, match="--variance learned: model m did not learn it"):
        plan(untold, method="ddpm", variance="learned")


def test_encoding_draws_no_noise_and_asks_as_often_as_it_says():
    def never():
        raise AssertionError("this walk draws no noise")

    for t, steps in ((100, 10), (100, 101), (30, 1), (0, 1)):
        model, options = Halves(), encode.Options(t=t, steps=steps)
        encode.heal(model, drawn(), options, never)
        assert len(model.asked) == options.evaluations(SHAPE[2:])
        assert model.asked[-steps:] == spaced(t, steps)
        assert model.asked[:-steps] == sorted({0, *spaced(t, steps)})[:-1]
    assert Model.noise.__doc__
    assert not encode.Options.NOISY


@pytest.mark.parametrize("method", [sss, ddim, ddpm, encode])
def test_the_perceptual_map_is_made_where_it_is_asked_for(method):
    x, model = drawn(), Halves()
    model.perceive = lambda x, other: 3 * x + other
    plain, mapped = (method.Options(t=20, **how) for how in ({}, {"perceptual": True}))
    if method in (ddim, encode):
        plain, mapped = (method.Options(t=20, steps=4, **how) for how in ({}, {"perceptual": True}))
    assert (plain.maps, mapped.maps) == ((), ("perceptual",))
    made, more = (method.heal(model, x, options, keyed()) for options in (plain, mapped))
    assert made.maps == {}
    assert torch.equal(more.healed, made.healed)
    assert torch.equal(more.maps["perceptual"], 3 * x + made.healed)
