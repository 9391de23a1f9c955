import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.simulation.acquisition import ACQUISITIONS, blur, crop, shift, thick

SPACING = (2.0, 2.0, 2.0)
LEVELS = {"blur": 1.0, "thick": 5.0, "shift": 0.5, "crop": 20.0}
SHARPNESS = tuple(name for name in ACQUISITIONS if name != "crop")
"""Those that keep all that is shown."""


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def data(layered):
    return layered.data


@pytest.fixture
def as_made(monkeypatch):
    """What is made before the signal's range is put right."""
    monkeypatch.setattr("uadtools.simulation.acquisition._kept", lambda changed, data: changed)


def bar(axis, place=15):
    """A brain of one value with a plane of another across an axis."""
    data = np.full((30, 30, 30), 0.5)
    np.moveaxis(data, axis, 0)[place] = 0.9
    return data


@pytest.mark.parametrize("name", SHARPNESS)
def test_the_signal_s_range_and_the_background_stay(name, data):
    changed, drawn = ACQUISITIONS[name](data, SPACING, rng(1), LEVELS[name])
    assert drawn
    brain = data > 0
    assert not changed[~brain].any()
    assert changed.min() >= 0
    kept = [np.percentile(d[brain], (1, 99)) for d in (data, changed)]
    np.testing.assert_allclose(*kept, atol=2e-3)
    assert 0.002 < np.abs(changed - data)[brain].mean() < 0.1


@pytest.mark.parametrize("name", SHARPNESS)
def test_a_brain_of_one_value_stays_so_up_to_its_rim(name, data, as_made):
    even = np.where(data > 0, 0.6, 0)
    changed, _ = ACQUISITIONS[name](even, SPACING, rng(2), LEVELS[name])
    np.testing.assert_allclose(changed[data > 0], 0.6, atol=1e-6)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_units_do_not_matter(name, data):
    plain, scaled = (ACQUISITIONS[name](data * f, SPACING, rng(1), LEVELS[name])[0] for f in (1, 500))
    np.testing.assert_allclose(scaled, 500 * plain, rtol=1e-3, atol=0.05)


def test_blur_is_in_millimetres(as_made):
    point = np.full((41, 41, 41), 0.5)
    point[20, 20, 20] = 50
    changed, drawn = blur(point, (1.0, 2.0, 4.0), rng(), 4.0)
    assert drawn == {"millimetres": 4.0}
    spread = changed - np.median(changed)
    for axis, spacing in enumerate((1.0, 2.0, 4.0)):
        along = spread.sum(axis=tuple({0, 1, 2} - {axis}))
        deviation = spacing * np.sqrt(np.average((np.arange(41) - 20.0) ** 2, weights=along))
        assert deviation == pytest.approx(4, rel=0.03)


def test_thick_slices_mix_along_one_axis_alone():
    seen = set()
    for seed in range(12):
        _, drawn = thick(bar(0), SPACING, rng(seed), 6.0)
        axis = drawn["axis"]
        seen.add(axis)
        changed, _ = thick(bar(axis), SPACING, rng(seed), 6.0)
        along = np.moveaxis(changed, axis, 0)
        assert np.ptp(along, axis=(1, 2)).max() < 1e-9
        across, _ = thick(bar((axis + 1) % 3), SPACING, rng(seed), 6.0)
        np.testing.assert_allclose(across, bar((axis + 1) % 3), atol=1e-9)
        assert -6 <= drawn["start"] < 0
    assert seen == {0, 1, 2}


def test_a_plane_fills_the_slices_that_it_lies_in(as_made):
    """Its share of a slice is what the slice shows of it: with slices of three voxels, a third, or two parts of one."""
    for seed in range(8):
        _, drawn = thick(bar(0), SPACING, rng(seed), 6.0)
        changed, _ = thick(bar(drawn["axis"]), SPACING, rng(seed), 6.0)
        along = (np.moveaxis(changed, drawn["axis"], 0)[:, 0, 0] - 0.5) / 0.4
        assert along.sum() == pytest.approx(1, abs=0.15)
        assert 0.15 < along.max() < 0.35
        assert np.abs(np.average(np.arange(30), weights=along) - 15) < 1.5


