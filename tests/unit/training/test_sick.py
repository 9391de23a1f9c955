"""Which scans and slices are sick: by option, by list, by mask; what is wrong with that; and what the batches hold."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.interface.recipe import WeakDataConfig
from uadtools.models.images import GridConfig
from uadtools.training.data import Slices, fingerprint, load_slices, require_both
from uadtools.training.loop import Trainer, judged
from uadtools.training.sick import of_one_person, sick_of
from uadtools.volume.io import Image, save

SHAPE = (16, 16, 8)
GRID = GridConfig(shape=SHAPE)
CPU = torch.device("cpu")


@pytest.fixture
def put(phantom, tmp_path):
    """Write an image on the phantom's grid: the scan, or these voxels; the seed changes the scan."""

    def write(name, data=None, *, seed=0, grid=None):
        scan = phantom.need("scan")
        changed = scan.data * (1 - 0.01 * seed)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image = Image((changed if data is None else np.asarray(data, np.uint8)).astype(np.float32), grid or scan.grid)
        save(image, tmp_path / name, provenance=False, force=True)
        return str(tmp_path / name)

    return write


def spot(*places, value=1):
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:9, 7:10, list(places)] = value
    return labels


@pytest.fixture
def found(weak_recipes):
    """Find which of these scans are sick for a recipe that is told; apart: mm."""

    def find(scans, sick=(), masks=(), *, label=(), ignore=(), apart=4.0):
        recipe = weak_recipes["classifier"]
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"apart": apart})})
        return sick_of(recipe, scans, sick, masks, label, ignore)

    return find


def read(scans, sick):
    return load_slices(scans, GRID, 0.0, sick=sick)


def test_a_scan_that_is_named_as_sick_is_sick_as_a_whole(put, found):
    healthy, sick = put("h/a1.nii.gz"), put("s/b2.nii.gz", seed=1)
    for named in ([sick], [sick.rpartition("/")[0]]):
        slices = read([healthy, sick], found([healthy], named))
        assert slices.kinds.tolist() == [0] * 8 + [1] * 8
    assert slices.sick.tolist() == list(range(8, 16))
    assert slices.healthy.tolist() == list(range(8))
    assert slices.sick_at(np.array([0, 9])).tolist() == [False, True]


def test_slices_far_from_a_lesion_are_healthy_and_those_near_it_are_left_out(put, found):
    """Slices are 2 mm apart, and there are 8 of them; what is ignored is near, too."""
    sick, mask = put("b2.nii.gz"), put("m/b2.nii.gz", spot(3))
    for apart, kinds in ((0.0, [0, 0, 0, 1, 0, 0, 0, 0]), (4.0, [0, 0, 1, 0, 0, 0]), (5.0, [0, 1, 0, 0])):
        assert read([sick], found([], [sick], [mask], apart=apart)).kinds.tolist() == kinds
    both = put("m/b2.nii.gz", spot(3) + spot(5, value=2))
    slices = read([sick], found([], [sick], [both], apart=4.0))
    assert slices.kinds.tolist() == [0, 0, 1, 0]
    slices = read([sick], found([], [sick], [both], label=[2], apart=4.0))
    assert slices.kinds.tolist() == [0, 0, 0, 0, 1, 0]


def test_lists_tell_who_is_sick_and_where(put, found, tmp_path):
    for name, seed in (("a1", 0), ("b2", 1), ("c3", 2)):
        put(f"{name}.nii.gz", seed=seed)
    put("m.nii.gz", spot(3))
    rows = [("a1", "0", ""), ("b2", "1", ""), ("c3", "yes", "m.nii.gz")]
    lines = "".join(f"{name}.nii.gz,{sick},{truth}\n" for name, sick, truth in rows)
    (tmp_path / "a.csv").write_text("path,sick,truth\n" + lines)
    json_rows = [{"path": f"{n}.nii.gz", "sick": s != "0", "truth": t} for n, s, t in rows]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in json_rows))
    for name in ("a.csv", "a.jsonl"):
        source = str(tmp_path / name)
        assert read([source], found([source])).kinds.tolist() == [0] * 8 + [1] * 8 + [0, 0, 1, 0, 0, 0]
    (tmp_path / "b.csv").write_text("path,truth\nb2.nii.gz,\nc3.nii.gz,m.nii.gz\n")
    listed = str(tmp_path / "b.csv")
    assert read([listed], found([], [listed])).kinds.tolist() == [1] * 8 + [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("yes", "no"), ("TRUE", "false")])
