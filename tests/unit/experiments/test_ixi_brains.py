from pathlib import Path

from loading import load


def test_nobody_is_judged_who_was_learnt_from_or_tuned_on(tmp_path):
    people = [(f"t{i:02}", "train") for i in range(12)] + [(f"v{i:02}", "val") for i in range(10)]
    load("ixi_brains").write_lists(tmp_path, people[::-1])
    found = {path.stem: path.read_text().splitlines() for path in tmp_path.iterdir()}
    assert {name: len(files) for name, files in found.items()} == {"val": 8, "test": 2, "tune": 8, "learn": 8}
    assert {f.split("/")[0] for f in found["learn"]} == {"train", "train-tight"}
    assert {f.split("/")[0] for f in (*found["val"], *found["test"])} == {"val"}
    names = {part: {Path(f).name for f in files} for part, files in found.items()}
    assert not names["learn"] & names["tune"]
    assert not names["val"] & names["test"]
