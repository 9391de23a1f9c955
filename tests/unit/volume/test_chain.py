import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume.chain import continued, label_of, link, native_grid
from uadtools.volume.io import Image
from uadtools.volume.roles import ROLES


def grid_of(shape, spacing):
    return Grid(shape, np.diag([*spacing, 1.0]))


SOUND = grid_of((4, 5, 6), (1, 1, 1)).to_json()


@pytest.mark.parametrize(
    "chain",
    [
        [],
        None,
        {},
        "chain",
        [3],
        [{}],
        [{"grid": None}],
        [{"grid": {"shape": [4, 5, 6]}}],
        [{"grid": {**SOUND, "shape": [4, 5]}}],
        [{"grid": {**SOUND, "shape": [4, 5, 0]}}],
        [{"grid": {**SOUND, "shape": [4, 5, "x"]}}],
        [{"grid": {**SOUND, "shape": [4, 5, float("inf")]}}],
        [{"grid": {**SOUND, "affine": [[1, 2], [3]]}}],
        [{"grid": {**SOUND, "affine": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}}],
        [{"grid": {**SOUND, "affine": np.zeros((4, 4)).tolist()}}],
        [{"grid": {**SOUND, "affine": np.full((4, 4), np.nan).tolist()}}],
    ],
)
def test_a_damaged_chain_is_told_and_not_continued(chain):
    with pytest.raises(UadError, match="does not say which grid it came from"):
        native_grid(chain)
    grid = Grid.from_json(SOUND)
    assert continued(chain, grid) == [link("input", grid)]


def test_a_chain_goes_on_only_where_it_ended():
    first, second = grid_of((4, 5, 6), (1, 1, 1)), grid_of((2, 3, 3), (2, 2, 2))
    chain = [link("input", first), link("resample", second)]
    assert native_grid(chain).same(first)
    assert continued(chain, second) == chain
    assert continued(chain, first) == [link("input", first)]
    assert continued([chain[0], {"step": "resample"}], second) == [link("input", second)]


@pytest.mark.parametrize("role", ROLES)
def test_masks_of_lesions_alone_are_labels(role):
    grid = grid_of((4, 5, 6), (1, 1, 1))
    image = Image(np.ones(grid.shape, np.uint8), grid, role, {"history": [{"tool": "uad-x"}]})
    if role in ("truth", "detection"):
        assert label_of(image, image, "a").all()
    else:
        with pytest.raises(UadError, match=f"^a: is an? {role}, not a mask of lesions"):
            label_of(image, image, "a")


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ([10**6] * 3, np.eye(4)), ([2.0, 2, 2], np.eye(4)), ([4, 4, 4], np.diag([1e-6, 1, 1, 1])),
        ([4, 4, 4], np.diag([1e6, 1e6, 1e6, 1])),
    ],
)  # fmt: skip
def test_a_chain_cannot_ask_for_more_than_there_are_scans(shape, affine):
    chain = [{"step": "input", "grid": {"shape": shape, "affine": affine.tolist()}}]
    with pytest.raises(UadError, match="does not say which grid it came from"):
        native_grid(chain)
