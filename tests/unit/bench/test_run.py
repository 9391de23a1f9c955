"""uad-bench's parts: what a plan may say, what tells that data changed, and what a table shows."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from uadtools.bench.case import Ready, likeness
from uadtools.bench.data import Item, Scans, singles, slice_by_slice, spread, stamp
from uadtools.bench.plan import load_bench
from uadtools.bench.run import Bench
from uadtools.bench.runner import Runner
from uadtools.bench.stored import StoredReport, read_stored
from uadtools.bench.summary import compared, figures_of, image_thresholds
from uadtools.bench.table import as_csv, latex, markdown
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.scoring.postproc import Steps
from uadtools.training.recipe import load_recipe
from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study

PLAN = """
name = "small"
[postproc]
median = 1
erode = 0
min_size = 1
[[set]]
name = "dark & small"
val = ["a.nii.gz", "b.nii.gz"]
test = ["c.nii.gz", "d.nii.gz", "e.nii.gz"]
simulate = { kind = "blobs", tone = "dark", size = [6.0, 12.0] }
[[method]]
name = "threshold"
heal = { method = "threshold" }
[[method]]
name = "blur"
heal = { method = "blur", sigma = 6.0 }
"""
PLANS = sorted(path for top in ("examples", "experiments") for path in Path(top, "bench").glob("*.toml"))
NAMES = "abcde"
BLANK = dict.fromkeys(("detected", "l1", "kld", "l1_ratio", "seconds"), 0.0)
SIGNS = ("dark", "bright")


def head(seed):
    """A ball of brain, 48 mm across, with a bright shell around a grey and a dark core."""
    places = np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij"))
    away = np.linalg.norm(places, axis=0)
    tissue = np.select([away < 4, away < 9, away < 12], [0.2, 0.5, 0.8], 0).astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 0.02, tissue.shape).astype(np.float32)
    return np.where(tissue > 0, np.clip(tissue + noise, 0.01, 1), 0).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for seed, name in enumerate(NAMES):
        save(Image(head(seed), Grid((32, 32, 32), affine)), tmp_path / f"{name}.nii.gz", force=False)
    return tmp_path


@pytest.fixture
def planned(folder):
    def write(text=PLAN):
        (folder / "plan.toml").write_text(text)
        return load_bench(folder / "plan.toml")

    return write


def test_methods_are_judged_on_the_same_scans(planned, folder):
    table = Bench(planned(), folder, folder / "out").run()
    (found,) = table["sets"]
    assert (found["scans"], found["against"]) == (3, "threshold")
    assert [row["method"] for row in found["rows"]] == ["threshold", "blur"]
    for row in found["rows"]:
        assert 0 <= row["auprc"]["value"] <= 1
        assert row["auprc"]["interval"] is None  # three scans have none
        assert row["threshold"] > 0
        assert row["healthy_l1"] > 0
        assert row["healthy_kld"] > 0
    assert set(found["rows"][1]["tests"]) == {"auprc", "dice", "l1_ratio", "healthy_l1", "healthy_kld"}
    assert found["rows"][0]["tests"] == {}


def test_the_threshold_is_from_validation_and_not_from_test(planned, folder):
    first = Bench(planned(), folder, folder / "out").run()
    other = Bench(planned(PLAN.replace('"c.nii.gz", ', "")), folder, folder / "out").run()
    for one, two in zip(first["sets"][0]["rows"], other["sets"][0]["rows"], strict=True):
        assert one["threshold"] == two["threshold"]
        assert one["auprc"] != two["auprc"]


def test_nothing_is_done_twice(planned, folder, monkeypatch):
    first = Bench(planned(), folder, folder / "out").run()
    files = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.is_file()}
    monkeypatch.setattr("uadtools.bench.runner.heal", None)
    monkeypatch.setattr("uadtools.bench.data.read_path", None)
    assert Bench(planned(), folder, folder / "out").run() == first
    assert files == {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.is_file()}


def test_a_stopped_run_goes_on_with_the_next_scan(planned, folder, monkeypatch):
    whole = Bench(planned(), folder, folder / "whole").run()
    real, calls = __import__("uadtools.healing.heal", fromlist=["heal"]).heal, []

    def counted(*args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr("uadtools.bench.runner.heal", counted)
    with pytest.raises(KeyboardInterrupt):
        Bench(planned(), folder, folder / "out").run()
    again = Bench(planned(), folder, folder / "out").run()
    assert len(calls) == 4 + 2 * (2 + 2 + 3 + 3) - 3
    assert _without_seconds(again) == _without_seconds(whole)


def _without_seconds(table):
    return json.loads(json.dumps(table), object_hook=lambda d: {k: v for k, v in d.items() if k != "seconds_per_scan"})


def test_a_scan_that_changed_is_scored_anew(planned, folder):
    before = Bench(planned(), folder, folder / "out").run()
    save(Image(head(9), Grid((32, 32, 32), np.diag([2.0, 2.0, 2.0, 1.0]))), folder / "e.nii.gz", force=True)
    os.utime(folder / "e.nii.gz", (1, 1))
    after = Bench(planned(), folder, folder / "out").run()
    assert before["sets"][0]["rows"][0]["auprc"] != after["sets"][0]["rows"][0]["auprc"]


def test_truths_may_be_experts(planned, folder):
    truth = np.zeros((32, 32, 32), np.uint8)
    truth[10:14, 10:14, 10:14] = 1
    for name in NAMES:
        save(Image(truth, Grid((32, 32, 32), np.diag([2.0, 2.0, 2.0, 1.0]))), folder / f"{name}_t.nii.gz", force=False)
    (folder / "val.csv").write_text("path,truth\na.nii.gz,a_t.nii.gz\nb.nii.gz,b_t.nii.gz\n")
    (folder / "test.csv").write_text("path,truth\nc.nii.gz,c_t.nii.gz\nd.nii.gz,d_t.nii.gz\n")
    start, end = PLAN.index("val ="), PLAN.index("[[method]]")
    text = PLAN[:start] + 'val = ["val.csv"]\ntest = ["test.csv"]\n' + PLAN[end:]
    (found,) = Bench(planned(text), folder, folder / "out").run()["sets"]
    assert found["scans"] == 2
    assert found["rows"][0]["untouched_detected"] is None
    (folder / "test.csv").write_text("path,truth\nc.nii.gz,gone.nii.gz\n")
    with pytest.raises(UadError, match=r"test.csv: names .*gone.nii.gz, and there is no such file"):
        Bench(planned(text), folder, folder / "out").run()
    (folder / "test.csv").write_text("scan\nc.nii.gz\n")
    with pytest.raises(UadError, match="columns path and truth"):
        Bench(planned(text), folder, folder / "out").run()


def test_how_label_images_are_read_is_told(planned, folder):
    """As in the WMH challenge: 2 counts neither way, also in a slice that has no 1."""
    truth = np.zeros((32, 32, 32), np.uint8)
    truth[10:14, 10:14, 10:14], truth[18:22, 10:14, 10:20] = 1, 2
    for name in "abcd":
        save(Image(truth, Grid((32, 32, 32), np.diag([2.0, 2.0, 2.0, 1.0]))), folder / f"{name}_t.nii.gz")
    (folder / "val.csv").write_text("path,truth\na.nii.gz,a_t.nii.gz\nb.nii.gz,b_t.nii.gz\n")
    (folder / "test.csv").write_text("path,truth\nc.nii.gz,c_t.nii.gz\nd.nii.gz,d_t.nii.gz\n")
    start, end = PLAN.index("val ="), PLAN.index("[[method]]")
    text = PLAN[:start] + 'val = ["val.csv"]\ntest = ["test.csv"]\n' + PLAN[end : PLAN.rindex("[[method]]")]
    for _ in range(2):  # the second reads what is done
        said = []
        (found,) = Bench(planned(text), folder, folder / "out", tell=said.append).run()["sets"]
        assert [(concern["code"], concern["value"]) for concern in found["concerns"]] == [("labels", "1,2")] * 4
        assert "c_t.nii.gz: holds the labels 1, 2: 1 counts as lesion, 2 neither way" in "".join(said)
    study = Scans(planned(text), folder).study(Item(str(folder / "c.nii.gz"), str(folder / "c_t.nii.gz")))
    scores = [single.adding(single.product.derive(single.product.data, "score")) for single in singles(study)[8:24]]
    ready = [Ready.of(score, Steps(erode=0), {}) for score in scores]
    assert [single.truth.any() for single in ready] == [10 <= z < 14 for z in range(8, 24)]


def test_volumes_after_registration_are_the_persons(phantom, registered):
    study = phantom.adding(phantom.need("scan").derive(phantom.need("scan").data, "score"))
    volumes = [Ready.of(each, Steps(erode=0), {}).detected(0.5).voxel_ml for each in (study, registered(study))]
    assert volumes == pytest.approx([0.008, 0.001])


DAMAGED = [
    [],
    {},
    {"figures": []},
    {"figures": {}, "scans": 3},
    {"figures": {"dice": "x"}, "scans": []},
    {"figures": {"dice": {}}, "scans": []},
    {"figures": {"dice": {"value": 1, "interval": [1]}}, "scans": []},
    {"figures": {}, "scans": [{"auprc": 1}]},
    {"figures": {}, "scans": [{"name": "c", "auprc": {}}]},
    {"figures": {}, "scans": [], "untouched": [3]},
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_report_that_was_damaged_is_told_in_one_line(planned, folder, content):
    config = planned(PLAN[: PLAN.rindex("[[method]]")])
    report = folder / "out/reports/x.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps(content))
    runner = Runner(Bench(config, folder, folder / "out"), config.methods[0])
    with pytest.raises(UadError, match=r"x\.json: damaged \(remove it, and the same command makes it again\)$"):
        read_stored(StoredReport, report)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("uadtools.bench.runner.key", lambda *about: "x")
        with pytest.raises(UadError, match=r"x\.json: damaged"):
            runner.report(config.sets[0])


@pytest.mark.parametrize("content", [None, [], {}, {"history": []}, {"history": [{"arguments": {"seconds": "x"}}]}])
def test_a_score_and_what_is_noted_of_it_are_made_anew_where_they_were_damaged(planned, folder, content):
    """None: the score itself is cut short."""
    config = planned(PLAN[: PLAN.rindex("[[method]]")])
    first = Bench(config, folder, folder / "out").run()
    damaged = sorted((folder / "out/scores").rglob("*.nii.gz" if content is None else "*.json"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100] if content is None else json.dumps(content).encode())
    for report in (folder / "out/reports").iterdir():
        report.unlink()
    assert _without_seconds(Bench(config, folder, folder / "out").run()) == _without_seconds(first)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[[set]]", "[[sets]]"), "set: is missing; sets: unknown key"),
        (("[[set]]", "[set]"), "set: a list of tables is needed: [[set]]"),
        (
            ('name = "small"', 'name = "sm all"'),
            "name = 'sm all': files are called so (letters, digits, and . _ - after ",
        ),
        (("erode = 0", 'erode = "a"'), 'postproc.erode: a whole number is needed, and not "a"'),
        (("erode = 0", "erode = -1"), "postproc.erode: at least 0 is needed, and not -1"),
        (("median = 1", "median = 2"), "postproc.median: an odd number is needed (1: no filter), and not 2"),
        (("median = 1", "medain = 1"), "postproc.medain: unknown key"),
        (
            ('tone = "dark"', "count = 1"),
            '[[set]] "dark & small".simulate.count: a list in brackets is needed, and not 1',
        ),
        (('tone = "dark"', "count = [1]"), '"dark & small".simulate.count.1: value 2 of the list is missing'),
        (('tone = "dark"', "count = [3, 1]"), ".simulate: count 3,1: the fewest and the most are needed, 1 to 100"),
        (('"blobs"', '"masks"'), '.simulate: masks are drawn from masks, and none are named (masks = ["FOLDER"])'),
        (
            ('"blobs"', '"blob"'),
            ".simulate.kind: there are 'blobs', 'masks', 'cavities', 'sprites' or 'glioma', and not \"blob\"",
        ),
        (('val = ["a.nii.gz", "b.nii.gz"]', "val = []"), ".val: a list of at least 1 is needed, and not []"),
        (("[[method]]", "contrast = 0\n[[method]]"), ".contrast: above 0 is needed, and not 0"),
        (('name = "blur"', 'name = "threshold"'), "two of [[method]] are called 'threshold'"),
        (('name = "small"', 'name = "small"\nreference = "vae"'), "'vae' is none of the methods"),
        (('name = "blur"', 'name = "blur"\nrecipe = "ae"'), "data.train is needed"),
        (
            ('name = "blur"', 'name = "blur"\nchanges = ["a=1"]'),
            '[[method]] "blur": changes are to a recipe, and none is n',
        ),
        (
            ('name = "blur"', 'name = "blur"\nchanges = { a = 1 }'),
            '"blur".changes: a list in brackets is needed, and not a t',
        ),
        (
            ('name = "blur"', 'name = "blur"\nchanges = [1]'),
            '[[method]] "blur".changes.0: a text in quotes is needed, and',
        ),
        (('name = "blur"', 'name = "blur"\nmodel = "a"\nrecipe = "ae"'), "not both"),
        (
            ('name = "blur"', 'name = "blur"\nsigned = "dim"'),
            "there are 'both', 'bright', 'dark', 'hyperintense' or 'told', and not \"dim\"",
        ),
        (
            ('name = "blur"', 'name = "blur"\npostproc = { medain = 1 }'),
            "[[method]] blur: postproc: medain: unknown key",
        ),
        (('name = "blur"', 'name = "blur"\nsweep = 3'), "sweep: values to be tried are needed, in lists"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_a_plain_line(change, told, planned):
    assert planned().seed == 0
    with pytest.raises(UadError, match=r"plan\.toml: ") as fault:
        planned(PLAN.replace(*change, 1))
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_folder_is_no_plan(folder):
    with pytest.raises(UadError, match=r"is a folder \(name a plan, a \.toml file"):
        load_bench(folder)


def test_what_a_method_cannot_do_is_told_before_any_work(planned, folder):
    with pytest.raises(UadError, match=r"method 'blur': .*--method blur"):
        Bench(planned(PLAN.replace("sigma = 6.0", "steps = 3")), folder, folder / "out").run()
    with pytest.raises(UadError, match="method 'blur': no method 'blurr'"):
        Bench(planned(PLAN.replace('method = "blur"', 'method = "blurr"')), folder, folder / "out").run()
    assert not (folder / "out").exists()


def test_a_missing_scan_is_told_before_any_work(planned, folder):
    (folder / "e.nii.gz").unlink()
    with pytest.raises(UadError, match=r"e.nii.gz: no such file"):
        Bench(planned(), folder, folder / "out").run()
    assert not (folder / "out").exists()


def test_a_draw_does_not_depend_on_the_others(planned, folder):
    scans = Scans(planned(), folder)
    items = scans.items(scans.config.sets[0], "test")
    alone = scans.study(items[2]).need("scan").data
    both = [scans.study(item).need("scan").data for item in items]
    np.testing.assert_array_equal(alone, both[2])


def test_slices_of_a_stack_are_studies_of_their_own():
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    study = Study("s", {"scan": Image(data, Grid((2, 3, 4), np.eye(4)))})
    parts = singles(study)
    assert [part.name for part in parts] == ["s_0", "s_1", "s_2", "s_3"]
    np.testing.assert_array_equal(parts[2].product.data[:, :, 0], data[:, :, 2])
    np.testing.assert_array_equal(parts[2].product.grid.affine[:3, 3], [0, 0, 2])

    def doubled(single):
        return single.adding(single.product.derive(2 * single.product.data, "healed"))

    made = slice_by_slice(study, doubled)
    np.testing.assert_array_equal(made.need("healed").data, 2 * data)
    assert made.need("healed").grid.same(study.product.grid)


def lesioned(slices):
    """A stack of twelve slices with a score everywhere but in the outer ones, and lesions in some."""
    score = np.zeros((4, 4, 12), np.float32)
    score[..., 1:11] = 0.1
    truth = np.zeros(score.shape, np.uint8)
    truth[1, 1, list(slices)] = 1
    grid = Grid(score.shape, np.eye(4))
    return Study("s", {"score": Image(score, grid, "score"), "truth": Image(truth, grid, "truth")})


def test_a_few_slices_are_spread_through_the_lesion_or_else_through_the_score():
    assert spread(lesioned(range(2, 10)), 4) == [3, 5, 7, 9]
    assert spread(lesioned([5]), 4) == [5]
    assert spread(lesioned([]), 2) == [3, 8]
    assert spread(lesioned([5]), None) == list(range(12))


@pytest.mark.parametrize(("count", "slices"), [(None, list(range(12))), (4, [])])
def test_a_volume_that_shows_nothing_has_no_slices_to_choose_from(count, slices):
    study = lesioned([])
    score = study.need("score")
    assert spread(study.adding(score.derive(np.zeros_like(score.data), "score")), count) == slices


def test_slices_of_volumes_are_cases_with_a_threshold_and_a_chain_of_their_own(planned, folder):
    """What is dilated by a layer, in its slice, is what it was and its four neighbours; the threshold is as said."""
    text = PLAN.replace("[postproc]", '[data]\nunit = "slice"\nslices = 2\n[postproc]\nthreshold = 0.25')
    plain = Bench(planned(text), folder, folder / "out").run()["sets"][0]
    wider = text.replace(
        'method = "blur", sigma = 6.0 }', 'method = "blur", sigma = 6.0 }\npostproc = { dilate = 1, largest = true }'
    )
    grown = Bench(planned(wider), folder, folder / "out").run()["sets"][0]
    assert 3 < plain["scans"] <= 6
    for before, after in zip(plain["rows"], grown["rows"], strict=True):
        assert before["threshold"] == after["threshold"] == 0.25
        assert before["auprc"] == after["auprc"]
        assert 0 <= before["precision"]["value"] <= 1
    assert plain["rows"][0]["dice"] == grown["rows"][0]["dice"]
    assert plain["rows"][1]["dice"] != grown["rows"][1]["dice"]
    with pytest.raises(UadError, match=r"data\.slices are cases of their own"):
        planned(text.replace('unit = "slice"', 'unit = "scan"'))


def test_untouched_scans_are_held_against_what_was_made_of_them():
    grid = Grid((32, 32, 32), np.diag([2.0, 2.0, 2.0, 1.0]))
    scan, healed = Image(head(0), grid), Image(head(0) * np.float32(0.9), grid, "healed")
    found = likeness(Study("a", {"scan": scan, "healed": healed}))
    brain = head(0) > 0
    assert found["psnr"] == pytest.approx(-10 * np.log10(np.mean((0.1 * head(0)[brain]) ** 2)), rel=1e-5)
    assert 0.9 < found["ssim"] < 1
    sick = likeness(Study("a", {"scan": scan, "healed": healed, "truth": Image(brain.astype(np.uint8), grid, "truth")}))
    assert "ssim" not in sick
    assert set(likeness(Study("a", {"scan": scan})).values()) == {None}


def cell(value, low, high):
    return {"value": value, "interval": [low, high]}


TABLE = {
    "name": "t",
    "sets": [
        {
            "set": "50% dark",
            "scans": 3,
            "against": "a_b",
            "rows": [
                {"method": "a_b", "auprc": cell(0.1, 0.05, 0.2), "dice": None, "healthy_l1": 0.01, "tests": {}},
                {
                    "method": "c",
                    "auprc": cell(0.3, 0.2, 0.4),
                    "dice": None,
                    "healthy_l1": None,
                    "tests": {"auprc": {"difference": 0.2, "p": 0.01, "p_holm": 0.02}},
                },
                {
                    "method": "d",
                    "auprc": cell(0.0, 0.0, 0.0),
                    "dice": None,
                    "healthy_l1": None,
                    "tests": {"auprc": {"difference": -0.1, "p": 0.01, "p_holm": 0.02}},
                },
            ],
        }
    ],
}


def test_markdown_shows_what_any_method_has_and_marks_what_differs():
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "### 50% dark (3 scans)"
    assert lines[2] == "| method | AUPRC | healthy l1 |"
    assert lines[4] == "| a_b | 0.100 [0.050, 0.200] | 0.0100 |"
    assert lines[5] == "| c | 0.300 [0.200, 0.400] * | - |"
    assert lines[6] == "| d | 0.000 [0.000, 0.000] † | - |"
    assert "differ from *a_b*" in lines[8]


def test_latex_escapes_what_latex_would_read():
    text = latex(TABLE)
    assert r"a\_b & 0.100 [0.050, 0.200] & 0.0100 \\" in text
    assert r"0.300 [0.200, 0.400] $^*$" in text
    assert r"$\dagger$" in text


def test_csv_has_a_line_for_each_figure():
    lines = as_csv(TABLE).splitlines()
    assert lines[0] == "set,method,figure,value,low,high,p_holm,deviation"
    assert "50% dark,c,auprc,0.3,0.2,0.4,0.02," in lines
    assert "50% dark,a_b,dice,,,,," in lines


def test_csv_has_no_formulas():
    evil = {"set": "=1+1", "rows": [{"method": "@b", "dice": -0.5, "tests": {}}]}
    assert as_csv({"sets": [evil]}).splitlines()[1:] == ["'=1+1,'@b,dice,-0.5,,,,"]


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_plans_that_ship_can_be_read_and_begin_with_the_threshold(plan):
    config = load_bench(plan)
    assert config.methods[0].heal == {"method": "threshold"}
    for method in config.methods:
        if method.recipe:
            load_recipe(method.recipe, method.changes)


def test_what_is_judged_on_is_not_learnt_from(planned, folder):
    text = PLAN.replace("[postproc]", '[data]\ntrain = ["c.nii.gz"]\n[postproc]')
    with pytest.raises(UadError, match=r"dark & small: test and data.train share .*c.nii.gz"):
        Bench(planned(text), folder, folder / "out").run()


SHIFTED = PLAN.replace("[[method]]", "contrast = 2.0\n[[method]]", 1)


def test_a_contrast_changes_the_scans_to_be_judged_and_not_those_for_the_threshold(planned, folder):
    plain, shifted = Scans(planned(), folder), Scans(planned(SHIFTED), folder)
    part = shifted.config.sets[0]
    assert shifted.items(part, "val") == plain.items(plain.config.sets[0], "val")
    for before, after in zip(plain.items(plain.config.sets[0], "test"), shifted.items(part, "test"), strict=True):
        for one, two in ((before, after), (before.untouched, after.untouched)):
            whole, made = plain.study(one), shifted.study(two)
            values = whole.need("scan").data
            np.testing.assert_allclose(
                made.need("scan").data, np.where(values > 0, np.maximum(values**2, 1e-3), 0), 1e-6
            )
            assert made.name == whole.name
            assert shifted.stamp(two) == [*plain.stamp(one), 2.0]
        np.testing.assert_array_equal(shifted.study(after).need("truth").data, plain.study(before).need("truth").data)


def test_without_a_contrast_nothing_stored_gets_another_name(planned, folder):
    scans = Scans(planned(), folder)
    file = str(folder / "c.nii.gz")
    assert scans.stamp(Item(file)) == [[stamp(file)], 0, None]
    drawn = {"kind": "blobs", "tone": "dark", "size": [6.0, 12.0], "count": None, "masks": [], "copies": 1}
    assert scans.stamp(Item(file, drawn="dark & small")) == [[stamp(file)], 0, [drawn, 0, []]]


def test_a_box_for_masks_gives_what_is_drawn_another_name(planned, folder):
    def stamped(box):
        simulate = f'simulate = {{ kind = "cavities", masks = ["e.nii.gz"]{box} }}'
        plan = PLAN.replace('simulate = { kind = "blobs", tone = "dark", size = [6.0, 12.0] }', simulate)
        scans = Scans(planned(plan), folder)
        return json.dumps(scans.stamp(Item(str(folder / "c.nii.gz"), drawn="dark & small")))

    assert len({stamped(box) for box in ("", ', masks_box = "ms"', ", masks_box = [0, 0, 0, 9, 9, 9]")}) == 3


def test_gliomas_are_drawn_by_a_plan(planned, folder):
    plan = PLAN.replace('"blobs", tone = "dark", size = [6.0, 12.0]', '"glioma", tone = "bright", size = [20.0, 20.0]')
    study = Scans(planned(plan), folder).study(Item(str(folder / "c.nii.gz"), drawn="dark & small"))
    line = study.need("truth").provenance["history"][-1]
    assert line["arguments"] == {"kind": "glioma", "tone": "bright", "size": [20, 20]}
    assert study.need("truth").data.sum() == pytest.approx(np.pi / 6 * 10**3, rel=0.02)


def test_a_method_may_be_told_the_sign_of_each_set(planned, folder):
    bright = PLAN.split("[[method]]", maxsplit=1)[0].split("[[set]]")[1].replace("dark", "bright")
    told = '[[method]]\nname = "told"\nsigned = "told"\nheal = { method = "blur", sigma = 6.0 }\n'
    both = PLAN.replace("[[method]]", f"[[set]]{bright}[[method]]", 1)
    with pytest.raises(UadError, match=r"'told' is told the sign, so every \[\[set\]\] needs sign"):
        planned(both + told)
    both = both.replace('"dark & small"', '"dark & small"\nsign = "dark"')
    both = both.replace('"bright & small"', '"bright & small"\nsign = "bright"')
    signs = [f'[[method]]\nname = "{s}"\nsigned = "{s}"\nheal = {{ method = "blur", sigma = 6.0 }}\n' for s in SIGNS]
    table = Bench(planned(both + told + "".join(signs)), folder, folder / "out").run()
    for found, sign in zip(table["sets"], SIGNS, strict=True):
        rows = {row["method"]: _without_seconds(row) for row in found["rows"]}
        assert rows["told"] | {"method": "", "tests": 0} == rows[sign] | {"method": "", "tests": 0}
        assert rows["told"]["auprc"]["value"] > rows["blur"]["auprc"]["value"]


def test_both_contrasts_in_one_table(planned, folder):
    start, end = SHIFTED.index("[[set]]"), SHIFTED.index("[[method]]")
    text = PLAN.replace("[[method]]", SHIFTED[start:end].replace("small", "shifted") + "[[method]]", 1)
    plain, shifted = Bench(planned(text), folder, folder / "out").run()["sets"]
    (ranks, blurred), (of_ranks, of_blurred) = plain["rows"], shifted["rows"]
    assert (ranks["threshold"], blurred["threshold"]) == (of_ranks["threshold"], of_blurred["threshold"])
    assert ranks["auprc"] == of_ranks["auprc"]
    for figure in ("auprc", "healthy_l1", "l1_ratio", "healthy_kld", "kld"):
        assert blurred[figure] != of_blurred[figure]
    assert len(list((folder / "out" / "scores").rglob("*.nii.gz"))) == 2 * (2 + 2 + 3 + 3 + 3 + 3)


def test_experts_truth_stays_at_another_contrast(planned, folder):
    truth = np.zeros((32, 32, 32), np.uint8)
    truth[10:14, 10:14, 10:14] = 1
    save(Image(truth, Grid((32, 32, 32), np.diag([2.0, 2.0, 2.0, 1.0]))), folder / "t.nii.gz")
    made = Scans(planned(), folder).study(Item(str(folder / "a.nii.gz"), str(folder / "t.nii.gz"), contrast=2.0))
    np.testing.assert_array_equal(made.need("truth").data, truth)


def test_methods_are_tested_where_a_figure_is_defined_for_all():
    rows = [{"name": f"s{i}", "auprc": i / 10, "dice": None, "l1_ratio": 1.0} for i in range(6)]
    better = [row | {"auprc": row["auprc"] + 0.1, "l1_ratio": 0.5} for row in rows[1:]]
    reports = {
        "a": {"scans": rows, "untouched": rows},
        "b": {"scans": better, "untouched": better[:1]},
        "c": {"scans": rows},
    }
    found = compared(reports, 0)
    assert set(found["b"]) == {"auprc", "l1_ratio"}
    assert found["b"]["l1_ratio"]["difference"] == -0.5
    assert found["c"]["auprc"]["difference"] == 0


def test_image_f1_is_at_the_threshold_from_other_scans_by_hand():
    def rows(*scores):
        return [{"name": str(i), "case_score": score, "top": 1 - score} for i, score in enumerate(scores)]

    known = image_thresholds(rows(0.1, 0.2, 0.3), rows(0.25, 0.5))
    assert known == {"case_score": 0.2, "top": pytest.approx(0.5, abs=1e-6)}
    report = {"mean": {}, "pooled": {}}
    sides = [[row | BLANK for row in side] for side in (rows(0.15, 0.4), rows(0.3, 0.35))]
    figures = figures_of(0.1, report, report, *sides, known=known, seed=0)
    assert figures["image_f1"]["value"] == pytest.approx(0.8)  # two of two found, and one false alarm
    assert image_thresholds([], rows(0.5)) == {}


def test_what_is_better_when_lower_is_marked_so():
    sure = {"p_holm": 0.01}
    row = {"method": "b", "healthy_kld": 0.2, "l1_ratio": 2.0}
    tests = {"healthy_kld": sure | {"difference": -1.0}, "l1_ratio": sure | {"difference": -1.0}}
    found = {"set": "s", "scans": 3, "against": "a", "rows": [row | {"tests": tests}]}
    assert "| method | l1 ratio | healthy KLD |" in markdown({"sets": [found]})
    assert "| b | 2.000 † | 0.200 * |" in markdown({"sets": [found]})