def test_a_list_takes_what_its_error_says(put, found, tmp_path, yes, no):
    for name, seed in (("a1", 0), ("b2", 1)):
        put(f"{name}.nii.gz", seed=seed)
    source = tmp_path / "a.csv"
    source.write_text(f"path,sick\na1.nii.gz,{no}\nb2.nii.gz,{yes}\n")
    assert read([str(source)], found([str(source)])).kinds.tolist() == [0] * 8 + [1] * 8
    source.write_text("path,sick\na1.nii.gz,2\n")
    with pytest.raises(UadError) as told:
        found([str(source)])
    assert all(word.lower() in str(told.value) for word in (yes, no))


def test_what_cannot_be_is_told(put, found, tmp_path, weak_recipes):
    healthy, sick, mask = put("a1.nii.gz"), put("b2.nii.gz", seed=1), put("m/b2.nii.gz", spot(3))
    empty, other = put("e/b2.nii.gz", spot()), put("o/b2.nii.gz", np.ones((4, 4, 4)), grid=Grid((4, 4, 4), np.eye(4)))
    (tmp_path / "odd.csv").write_text("path,sick\na1.nii.gz,maybe\n")
    (tmp_path / "well.csv").write_text("path,sick\nb2.nii.gz,0\n")
    for how, said in (
        (((), ()), "there are no sick ones"),
        ((([healthy]), ()), "recipe tiny-classifier learns from healthy and sick scans, and there are no sick ones"),
        (([healthy, sick], [sick]), r"--sick: .*b2\.nii\.gz is named as healthy, too"),
        (([], [str(tmp_path / "well.csv")]), r"b2\.nii\.gz is named as healthy, too"),
        (
            ([str(tmp_path / "odd.csv")], [sick]),
            "odd.csv: sick is 'maybe' .expected: 1, true, yes or 0, false, no",
        ),
        (([healthy], [sick], [mask, put("m/d4.nii.gz", spot(3))]), r"--sick-slices: .*d4\.nii\.gz belongs to no scan"),
        (([healthy], [sick], [put("m/d4.nii.gz", spot(3))]), r"b2: --sick-slices: no file fits its name"),
    ):
        with pytest.raises(UadError, match=said):
            found(*how)
    for named, said in (
        (empty, r"b2\.nii\.gz: is named as sick, and its mask .*e/b2\.nii\.gz holds no lesion"),
        (other, r"o/b2\.nii\.gz: mask and .*b2\.nii\.gz lie on different grids"),
        (sick, r"looks like a scan, not like a mask of lesions \(--sick-slices takes masks\)"),
    ):
        with pytest.raises(UadError, match=said):
            read([healthy, sick], found([healthy], [sick], [named]))
    with pytest.raises(UadError, match="--label has no effect without --sick-slices"):
        found([healthy], [sick], label=[1])
    for how, option in ((([sick], ()), "--sick"), (((), [mask]), "--sick-slices")):
        with pytest.raises(UadError, match=f"^{option}: recipe plain is told of no sick scans"):
            sick_of(SimpleNamespace(name="plain", LABELLED=False), [healthy], *how, (), ())
    assert sick_of(SimpleNamespace(name="plain", LABELLED=False), [healthy], (), (), (), ()) is None


