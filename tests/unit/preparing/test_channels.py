"""Other contrasts of a person, brought onto the scan's grid, into its brain."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.models.config import GridConfig
from uadtools.preparing.preprocess import preprocess
from uadtools.volume.io import Image

GRID = GridConfig(shape=(24, 24, 24), spacing=(2.0, 2.0, 2.0))
SHAPE, OFFSET = (40, 40, 40), -20.0


def head(contents=1.0, shape=SHAPE, spacing=1.0, move=0.0):
    """An ellipsoid with smooth contents in a world whose middle is that of the brain; move: in mm along x."""
    low = -np.array(shape) * spacing / 2
    axes = [start + spacing * np.arange(n) for start, n in zip(low, shape, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    x = x - move
    brain = (x / 15) ** 2 + (y / 17) ** 2 + (z / 14) ** 2 < 1
    values = 300 + 120 * np.sin(0.35 * contents * x) * np.cos(0.4 * y) + 90 * np.sin(0.5 * z + contents)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low
    return Image(np.where(brain, values, 0).astype(np.float32), Grid(shape, affine))


def prepared(scan, **more):
    return preprocess(scan, grid=GRID, **more)


def test_a_contrast_is_made_what_it_would_be_by_itself_in_the_same_brain():
    scan, other = head(), head(contents=2.0)
    study = prepared(scan, channels={"FLAIR": other})
    assert list(study.images) == ["scan", "scan:FLAIR", "brain"]
    alone = prepared(other, brain=scan.derive((scan.data > 0).astype(np.uint8), "brain"))
    np.testing.assert_array_equal(study.need("scan:FLAIR").data, alone.need("scan").data)
    np.testing.assert_array_equal(study.need("scan").data, prepared(scan).need("scan").data)
    assert ((study.need("scan:FLAIR").data > 0) == (study.need("brain").data > 0)).all()
    line = study.product.provenance["history"][-1]
    assert line["arguments"]["channels"] == ["FLAIR"]
    assert line["arguments"]["align"] is False
    assert study.need("scan:FLAIR").provenance == study.product.provenance


def test_without_other_contrasts_history_says_nothing_of_them():
    assert "channels" not in prepared(head()).product.provenance["history"][-1]["arguments"]


def test_voxels_of_another_size_lie_where_the_scan_does():
    fine, coarse = (prepared(head(), channels={"T2": head(2.0, *size)}) for size in [(SHAPE, 1.0), ((20,) * 3, 2.0)])
    inner = gaussian_filter((fine.need("brain").data > 0).astype(float), 2) > 0.95
    assert np.corrcoef(fine.need("scan:T2").data[inner], coarse.need("scan:T2").data[inner])[0, 1] > 0.97


def test_a_contrast_that_moved_is_aligned_where_that_is_asked_for():
    pytest.importorskip("SimpleITK")
    still = prepared(head(), channels={"T2": head(2.0)}).need("scan:T2").data
    moved, aligned = (
        prepared(head(), channels={"T2": head(2.0, move=4.0)}, align=align).need("scan:T2").data
        for align in (False, True)
    )
    inner = gaussian_filter((still > 0).astype(float), 2) > 0.95
    apart = [np.abs(still - other)[inner].mean() for other in (moved, aligned)]
    assert apart[1] < apart[0] / 4


def test_a_contrast_that_does_not_show_the_brain_is_refused_by_name():
    elsewhere = head()
    grid = Grid(SHAPE, elsewhere.grid.affine + np.array([[0, 0, 0, 25.0]] + [[0] * 4] * 3))
    with pytest.raises(UadError, match=r"channel FLAIR: shows \d+% of the scan's brain"):
        prepared(head(), channels={"FLAIR": Image(elsewhere.data, grid)})
    flat = head().derive(np.full(SHAPE, 7, np.int16), "scan")
    with pytest.raises(UadError, match="channel FLAIR: all voxels have one value"):
        prepared(head(), channels={"FLAIR": flat})


def test_what_was_strange_about_a_contrast_is_told():
    from uadtools.concerns import Concern

    strange = head(2.0)
    strange.provenance["concerns"] = [Concern("geometry", "lies somewhere").to_json()]
    told = []
    prepared(head(), channels={"T2": strange}, tell=told.append)
    assert any("T2" in line and "lies somewhere" in line for line in told)


def folded(seed, *, inverted=False):
    """A head with folds that no other has; inverted: in another contrast."""
    folds = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 1.5)
    values = 300 + 900 * folds * (-0.7 if inverted else 1)
    return head().derive(np.where(head().data > 0, np.maximum(values, 1), 0).astype(np.float32), "scan")


def told(other):
    return [line for line in lines(other) if "fits the scan" in line]


def lines(other):
    said = []
    prepared(folded(1), channels={"FLAIR": other}, tell=said.append)
    return said


def test_a_contrast_of_the_same_head_is_not_doubted():
    assert told(folded(1, inverted=True)) == []


def test_a_contrast_that_does_not_fit_the_scan_is_told():
    noise = np.where(head().data > 0, np.random.default_rng(0).uniform(1, 9, SHAPE), 0).astype(np.float32)
    constant, own = np.where(head().data > 0, 7, 0).astype(np.int16), folded(1, inverted=True).data
    for wrong in (noise, constant, own[::-1].copy(), np.roll(own, 3, 1), folded(2, inverted=True).data):
        (line,) = told(head().derive(wrong, "scan"))
        assert "FLAIR fits the scan" in line
        assert "--align" in line


def test_the_scan_itself_as_another_contrast_is_told():
    assert any("FLAIR has the voxels of the scan" in line for line in lines(folded(1)))
    assert not any("has the voxels" in line for line in lines(folded(1, inverted=True)))


def test_a_mask_as_a_contrast_is_told():
    mask = head().derive((head().data > 300).astype(np.uint8), "scan")
    assert any("FLAIR: looks like a mask" in line for line in lines(mask))
