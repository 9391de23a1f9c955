"""uad-heal with several scans: they share batches, are read ahead, and written while the next are healed."""

import gzip
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uadtools.cohort.files import save
from uadtools.models.checkpoint import file_hash
from uadtools.volume.io import stem
from uadtools.volume.stream import read_image, read_studies


@pytest.fixture
def scans(prepared, here):
    """Three files of one scan."""
    for name in "abc":
        (here / f"{name}.nii.gz").write_bytes(prepared.read_bytes())
    return ["a.nii.gz", "b.nii.gz", "c.nii.gz"]


def test_small_scans_share_batches_and_come_out_as_alone(uad, scans, tiny_model, here, monkeypatch):
    from uadtools.models.model import Model

    sizes, predict = [], Model.predict
    monkeypatch.setattr(
        Model, "predict", lambda model, x, t, **more: sizes.append(len(x)) or predict(model, x, t, **more)
    )
    assert uad("heal", *scans, "--model", tiny_model, "--batch", 9, "-o", "together").status == 0
    assert sizes == [6, 6, 6]  # two scans of 6 slices in two even batches, and the third, as the last
    sizes.clear()
    assert uad("heal", *scans, "--model", tiny_model, "--batch", 18, "-o", "at-once").status == 0
    assert sizes == [18]
    assert uad("heal", scans[2], "--model", tiny_model, "-o", "alone.nii.gz").status == 0
    alone = read_image(here / "alone.nii.gz").data
    for folder in ("together", "at-once"):
        assert len(list((here / folder).glob("*.nii.gz"))) == 3
        together = read_image(here / folder / "c_healed.nii.gz").data
        np.testing.assert_allclose(together, alone, rtol=0, atol=5e-6)  # other batches round otherwise


def test_each_scan_gets_the_bundled_model_for_its_contrast(uad, scans, tiny_model, healthy_table, ship, monkeypatch):
    """Models of the default's kind, of which one learnt T1 alone; the middle one of three scans is surely T1."""
    from uadtools.healing import choice
    from uadtools.healing.likeness import keep
    from uadtools.models.likeness import Unlike

    here = Path()
    shipped = ship(all=tiny_model, one=keep(tiny_model, healthy_table, here / "one.safetensors"))
    monkeypatch.setattr(choice, "judged", lambda *given: Unlike(0.4, 1.1, "", 0.8))
    for name, p in zip("abc", (0.6, 1.0, 0.6), strict=True):
        image = read_image(here / f"{name}.nii.gz")
        contrast = {"name": "T1", "p": {"T1": p, "T2": 1 - p}, "away": 0.2}
        save(replace(image, provenance=image.provenance | {"contrast": contrast}), here / f"{name}.nii.gz", force=True)
    told = uad("heal", *scans, "-t", 5, "-o", "out", "--json").json
    assert [(row["name"], row["model"].split(":")[1]) for row in told] == [
        (name, file_hash(shipped[model])) for name, model in zip("abc", ("all", "one", "all"), strict=True)
    ]
    assert (
        uad("heal", *scans[1:], "-t", 5, "--model", "all", "-o", "named", "--json")
        .json[0]["model"]
        .endswith(file_hash(shipped["all"]))
    )


def test_what_is_wrong_with_one_scan_is_told_after_those_before_it_were_written(uad, scans, tiny_model, here):
    (here / "c.nii.gz").write_bytes(b"no scan")
    uad("heal", *scans, "--model", tiny_model, "--batch", 64, "-o", "out").fails("heal", 1, "c.nii.gz", "")
    assert sorted(path.name for path in (here / "out").glob("*.nii.gz")) == ["a_healed.nii.gz", "b_healed.nii.gz"]