def test_both_kinds_are_needed_and_none_may_be_both(put, found):
    healthy, sick, same = put("a1.nii.gz"), put("b2.nii.gz", seed=1), put("c3.nii.gz")
    require_both(read([healthy, sick], found([healthy], [sick])), "--sick")
    with pytest.raises(UadError, match=r"^--sick: all 8 slices are sick, and none is healthy \(both are needed\)"):
        require_both(read([sick], found([], [sick])), "--sick")
    with pytest.raises(UadError, match=r"^--val-sick: all 8 slices are healthy, and none is sick"):
        require_both(read([healthy], found([], [sick])), "--val-sick")
    with pytest.raises(UadError, match=r"^--sick: 6 slices are among the healthy ones, too, voxel for voxel \("):
        require_both(read([healthy, same], found([healthy], [same])), "--sick")  # and two slices that are empty


@pytest.mark.parametrize(
    ("name", "other", "one"),
    [
        ("sub-01_ses-2_T1w", "sub-01_ses-1_T1w", True),
        ("sub-01_ses-1_T1w", "sub-02_ses-1_T1w", False),
        ("IXI013-HH-1212_simulated", "IXI013-HH-1212_preprocessed", True),
        ("IXI013-HH-1212", "IXI014-HH-1212", False),
        ("anna_T1", "anna_T1", False),
        ("T1_p7", "p7_flair", True),
    ],
)
def test_one_person_in_both_sets_is_told(put, found, name, other, one):
    healthy, sick = put(f"h/{other}.nii.gz"), put(f"s/{name}.nii.gz", seed=1)
    told = of_one_person(found([healthy], [sick]), [healthy, sick])
    assert [concern.code for concern in told] == ["person"] * one
    if one:
        assert str(told[0]).startswith(
            f"--sick: {sick} is named as one person with {healthy}, among the healthy ones ("
        )
        assert told[0].value == 1


def two_kinds(healthy=90, sick=10):
    pixels = np.random.default_rng(0).uniform(0.3, 0.5, (healthy + sick, 16, 16)).astype(np.float16)
    return Slices(pixels, np.arange(healthy + sick), kinds=np.repeat([0, 1], (healthy, sick)).astype(np.uint8))


@pytest.fixture
def trainer(weak_recipes):
    def make(share=0.5, **changes):
        recipe = weak_recipes["classifier"]
        training = recipe.training.model_copy(update={"batch": 64, **changes})
        update = {"data": WeakDataConfig(sick=share), "training": training}
        return Trainer(recipe.model_copy(update=update), two_kinds(), two_kinds(), 0, CPU, torch.float32)

    return make


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_as_many_slices_of_a_batch_are_sick_as_the_recipe_says(trainer, share):
    made = trainer(share)
    places = np.concatenate([made._drawn_places(np.random.default_rng(i)) for i in range(80)])
    assert (made.slices.kinds[places] == 1).mean() == pytest.approx(share, abs=0.03)
    assert len(set(places)) > 95


def test_the_batch_says_which_are_sick_and_so_does_that_of_validation(trainer):
    made = trainer()
    batch = made._batch(0).batch
    assert batch.sick.dtype == torch.bool
    assert batch.sick.tolist() == (made._drawn_places(np.random.default_rng((0, 0))) >= 90).tolist()
    assert made.held_out(np.array([3, 95]), np.arange(2)).sick.tolist() == [False, True]


def test_healthy_and_sick_slices_are_judged_alike(trainer):
    assert len(judged(trainer(validation_slices=256))) == 100
    chosen = judged(trainer(validation_slices=12))
    assert (chosen < 90).tolist() == [True] * 6 + [False] * 6
    assert trainer(validation_slices=12, batch=4).batches == 3


def test_other_kinds_are_other_data():
    one, other = two_kinds(), two_kinds(89, 11)
    assert fingerprint(one) != fingerprint(other)
    assert "sick" not in fingerprint(Slices(one.pixels, one.scans))
