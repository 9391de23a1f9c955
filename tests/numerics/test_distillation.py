"""What a student is taught, held against walks of teachers whose answers are known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracles import Gaussian, Knows

from uadtools.diffusion.distillation import DEVIATION, carried, consistent, halved, truncated_snr
from uadtools.diffusion.process import Prediction, add_noise
from uadtools.diffusion.samplers import consistency, ddim
from uadtools.diffusion.schedule import Schedule
from uadtools.diffusion.steps import spaced
from uadtools.interface.learning import Batch
from uadtools.interface.recipe import Recipe
from uadtools.methods import distilled

COUNT = 4
SHAPE = (COUNT, 1, 6, 5)
NEAR = {"rtol": 0, "atol": 2e-5}
"""Levels of noise of a batch of steps are float32."""


def drawn(seed, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def every(step, count=COUNT):
    return torch.full((count,), step)


def never():
    raise AssertionError("this walk draws no noise")


def end(walk):
    *_, last = walk
    return last.x_t


class Several(Gaussian):
    """Of images each at a step of its own, too."""

    def predict(self, x_t, t, *, clamp=False):
        if isinstance(t, int):
            return super().predict(x_t, t, clamp=clamp)
        each = [super(Several, self).predict(x_t[i : i + 1], int(s), clamp=clamp) for i, s in enumerate(t)]
        return Prediction(*(torch.cat(parts) for parts in zip(*(one[:2] for one in each), strict=True)))


class Student:
    """Takes each step of a walk as its teacher takes two: it knows the way, and nothing of the image."""

    def __init__(self, teacher, top, steps):
        finer = [*spaced(top, 2 * steps), -1]
        self.teacher, self.schedule = teacher, teacher.schedule
        self.ways = {finer[i]: finer[i : i + 3] for i in range(0, 2 * steps, 2)}

    def predict(self, x_t, t, *, clamp=False):
        way = (every(step, len(x_t)) for step in self.ways[t])
        return Knows(halved(self.teacher, x_t, *way), self.schedule, "x0").predict(x_t, t)


@pytest.fixture(params=["linear", "cosine"])
def teacher(request):
    return Several(Schedule.of(request.param))


def by_hand(model, x_t, t, to):
    """One step of DDIM, as Song et al. 2021 print it."""
    guess, abar = model.predict(x_t, t), model.schedule.alpha_bar(to)
    return math.sqrt(abar) * guess.x0 + math.sqrt(1 - abar) * guess.eps


@pytest.mark.parametrize("way", [(300, 281, 262), (300, 150, -1), (40, 20, 0), (999, 500, 3)])
def test_a_step_by_the_target_leads_where_two_steps_of_the_teacher_lead(teacher, way):
    x_t = drawn(0)
    x0 = halved(teacher, x_t, *map(every, way))
    there = by_hand(teacher, by_hand(teacher, x_t, *way[:2]), *way[1:])
    abar, abar_there = (teacher.schedule.alpha_bar(way[i]) for i in (0, 2))
    eps = (x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
    torch.testing.assert_close(math.sqrt(abar_there) * x0 + math.sqrt(1 - abar_there) * eps, there, **NEAR)
    seen = teacher.predict(x_t, way[0]).x0  # one step of the teacher leads elsewhere
    assert (x0 - seen).abs().max() > 1e-3


def test_each_image_takes_steps_of_its_own(teacher):
    ways = torch.tensor([[300, 281, 262], [150, 131, 112], [19, 9, -1], [300, 281, 262]])
    x_t = drawn(0)
    together = halved(teacher, x_t, *ways.T)
    alone = [halved(teacher, x_t[i : i + 1], *ways[i : i + 1].T) for i in range(COUNT)]
    torch.testing.assert_close(together, torch.cat(alone), **NEAR)
    moved = carried(teacher, x_t, ways[:, 0], ways[:, 2])
    for i, (t, _, to) in enumerate(ways.tolist()):
        torch.testing.assert_close(moved[i : i + 1], by_hand(teacher, x_t[i : i + 1], t, to), **NEAR)


def test_with_a_teacher_who_knows_the_image_it_is_the_target(teacher):
    x0 = drawn(3)
    for target in ("eps", "x0"):
        knows = Knows(x0, teacher.schedule, target)
        t = torch.tensor([300, 250, 200, 30])
        x_t = add_noise(x0, t, drawn(4), teacher.schedule)
        torch.testing.assert_close(halved(knows, x_t, t, t - 10, t - 20), x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [8, 4, 2, 1])
def test_a_walk_of_a_perfect_student_is_its_teachers_of_twice_the_steps(teacher, steps):
    x_t, student = drawn(0), Student(teacher, 300, steps)
    twice = list(ddim(teacher, x_t, spaced(300, 2 * steps), never))[1::2]
    for mine, theirs in zip(ddim(student, x_t, spaced(300, steps), never), twice, strict=True):
        torch.testing.assert_close(mine.x_t, theirs.x_t, **NEAR)


def test_a_student_of_students_walks_once_where_the_first_teacher_walks_16_times(teacher):
    x_t, model = drawn(0), teacher
    for steps in (8, 4, 2, 1):
        model = Batched(Student(model, 300, steps))
    torch.testing.assert_close(
        end(ddim(model, x_t, [300], never)), end(ddim(teacher, x_t, spaced(300, 16), never)), rtol=0, atol=1e-4
    )


class Batched:
    """Asks a student, whose images are all at one step, with that step."""

    def __init__(self, student):
        self.student, self.schedule = student, student.schedule

    def predict(self, x_t, t, *, clamp=False):
        return self.student.predict(x_t, t if isinstance(t, int) else int(t[0]))


@pytest.mark.parametrize(("top", "steps"), [(300, 8), (500, 4), (123, 7), (999, 500), (9, 1)])
def test_every_second_of_the_teachers_steps_is_the_students(top, steps):
    assert spaced(top, 2 * steps)[::2] == spaced(top, steps)


def test_the_weight_is_signal_over_noise_but_at_least_1():
    schedule, t = Schedule.of("linear"), torch.tensor([0, 100, 250, 300, 999])
    expected = [max(abar / (1 - abar), 1) for abar in map(schedule.alpha_bar, t.tolist())]
    torch.testing.assert_close(truncated_snr(t, schedule), torch.tensor(expected), rtol=1e-3, atol=0)
    assert truncated_snr(t, schedule)[3:].tolist() == [1, 1]


def test_the_clean_image_is_its_own_end_whatever_the_network_says(teacher):
    x, said = drawn(0), 1e6 * drawn(1)
    for t in (-1, every(-1)):
        assert torch.equal(consistent(x, t, said, teacher.schedule), x)


@pytest.mark.parametrize("t", [0, 20, 300, 999])
def test_what_is_kept_and_what_is_told_sum_up_to_the_image(teacher, t):
    """And with an x0 of the network's the rest of the noise is c_skip s, half of d where s = d."""
    x0, eps = drawn(0), drawn(1)
    x_t = add_noise(x0, t, eps, teacher.schedule)
    abar = teacher.schedule.alpha_bar(t)
    s = math.sqrt((1 - abar) / abar)
    left = DEVIATION**2 / (DEVIATION**2 + s**2) * s
    assert left <= DEVIATION / 2
    torch.testing.assert_close(consistent(x_t, t, x0, teacher.schedule), x0 + left * eps, rtol=0, atol=1e-9)


