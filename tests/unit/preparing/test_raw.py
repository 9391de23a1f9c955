"""Which scans are raw, and what is made of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from uadtools.errors import UadError
from uadtools.models.checkpoint import located, read_config
from uadtools.models.config import GridConfig
from uadtools.preparing.preprocess import preprocess
from uadtools.preparing.raw import is_raw, prepared
from uadtools.volume.stream import Study, read_path


@pytest.fixture
def config(tiny_config):
    return tiny_config.model_copy(update={"grid": GridConfig(shape=(48, 48, 48), spacing=(4, 4, 4))})


@pytest.mark.parametrize(
    ("change", "for_a_model", "without"),
    [
        (lambda s: {}, False, False),
        (lambda s: {"data": s.data * 1.01 / s.data.max()}, True, True),
        (lambda s: {"data": s.data - 0.01}, True, True),
        (lambda s: {"data": np.where(s.data > 0, s.data, 0.2)}, True, True),
        (lambda s: {"grid": replace(s.grid, affine=np.diag([2.0, 2.0, 2.5, 1.0]))}, True, False),
        (lambda s: {"data": 900 * s.data, "provenance": {"history": [{"tool": "uad-preprocess"}]}}, False, False),
    ],
    ids=["prepared elsewhere", "above 1", "below 0", "grey outside", "another grid", "prepared for something else"],
)
def test_which_scans_are_raw(phantom, tiny_config, change, for_a_model, without):
    scan = phantom.need("scan")
    study = Study("s", {"scan": replace(scan, **change(scan))})
    assert (is_raw(study, tiny_config), is_raw(study)) == (for_a_model, without)


def test_an_image_on_the_grid_of_a_model_of_images_keeps_its_grey_background(tmp_path):
    """Its model learnt from images as they are; made black, their air would be taken for an anomaly."""
    config = read_config(located(Path("headct")))
    image = np.full((64, 64), 25, np.uint8)
    image[20:44, 16:48] = np.arange(32) * 7
    Pillow.fromarray(image).save(tmp_path / "ct.png")
    (study,) = read_path(tmp_path / "ct.png")
    assert prepared(study, config) is study
    assert is_raw(study)


def test_what_is_prepared_comes_back_as_it_is(phantom, tiny_config):
    assert prepared(phantom, tiny_config) is phantom


def test_a_raw_scan_is_prepared_as_by_preprocess(stripped, config):
    told = []
    made = prepared(Study("s", {"scan": stripped}), config, tell=told.append)
    expected = preprocess(stripped, grid=config.grid, intensity=config.intensity, name="s")
    assert list(made.images) == ["scan", "brain"]
    for role, image in expected.images.items():
        np.testing.assert_array_equal(made.need(role).data, image.data)
        assert made.need(role).provenance == image.provenance
    assert told == []
    assert not is_raw(made, config)


def test_a_studys_own_mask_is_its_brain(head, brain, config):
    made = prepared(Study("s", {"scan": head, "brain": brain}), config)
    expected = preprocess(head, grid=config.grid, intensity=config.intensity, brain=brain, name="s")
    np.testing.assert_array_equal(made.need("brain").data, expected.need("brain").data)


def test_concerns_are_told(stripped, brain, config):
    small = brain.derive(np.where(np.indices(brain.data.shape)[0] < 20, brain.data, 0), "brain")
    told = []
    prepared(Study("s", {"scan": stripped, "brain": small}), config, tell=told.append)
    assert any("is what adults have" in text for text in told)


def test_what_cannot_be_prepared_is_told_by_name(stripped, config):
    empty = stripped.derive(np.full_like(stripped.data, 7), "scan")
    with pytest.raises(UadError, match=r"^s: is not prepared, and uad-preprocess cannot .* all voxels have one value"):
        prepared(Study("s", {"scan": empty}), config)
