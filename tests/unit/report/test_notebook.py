"""What a notebook shows of studies and images."""

import base64
import html
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Picture

import uadtools
from uadtools.report.contents import gather
from uadtools.report.page import page_html
from uadtools.volume.stream import Study


def pixels(shown):
    (data,) = re.findall('src="data:image/png;base64,([^"]+)"', shown)
    return np.asarray(Picture.open(BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def orange(shown):
    red, green, blue = np.moveaxis(pixels(shown), -1, 0)
    return int(((red - green > 60) & (green - blue > 20)).sum())


def test_a_study_shows_itself_small_with_what_is_detected_outlined(study):
    shown = study._repr_html_()
    assert len(shown) < 100_000
    assert "phantom: detection, score, healed, scan, brain; 16 x 16 x 8 voxels of 2 x 2 x 2 mm" in shown
    assert orange(shown) > 50
    assert orange(Study("a", {"scan": study.need("scan")})._repr_html_()) == 0
    assert uadtools.show(study, viewer=False) == shown


def test_the_outline_lies_where_the_detection_does_on_another_grid(study):
    found = study.need("detection")
    native = replace(
        found, data=found.data[::-1], grid=replace(found.grid, affine=found.grid.affine @ np.diag([-1, 1, 1, 1]))
    )
    native.grid.affine[0, 3] = found.grid.affine[0, 0] * (found.grid.shape[0] - 1) + found.grid.affine[0, 3]
    np.testing.assert_array_equal(pixels(study.adding(native)._repr_html_()), pixels(study._repr_html_()))


@pytest.mark.parametrize("role", ["scan", "brain", "detection", "healed"])
def test_an_image_of_any_role_shows_itself(study, role):
    shown = study.need(role)._repr_html_()
    assert f"<p>{role}; 16 x 16 x 8 voxels" in shown
    assert pixels(shown).max() > 100


@pytest.mark.parametrize("shape", [(5, 6, 1), (1, 4, 4), (3, 3, 3)])
def test_what_has_one_value_or_one_slice_is_shown_too(study, shape):
    from uadtools.grids.grid import Grid

    empty = replace(study.need("scan"), data=np.zeros(shape, np.float32), grid=Grid(shape, np.eye(4)))
    assert "voxels of 1 x 1 x 1 mm" in empty._repr_html_()
    assert "<img" in Study("a", {"brain": replace(empty, role="brain")})._repr_html_()


def test_the_viewer_comes_in_a_frame_of_its_own(study):
    frame = study.show()
    assert frame._repr_html_() == str(frame)
    (page,) = re.findall('srcdoc="([^"]*)"></iframe>$', frame)
    assert html.unescape(page) == page_html(gather(study, title="phantom"))
    assert ' sandbox="allow-scripts" ' in frame


def test_names_are_text_in_notebooks_too(study):
    assert "<script>alert" not in Study("<script>alert(1)</script>", study.images)._repr_html_()