class Ends:
    """A network that knows where the exact walk of Gaussian data ends, and tells it as a consistency model's has to."""

    def __init__(self, gaussian):
        self.gaussian, self.schedule = gaussian, gaussian.schedule

    def __call__(self, x_t, t):
        return torch.cat([self.at(x_t[i : i + 1], int(s)) for i, s in enumerate(t)])

    def at(self, x_t, t):
        abar = self.schedule.alpha_bar(t)
        kept = DEVIATION**2 / (DEVIATION**2 + (1 - abar) / abar)
        return (self.gaussian.carried(x_t, t, -1) - kept * x_t / math.sqrt(abar)) / (1 - kept)

    def predict(self, x_t, t, *, clamp=False):
        return Knows(self.at(x_t, t) if isinstance(t, int) else self(x_t, t), self.schedule, "x0").predict(x_t, t)


class Exact(Gaussian):
    """Says what leads along the exact walk in steps of any size, from each of these t to the next."""

    def __init__(self, schedule, learnt):
        super().__init__(schedule)
        self.following = dict(zip(learnt, [*learnt[1:], -1], strict=True))

    def predict(self, x_t, t, *, clamp=False):
        each = [self.at(x_t[i : i + 1], int(s)) for i, s in enumerate(t)]
        return Prediction(*(torch.cat(parts) for parts in zip(*(one[:2] for one in each), strict=True)))

    def at(self, x_t, t):
        to = self.following[t]
        abar, abar_to = self.schedule.alpha_bar(t), self.schedule.alpha_bar(to)
        left = math.sqrt((1 - abar_to) / (1 - abar))
        there = self.carried(x_t, t, to)
        x0 = (there - left * x_t) / (math.sqrt(abar_to) - left * math.sqrt(abar))
        return Knows(x0, self.schedule, "x0").predict(x_t, t)


