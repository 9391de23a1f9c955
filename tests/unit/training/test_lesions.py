"""Masks of lesions: whose they are, where they lie, which of their labels count, and how they reach the loss."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.grids.slices import to_slices
from uadtools.interface.recipe import AugmentConfig
from uadtools.models.config import GridConfig
from uadtools.training.augment import apply, apply_to_labels, draw
from uadtools.training.data import Slices, fingerprint, load_slices, require_lesions
from uadtools.training.lesions import masks_of
from uadtools.training.loop import Trainer
from uadtools.volume.chain import link
from uadtools.volume.io import Image, save

SHAPE = (16, 16, 8)
GRID = GridConfig(shape=SHAPE)
RECIPE = SimpleNamespace(LABELLED=True, name="few")
OTHER = SimpleNamespace(LABELLED=False, name="plain")
CPU = torch.device("cpu")


@pytest.fixture
def put(phantom, tmp_path):
    """Write the phantom, or labels on its grid, as a file; returns its name."""
    grid = phantom.need("scan").grid

    def write(name, data=None, **more):
        image = phantom.need("scan") if data is None else Image(np.asarray(data, np.uint8), more.get("grid", grid))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(image, tmp_path / name, provenance=False, force=True)
        return str(tmp_path / name)

    return write


def spot(z=4, value=1):
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:9, 7:10, z] = value
    return labels


def pairs(scans, labels=(), recipe=RECIPE, label=(), ignore=()):
    return masks_of(recipe, scans, labels, label, ignore)


def read(scans, masks, **more):
    return load_slices(scans, GRID, 0.05, masks=masks, **more)


def test_masks_belong_to_scans_by_their_names_and_an_only_pair_need_not(put, tmp_path):
    scans = [put(f"scans/sub-{i}_T1w_preprocessed.nii.gz") for i in (1, 2)]
    masks = [put(f"masks/sub-{i}_lesion.nii.gz", spot()) for i in (2, 1)]
    found = {scans[0]: masks[1], scans[1]: masks[0]}
    assert pairs(scans, masks).files == pairs([str(tmp_path / "scans")], [str(tmp_path / "masks")]).files == found
    assert pairs([put("anna.nii.gz")], [put("expert.nii.gz", spot())]).files.keys() == {str(tmp_path / "anna.nii.gz")}


def test_a_scan_without_a_mask_and_a_mask_without_a_scan_are_errors(put):
    scans = [put(f"s{i}.nii.gz") for i in (1, 2)]
    one, two, three = (put(f"s{i}_mask.nii.gz", spot()) for i in (1, 2, 3))
    with pytest.raises(
        UadError, match=r"^s2: --labels: no file fits its name \(each scan needs one, of --val, too; rename them\)$"
    ):
        pairs(scans, [one, three])
    with pytest.raises(UadError, match=r"s3_mask\.nii\.gz belongs to no scan by its name"):
        pairs(scans, [one, two, three])
    with pytest.raises(UadError, match=r"^s1: --labels: no file fits"):
        pairs(scans[:1], [two])


def test_recipes_take_labels_or_do_not(put):
    scan, mask = put("s1.nii.gz"), put("s1_mask.nii.gz", spot())
    with pytest.raises(
        UadError, match=r"recipe few learns from masks of lesions, and for .*s1\.nii\.gz there are none"
    ):
        pairs([scan])
    assert pairs([scan], recipe=OTHER) is None
    for given in ({"labels": [mask]}, {"label": [1]}, {"ignore": [2]}):
        option = f"--{next(iter(given))}"
        with pytest.raises(UadError, match=f"^{option}: recipe plain takes no masks of lesions"):
            pairs([scan], recipe=OTHER, **given)


def test_lists_name_masks_in_a_column_and_labels_go_first(put, tmp_path):
    scans = [put(f"s{i}.nii.gz") for i in (1, 2)]
    masks = [put(f"masks/m{i}.nii.gz", spot()) for i in (1, 2)]
    (tmp_path / "a.csv").write_text("path,truth\ns1.nii.gz,masks/m1.nii.gz\ns2.nii.gz,masks/m2.nii.gz\n")
    rows = [{"path": "s1.nii.gz", "truth": "masks/m1.nii.gz"}, {"path": "s2.nii.gz", "truth": "masks/m2.nii.gz"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.csv").write_text("path\na.csv\n")
    for name in ("a.csv", "a.jsonl", "b.csv"):
        assert pairs([str(tmp_path / name)]).files == dict(zip(scans, masks, strict=True))
    others = [put(f"others/s{i}.nii.gz", spot()) for i in (1, 2)]
    assert pairs([str(tmp_path / "a.csv")], others).files == dict(zip(scans, others, strict=True))
    (tmp_path / "c.csv").write_text("path,truth\ns1.nii.gz,masks/m1.nii.gz\ns2.nii.gz,\n")
    with pytest.raises(UadError, match=r"for .*s2\.nii\.gz the column truth is empty"):
        pairs([str(tmp_path / "c.csv")])


def test_labels_lie_beside_the_slices_that_are_kept(put, phantom):
    scan = phantom.need("scan").data
    labels = spot(4) + spot(2, 2)
    found = read([put("s1.nii.gz")], pairs([put("s1.nii.gz")], [put("m.nii.gz", labels)]))
    kept = (to_slices(scan)[:, 0] > 0).mean(axis=(1, 2)) >= 0.05
    assert 0 < kept.sum() < len(kept)
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, to_slices(labels)[kept, 0])
    assert found.sick.tolist() == [np.flatnonzero(kept).tolist().index(4)]  # a slice that is ignored holds no lesion
    whole = read([put("s1.nii.gz")], pairs([put("s1.nii.gz")], [put("m.nii.gz", labels)]), solid=True)
    np.testing.assert_array_equal(whole.labels, to_slices(labels)[None, :, 0])
    assert whole.labels_at(np.zeros(3, int)).shape == (3, 1, 8, 16, 16)


@pytest.mark.parametrize(
    ("chosen", "expected"), [({}, (1, 2, 0)), ({"label": [2]}, (0, 1, 0)), ({"label": [1], "ignore": [3]}, (1, 0, 2))]
)
def test_label_and_ignore_choose(put, chosen, expected):
    labels = spot(3) + spot(4, 2)
    if chosen:
        labels = labels + spot(5, 3)
    scan = put("s1.nii.gz")
    made = read([scan], pairs([scan], [put("m.nii.gz", labels)], **chosen)).labels
    assert tuple(made[np.arange(len(made)) == place].max() for place in (2, 3, 4)) == expected


def test_what_is_a_guess_is_noted(put):
    scan = put("s1.nii.gz")
    masks = pairs([scan], [put("m.nii.gz", spot(3) + spot(4, 2))])
    read([scan], masks)
    assert ["1 counts as lesion, 2 neither way" in str(concern) for concern in masks.concerns] == [True]


def test_a_mask_on_the_raw_scans_grid_is_carried(phantom, tmp_path):
    """The raw grid is mirrored and twice as fine, and so is the mask."""
    scan = phantom.need("scan")
    fine = np.diag([-1.0, 1, 1, 1])
    fine[:3, 3] = (2 * 15 + 0.5, -0.5, -0.5)
    raw = Grid((32, 32, 16), fine)
    chain = [link("input", raw), link("resample", scan.grid)]
    save(replace(scan, provenance={"chain": chain}), tmp_path / "s1.nii.gz")
    labels = spot()
    there = labels[::-1].repeat(2, 0).repeat(2, 1).repeat(2, 2)
    save(Image(there, raw), tmp_path / "m.nii.gz", provenance=False)
    found = read([str(tmp_path / "s1.nii.gz")], pairs([str(tmp_path / "s1.nii.gz")], [str(tmp_path / "m.nii.gz")]))
    assert found.labels.sum() == labels.sum()
    np.testing.assert_array_equal(found.labels[found.sick[0]], to_slices(labels)[4, 0])


def test_a_mask_on_another_grid_is_an_error(put):
    scan = put("s1.nii.gz")
    masks = pairs([scan], [put("m.nii.gz", np.ones((4, 4, 4)), grid=Grid((4, 4, 4), np.diag([2.0, 2, 2, 1])))])
    said = r"m\.nii\.gz: mask and .*s1\.nii\.gz lie on different grids: .* \(a mask lies on the grid of its scan, or"
    with pytest.raises(UadError, match=said):
        read([scan], masks)


def test_a_scan_is_no_mask(put, phantom, tmp_path):
    scan, image = put("s1.nii.gz"), phantom.need("scan")
    with pytest.raises(UadError, match=r"m\.nii\.gz: looks like a scan, not like a mask of lesions"):
        read([scan], pairs([scan], [put("m.nii.gz")]))
    with pytest.raises(UadError, match=r"grey\.nii\.gz: looks like a scan"):
        read([scan], pairs([scan], [put("grey.nii.gz", 200 * image.data)]))
    save(replace(image, provenance={"history": [{"tool": "uad-preprocess"}]}), tmp_path / "made.nii.gz")
    with pytest.raises(UadError, match=r"made\.nii\.gz: mask: is a scan, not a mask of lesions"):
        read([scan], pairs([scan], [str(tmp_path / "made.nii.gz")]))
    many = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 40).astype(np.uint8)
    chosen = read([scan], pairs([scan], [put("atlas.nii.gz", many)], label=[4]))
    assert 0 < (chosen.labels == 1).mean() < 0.05


def test_a_mask_with_its_labels_swapped_is_an_error(put, phantom):
    """What is not lesion is marked: as the only label, or as one of two, of which the other may be chosen."""
    scan, brain = put("s1.nii.gz"), phantom.need("brain").data > 0
    swapped = r"m\.nii\.gz: mask: 9\d% of the brain is lesion, so its labels seem to be swapped \(--label chooses\)"
    with pytest.raises(UadError, match=swapped):
        read([scan], pairs([scan], [put("m.nii.gz", 1 - spot())]))
    both = np.where(spot() > 0, 2, brain)
    with pytest.raises(UadError, match=swapped):
        read([scan], pairs([scan], [put("m.nii.gz", both)]))
    found = read([scan], pairs([scan], [put("m.nii.gz", both)], label=[2]))
    assert (found.labels == 1).sum() == (spot() > 0).sum()
    half = brain.copy()
    half[: half.shape[0] // 2] = 0
    assert read([scan], pairs([scan], [put("m.nii.gz", half)])).labels.any()


def test_masks_that_are_all_empty_are_an_error_and_some_are_not(put):
    scans = [put(f"s{i}.nii.gz") for i in (1, 2)]
    empty = [put(f"m/s{i}.nii.gz", np.zeros(SHAPE)) for i in (1, 2)]
    with pytest.raises(UadError, match="--labels: no lesion in any mask"):
        require_lesions(read(scans, pairs(scans, empty)))
    ignored = [put(f"i/s{i}.nii.gz", spot(value=2)) for i in (1, 2)]
    with pytest.raises(UadError, match="--labels: no lesion in any mask"):
        require_lesions(read(scans, pairs(scans, ignored, label=[1], ignore=[2])))
    require_lesions(read(scans, pairs(scans, [empty[0], put("m/s2.nii.gz", spot())])))


def labelled(count=12, solid=False):
    """Slices whose labels are where they are bright."""
    rng = np.random.default_rng(0)
    bright = np.zeros((count, 16, 16), bool)
    for i in range(0, count, 3):
        y, x = rng.integers(4, 10, 2)
        bright[i, y : y + 4, x : x + 3] = True
    pixels = np.where(bright, 1.0, 0.25).astype(np.float16)
    labels = bright.astype(np.uint8)
    return Slices(pixels[None], np.ones(1, int), labels=labels[None]) if solid else Slices(
        pixels, np.repeat([0, 1], count // 2), labels=labels
    )  # fmt: skip


@pytest.mark.parametrize("solid", [False, True])
def test_labels_are_moved_as_their_slices_are(solid):
    slices = labelled(8, solid=solid)
    chosen = np.zeros(4, int) if solid else np.array([0, 3, 6, 1])
    config = AugmentConfig(flip=0.5, affine=1, degrees=30, scale=0.2, shift=2, gamma=0.3)
    drawn = draw(config, 4, (16, 16), np.random.default_rng(0))
    x = apply(slices.windows(chosen, 0), drawn)
    labels = slices.labels_at(chosen)
    moved = apply_to_labels(labels, drawn)
    assert moved.dtype == torch.uint8
    assert moved.shape == labels.shape
    assert (moved != labels).any()
    where = moved.flatten(1, -3) == 1
    middle = (float(x[where].mean()) + float(x[~where].mean())) / 2
    assert ((x > middle) == where).float().mean() > 0.98
    still = draw(AugmentConfig(), 4, (16, 16), np.random.default_rng(0))
    assert torch.equal(apply_to_labels(labels, still), labels)


@pytest.fixture
def trainer(few_recipe):
    def make(**changes):
        recipe = few_recipe.model_copy(
            update={**changes, "training": few_recipe.training.model_copy(update={"batch": 64})}
        )
        return Trainer(recipe, labelled(), labelled(), 0, CPU, torch.float32)

    return make


def test_the_batch_carries_them_and_so_does_that_of_validation(trainer):
    strong = AugmentConfig(flip=0.5, affine=1, degrees=30, shift=3)
    for batch in (trainer(augment=strong)._batch(0).batch, trainer().held_out(np.arange(12), np.arange(12))):
        middle = batch.x0[:, 2:3]
        assert batch.labels.shape == middle.shape
        assert batch.labels.any()
        assert ((middle > 0.25) == batch.labels).float().mean() > 0.99
        assert middle[batch.labels == 1].mean() > 0.7
    assert torch.equal(trainer().held_out(np.arange(12), np.arange(12)).labels[:, 0], torch.tensor(labelled().labels))


def test_as_many_slices_hold_a_lesion_as_the_recipe_says(trainer, few_recipe):
    shares = {}
    for share in (0.0, 0.5, 1.0):
        made = trainer(data=few_recipe.data.model_copy(update={"lesions": share}))
        places = np.concatenate([made._drawn_places(np.random.default_rng(i)) for i in range(20)])
        shares[share] = np.isin(places, made.slices.sick).mean()
    assert shares[0.0] == pytest.approx(1 / 3, abs=0.05)
    assert shares[0.5] == pytest.approx(0.5 + 0.5 / 3, abs=0.05)
    assert shares[1.0] == 1


def test_other_labels_are_other_data():
    one = labelled()
    moved = replace(one, labels=np.roll(one.labels, 1, axis=1))
    assert fingerprint(one) != fingerprint(moved)
    assert "labels" not in fingerprint(replace(one, labels=None))
