import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score, roc_curve

from uadtools.errors import UadError
from uadtools.evaluation.image_level import image_level, read_case_scores, read_case_thresholds


def people(values, **more):
    return [{"name": f"p{i}", "case_score": v, "metric": "l1", **more} for i, v in enumerate(values)]


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return np.round(rng.normal(0, 1, 30), 1).tolist(), np.round(rng.normal(1, 1, 20), 1).tolist()


def test_figures_are_those_of_scikit_learn(values):
    healthy, sick = values
    made = image_level(people(healthy), people(sick))
    truth, score = [0] * 30 + [1] * 20, healthy + sick
    figures = made["figures"]["case_score"]
    assert figures["auroc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert figures["auprc"] == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    fprs, tprs, _ = roc_curve(truth, score, drop_intermediate=False)
    assert figures["fpr_at_95_tpr"] == pytest.approx(fprs[tprs >= 0.95].min())
    assert figures["fpr_at_80_tpr"] == pytest.approx(fprs[tprs >= 0.8].min())
    for key, (low, high) in made["intervals"]["case_score"].items():
        assert low <= figures[key] <= high
    assert (made["kind"], made["healthy"], made["sick"]) == ("cases", 30, 20)
    assert made["scans"][0] == {"name": "p0", "sick": False, "case_score": healthy[0]}
    assert made["scans"][-1]["sick"]
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_the_interval_of_the_auroc_is_about_that_of_its_standard_error(values):
    healthy, sick = values
    low, high = image_level(people(healthy), people(sick))["intervals"]["case_score"]["auroc"]
    area = roc_auc_score([0] * 30 + [1] * 20, healthy + sick)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)  # Hanley & McNeil 1982
    error = np.sqrt((area * (1 - area) + 19 * (q1 - area**2) + 29 * (q2 - area**2)) / 600)
    assert high - low == pytest.approx(3.92 * error, rel=0.2)


def test_every_number_that_all_have_is_a_case_score(values):
    healthy, sick = people(values[0], top=0.5, bound=None, flag=True), people(values[1], top=0.7, bound=1.0, flag=True)
    for row in (*healthy, *sick):
        row["top"], row["case_score"] = row.pop("top"), row.pop("case_score")
    made = image_level(healthy, sick)
    assert list(made["figures"]) == ["case_score", "top"]
    assert made["figures"]["top"]["auroc"] == 1
    assert made["scans"][0].keys() == {"name", "sick", "case_score", "top"}


def test_the_best_f1_is_that_of_all_thresholds(values):
    healthy, sick = values
    figures = image_level(people(healthy), people(sick), best=True)["figures"]["case_score"]
    truth, score = np.array([0] * 30 + [1] * 20), np.array(healthy + sick)
    of_all = {level: f1_score(truth, score > level) for level in [*score, score.min() - 1]}
    assert figures["best_f1"] == pytest.approx(max(of_all.values()), abs=1e-12)
    assert f1_score(truth, score > figures["best_threshold"]) == pytest.approx(figures["best_f1"], abs=1e-12)
    assert "best_dice" not in figures


def test_figures_at_a_threshold_from_others_are_those_of_scikit_learn(values):
    healthy, sick = values
    made = image_level(people(healthy, top=1.0), people(sick, top=1.0), thresholds={"case_score": 0.6, "other": 3})
    truth, taken = [0] * 30 + [1] * 20, [value > 0.6 for value in healthy + sick]
    figures, intervals = made["figures"]["case_score"], made["intervals"]["case_score"]
    assert figures["f1"] == pytest.approx(f1_score(truth, taken))
    assert figures["precision"] == pytest.approx(precision_score(truth, taken))
    assert figures["recall"] == pytest.approx(recall_score(truth, taken))
    assert figures["fpr"] == pytest.approx(np.mean(taken[:30]))
    assert "dice" not in figures
    for key in ("f1", "precision", "recall", "fpr"):
        assert intervals[key][0] < figures[key] < intervals[key][1]
    assert list(made["figures"]) == ["case_score"]
    assert made["thresholds"] == {"case_score": 0.6}
    assert made["scans"][0].keys() == {"name", "sick", "case_score"}
    with pytest.raises(UadError, match="no threshold is known for these case scores, only for other"):
        image_level(people(healthy), people(sick), thresholds={"other": 1.0})
    assert image_level(people(healthy), people(sick))["thresholds"] is None


def test_a_threshold_that_takes_nobody_for_sick_has_no_precision():
    figures = image_level(people([0.1]), people([0.2]), thresholds={"case_score": 0.2})["figures"]["case_score"]
    assert (figures["precision"], figures["recall"], figures["f1"], figures["fpr"]) == (None, 0, 0, 0)


def test_thresholds_are_read_from_a_report_that_chose_them(values, tmp_path):
    healthy, sick = values
    path, made = tmp_path / "val.json", image_level(people(healthy), people(sick), best=True)
    path.write_text(json.dumps(made))
    assert read_case_thresholds(path) == (
        {"case_score": made["figures"]["case_score"]["best_threshold"]},
        {f"p{i}" for i in range(30)},
    )
    for other in (image_level(people(healthy), people(sick)), {"kind": "score"}, [], {"kind": "cases", "figures": 3}):
        path.write_text(json.dumps(other))
        with pytest.raises(UadError, match=r"no thresholds of case scores in it \(write them with uad-eval --healthy"):
            read_case_thresholds(path)


def test_one_each_has_figures(values):
    made = image_level(people([0.1]), people([0.2]))
    assert made["figures"]["case_score"] == {"auprc": 1, "auroc": 1, "fpr_at_95_tpr": 0, "fpr_at_80_tpr": 0}


def test_both_sides_are_needed():
    for sides in ((people([1]), []), ([], people([1]))):
        with pytest.raises(UadError, match="healthy and sick people are needed"):
            image_level(*sides)


@pytest.mark.parametrize("bad", [None, "high", float("nan"), True])
def test_a_case_score_that_is_no_number_is_named(bad):
    with pytest.raises(UadError, match="p1: its case score is no number"):
        image_level(people([0.1, bad]), people([0.2]))


def test_case_scores_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(people([0.5])))
    assert read_case_scores(path) == people([0.5])


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", '[{"name": "a"}]', '{"case_score": 1}', "\xff"])
def test_what_holds_no_case_scores_is_named(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UadError, match=r"a\.json: no case scores in it \(write them with uad-score --json\)"):
        read_case_scores(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UadError, match=r"a\.json: No such file"):
        read_case_scores(tmp_path / "a.json")


def test_scores_of_several_kinds_are_not_compared():
    with pytest.raises(UadError, match="scored in several ways, metric l1 and ssim"):
        image_level([{"case_score": 1.0, "metric": "l1"}], [{"case_score": 2.0, "metric": "ssim"}])
