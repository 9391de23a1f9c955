"""Sweeps: a row for each value, or for each combination of values."""

import pytest

from uadtools.bench.plan import bench_of
from uadtools.bench.sweep import expanded
from uadtools.errors import UadError

ROW = {"name": "sss", "recipe": "sss", "changes": ["training.steps=9"], "heal": {"method": "sss", "samples": 2}}
SET = {"name": "s", "val": ["a"], "test": ["b"]}


def test_a_method_without_a_sweep_stays_as_it_is():
    assert expanded(ROW) == [ROW]


def test_each_value_is_a_row():
    rows = expanded({**ROW, "sweep": {"heal": {"t": [100, 200]}}})
    assert [row["name"] for row in rows] == ["sss, t = 100", "sss, t = 200"]
    assert rows[1]["heal"] == {"method": "sss", "samples": 2, "t": 200}
    assert (rows[1]["family"], rows[1]["swept"]) == ("sss", {"t": 200})
    assert ROW["heal"] == {"method": "sss", "samples": 2}


def test_each_combination_is_a_row_and_what_is_below_changes_is_of_the_recipe():
    sweep = {
        "changes": {"network": {"base": [32, 64]}, "target": ["x0"]},
        "postproc": {"median": [1, 5]},
        "metric": ["relative"],
    }
    rows = expanded({**ROW, "sweep": sweep})
    assert len(rows) == 4
    assert rows[0]["changes"] == ["training.steps=9", "network.base=32", 'target="x0"']
    assert rows[3]["name"] == "sss, network.base = 64, target = x0, median = 5, metric = relative"
    assert (rows[3]["postproc"], rows[3]["metric"]) == ({"median": 5}, "relative")


@pytest.mark.parametrize("sweep", [{}, {"heal": {"t": 100}}, {"heal": {"t": []}}, [1], 3])
def test_a_sweep_without_lists_of_values_is_refused(sweep):
    with pytest.raises(UadError, match=r"sweep: values to be tried are needed, in lists"):
        bench_of({"name": "p", "set": [SET], "method": [{**ROW, "recipe": None, "sweep": sweep}]}, "p.toml")


@pytest.mark.parametrize(
    ("sweep", "told"), [({"name": {"x": [1]}}, "name: holds nothing"), ({"changes": ["a=1"]}, "changes")]
)
def test_a_sweep_of_what_is_no_table_is_refused(sweep, told):
    with pytest.raises(UadError, match=told):
        bench_of({"name": "p", "set": [SET], "method": [{**ROW, "sweep": sweep}]}, "p.toml")


def test_a_plan_has_the_rows_of_its_sweeps():
    swept = {"name": "blur", "heal": {"method": "blur"}, "sweep": {"heal": {"sigma": [2.0, 4.0]}}}
    config = bench_of({"name": "p", "set": [SET], "method": [swept]}, "p.toml")
    assert [(method.name, method.heal["sigma"]) for method in config.methods] == [
        ("blur, sigma = 2.0", 2.0),
        ("blur, sigma = 4.0", 4.0),
    ]
