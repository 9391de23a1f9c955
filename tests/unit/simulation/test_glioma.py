"""Gliomas: what they are made of, where they spread, and what they push away."""

import numpy as np
import pytest
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.simulation import glioma
from uadtools.simulation.glioma import pushed, resistance, spread, with_glioma
from uadtools.simulation.lesions import tissue_levels
from uadtools.simulation.plan import Simulation
from uadtools.simulation.simulate import measured, simulate
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

FLUID, GREY, WHITE = 1, 2, 4
TWO = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def head(anatomy):
    """A T1 head of 380 mL whose white matter leaves room for what is brighter, and its tissues."""
    data, tissue = anatomy("T1", 5)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-54, -62, -50)
    return Image((0.85 * data).astype(np.float32), Grid(data.shape, affine)), tissue


@pytest.fixture
def still(monkeypatch):
    """Nothing is pushed away."""
    monkeypatch.setattr(glioma, "pushed", lambda data, *how: data)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_dark_one_is_a_core_of_fluid_in_a_rim_in_a_halo_like_grey_matter(seed, head):
    scan, _ = head
    made, drawn = with_glioma(scan, "dark", rng(seed), size=(36, 36))
    levels = tissue_levels(scan.data[scan.data > 0])
    core, rim, halo = made.levels
    assert core < levels.tissue < halo < levels.gm < rim <= levels.wm
    seen = [np.median(made.image[made.label == part]) for part in (1, 2, 3)]
    assert seen[0] < levels.tissue < seen[2] < seen[1]
    np.testing.assert_allclose(seen, made.levels, atol=0.2)
    core, inner = made.label == 1, np.isin(made.label, (1, 2))
    assert 0.05 < core.sum() / inner.sum() < 0.75
    assert not (ndimage.binary_dilation(core) & ~inner).any()
    assert (made.label == 3).sum() > 3 * inner.sum()
    assert inner.sum() * 8 == pytest.approx(np.pi / 6 * drawn["solid"] ** 3, rel=0.1)
    assert ndimage.label(made.truth, np.ones((3, 3, 3)))[1] == 1
    assert made.truth.sum() * 8 == pytest.approx(np.pi / 6 * 36**3, rel=0.01)
    assert made.diameters == (36,)
    assert 0.4 * 36 <= drawn["solid"] <= 0.6 * 36


def test_a_bright_one_has_a_halo_brighter_than_white_matter_and_a_core_of_either_kind(head):
    scan, _ = head
    levels = tissue_levels(scan.data[scan.data > 0])
    cores = []
    for seed in range(4):
        made, _ = with_glioma(scan, "bright", rng(seed), size=(36, 36))
        core, rim, halo = made.levels
        assert levels.wm < halo < rim
        assert scan.data[made.truth].mean() + 0.02 < made.image[made.truth].mean()
        cores.append(core > levels.wm)
    assert {*cores} == {True, False}


def test_both_is_one_of_them(head):
    levels = tissue_levels(head[0].data[head[0].data > 0])
    tones = {with_glioma(head[0], "both", rng(seed))[0].levels[2] > levels.wm for seed in range(5)}
    assert tones == {True, False}


@pytest.mark.parametrize("seed", range(3))
def test_the_halo_follows_white_matter_and_spares_cortex_and_ventricles(seed, head, still):
    scan, tissue = head
    made, _ = with_glioma(scan, "dark", rng(seed), size=(50, 50))
    fluid = (scan.data > 0) & (scan.data <= tissue_levels(scan.data[scan.data > 0]).tissue)
    assert not made.truth[fluid].any()
    np.testing.assert_array_equal(made.image[fluid], scan.data[fluid])
    grown = ndimage.binary_dilation(made.truth, iterations=8) & (scan.data > 0)
    share = {kind: made.truth[grown & (tissue == kind)].mean() for kind in (GREY, WHITE)}
    assert share[WHITE] > 3 * share[GREY]
    assert np.isin(tissue[made.truth], WHITE).mean() > 0.8


def test_nothing_beyond_a_soft_border_is_changed_but_by_pushing(head, still):
    scan, _ = head
    made, _ = with_glioma(scan, "dark", rng(1))
    far = ~ndimage.binary_dilation(made.truth, np.ones((3, 3, 3)), iterations=5)
    np.testing.assert_array_equal(made.image[far], scan.data[far])
    assert (made.image != scan.data)[made.truth].mean() > 0.99


def test_its_middle_lies_in_white_matter_beside_the_midline_and_above_the_brain_stem(head):
    scan, tissue = head
    for seed in range(5):
        middle = with_glioma(scan, "dark", rng(seed))[1]["middle"]
        assert tissue[tuple(middle)] == WHITE
        assert abs(middle[0] - 26.5) > 3
        assert middle[2] > 20