def test_slices_reach_both_ends_of_the_volume(as_made):
    for seed in range(8):
        axis = thick(bar(0), SPACING, rng(seed), 6.0)[1]["axis"]
        for end in (0, 29):
            changed, _ = thick(bar(axis, end), SPACING, rng(seed), 6.0)
            assert np.moveaxis(changed, axis, 0)[end].min() > 0.55


def test_only_axes_of_thinner_voxels_are_resampled():
    axes = {thick(bar(0), (1.0, 1.0, 5.0), rng(seed), 3.0)[1]["axis"] for seed in range(12)}
    assert axes == {0, 1}
    with pytest.raises(UadError, match=r"slices of 2 mm are no thicker than voxels of 2 mm \(more --level\)"):
        thick(bar(0), SPACING, rng(), 2.0)


def test_a_shift_moves_by_what_is_told(as_made):
    place = np.moveaxis(np.indices((30, 30, 30)), 0, -1).astype(float)
    seen = set()
    for seed in range(16):
        for interpolation in ("linear", "spline"):
            ramp = 1 + place.sum(axis=-1) + 40 * place[..., 0]
            changed, drawn = shift(ramp, SPACING, rng(seed), 0.5, interpolation)
            moved = np.array(drawn["voxels"])
            inner = (slice(8, 22),) * 3
            difference = (changed - ramp)[inner].mean()
            assert difference == pytest.approx(-(moved.sum() + 40 * moved[0]), abs=1.5)
            assert drawn["interpolation"] == interpolation
            assert set(np.abs(moved)) == {0.5}
            seen.add(tuple(moved))
    assert len(seen) > 4


def test_half_a_voxel_is_smoothed_linearly_and_less_by_splines_which_overshoot(as_made):
    def shifted(data):
        return [data, *(shift(data, SPACING, rng(3), 0.5, way)[0] for way in ("linear", "spline"))]

    noise = shifted(rng().uniform(0.3, 0.7, (24, 24, 24)))
    rough = [np.abs(np.diff(made[4:-4], axis=0)).mean() for made in noise]
    assert rough[1] < rough[2] < rough[0]
    step = np.full((24, 24, 24), 0.3)
    step[12:] = 0.7
    plain, linear, spline = (np.ptp(made) for made in shifted(step))
    assert plain == pytest.approx(linear)
    assert spline > 1.05 * plain


def test_a_crop_ends_at_a_plane_of_a_random_side(data):
    seen = set()
    for seed in range(40):
        changed, drawn = crop(data, SPACING, rng(seed), 20.0)
        axis, end = drawn["axis"], drawn["end"]
        seen.add((axis, end))
        shown, before = (np.moveaxis(d, axis, 0)[:: 1 if end == "low" else -1] for d in (changed, data))
        first = int(np.argmax((before > 0).any(axis=(1, 2))))
        assert drawn["slices"] == 10
        assert not shown[: first + 10].any()
        assert shown[first + 10].any()
        np.testing.assert_array_equal(shown[first + 10 :], before[first + 10 :])
    assert len(seen) == 6


def test_a_crop_is_in_millimetres():
    spacing = (1.0, 2.0, 4.0)
    for seed in range(12):
        changed, drawn = crop(np.ones((40, 40, 40)), spacing, rng(seed), 12.0)
        assert drawn["slices"] * spacing[drawn["axis"]] == 12
        assert (changed == 0).mean() == pytest.approx(drawn["slices"] / 40)


@pytest.mark.parametrize(("level", "said"), [(0.5, "no slice"), (80.0, "all")])
def test_a_crop_of_nothing_or_of_all_is_refused(level, said):
    with pytest.raises(UadError, match=rf"^{level:g} mm are {said} of it along an axis \(another --level\)"):
        crop(np.ones((30, 30, 30)), SPACING, rng(), level)
