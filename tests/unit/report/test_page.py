"""What a report says, without a browser."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
from matplotlib.axes import Axes

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.report import contents
from uadtools.report import page as pages
from uadtools.report.contents import gather
from uadtools.report.page import page_html, shown
from uadtools.report.picture import _choose
from uadtools.scoring.healthy import HealthyScores
from uadtools.volume.chain import link
from uadtools.volume.stream import Study

VOID = {"meta", "input", "img", "br"}


class Reader(HTMLParser):
    """Collects what a page holds, and sees that every element ends where it should."""

    def __init__(self, text):
        super().__init__()
        self.open, self.scripts, self.links, self.ids, self.text = [], {}, [], [], ""
        self.feed(text)
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [given[name] for name in ("src", "href") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        assert not any(name.startswith("on") or name == "style" for name in given)
        if tag not in VOID:
            self.open.append((tag, given))

    def handle_endtag(self, tag):
        name, _ = self.open.pop()
        assert name == tag

    def handle_data(self, data):
        tag, given = self.open[-1] if self.open else ("", {})
        if tag in ("script", "style"):
            self.scripts[given.get("id", tag)] = data
        else:
            self.text += data


@pytest.fixture(scope="module")
def read(study):
    return Reader(page_html(gather(study)))


def volumes(study, truth=None):
    layers = json.loads(Reader(page_html(gather(study, truth))).scripts["report"])["layers"]
    return {
        layer["role"]: nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(layer["nifti"]))) for layer in layers
    }


def rows(html, table):
    (body,) = re.findall(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', html, re.DOTALL)
    return [re.sub("<[^>]+>", "|", row) for row in body.split("</tr>") if row]


def test_nothing_is_fetched_and_only_its_own_programs_run(study, read):
    html = page_html(gather(study))
    assert all(link.startswith("data:image/png;base64,") for link in read.links)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    niivue = gzip.decompress(base64.b64decode(read.scripts["niivue"]))
    programs = [read.scripts["script"].encode(), niivue]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one).digest()).decode()}'" for one in programs]
    assert rules["script-src"].split() == hashes
    assert "connect-src" not in rules


def test_volumes_lie_in_the_world_where_the_images_do_and_tell_of_nobody(study):
    found = volumes(study)
    assert list(found) == ["scan", "healed", "score", "detection"]
    for role, nifti in found.items():
        image = study.need(role)
        start = np.round(np.linalg.inv(image.grid.affine) @ nifti.affine[:, 3]).astype(int)[:3]
        box = tuple(slice(a, a + n) for a, n in zip(start, nifti.shape, strict=True))
        np.testing.assert_allclose(nifti.affine[:3, :3], image.grid.affine[:3, :3], atol=1e-6)
        np.testing.assert_allclose(nifti.get_fdata(), image.data[box], atol=2e-5)
        assert np.count_nonzero(nifti.get_fdata() > 1e-4) == np.count_nonzero(image.data > 1e-4)
        assert not nifti.header.extensions
        assert nifti.header["cal_max"] > nifti.header["cal_min"]  # which the viewer would have to look for
        assert nifti.get_data_dtype() == (np.uint8 if role == "detection" else np.int16)


def test_what_an_evaluation_colours_is_disjoint_and_complete(study, truth):
    found = {role: nifti.get_fdata() > 0 for role, nifti in volumes(study, truth).items()}
    hit, alarm, miss = (found[role] for role in ("hit", "detection", "truth"))
    assert (int(hit.sum()), int(alarm.sum()), int(miss.sum())) == (8, int(study.product.data.sum()) - 8, 1)
    assert not (hit & alarm).any()
    assert not (hit & miss).any()
    html = page_html(gather(study, truth))
    assert [row.strip("|").split("||")[-1] for row in rows(html, "findings")] == ["hit", "false"]
    assert "Components of the truth" in html


def test_findings_are_listed_with_volume_place_and_scores(study):
    spot, dot = gather(study).findings
    assert spot.ml == pytest.approx(8 * 0.008)
    assert dot.ml == pytest.approx(0.008)
    assert dot.shown == dot.native == (22, 16, 8)
    assert dot.peak == pytest.approx(0.3, abs=1e-3)
    assert spot.mean == pytest.approx(0.3, abs=1e-3)


KNOWN = HealthyScores({"case_score": [0.01, 0.02], "top": [0.1, 0.5], "peak": [0.1, 0.299, 0.4]}, (1, 0.0), both=False)


def test_scores_are_told_against_those_of_healthy_scans(study, monkeypatch):
    monkeypatch.setattr(contents, "healthy_scores", lambda score: KNOWN)
    page = gather(study)
    html = page_html(page)
    assert [row.strip("|").split("||")[-1] for row in rows(html, "findings")] == ["1", "1"]
    about = (
        "Healthy: how many of 3 scans of healthy people have, anywhere in the brain, a score as high as the peak of "
        "this finding. Few: it is unusual. Many: healthy people have such peaks, too."
    )
    assert f'<p class="quiet">{about}</p>' in html
    assert f'title="{about}">healthy</button>' in html
    (table,) = [table for table in page.tables if table.title == "Scores of the scan"]
    told = {row[0]: row[2:] for row in table.rows}
    assert told["mean of the highest hundredth"] == ["0.1 to 0.5", "1 of 2 healthy scans are as high"]
    (plot,) = [picture for picture in page.pictures if picture.title == "This scan against healthy scans"]
    assert plot.png.startswith(b"\x89PNG")
    assert "mean of the highest hundredth 0.3, 1 of 2 healthy scans are as high" in plot.alt
    assert f'<img alt="{plot.alt}"' in html


def test_that_none_is_as_high_is_no_bound(study, monkeypatch):
    monkeypatch.setattr(
        contents, "healthy_scores", lambda score: replace(KNOWN, case_scores={"top": [0.1], "peak": [0.1]})
    )
    assert "mean of the highest hundredth 0.3, none of 1 healthy scans are as high" in page_html(gather(study))


def test_what_both_signs_score_bounds_one(study, monkeypatch):
    monkeypatch.setattr(contents, "healthy_scores", lambda score: replace(KNOWN, both=True))
    html = page_html(gather(study))
    assert "at most 1 of 2 healthy scans are as high" in html
    assert "In them what is brighter and what is darker was counted, in this scan one of the two" in html
    assert "so that the true number may be smaller, never larger." in html


def test_after_another_median_healthy_scans_say_nothing(study, monkeypatch):
    monkeypatch.setattr(contents, "healthy_scores", lambda score: replace(KNOWN, filters=(5, 0.0)))
    assert gather(study).healthy is None


def test_every_picture_says_what_it_shows(study, truth):
    shown_in = {picture.title: picture.alt for picture in gather(study, truth).pictures}
    assert shown_in["Slices"] == (
        "Axial slices, the patient's left on the right: scan, healed, anomaly score, detection, truth."
    )


def test_after_registration_both_worlds_are_told(study):
    moved = np.eye(4)
    moved[:3, 3] = (10, 0, -5)
    images = {}
    for role, image in study.images.items():
        grid = Grid(image.grid.shape, moved @ image.grid.affine)
        chain = [link("input", image.grid), link("register", grid, moved)]
        images[role] = replace(image, grid=grid, provenance={**image.provenance, "chain": chain})
    native = study.need("detection")
    images["detection"] = replace(images["detection"], grid=native.grid)  # as --native puts it
    page = gather(Study("moved", images))
    assert page.places == ("template", "scan")
    assert page.findings[1].native == pytest.approx((22, 16, 8))
    assert page.findings[1].shown == pytest.approx((32, 16, 3))
    assert page.findings[1].peak == pytest.approx(0.3, abs=1e-3)
    assert page.missing == []


def test_volumes_after_registration_are_the_persons(study, registered):
    plain, moved = (gather(each).findings for each in (study, registered(study)))
    assert [one.ml for one in moved] == pytest.approx([one.ml / 8 for one in plain])


def test_what_is_missing_or_lies_elsewhere_is_left_out_and_told(study):
    far = Grid(study.product.grid.shape, study.product.grid.affine.copy())
    far.affine[0, 3] += 500
    images = {"scan": study.need("scan"), "score": replace(study.need("score"), grid=far)}
    page = gather(Study("a", images))
    assert [layer.role for layer in page.layers] == ["scan"]
    assert page.findings is None
    told = " ".join(page.missing)
    assert "score (it lies elsewhere than the scan: " in told
    assert "healed, detection (not given)" in told
    bare = {"score": replace(study.need("score"), provenance={})}
    page = gather(Study("a", bare))
    assert page.commands == ""
    assert "how this was made (no history)" in page.missing
    with pytest.raises(UadError, match="nothing to show"):
        gather(Study("a", {"brain": study.need("brain")}))


def test_a_damaged_chain_costs_the_places_alone(study):
    images = {role: replace(i, provenance={**i.provenance, "chain": [{"step": 3}]}) for role, i in study.images.items()}
    page = gather(Study("a", images))
    assert len(page.findings) == 2
    assert any("does not say which grid" in what for what in page.missing)


def test_names_are_shown_where_they_are_a_title_alone(study):
    named = {r: replace(i, provenance={**i.provenance, "study": "Jane Doe"}) for r, i in study.images.items()}
    html = page_html(gather(Study("Jane Doe", named)))
    assert "Jane" not in html
    assert "Jane Doe" in page_html(gather(Study("Jane Doe", named), title="Jane Doe"))


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("a\nb\u202ec\x1b[1m", "a\\nb\\u202ec\\x1b[1m"),
        ("\udcff", "\\udcff"),
        ("Müller 脑", "Müller 脑"),
    ],
)
def test_text_is_shown_as_text(text, visible):
    assert shown(text) == visible


def test_many_findings_are_listed_in_part(study, monkeypatch):
    monkeypatch.setattr(pages, "MOST_ROWS", 1)
    html = page_html(gather(study))
    assert len(rows(html, "findings")) == 1
    assert "1 smaller ones are not listed." in html


def test_nothing_detected_and_not_a_medical_device(study):
    empty = study.product.derive(np.zeros_like(study.product.data), "detection")
    html = page_html(gather(study.adding(empty)))
    assert "Nothing was detected." in html
    assert html.count("Not a medical device.") == 2
    Reader(html)


def test_the_viewers_licence_is_there():
    text = pages.files("uadtools.report").joinpath("web/niivue-LICENSE.txt").read_text()
    assert f"niivue-{pages.NIIVUE}.js.gz" in text
    assert "BSD 2-Clause License" in text


@pytest.mark.parametrize(("least", "most"), [(0.95, 1.0), (0.0, 0.6), (-3.0, 3.0)], ids=["CT", "T2", "z-scores"])
def test_viewer_and_slices_are_windowed_alike_and_fill_the_greys(study, monkeypatch, least, most):
    scan = study.need("scan")
    values = np.linspace(least, most, scan.data.size, dtype=np.float32).reshape(scan.data.shape)
    data = np.where(study.need("brain").data > 0, np.where(values, values, 1e-6), 0)
    data.flat[np.flatnonzero(data)[:5]] = 1e-3  # the mask's rim
    images = {role: study.images[role] for role in ("brain", "score", "detection")}
    limits = set()
    monkeypatch.setattr(Axes, "imshow", lambda axis, *_, cmap="", vmin=None, vmax=None: (
        limits.add((vmin, vmax)) if cmap == "gray" else None
    ))  # fmt: skip
    page = gather(Study("windowed", {"scan": scan.derive(data, "scan"), **images}))
    low, high = page.layers[0].low, page.layers[0].high
    assert limits == {(low, high)}
    tissue = np.percentile(data[data != 0], [5, 95])
    assert low <= tissue[0] < tissue[1] <= high
    assert np.ptp(tissue) > 0.4 * (high - low)


@pytest.mark.parametrize("found", [True, False])
def test_the_thumbnail_is_through_the_largest_finding_else_the_middle(study, found):
    """Not through the slice where many small ones lie."""
    scan = study.need("scan")
    mask = np.zeros(scan.data.shape, np.uint8)
    if found:
        mask[4:6, 7:9, 2:5] = 1
        mask[2:14:2, 4:13:2, 6] = 1
    detection = study.need("detection").derive(mask, "detection")
    views = {"scan": scan.data, "detection": detection.data}
    assert _choose(views, 1)[0] in ((2, 3, 4) if found else (3, 4))


def test_zeros_that_were_given_are_among_the_settings(study):
    (done,) = [table for table in gather(study).tables if table.title == "What was done"]
    (settings,) = [row[-1] for row in done.rows if row[0] == "uad-postproc"]
    assert "erode 0" in settings.split(", ")
