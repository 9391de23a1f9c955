from dataclasses import replace

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.scoring.history import model_threshold
from uadtools.scoring.normal import LEAST_SPREAD, SMOOTH, learn, normalise, read_normal, save_normal
from uadtools.scoring.score import LEAST
from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study

SHAPE = (5, 6, 4)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
WAY = {"method": "sss", "t": [300], "samples": 1}
HEALED = {"tool": "uad-heal", "arguments": WAY, "model": "m:1", "threshold": 0.1}


def line(**arguments):
    return {"tool": "uad-score", "arguments": {"metric": "l1", "signed": "both"} | arguments}


HISTORY = (HEALED, line())


def scan(values, brain=True, *, grid=GRID, history=HISTORY, name="a"):
    data = np.where(brain, values, np.zeros(SHAPE)).astype(np.float32)
    return Study(name, {"score": Image(data, grid, "score", {"study": name, "history": list(history)})})


def drawn(count=6):
    """Scores whose level depends on the slice."""
    return np.random.default_rng(0).uniform(0.1, 1, (count, *SHAPE)) * np.arange(1, 5)


def parts(normal):
    return normal.need("mean").data, normal.need("spread").data


def test_it_is_mean_and_standard_deviation_where_all_brains_are():
    mean, spread = parts(learn(map(scan, drawn()), smooth=0))
    assert mean.dtype == spread.dtype == np.float32
    assert mean.shape == spread.shape == SHAPE
    values = drawn().astype(np.float32)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread, np.maximum(values.std(axis=0), LEAST_SPREAD * values.std()), rtol=1e-4)


def test_per_slice_it_is_that_of_all_the_slices_voxels():
    brain = np.random.default_rng(1).random(SHAPE) < 0.6
    mean, spread = parts(learn((scan(v, brain) for v in drawn()), per="slice", smooth=0))
    values = drawn()[:, brain].astype(np.float32)
    for z in range(SHAPE[2]):
        of_slice = values[:, np.nonzero(brain)[2] == z]
        np.testing.assert_allclose(mean[..., z], of_slice.mean(), rtol=1e-5)
        np.testing.assert_allclose(spread[..., z], of_slice.std(), rtol=1e-5)


def test_a_brain_that_does_not_cover_a_voxel_counts_there_as_its_slice_does():
    brains = np.ones((6, *SHAPE), dtype=bool)
    brains[2:, 1, 1, 0] = False
    brains[:, 2, 2, 3] = False
    values = drawn()
    mean, spread = parts(learn(map(scan, values, brains), smooth=0))
    first, last = (values[..., z][brains[..., z]] for z in (0, 3))
    here = values[:2, 1, 1, 0]
    middle = (here.sum() + 4 * first.mean()) / 6
    squares = ((here**2).sum() + 4 * (first**2).mean()) / 6
    assert mean[1, 1, 0] == pytest.approx(middle, rel=1e-5)
    assert spread[1, 1, 0] == pytest.approx(np.sqrt(squares - middle**2), rel=1e-4)
    assert (mean[2, 2, 3], spread[2, 2, 3]) == pytest.approx((last.mean(), last.std()), rel=1e-5)


@pytest.mark.parametrize("per", ["voxel", "slice"])
def test_slices_without_brain_are_as_the_whole_brain(per):
    brain = np.arange(4) < 3
    mean, spread = parts(learn((scan(v, brain) for v in drawn()), per=per, smooth=0))
    whole = drawn()[..., :3]
    np.testing.assert_allclose(mean[..., 3], whole.mean(), rtol=1e-5)
    np.testing.assert_allclose(spread[..., 3], whole.std(), rtol=1e-5)


