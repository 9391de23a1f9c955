import pytest

from uadtools.errors import UadError
from uadtools.evaluation.subgroups import read_participants, subgroups


def people(tmp_path, text, name="p.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_participants(path)


def rows(*names):
    return [{"name": name, "dice": i / 10} for i, name in enumerate(names)]


def counts(groups):
    return {group["group"]: group["scans"] for group in groups}


def test_groups_have_counts_means_and_intervals(tmp_path):
    table = people(tmp_path, "id,sex\ns1,F\ns2,M\ns3,F\ns4,F\ns5,F\n")
    found = subgroups(rows("s1_T1w", "s2_T1w", "s3_T1w", "s4", "s5"), table, ["sex"])
    women, men = found["sex"]
    assert (women["group"], women["scans"], women["mean"]) == ("F", 4, {"dice": pytest.approx(0.225)})
    low, high = women["intervals"]["dice"]
    assert 0 <= low < 0.225 < high <= 0.4
    assert (men["group"], men["scans"], men["mean"], men["intervals"]) == ("M", 1, {"dice": 0.1}, {"dice": None})


def test_the_id_is_in_the_column_of_bids_or_the_first(tmp_path):
    text = "sex\tparticipant_id\nF\tsub-1\nM\tsub-2\n"
    table = people(tmp_path, text, "participants.tsv")
    assert counts(subgroups(rows("sub-1_ses-1_T1w", "sub-2"), table, ["sex"])["sex"]) == {"F": 1, "M": 1}
    assert people(tmp_path, "\ufeffid,sex\r\na,F\r\n") == {"a": {"id": "a", "sex": "F"}}


def test_the_longest_id_that_fits_to_its_end_is_taken(tmp_path):
    table = people(tmp_path, "id,site\nsub-1,A\nsub-1-b,B\nsub-10,C\n")
    found = subgroups(rows("sub-1_T1w", "sub-1-b_T1w", "sub-10"), table, ["site"])
    assert counts(found["site"]) == {"A": 1, "B": 1, "C": 1}
    assert found["site"][1]["mean"]["dice"] == 0.1
    with pytest.raises(UadError, match="sub-11: no participant whose id this name begins with"):
        subgroups(rows("sub-11"), table, ["site"])


def test_many_numbers_are_split_at_their_median(tmp_path):
    ages = [20, 30.5, 40, 50, 60, 70, 80]
    table = people(tmp_path, "id,age\n" + "".join(f"s{i},{age}\n" for i, age in enumerate(ages)))
    found = subgroups(rows(*[f"s{i}" for i in range(7)]), table, ["age"])
    assert counts(found["age"]) == {"up to 50": 4, "above 50": 3}
    assert [group["group"] for group in found["age"]] == ["up to 50", "above 50"]
    few = subgroups(rows(*[f"s{i}" for i in range(5)]), table, ["age"])
    assert list(counts(few["age"])) == ["20", "30.5", "40", "50", "60"]


def test_the_median_is_that_of_the_scans_not_of_the_table(tmp_path):
    table = people(tmp_path, "id,age\n" + "".join(f"s{i},{i}\n" for i in range(100)))
    found = subgroups(rows(*[f"s{i}" for i in range(10, 17)]), table, ["age"])
    assert counts(found["age"]) == {"up to 13": 4, "above 13": 3}


def test_what_is_missing_is_a_group_of_its_own(tmp_path):
    table = people(tmp_path, "id,age\n" + "".join(f"s{i},{i}\n" for i in range(6)) + "t,n/a\nu\n")
    found = subgroups(rows(*[f"s{i}" for i in range(6)], "t", "u"), table, ["age"])
    assert counts(found["age"]) == {"up to 2.5": 3, "above 2.5": 3, "n/a": 2}
    assert found["age"][-1]["group"] == "n/a"


def test_several_columns(tmp_path):
    table = people(tmp_path, "id,site,sex\na,Guys,F\nb,HH,F\n")
    found = subgroups(rows("a", "b"), table, ["sex", "site"])
    assert {column: counts(groups) for column, groups in found.items()} == {
        "sex": {"F": 2},
        "site": {"Guys": 1, "HH": 1},
    }


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path):
    table = people(tmp_path, "id,sex\na,F\n")
    with pytest.raises(UadError, match="no column 'age' in the table of participants \\(it has: id, sex\\)"):
        subgroups(rows("a"), table, ["age"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty table"),
        ("id,sex\n", "an empty table"),
        ("id,sex\na,F\na,M\n", "column id is empty somewhere, or has someone twice"),
        ("id,sex\n,F\n", "column id is empty somewhere"),
    ],
)
def test_tables_that_cannot_be_used(text, said, tmp_path):
    with pytest.raises(UadError, match=f"p.csv: {said}"):
        people(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UadError, match=r"none\.csv: No such file"):
        read_participants(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"id\n\xff\xfe\n")
    with pytest.raises(UadError, match=r"b\.csv: no table"):
        read_participants(tmp_path / "b.csv")


def at_levels(*levels):
    return [row | {"contrast": level} for row, level in zip(rows(*"abcdefgh"), levels, strict=False)]


def test_the_contrast_is_of_the_scans_themselves_and_its_levels_stay_apart(tmp_path):
    found = subgroups(at_levels(2.0, 0.3, 1.0, 0.7, 1.5, 3.0, 2.0), None, ["contrast"])
    assert counts(found["contrast"]) == {"0.3": 1, "0.7": 1, "1": 1, "1.5": 1, "2": 2, "3": 1}
    assert list(counts(found["contrast"])) == ["0.3", "0.7", "1", "1.5", "2", "3"]
    assert found["contrast"][4]["mean"]["dice"] == pytest.approx(0.3)
    mixed = [*at_levels(2.0), *rows("x")]
    assert counts(subgroups(mixed, None, ["contrast"])["contrast"]) == {"2": 1, "n/a": 1}
    table = people(tmp_path, "id,sex\na,F\nb,M\n")
    both = subgroups(at_levels(2.0, 1.0), table, ["contrast", "sex"])
    assert {column: counts(groups) for column, groups in both.items()} == {
        "contrast": {"1": 1, "2": 1},
        "sex": {"F": 1, "M": 1},
    }


def test_where_no_scan_tells_its_contrast_the_table_does(tmp_path):
    table = people(tmp_path, "id,contrast\na,T1\nb,T2\n")
    assert counts(subgroups(rows("a", "b"), table, ["contrast"])["contrast"]) == {"T1": 1, "T2": 1}
    with pytest.raises(UadError, match="no scan tells its contrast"):
        subgroups(rows("a", "b"), None, ["contrast"])