def test_a_scan_that_fails_does_not_stop_the_others(uad, scans, tiny_model, here):
    (here / "b.nii.gz").write_bytes(b"no scan")
    made = uad("heal", *scans, "--model", tiny_model, "-o", "out", "--json", "-q")
    assert (made.status, ["error" in row for row in made.json]) == (1, [False, True, False])
    (line,) = made.lines
    assert line == f"uad-heal: error: {made.json[1]['error']}"
    assert (made.json[1]["name"], [row["name"] for row in made.json[::2]]) == ("b.nii.gz", ["a", "c"])
    assert sorted(path.name for path in (here / "out").glob("*.nii.gz")) == ["a_healed.nii.gz", "c_healed.nii.gz"]


def test_a_stream_of_several_files_goes_on_after_one_that_fails(uad, scans, tiny_model, here):
    (here / "a.nii.gz").write_bytes(b"no scan")
    made = uad("heal", *scans, "--model", tiny_model, "-o", "-")
    assert (made.status, len(made.lines)) == (1, 1)
    assert [study.name for study in read_studies(io.BytesIO(made.out), "out")] == ["b", "c"]


def test_what_goes_wrong_with_writing_is_told(uad, scans, tiny_model, here, monkeypatch):
    from uadtools.datasets import sink

    def full(image, path, **options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(sink, "save", full)
    result = uad("heal", *scans, "--model", tiny_model, "--batch", 1, "-o", "out")
    result.fails("heal", 1, "a_healed.nii.gz", "No space left on device")
    assert not list((here / "out").iterdir())


def test_a_lost_file_is_told_also_where_the_next_scan_is_broken(uad, scans, tiny_model, here, monkeypatch):
    from uadtools.datasets import sink

    def full(image, path, **options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(sink, "save", full)
    (here / "b.nii.gz").write_bytes(b"no scan")
    result = uad("heal", *scans, "--model", tiny_model, "--batch", 1, "-o", "out", "-v")
    result.fails("heal", 1, "a_healed.nii.gz", "No space left on device")


def test_a_scan_that_is_not_there_is_told_before_any_is_healed(uad, scans, tiny_model, here):
    made = uad("heal", *scans, "nope.nii.gz", "--model", tiny_model, "-o", "out")
    made.fails("heal", 1, "nope.nii.gz", "No such file")
    assert not (here / "out").exists()


def test_a_file_is_written_while_the_next_scan_is_healed(uad, scans, tiny_model, monkeypatch):
    import threading

    from uadtools.datasets import sink
    from uadtools.models.model import Model

    healing_second, sizes, save, predict = threading.Event(), [], sink.save, Model.predict

    def slow(image, path, **options):
        assert healing_second.wait(10)
        save(image, path, **options)

    def noted(model, x, t, **more):
        sizes.append(len(x))
        if len(sizes) == 2:
            healing_second.set()
        return predict(model, x, t, **more)

    monkeypatch.setattr(sink, "save", slow)
    monkeypatch.setattr(Model, "predict", noted)
    assert uad("heal", *scans, "--model", tiny_model, "--batch", 6, "-o", "out").status == 0
    assert sizes == [6, 6, 6]


def test_no_tool_writes_a_name_where_none_is_wanted(uad, prepared, tiny_model, here):
    prepared.rename(here / "miller.nii.gz")
    condition = ("-t", 5, "-t", 9, "--maps", "--model", tiny_model)
    done = [
        uad("heal", "miller.nii.gz", *condition, "--anonymous", "-o", "h1.nii.gz"),
        uad("simulate", "miller.nii.gz", "--kind", "blur", "--anonymous", "-o", "s1.nii.gz"),
        uad("score", "miller.nii.gz", "h1.nii.gz", "--anonymous", "-o", "c1.nii.gz"),
        uad("postproc", "c1.nii.gz", "--threshold", 0.1, "--anonymous", "-o", "d1.nii.gz"),
    ]
    assert [result.status for result in done] == [0] * 4, [result.err for result in done]
    made = sorted(path for path in here.glob("*.nii.gz") if path.name != "miller.nii.gz")
    assert len(made) == 6
    for path in made:
        assert b"miller" not in gzip.decompress(path.read_bytes()) + path.with_name(f"{stem(path)}.json").read_bytes()
    uad("heal", "miller.nii.gz", *condition, "--anonymous").fails("heal", 2, "--anonymous", "-o FILE")