@pytest.mark.parametrize("smooth", [0.5, 3, 50])
def test_neighbours_share_what_they_know(smooth):
    even = np.broadcast_to(drawn()[:, :1, :1, :1], (6, *SHAPE))
    mean, spread = parts(learn(map(scan, even), smooth=smooth))
    np.testing.assert_allclose(mean, even[:, 0, 0, 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(spread, even[:, 0, 0, 0].std(), rtol=1e-4)
    rough, smoothed = (parts(learn(map(scan, drawn()), smooth=s))[0][..., 0].std() for s in (0, smooth))
    assert smoothed < rough


def test_positions_where_healthy_scores_agree_are_not_divided_by_nothing():
    values = drawn()
    values[:, 0, 0, 0] = 0.5
    _, spread = parts(learn(map(scan, values), smooth=0))
    assert spread[0, 0, 0] == pytest.approx(LEAST_SPREAD * values.std(), rel=1e-5)


def test_studies_are_taken_one_at_a_time():
    alive = []

    def each():
        for values in drawn():
            alive.append(values)
            yield scan(values)
            alive.pop()

    learn(each())
    assert not alive


def test_a_score_is_put_in_units_of_it():
    normal = learn(map(scan, drawn()), smooth=0)
    mean, spread = parts(normal)
    brain = np.arange(4) < 2
    made = normalise(scan(drawn()[0], brain), normal).need("score")
    expected = np.where(brain, np.maximum((drawn()[0] - mean) / spread, LEAST), 0)
    np.testing.assert_allclose(made.data, expected, rtol=1e-3, atol=2e-6)
    assert made.data.dtype == np.float32
    assert made.provenance["history"][-1]["arguments"] == {"normal": {"per": "voxel", "smooth": 0, "scans": 6}}


def test_the_models_threshold_does_not_hold_in_such_units():
    before = scan(drawn()[0])
    after = normalise(before, learn(map(scan, drawn())))
    assert model_threshold(before.need("score")) == 0.1
    assert model_threshold(after.need("score")) is None


@pytest.mark.parametrize("name", ["n.nii", "n.nii.gz"])
def test_it_is_kept_in_one_file(name, tmp_path):
    normal = learn(map(scan, drawn()), per="slice")
    save_normal(normal, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    found = read_normal(tmp_path / name)
    for role in ("mean", "spread"):
        np.testing.assert_array_equal(found.need(role).data, normal.need(role).data)
    about = found.product.provenance["normal"]
    assert (about["per"], about["smooth"], about["scans"]) == ("slice", SMOOTH, 6)
    assert about["way"]["uad-heal method"] == "sss"
    a, b = (normalise(scan(drawn()[0]), n).need("score").data for n in (normal, found))
    np.testing.assert_array_equal(a, b)


def test_files_are_not_replaced_unless_forced(tmp_path):
    normal = learn(map(scan, drawn()))
    save_normal(normal, tmp_path / "n.nii")
    with pytest.raises(UadError, match=r"n\.nii: exists"):
        save_normal(normal, tmp_path / "n.nii")
    save_normal(normal, tmp_path / "n.nii", force=True)
    with pytest.raises(UadError, match=r"n\.npy: images are written as"):
        save_normal(normal, tmp_path / "n.npy")


def test_another_file_is_no_normal(tmp_path):
    save(scan(drawn()[0]).product, tmp_path / "s.nii")
    with pytest.raises(UadError, match=r"s\.nii: not what healthy scores are like \(uad-calibrate"):
        read_normal(tmp_path / "s.nii")


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ((HEALED, line(metric="l2")), "uad-score metric l2, not l1"),
        ((HEALED, line(signed="dark")), "uad-score signed dark, not both"),
        ((HEALED | {"arguments": WAY | {"t": [200, 300]}}, line()), "uad-heal t 200,300, not 300"),
        ((HEALED | {"model": "m:2"}, line()), "uad-heal model m:2, not m:1"),
        ((line(),), "unknown, not"),
        ((HEALED, line(), line(normal={"per": "voxel"})), "uad-score normal"),
    ],
)
def test_scores_made_in_another_way_are_refused(history, said):
    normal, other = learn(map(scan, drawn())), scan(drawn()[0], history=history, name="b")
    with pytest.raises(UadError, match=f"^b: .*the reference.*{said}"):
        normalise(other, normal)
    with pytest.raises(UadError, match=f"^b: .*the healthy scans before it.*{said}"):
        learn([scan(drawn()[0]), other])


@pytest.mark.parametrize("grid", [Grid(SHAPE, np.diag([2.0, 2, 3, 1])), Grid(SHAPE, np.diag([-2.0, 2, 2, 1]))])
def test_other_grids_are_refused(grid):
    normal, other = learn(map(scan, drawn())), scan(drawn()[0], grid=grid, name="b")
    with pytest.raises(UadError, match=r"^b: score and the reference lie on different grids: 5x6x4 .* and 5x6x4 "):
        normalise(other, normal)
    with pytest.raises(UadError, match=r"^b: score and the healthy scans before it lie on different grids"):
        learn([scan(drawn()[0]), other])


def test_grids_may_lie_elsewhere_in_the_world():
    affine = GRID.affine.copy()
    affine[:3, 3] = 7, -3, 2
    moved = replace(GRID, affine=affine)
    made = normalise(scan(drawn()[0], grid=moved), learn(map(scan, drawn()))).need("score")
    assert made.grid is moved


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_scans_are_refused(count):
    with pytest.raises(UadError, match=f"^{count} healthy scans: .* at least 2"):
        learn(map(scan, drawn()[:count]))


def test_scores_without_brain_or_without_difference_are_refused():
    with pytest.raises(UadError, match="no brain to learn from"):
        learn([scan(0), scan(0)])
    with pytest.raises(UadError, match="are all the same"):
        learn([scan(0.1), scan(0.1)])


def test_unknown_positions_are_refused():
    with pytest.raises(UadError, match=r"^normal per lobe: there are voxel, slice$"):
        learn(map(scan, drawn()), per="lobe")
