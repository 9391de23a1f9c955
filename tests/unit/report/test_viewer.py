"""The page in a browser: what a person does with it."""

import io
import json
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from uadtools.report.contents import gather
from uadtools.report.index import Row, index_html
from uadtools.report.page import page_html
from uadtools.report.picture import window
from uadtools.volume.stream import Study


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_html(gather(study)), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, page):
    browser.open(page)
    return browser


def where(browser):
    return [float(x) for x in browser.ask("document.getElementById('where').dataset.mm").split(",")]


def places(browser):
    listed = browser.ask("[...document.querySelectorAll('#findings tbody tr')].map((row) => row.dataset.mm)")
    return [[float(x) for x in place.split()] for place in listed]


def test_it_shows_the_layers_asks_for_nothing_and_complains_of_nothing(opened):
    assert opened.ask("document.body.dataset.ready") == "true"
    assert opened.ask("document.querySelectorAll('#controls input[type=checkbox]').length") == 4
    assert opened.ask("document.querySelectorAll('#controls input[type=checkbox]:checked').length") == 2
    assert opened.requests == []
    assert opened.complaints == []


def test_a_click_on_a_finding_moves_the_crosshair_there(opened):
    first, second = places(opened)
    assert where(opened) == pytest.approx(first, abs=1.1)
    opened.ask("document.querySelectorAll('#findings tbody tr')[1].cells[1].click()")
    assert where(opened) == pytest.approx(second, abs=1.1)
    assert opened.ask("document.querySelector('#findings [aria-current]').rowIndex") == 2


def test_on_an_oblique_grid_the_crosshair_lands_in_the_voxel_of_the_finding(browser, oblique, tmp_path):
    """As the header has it: half a voxel of the middle of the one that is listed, along each of the grid's axes."""
    grid, path = oblique.product.grid, tmp_path / "oblique.html"
    path.write_text(page_html(gather(oblique)), encoding="utf-8")
    browser.open(path)
    for number, place in enumerate(places(browser)):
        browser.ask(f"document.querySelectorAll('#findings tbody tr')[{number}].cells[1].click()")
        beside = np.linalg.inv(grid.affine[:3, :3]) @ np.subtract(where(browser), place)
        assert np.abs(beside).max() <= 0.5


def test_the_keyboard_alone_suffices(opened):
    _, second = places(opened)
    opened.ask("document.querySelectorAll('#findings tbody button')[1].focus()")
    opened.press("Enter", 13)
    assert where(opened) == pytest.approx(second, abs=1.1)
    opened.ask("document.getElementById('canvas').focus()")
    before = where(opened)
    opened.press("PageUp", 33)
    assert where(opened)[2] == pytest.approx(before[2] + 2, abs=0.1)
    opened.press("ArrowLeft", 37)
    assert where(opened)[0] == pytest.approx(before[0] + 2, abs=0.1)
    opened.press("n", 78)
    assert where(opened) == pytest.approx(places(opened)[0], abs=1.1)


def test_layers_blend_and_window_change_what_is_drawn(opened):
    pictures = [opened.shot()]
    steps = [
        "document.getElementById('show-score').click()",
        "const b = document.getElementById('blend'); b.value = 100; b.dispatchEvent(new Event('input'))",
        "const h = document.getElementById('high'); h.value = 200; h.dispatchEvent(new Event('input'))",
        "document.querySelector('[data-view=axial]').click()",
    ]
    for step in steps:
        opened.ask(f"{{ {step} }}")
        opened.ask("new Promise((done) => setTimeout(done, 300))")
        pictures.append(opened.shot())
    assert len(set(pictures)) == len(pictures)
    assert opened.ask("document.getElementById('show-healed').checked") is True
    assert opened.complaints == []


def canvas(browser):
    """What is drawn on the canvas, in shares of each colour."""
    time.sleep(0.3)
    box = browser.ask("(({x, y, width, height}) => [x, y, width, height])(canvas.getBoundingClientRect())")
    x, y, width, height = map(round, box)
    return plt.imread(io.BytesIO(browser.shot()))[y : y + height, x : x + width, :3]


def shades(browser):
    """The greys on the canvas but for black, as shares of white."""
    drawn = canvas(browser)
    return drawn[(np.ptp(drawn, axis=2) == 0) & (drawn[..., 0] > 0.05)][:, 0]