def lesson(goal, net, teacher, x_t, place, steps=8):
    recipe = SimpleNamespace(walk=distilled.WalkConfig(goal=goal, steps=steps), target="x0")
    teach = distilled.towards if goal == "consistency" else distilled.in_one
    return teach(recipe, net, teacher, x_t, place)


def test_all_places_on_one_walk_have_one_target(teacher):
    """The end of the walk, which the student tells already, so that there is nothing to learn."""
    learnt, x = spaced(300, 8), drawn(0, (1, 1, 6, 5))
    mean, deviation = teacher.level(300)
    exact = Exact(teacher.schedule, learnt)
    walk = torch.cat([exact.carried(mean + deviation * x, 300, t) for t in learnt])
    made, target, weight = lesson("consistency", Ends(exact), exact, walk, torch.arange(8))
    expected = exact.carried(mean + deviation * x, 300, -1).expand_as(walk)
    torch.testing.assert_close(target, expected.to(target), rtol=0, atol=5e-5)
    torch.testing.assert_close(made, target, rtol=0, atol=5e-5)
    assert weight.tolist() == [1] * 8


def test_from_the_lowest_place_the_target_is_what_the_teacher_sees(teacher):
    """Whatever the student says: that is where the boundary condition holds."""
    x_t, lowest = drawn(0), spaced(300, 8)[-1]
    taught = lesson("consistency", lambda x, t: 1e6 * torch.ones_like(x), teacher, x_t, every(7))
    torch.testing.assert_close(taught.target, teacher.predict(x_t, lowest).x0, **NEAR)


def test_the_target_is_the_students_own_and_no_gradient_passes_it(teacher):
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    taught = lesson("consistency", lambda x, t: scale * x, teacher, drawn(0), every(2))
    assert taught.made.requires_grad
    assert not taught.target.requires_grad


def test_jumps_of_a_perfect_consistency_model_end_on_the_walk_they_begin_on(teacher):
    """Between jumps noise is drawn afresh, so that mean and deviation of the data stay as they are."""
    mean, deviation = teacher.level(300)
    x_t = mean + deviation * drawn(0, (64, 1, 16, 16))
    once = end(consistency(Ends(teacher), x_t, [300], never))
    torch.testing.assert_close(once, teacher.carried(x_t, 300, -1), rtol=0, atol=1e-9)
    seeds = iter(range(1, 10))
    often = end(consistency(Ends(teacher), x_t, spaced(300, 4), lambda: drawn(next(seeds), x_t.shape)))
    assert next(seeds) == 4  # the end is not noised
    assert (often - once).abs().max() > 0.1
    assert often.mean().item() == pytest.approx(teacher.mean, abs=4 * teacher.deviation / 128)
    assert often.std().item() == pytest.approx(teacher.deviation, rel=0.05)


def healed(model, x, goal, noise, **how):
    """By the method, with a model that says its walk is this."""
    model.config = SimpleNamespace(walk=distilled.WalkConfig(goal=goal, steps=4))
    options = distilled.Options(**{**how, **distilled.settle(model.config, how)[0]})
    return distilled.heal(model, x, options, noise).healed


def test_a_student_heals_as_its_teacher_does_in_twice_the_steps(teacher):
    """With the same noise, and from wherever on its walk it begins."""
    x, eps = drawn(0), drawn(1)
    for t, twice in ((300, spaced(300, 8)), (150, spaced(300, 8)[4:])):
        x_t = add_noise(x, t, eps, teacher.schedule)
        made = healed(Student(teacher, 300, 4), x, "progressive", lambda: eps, t=t)
        torch.testing.assert_close(made, end(ddim(teacher, x_t, twice, never)), **NEAR)


