"""Items of two contrasts: one person, one place of each anomaly, looks and scanners of their own."""

import json

import numpy as np
import pytest

from uadtools.corrupting.anomalies import UNSEEN
from uadtools.corrupting.config import AnomalyConfig, CorruptionConfig, DomainConfig, Looks
from uadtools.corrupting.corruption import draw_item, make_item
from uadtools.corrupting.shapes import shape_of

HARD = 10**6
STILL = DomainConfig(
    flip=0, turn=0, scale=0, aspect=0, shift=0, warp=0, widen=0, gamma=0, curve=0, headroom=0, blur=0, thick=0, bias=0,
    ghosts=0, strip=0, noise=0, vessels=0, bilateral=0,
)  # fmt: skip
LOCAL = AnomalyConfig(none=0, radius=(3.0, 9.0), looks=Looks(foreign=0, waves=0, blur=0, texture=0, push=0))
"""Looks that change nothing outside of a shape."""


@pytest.fixture(scope="module")
def slab():
    """Five slices of a round brain, and the same with its tissues in another order: (10, H, W)."""
    z, y, x = np.mgrid[-2:3, -24:24, -20:20]
    radius = np.hypot(np.hypot(1.2 * y / 1.1, 1.2 * x), z)
    one, other = (np.select([radius < 13, radius < 17, radius < 20], levels, 0.0) for levels in (
        [0.8, 0.5, 0.18], [0.45, 0.65, 0.1],
    ))  # fmt: skip
    waves = 0.02 * np.sin(1.3 * x + 0.7 * y)
    return np.concatenate([np.where(made > 0, made + waves, 0) for made in (one, other)]).astype(np.float32)


def drawn(seed, channels=2, **tables):
    return draw_item(CorruptionConfig(**tables), np.random.default_rng(seed), HARD, channels)


def made(slab, numbers):
    return make_item(slab, numbers, lambda share: np.roll(slab, int(9 * share), 1))


def test_an_item_is_made_again_from_what_was_drawn_bit_for_bit(slab):
    """Also when it was kept as JSON in between, as drawn.jsonl does."""
    for seed in range(20):
        numbers = drawn(seed, domains=DomainConfig(ghosts=0.5))
        again = json.loads(json.dumps(numbers))
        assert again == numbers
        one, other = made(slab, numbers), made(slab, again)
        assert one.seen.shape == (10, 48, 40)
        assert one.healthy.shape == (2, 48, 40)
        for name in ("seen", "healthy", "changed", "brain"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.severity, one.ceiling) == (other.severity, other.ceiling)


def test_the_first_contrast_is_as_it_is_by_itself(slab):
    """But for what another one shows, which is marked, too."""
    for seed in range(20):
        both, alone = (
            made(slab, drawn(seed)),
            make_item(slab[:5], drawn(seed, 1), lambda s: np.roll(slab[:5], int(9 * s), 1)),
        )
        np.testing.assert_array_equal(both.seen[:5], alone.seen)
        np.testing.assert_array_equal(both.healthy[0], alone.healthy)
        assert (both.changed >= alone.changed).all()
        assert both.severity >= alone.severity


def test_where_nothing_is_drawn_the_target_is_what_is_seen_and_without_domains_the_clean_slices(slab):
    quiet = AnomalyConfig(none=1.0, fade=1)
    for seed in range(10):
        item = made(slab, drawn(seed, anomalies=quiet, domains=DomainConfig(noise=0)))
        np.testing.assert_array_equal(item.seen[[2, 7]], item.healthy)
        assert not item.changed.any()
        assert item.severity == 0
        clean = made(slab, drawn(seed, anomalies=quiet, domains=STILL))
        for healthy, own in zip(clean.healthy, slab[[2, 7]], strict=True):
            assert np.corrcoef(healthy[own > 0.02], own[own > 0.02])[0, 1] > 0.995


def test_anomalies_are_in_the_same_place_in_looks_of_their_own_and_some_are_not_seen(slab):
    brain, shown, alike, unseen = slab[:5] > 0.02, 0, 0, 0
    for seed in range(60):
        numbers = drawn(seed, anomalies=LOCAL.model_copy(update={"most": 1}), domains=STILL)
        (group,), (other,) = numbers["groups"], numbers["others"][0]["groups"]
        item = made(slab, numbers)
        apart = np.abs(item.seen[[2, 7]] - item.healthy)
        alpha, _ = shape_of(group, slab[:5], brain, ())
        assert (apart[:, alpha.max(axis=0) == 0] < 1e-6).all()  # slices are mixed a little, pixels are not
        if other["look"] is None:
            unseen += 1
            assert apart[1].max() < 1e-6
            continue
        assert other["look"] != group["look"]
        shown += apart[1].max() > 0.1
        alike += np.array_equal(item.seen[7] > item.healthy[1], item.seen[2] > item.healthy[0])
        strong = (apart.max(axis=0) > 0.2) & (alpha[2] > 0.6)
        assert (item.changed > 0)[strong].mean() > 0.9 if strong.any() else True
    assert unseen == pytest.approx(60 * UNSEEN, abs=11)
    assert shown > 20
    assert alike < 40


def test_each_contrast_has_a_scanner_of_its_own(slab):
    """Of a contrast that is stored and drawn like the first one, the scanner alone is other."""
    numbers, twice = drawn(0, anomalies=AnomalyConfig(none=1.0, fade=1)), np.concatenate([slab[:5], slab[:5]])
    (other,) = numbers["others"]
    own, same = ({**other, "contrast": numbers["contrast"], **more} for more in ({}, {"scanner": numbers["scanner"]}))
    item = made(twice, numbers | {"others": [own]})
    assert np.abs(item.seen[2] - item.seen[7]).max() > 0.02
    assert np.array_equal(item.healthy[0] > 0, item.healthy[1] > 0)  # the skull is stripped once
    item = made(twice, numbers | {"others": [same]})
    np.testing.assert_array_equal(item.seen[:5], item.seen[5:])
    np.testing.assert_array_equal(*item.healthy)


def test_what_comes_from_another_scan_comes_from_the_same_contrast_of_it(slab):
    """Here one whose first contrast is dark, and whose other one is bright."""
    alone = {name: 0.0 for name in ("level", "factor", "waves", "blur", "texture", "push")}
    anomalies = AnomalyConfig(none=0, radius=(4.0, 9.0), looks=Looks(foreign=1, **alone))
    stranger, changes = np.concatenate([np.full_like(slab[:5], 0.03), np.full_like(slab[:5], 0.99)]), []
    for seed in range(20):
        numbers = drawn(seed, anomalies=anomalies, domains=STILL)
        for group in (*numbers["groups"], *numbers["others"][0]["groups"]):
            group["look"] = group["look"] and group["look"] | {"poisson": False}
        item = make_item(slab, numbers, lambda share: stranger)
        changes.append((item.seen[[2, 7]] - item.healthy).sum(axis=(1, 2)))
    first, other = np.sum(changes, axis=0)
    assert first < -50
    assert other > 50
