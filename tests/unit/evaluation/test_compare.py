import json
import math

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.evaluation.compare import compare, read_report
from uadtools.metrics.intervals import bootstrap
from uadtools.metrics.significance import holm, permutation


def reported(values, names=None, figure="dice", kind="detection"):
    names = names or [f"s{i}" for i in range(len(values))]
    rows = [{"name": name, figure: value} for name, value in zip(names, values, strict=True)]
    return {"schema": 1, "kind": kind, "scans": rows}


@pytest.fixture
def values():
    return list(np.random.default_rng(0).random(12))


def test_the_same_scans_are_paired_whatever_their_order(values):
    better = [v + 0.01 * (i % 3) for i, v in enumerate(values)]
    shuffled = reported(better)
    shuffled["scans"].reverse()
    (row,) = compare({"a": reported(values), "b": shuffled})["rows"]
    difference = np.array(better) - values
    assert (row["paired"], row["scans"], row["figure"], row["method"]) == (True, [12, 12], "dice", "b")
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["mean"] - row["mean_against"] == pytest.approx(row["difference"])
    order = np.argsort([f"s{i}" for i in range(12)])
    assert row["interval"] == pytest.approx(list(bootstrap(difference[order])))
    assert row["p"] == permutation(np.array(values)[order], np.array(better)[order], paired=True) < 0.05


def test_other_scans_are_not_paired(values):
    (row,) = compare({"a": reported(values), "b": reported(values[:7], [f"t{i}" for i in range(7)])})["rows"]
    assert (row["paired"], row["scans"]) == (False, [12, 7])
    assert row["p"] == permutation(values, values[:7], paired=False)
    assert row["interval"][0] < row["difference"] < row["interval"][1]
    spread = np.std(values) * math.sqrt(1 / 12 + 1 / 7)
    assert row["interval"][1] - row["interval"][0] == pytest.approx(3.92 * spread, rel=0.3)


def test_other_scans_are_drawn_on_their_own(values):
    """Though their values be the same."""
    (row,) = compare({"a": reported(values), "b": reported(values, [f"t{i}" for i in range(12)])})["rows"]
    assert row["difference"] == 0
    assert row["interval"][1] - row["interval"][0] == pytest.approx(3.92 * np.std(values) * math.sqrt(2 / 12), rel=0.1)


def test_holm_is_over_the_methods_of_each_figure(values):
    reports = {name: reported([v + shift for v in values]) for name, shift in (("a", 0), ("b", 0.2), ("c", 0.0))}
    for report in reports.values():
        for row in report["scans"]:
            row["auprc"] = row["dice"] / 2
    found = compare(reports)
    assert found["against"] == "a"
    assert [(r["figure"], r["method"]) for r in found["rows"]] == [
        ("dice", "b"), ("dice", "c"), ("auprc", "b"), ("auprc", "c"),
    ]  # fmt: skip
    for half in (found["rows"][:2], found["rows"][2:]):
        assert [r["p_holm"] for r in half] == pytest.approx(list(holm([r["p"] for r in half])))
    assert found["rows"][0]["p_holm"] == pytest.approx(2 * found["rows"][0]["p"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_figure_can_be_chosen(values):
    reports = {name: reported(values, figure="recall") for name in "ab"}
    assert compare(reports, ["recall"])["rows"][0]["figure"] == "recall"
    with pytest.raises(UadError, match="have none of dice, auprc, ssim, l1 in common"):
        compare(reports)
    with pytest.raises(UadError, match="a: no figure 'dice' in this report \\(all have: recall\\)"):
        compare(reports, ["dice"])
    with pytest.raises(UadError, match="a: no figure 'name'"):
        compare(reports, ["name"])


@pytest.mark.parametrize("bad", [None, math.nan, "0.5", True])
@pytest.mark.parametrize("where", ["a", "b"])
def test_a_scan_whose_figure_is_undefined_is_named(values, bad, where):
    reports = {"a": reported(values), "b": reported(values)}
    reports[where]["scans"][3]["dice"] = bad
    with pytest.raises(UadError, match=f"{where}: dice of scan 's3' is undefined \\(leave this scan out"):
        compare(reports)


def test_scans_that_are_the_same_only_in_part_are_refused(values):
    reports = {"a": reported(values), "b": reported(values[:-1])}
    with pytest.raises(UadError, match="b: has no scan 's11', as a has"):
        compare(reports)
    reports = {"a": reported(values[:-1]), "b": reported(values)}
    with pytest.raises(UadError, match="a: has no scan 's11', as b has"):
        compare(reports)


def test_scans_of_one_name_cannot_be_paired():
    twice = reported([0.1, 0.2], ["s", "s"])
    with pytest.raises(UadError, match="a: has two scans called 's'"):
        compare({"a": twice, "b": twice})


def test_one_report_alone_is_refused(values):
    with pytest.raises(UadError, match="one report alone"):
        compare({"a": reported(values)})


def test_one_scan_each_has_no_interval():
    (row,) = compare({"a": reported([0.1]), "b": reported([0.4])})["rows"]
    assert (row["interval"], row["p"]) == (None, 1)
    (row,) = compare({"a": reported([0.1]), "b": reported([0.4], ["t"])})["rows"]
    assert row["interval"] is None


def test_lesions_found_by_different_overlaps_are_not_compared():
    """Reports of schema 1 do not say which: what touched was found."""
    rows = [{"name": "s", "lesion_f1": 0.5, "dice": 0.4}]
    old, here = {"schema": 1, "scans": rows}, {"schema": 2, "overlap": 0.1, "scans": rows}
    with pytest.raises(UadError, match=r"b: lesions were found by an overlap of 0, those of a by 0.1 \(evaluate both"):
        compare({"a": here, "b": old}, ["lesion_f1"])
    assert compare({"a": here, "b": old}, ["dice"])["rows"]
    assert compare({"a": old, "b": old}, ["lesion_f1"])["rows"]


@pytest.mark.parametrize("schema", [1, 2])
def test_a_report_is_read(schema, tmp_path):
    path = tmp_path / "r.json"
    written = reported([0.5]) | {"schema": schema}
    path.write_text(json.dumps(written))
    assert read_report(path) == written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no report of uad-eval"),
        ("\xff", "no report of uad-eval"),
        ("[1, 2]", "no report of uad-eval"),
        ('{"threshold": 0.1}', "no report of uad-eval"),
        ('{"schema": 3, "kind": "detection", "scans": []}', "no report of uad-eval"),
        ('{"schema": 1, "kind": "cases", "scans": [{"name": "a"}]}', "no report of uad-eval on scans"),
        ('{"schema": 1, "kind": "score", "scans": []}', "a report without scans"),
        ('{"schema": 1, "kind": "score", "scans": [1]}', "a report without scans"),
        ('{"schema": 1, "kind": "score", "scans": [{"dice": 1}]}', "a report without scans"),
        ('{"schema": 1, "kind": "score", "scans": [{"name": ["a"], "dice": 1}]}', "a report without scans"),
        ('{"schema": 1, "kind": "score", "overlap": "much", "scans": [{"name": "a"}]}', "a report without scans"),
    ],
)
def test_what_is_no_report_is_named(text, said, tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UadError, match=f"r.json: {said}"):
        read_report(path)


def test_a_report_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UadError, match=r"r\.json: No such file"):
        read_report(tmp_path / "r.json")