def test_a_consistency_model_heals_at_once(teacher):
    x, eps = drawn(0), drawn(1)
    x_t = add_noise(x, 300, eps, teacher.schedule)
    once = healed(Ends(teacher), x, "consistency", lambda: eps)
    torch.testing.assert_close(once, teacher.carried(x_t, 300, -1), rtol=0, atol=1e-9)
    again = healed(Ends(teacher), x, "consistency", lambda: eps, steps=2)
    x_again = add_noise(once, spaced(300, 4)[2], eps, teacher.schedule)
    torch.testing.assert_close(again, teacher.carried(x_again, spaced(300, 4)[2], -1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("how", "asked"),
    [
        ({}, (300, 262, 225, 187, 150, 112, 74, 37)),
        ({"steps": 4}, (300, 225, 150, 74)),
        ({"steps": 3}, (300, 225, 112)),
        ({"steps": 1}, (300,)),
        ({"t": 150}, (150, 112, 74, 37)),
        ({"t": 150, "steps": 2}, (150, 74)),
        ({"t": 37}, (37,)),
    ],
)
def test_steps_are_evenly_chosen_of_those_that_were_learnt(how, asked):
    options = distilled.Options(**how, learnt=distilled.WalkConfig().learnt)
    assert options.timesteps == asked
    assert options.evaluations((8, 8)) == len(asked)


def recipe_of(goal, **training):
    return Recipe.model_validate(
        {
            "name": "r", "kind": "distilled", "source": "tests", "target": "x0", "noise": {"kind": "gaussian"},
            "grid": {"shape": [16, 16, 8]}, "network": {"base": 8, "multipliers": [1], "groups": 4},
            "walk": {"goal": goal, "steps": 4}, "training": {"steps": 1, **training},
        }
    )  # fmt: skip


@pytest.fixture
def batch():
    return Batch(drawn(5, (6, 1, 16, 16)).float(), np.arange(6))


def test_a_student_that_takes_two_steps_in_one_has_nothing_to_learn(teacher, batch):
    finer = [*spaced(300, 8), -1]
    asked = set()

    def net(x_t, t):
        asked.update(t.tolist())
        ways = torch.tensor([finer[finer.index(s) : finer.index(s) + 3] for s in t.tolist()])
        return halved(teacher, x_t.double(), *ways.T)

    perfect = distilled.loss(recipe_of("progressive"), net, batch, 0, teacher)
    assert asked <= {*spaced(300, 4)}
    assert perfect.item() == pytest.approx(0, abs=1e-9)
    as_the_teacher = distilled.loss(recipe_of("progressive"), lambda x, t: teacher.predict(x, t).x0, batch, 0, teacher)
    assert as_the_teacher.item() > 1e-5


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("goal", ["progressive", "consistency"])
def test_the_loss_is_the_weighed_mean_over_slices(teacher, batch, goal, distance, monkeypatch):
    kept, teach = [], {"progressive": "in_one", "consistency": "towards"}[goal]
    original = getattr(distilled, teach)
    monkeypatch.setattr(distilled, teach, lambda *given: kept.append(original(*given)) or kept[-1])
    made = distilled.loss(recipe_of(goal, loss=distance), lambda x, t: 0.5 * x, batch, 0, teacher)
    (one,) = kept
    apart = (one.made - one.target).abs() ** {"l1": 1, "l2": 2}[distance]
    expected = sum(w * each.mean() for w, each in zip(one.weight, apart, strict=True)) / len(apart)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=0)
    assert (one.weight > 1).any() == (goal == "progressive")


@pytest.mark.parametrize("goal", ["progressive", "consistency"])
def test_the_loss_of_a_batch_is_the_mean_of_its_slices(teacher, batch, goal):
    def loss(part):
        cut = Batch(batch.x0[part], batch.seeds[part])
        return distilled.loss(recipe_of(goal), lambda x, t: 0.5 * x, cut, 0, teacher)

    alone = torch.stack([loss(slice(i, i + 1)) for i in range(6)])
    assert alone.std() > 0
    torch.testing.assert_close(loss(slice(None)), alone.mean(), rtol=1e-5, atol=0)