@pytest.mark.parametrize("spacing", [TWO, (1.0, 2.0, 3.0)])
def test_tissue_is_pushed_by_what_is_told_and_nothing_is_folded(spacing):
    shape = (61, 61, 61)
    middle, solid, push = np.array([30, 30, 30]), 20.0, 3.2
    for axis in range(3):
        ramp = 1 + np.broadcast_to(np.indices(shape)[axis], shape).astype(np.float32) * spacing[axis]
        moved = pushed(ramp, middle, solid, push, spacing)
        assert np.diff(moved, axis=axis).min() > 0
        away = ramp - moved
        assert np.abs(away).max() == pytest.approx(push, rel=0.05)
        line = np.moveaxis(away, axis, 0)[:, 30, 30]
        assert line[30] == pytest.approx(0, abs=1e-4)
        assert line[31:55].min() > 0 > line[6:30].max()
        assert spacing[axis] * (np.argmax(line) - 30) == pytest.approx(0.6 * solid, abs=spacing[axis])


def test_a_ventricle_is_narrowed_and_moved_away_and_the_brain_keeps_its_border(layered):
    def ventricle(data):
        inner = np.linalg.norm(np.moveaxis(np.indices(data.shape), 0, -1) - 23.5, axis=-1) < 13
        return np.argwhere(inner & (data > 0) & (data < 0.4))

    moved = pushed(layered.data, np.array([26, 23, 23]), 24.0, 3.8, TWO)
    before, after = ventricle(layered.data), ventricle(moved)
    assert after[:, 0].max() < before[:, 0].max()
    assert np.ptp(after[:, 0]) < np.ptp(before[:, 0])
    np.testing.assert_array_equal(moved > 0, layered.data > 0)
    edge = (layered.data > 0) & ~ndimage.binary_erosion(layered.data > 0)
    assert np.abs(moved - layered.data)[edge].mean() < 0.03


def test_ways_are_as_long_as_they_are_slow_and_lead_around_what_is_shut():
    start, slowness = np.zeros((41, 41, 3), bool), np.ones((41, 41, 3))
    start[20, 20, 1] = True
    times = spread(start, slowness, 60, (1.0, 2.0, 1.0))
    place = (np.moveaxis(np.indices(start.shape), 0, -1) - [20, 20, 1]) * [1.0, 2.0, 1.0]
    straight = np.linalg.norm(place, axis=-1)
    assert (times >= straight - 1e-9).all()
    assert (times <= 1.3 * straight + 1e-9).all()
    assert times[20, 30, 1] == pytest.approx(20)
    slowness[25:] = 5
    assert spread(start, slowness, 60, (1.0, 2.0, 1.0))[30, 20, 1] == pytest.approx(4 + 3 + 5 * 5)
    slowness[25, :40] = np.inf
    around = spread(start, slowness, 90, (1.0, 2.0, 1.0))
    assert np.isinf(around[25, 20, 1])
    assert around[30, 20, 1] > 80
    assert np.isinf(spread(start, slowness, 5, (1.0, 2.0, 1.0))[20, 30, 1])


def test_grey_matter_is_slow_and_fluid_is_shut(layered):
    brain = layered.data > 0
    slowness = resistance(layered.data, brain, tissue_levels(layered.data[brain]))
    assert slowness[33, 23, 23] == pytest.approx(1, abs=0.2)
    assert slowness[23, 23, 41] == pytest.approx(glioma.SLOW, rel=0.2)
    assert np.isinf(slowness[[18, 0], [23, 0], [23, 0]]).all()


def test_a_brain_without_room_is_told(layered):
    with pytest.raises(UadError, match=r"^a: no room for a glioma of 90 mm in this brain \(choose a smaller --size\)"):
        simulate(Study("a", {"scan": layered}), Simulation("glioma", size=(90, 90)))


def test_what_was_drawn_before_would_be_pushed_away(layered):
    study = Study("a", {"scan": layered})
    with pytest.raises(UadError, match=r"^a: holds drawn lesions, which a glioma would push away \(draw the glioma"):
        simulate(simulate(study, Simulation("blobs")), Simulation("glioma"))
    made = simulate(simulate(study, Simulation("bias")), Simulation("glioma", size=(24, 24)))
    after = simulate(made, Simulation("blobs"))
    assert after.need("truth").data.sum() > made.need("truth").data.sum() > 0
    told = measured(made)["drawn"]
    assert told["diameters"] == pytest.approx([24])
    assert len(told["levels"]) == len(told["middle"]) == 3
    assert 0.08 <= told["push"] / told["solid"] <= 0.16