@pytest.fixture
def dim(phantom):
    """A scan whose tissue is far below the middle of the window, as in T2; healed it is above."""
    scan = phantom.need("scan")
    inside = phantom.need("brain").data > 0
    data = np.where(inside, 0.3, 0.0)
    data[inside & (np.arange(inside.shape[0]) < 5)[:, None, None]] = 1
    data[inside & (np.arange(inside.shape[1]) > 12)[:, None]] = 0.001
    scan = replace(scan, data=data.astype(np.float32))
    return Study("dim", {"scan": scan, "healed": scan.derive(np.where(inside, 0.6, 0).astype(np.float32), "healed")})


def test_shades_are_those_of_the_window_and_nothing_shines_through_a_healed_scan(browser, dim, tmp_path):
    path = tmp_path / "dim.html"
    path.write_text(page_html(gather(dim)), encoding="utf-8")
    browser.open(path)
    browser.ask("document.querySelector('[data-view=axial]').click()")
    low, high = window(dim.need("scan").data)
    assert np.median(shades(browser)) == pytest.approx((0.3 - low) / (high - low), abs=0.02)
    browser.ask("{ const b = document.getElementById('blend'); b.value = 100; b.dispatchEvent(new Event('input')) }")
    assert np.median(shades(browser)) == pytest.approx((0.6 - low) / (high - low), abs=0.02)


def test_a_healed_scan_has_no_coloured_rim_where_a_mask_is_shown(browser, dim, tmp_path):
    scan = dim.need("scan")
    mask = np.zeros(scan.data.shape, np.uint8)
    mask[7:9, 7:9, 3:5] = 1
    found = scan.derive(mask, "detection")
    path = tmp_path / "found.html"
    path.write_text(page_html(gather(Study("dim", {"detection": found} | dim.images))), encoding="utf-8")
    browser.open(path)
    browser.ask("document.querySelector('[data-view=axial]').click()")
    before = coloured(browser)
    browser.ask("document.getElementById('show-healed').click()")
    assert browser.ask("document.getElementById('blend').value") == "100"
    assert 0 < coloured(browser) < 1.2 * before
    browser.ask("document.getElementById('show-healed').click()")
    assert browser.ask("document.getElementById('blend').value") == "0"


def coloured(browser):
    """How many pixels of the canvas have a warm colour, as a detection has."""
    drawn = canvas(browser)
    return np.count_nonzero((drawn[..., 0] > drawn[..., 1] + 0.08) & (drawn[..., 0] > drawn[..., 2] + 0.08))


def test_heads_of_columns_sort(opened):
    opened.ask("document.querySelectorAll('#findings th button')[1].click()")
    opened.ask("document.querySelectorAll('#findings th button')[1].click()")
    order = opened.ask("[...document.querySelectorAll('#findings tbody tr')].map((row) => row.cells[0].textContent)")
    assert order == ["2", "1"]
    assert opened.ask("document.querySelectorAll('#findings th')[1].getAttribute('aria-sort')") == "ascending"


def test_what_a_scan_is_called_runs_nothing(browser, study, tmp_path):
    hostile = '<script>window.run = 1</script><img src=x onerror="window.run = 2">"\'\u202e</script><!--'
    history = [{"tool": hostile, "version": hostile, "arguments": {hostile: hostile}}]
    lines = [*study.product.provenance["history"], *history]
    concerns = [{"code": "other", "text": hostile, "value": None}]
    marked = {role: image.derive(image.data, role) for role, image in study.images.items()}
    for image in marked.values():
        image.provenance.update({"history": lines, "concerns": concerns})
    path = tmp_path / "report.html"
    path.write_text(page_html(gather(Study(hostile, marked), title=hostile)), encoding="utf-8")
    browser.open(path)
    assert browser.ask("document.body.dataset.ready") == "true"
    assert browser.ask("window.run ?? null") is None
    assert browser.ask("document.querySelector('h1').textContent") == hostile.replace("\u202e", "\\u202e")
    assert browser.complaints == []


def test_the_index_sorts(browser, tmp_path):
    rows = [Row(f"Scan {n}", f"Scan-{n}.html", b"", n, n, n, n, n, 3 - n) for n in (1, 2)]
    (tmp_path / "index.html").write_text(index_html(rows, "0"), encoding="utf-8")
    browser.call("Page.navigate", url=(tmp_path / "index.html").as_uri())
    titles = "JSON.stringify([...document.querySelectorAll('tbody a')].map((link) => link.textContent))"
    while not browser.ask("document.readyState === 'complete' && !!document.querySelector('#scans')"):
        pass
    assert json.loads(browser.ask(titles)) == ["Scan 2", "Scan 1"]
    browser.ask("[...document.querySelectorAll('th button')].at(-1).click()")
    assert json.loads(browser.ask(titles)) == ["Scan 1", "Scan 2"]
