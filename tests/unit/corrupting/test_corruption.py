"""What restoration learns from: everything drawn first, applied second, and true of the item."""

import json

import numpy as np
import pytest

from uadtools.anatomy.intensity import FLOOR
from uadtools.corrupting.anomalies import draw_groups, put_in
from uadtools.corrupting.config import AnomalyConfig, CorruptionConfig, Looks, Shapes
from uadtools.corrupting.corruption import STEPS, draw_item, make_item
from uadtools.corrupting.domains import (
    KNOTS,
    DomainConfig,
    as_contrast,
    as_stripped,
    draw_contrast,
    draw_person,
    draw_scanner,
    pairs_of,
    places_of,
)
from uadtools.corrupting.fields import sample, smooth
from uadtools.corrupting.looks import LOOKS

HARD = 10**6
NOTHING = DomainConfig(
    flip=0, turn=0, scale=0, aspect=0, shift=0, warp=0, widen=0, gamma=0, curve=0, headroom=0, blur=0, thick=0, bias=0,
    ghosts=0, strip=0, noise=0, vessels=0, bilateral=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def slab():
    """Seven slices of a round brain: fluid around grey around white matter, and two ventricles."""
    z, y, x = np.mgrid[-3:4, -24:24, -20:20]
    radius = np.hypot(np.hypot(1.2 * y / 1.1, 1.2 * x), z)
    made = np.select([radius < 13, radius < 17, radius < 20], [0.8, 0.5, 0.18], 0.0)
    made[(np.abs(np.abs(x) - 4) < 2) & (np.abs(y) < 6)] = 0.15
    waves = 0.02 * np.sin(1.3 * x + 0.7 * y)
    return np.where(made > 0, made + waves, 0).astype(np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def as_moved(slab, person):
    return sample(slab, *places_of(slab, person))


def item(slab, seed=0, config=None, step=HARD, **tables):
    config = config or CorruptionConfig(**tables)
    return make_item(slab, draw_item(config, rng(seed), step), lambda number: np.roll(slab, int(9 * number), 1))


def same(one, other):
    for name in ("seen", "healthy", "changed", "brain"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.severity, one.ceiling) == (other.severity, other.ceiling)


def test_an_item_is_made_again_from_what_was_drawn_bit_for_bit(slab):
    """Also when it was kept as JSON in between, as drawn.jsonl does."""
    config = CorruptionConfig(domains=DomainConfig(contrast=0.7, ghosts=0.5))
    for seed in range(30):
        drawn = draw_item(config, rng(seed), HARD)
        again = json.loads(json.dumps(drawn))
        assert again == drawn
        same(make_item(slab, drawn, lambda n: slab), make_item(slab, again, lambda n: slab))


def test_where_nothing_is_drawn_the_target_is_what_is_seen(slab):
    """Whatever the domain, but for noise, which the network is to see through."""
    quiet = AnomalyConfig(none=1.0, fade=1)
    for seed in range(20):
        made = item(slab, seed, anomalies=quiet, domains=DomainConfig(contrast=0.5, noise=0))
        np.testing.assert_array_equal(made.seen[3], made.healthy)
        assert not made.changed.any()
        assert made.severity == 0
    noisy = item(slab, 1, anomalies=quiet, domains=DomainConfig(noise=0.05))
    assert 0 < np.abs(noisy.seen[3] - noisy.healthy).mean() < 0.1
    assert not noisy.changed.any()


def test_without_domains_the_target_is_the_clean_slice(slab):
    made = item(slab, 3, anomalies=AnomalyConfig(none=0.0), domains=NOTHING)
    plain = as_contrast(slab, slab > 0.02, draw_contrast(NOTHING, rng()))
    ranks = np.corrcoef(made.healthy[slab[3] > 0.02], slab[3][slab[3] > 0.02])[0, 1]
    assert ranks > 0.999
    assert plain.shape == slab.shape
    assert made.changed.any()


def test_what_is_marked_has_changed_and_what_has_not_changed_is_not_marked(slab):
    marked, missed, wrong = 0, 0, 0
    for seed in range(60):
        made = item(slab, seed, domains=DomainConfig(contrast=0.5, noise=0, blur=0, thick=0))
        apart = np.abs(made.seen[3] - made.healthy)
        marked += (made.changed > 0).sum()
        wrong += ((made.changed > 0) & (apart < 0.005)).sum()
        missed += ((made.changed == 0) & (apart > 0.15)).sum()
        assert made.changed.min() >= 0
        assert made.changed.max() <= 1
    assert marked > 3000
    assert wrong < 0.05 * marked
    assert missed < 0.1 * marked


def test_images_are_those_of_prepared_scans(slab):
    """In [FLOOR, 1] inside the brain that is left, and exactly 0 outside."""
    for seed in range(20):
        made = item(slab, seed, domains=DomainConfig(contrast=0.7))
        inside = made.brain > 0
        for image in (made.seen[3], made.healthy):
            assert not image[~inside].any()
            assert image[inside].min() >= np.float32(FLOOR)
            assert image.max() <= 1
        assert made.seen.dtype == made.healthy.dtype == np.float32


def test_severity_grows_with_strength_and_size_and_the_ceiling_lies_above(slab):
    seen = []
    for seed in range(60):
        made = item(slab, seed)
        assert 0 <= made.severity <= made.ceiling < STEPS
        seen.append((made.severity, made.changed.sum()))
    severity, amount = np.array(seen).T
    assert np.corrcoef(severity, np.log1p(amount))[0, 1] > 0.85
    assert severity.max() > 500


@pytest.mark.parametrize("look", [name for name in Looks.model_fields if name not in ("dark", "bright")])
def test_every_look_can_be_left_out_and_changes_something(slab, look):
    alone = Looks(**{name: float(name == look) for name in LOOKS})
    config = AnomalyConfig(shapes=Shapes(blob=1, many=0, cloud=0, ring=0, rim=0), looks=alone, none=0, radius=(5, 8))
    changed = 0
    for seed in range(10):
        groups = draw_groups(config, rng(seed), HARD)
        assert {group["look"]["kind"] for group in groups} == {look}
        made, _ = put_in(slab, slab, slab > 0, groups, lambda n: slab[:, ::-1])
        changed += bool(np.abs(made - slab).max() > 0.02)
    assert changed >= 7
    rest = Looks(**{look: 0.0})
    kinds = {g["look"]["kind"] for seed in range(60) for g in draw_groups(AnomalyConfig(looks=rest), rng(seed), HARD)}
    assert kinds == set(LOOKS) - {look}


@pytest.mark.parametrize("shape", ["blob", "many", "cloud", "ring", "rim", "mask"])
def test_every_shape_alone(slab, shape):
    config = AnomalyConfig(shapes=Shapes(**{name: float(name == shape) for name in Shapes.model_fields}), none=0)
    masks = [np.ones((7, 6, 6), np.float32)]
    found = 0
    for seed in range(12):
        groups = draw_groups(config, rng(seed), HARD)
        assert {group["shape"] for group in groups} == {shape}
        _, where = put_in(slab, slab, slab > 0, groups, lambda n: slab, masks)
        assert not where[slab == 0].any()
        found += where[3].sum()
    assert found > (5 if shape == "rim" else 50)


@pytest.mark.parametrize(("looks", "sign"), [({"bright": 0}, -1), ({"dark": 0}, 1)])
def test_a_direction_can_be_left_out(slab, looks, sign):
    level = Looks(level=1, factor=1, foreign=0, waves=0, blur=0, texture=0, push=0, **looks)
    for seed in range(12):
        groups = draw_groups(AnomalyConfig(looks=level, none=0), rng(seed), HARD)
        for group in groups:
            group["look"] |= {"texture": 1.0, "grain": 0.0}
        made, where = put_in(slab, slab, slab > 0, groups[:1], lambda n: slab)
        if where.sum() > 20:
            assert sign * (made - slab)[where].mean() > 0


def test_training_begins_with_few_healthy_items_and_nothing_faint():
    config = AnomalyConfig(none=0.5, fade=1000, radius=(1, 12))
    easy, hard = ([draw_groups(config, rng(seed), step) for seed in range(400)] for step in (0, HARD))
    assert np.mean([not groups for groups in easy]) < 0.1
    assert np.mean([not groups for groups in hard]) > 0.4
    radii = [[p["radius"] for groups in made for g in groups for p in g["parts"][:1]] for made in (easy, hard)]
    assert np.median(radii[0]) > 1.3 * np.median(radii[1])
    assert not {g["look"]["kind"] for groups in easy for g in groups} & {"waves", "blur", "texture", "push"}
    assert {g["look"]["kind"] for groups in hard for g in groups} == set(LOOKS)


def test_curves_keep_the_order_of_tissues_that_they_draw():
    """Whatever is drawn, each tissue gets its own level, and what is ordered in between stays so."""
    config = DomainConfig(contrast=1, vessels=0, bilateral=0, gamma=0, headroom=0)
    brain = np.ones((3, 40, 40), bool)
    ramp = np.broadcast_to(np.linspace(0.02, 1, 1600, dtype=np.float32).reshape(40, 40), brain.shape)
    for seed in range(40):
        drawn = draw_contrast(config, rng(seed)) | {"texture": 0.0, "soft": 0.0}
        made = as_contrast(np.ascontiguousarray(ramp), brain, drawn)[1].ravel()
        levels = np.interp(KNOTS[1:4], np.linspace(0.02, 1, 1600), made)
        fluid, grey, white = drawn["levels"][1:4]
        for one, two, a, b in ((0, 1, fluid, grey), (1, 2, grey, white), (0, 2, fluid, white)):
            if abs(a - b) > 0.15:
                assert (levels[one] < levels[two]) == (a < b)


def test_flair_and_t2_are_as_their_names_say():
    for share, kind in (({"flair": 1.0, "t2": 0.0}, "flair"), ({"flair": 0.0, "t2": 1.0}, "t2")):
        config = DomainConfig(contrast=1, **share)
        for seed in range(40):
            _, fluid, grey, white, _ = draw_contrast(config, rng(seed))["levels"]
            assert grey >= white
            assert fluid < white if kind == "flair" else fluid > grey


def test_fluid_spreads_when_it_is_to_and_shrinks_when_it_is_to(slab):
    def share(widen):
        drawn = draw_person(NOTHING, rng()) | {"widen": widen}
        made = as_moved(slab, drawn)[3]
        inside = made[16:32, 10:30]
        return (inside < 0.35).mean()

    assert share(2.0) > 1.2 * share(0.0) > 1.2 * share(-1.0)


def test_a_person_without_changes_is_the_slab(slab):
    np.testing.assert_allclose(as_moved(slab, draw_person(NOTHING, rng())), slab, rtol=0, atol=1e-5)


def test_shapes_of_masks_need_masks():
    with pytest.raises(ValueError, match="shapes of masks are wanted"):
        CorruptionConfig(anomalies=AnomalyConfig(shapes=Shapes(mask=0.1)))


def test_masks_are_smoothed_as_numbers():
    mask = np.zeros((3, 20, 20), bool)
    mask[:, 10:] = True
    made = smooth(mask, (0, 2, 2))
    assert made.dtype == np.float32
    assert 0.3 < made[1, 10, 10] < 0.7


def test_a_skull_cut_away_too_much_takes_a_border_of_a_few_pixels(slab):
    brain = slab > 0.02
    drawn = draw_scanner(DomainConfig(), rng(1)) | {"strip": 3.0, "strip_cell": 12.0}
    left = as_stripped(brain, drawn)
    lost = brain & ~left
    assert 0.02 < lost.sum() / brain.sum() < 0.4
    assert not lost[:, 20:28, 16:24].any()


def test_structures_differ_from_their_tissue_by_their_own_level_in_other_contrasts_only(slab):
    """Half of the brain is another structure: each half moves by a level of its own, and what is T1 stays as it is."""
    config = DomainConfig(**{**NOTHING.model_dump(), "contrast": 1.0, "regions": 0.2})
    drawn = draw_contrast(config, rng(4))
    drawn |= {"levels": [0.1, 0.1, 0.5, 0.4, 0.4], "texture": 0.0, "low": 0.0, "top": 1.0}
    drawn["regions"][0] = 0.1
    structures = np.where(np.arange(slab.shape[2]) < 20, 1, 2).astype(np.uint8) * (slab > 0)
    plain, made = (as_contrast(slab, slab > 0.02, drawn, known) for known in (None, structures))
    change = (made - plain)[:, 20:28, :]
    inner = slab[:, 20:28, :] > 0.6
    left, right = change[..., :17][inner[..., :17]], change[..., 23:][inner[..., 23:]]
    assert abs(left.mean() - right.mean()) > 0.03
    assert max(left.std(), right.std()) < 0.3 * abs(left.mean() - right.mean())
    t1 = draw_contrast(NOTHING, rng(4))
    np.testing.assert_array_equal(as_contrast(slab, slab > 0, t1, structures), as_contrast(slab, slab > 0, t1))


def test_fluid_holds_what_only_t1_shows_as_dark_as_fluid(slab):
    """In other contrasts it differs from fluid, up to the level drawn; the tissues are as without."""
    config = DomainConfig(**{**NOTHING.model_dump(), "contrast": 1.0, "vessels": 1.0})
    drawn = draw_contrast(config, rng(3))
    drawn |= {"levels": [0.9, 0.9, 0.5, 0.3, 0.3], "knots": [0, 0.15, 0.5, 0.8, 1.0]}
    drawn |= {"texture": 0.0, "low": 0.0, "top": 1.0, "soft": 0.3}
    drawn["vessels"] |= {"level": 0.1, "above": 0.3}
    made, plain = (as_contrast(slab, slab > 0.02, d) for d in (drawn, {**drawn, "vessels": None}))
    fluid, white = (slab > 0.02) & (slab < 0.2), slab > 0.75
    assert plain[fluid].std() < 0.15
    assert made[fluid].std() > plain[fluid].std() + 0.1
    assert 0.1 < (plain - made)[fluid].max() < 0.95
    np.testing.assert_allclose(made[white], plain[white], rtol=0, atol=0.02)
    assert "vessels" not in draw_contrast(NOTHING, rng(3))


def test_parts_of_a_tissue_differ_alike_on_both_sides(slab):
    """They are mirrored about the middle of the brain, wherever it lies, and keep to the tissue that was drawn."""
    config = DomainConfig(**{**NOTHING.model_dump(), "contrast": 1.0, "bilateral": 1.0})
    drawn = draw_contrast(config, rng(3))
    drawn["bilateral"] |= {"change": 0.2, "above": 0.5, "tissue": [0.8, 0.1]}
    for shift in (0, 3):
        brain = np.roll(slab, shift, axis=-1)
        pairs = pairs_of(brain, drawn)
        columns = np.flatnonzero((brain > 0).any(axis=(0, 1)))
        alike = np.exp(-0.5 * ((brain - 0.8) / 0.1) ** 2) + 1e-6
        field = (pairs / alike)[..., columns[0] : columns[-1] + 1]
        np.testing.assert_allclose(field, field[..., ::-1], rtol=0, atol=5e-3)
        white, fluid = brain > 0.75, (brain > 0.02) & (brain < 0.2)
        assert pairs[white].max() > 0.12
        assert np.abs(pairs[fluid]).max() < 0.01
    plain = as_contrast(slab, slab > 0.02, drawn)
    changed = as_contrast(slab, slab > 0.02, drawn, None, pairs_of(slab, drawn))
    assert np.abs(changed - plain)[slab > 0.75].max() > 0.05
    assert pairs_of(slab, draw_contrast(NOTHING, rng(3))) is None
    assert pairs_of(np.zeros_like(slab), drawn) is None


def test_what_is_alike_on_both_sides_moves_with_the_brain_and_is_healthy(slab):
    """It is in what is seen and in what is healthy, as far to the side as the brain is."""
    config = CorruptionConfig(domains=DomainConfig(**{**NOTHING.model_dump(), "contrast": 1.0, "bilateral": 1.0}))
    drawn = draw_item(config, rng(5), HARD) | {"groups": []}
    drawn["contrast"] |= {
        "levels": [0, 0, 0.5, 0.8, 1],
        "knots": [0, 0.15, 0.5, 0.8, 1],
        "texture": 0.0,
        "regions": [0, 1],
    }
    drawn["contrast"]["bilateral"] |= {"change": 0.3, "above": 0.5, "tissue": [0.8, 0.1]}
    item = make_item(slab, drawn, lambda n: slab)
    drawn["person"]["shift"] = [0.0, 3.0]
    moved = make_item(slab, drawn, lambda n: slab)
    np.testing.assert_allclose(item.seen[3], item.healthy, rtol=0, atol=1e-6)
    np.testing.assert_allclose(moved.healthy[:, 4:30], item.healthy[:, 7:33], rtol=0, atol=0.02)
    without = make_item(slab, drawn | {"contrast": {**drawn["contrast"], "bilateral": None}}, lambda n: slab)
    assert np.abs(without.healthy - moved.healthy).max() > 0.1


def test_structures_move_with_the_brain(slab):
    """Where the levels of tissues are those of structures alone, their borders are where the tissues' are."""
    structures = np.digitize(slab, [0.01, 0.3, 0.65]).astype(np.uint8)
    quiet = AnomalyConfig(none=1.0)
    domains = DomainConfig(**{**NOTHING.model_dump(), "turn": 20.0, "shift": 4.0, "contrast": 1.0})
    drawn = draw_item(CorruptionConfig(anomalies=quiet, domains=domains), rng(2), HARD)
    drawn["contrast"] |= {"levels": [0.5] * 5, "texture": 0.0, "low": 0.0, "top": 1.0, "regions": [0.3, 8]}
    flat = make_item(slab, drawn, lambda n: slab).healthy
    made = make_item(slab, drawn, lambda n: slab, (), structures).healthy
    moved = as_moved(slab, drawn["person"])[3]
    inside = flat > 0
    fluid, white = inside & (moved > 0.02) & (moved < 0.22), inside & (moved > 0.75)
    assert made[white].std() + made[fluid].std() < 0.6 * abs(made[white].mean() - made[fluid].mean())
