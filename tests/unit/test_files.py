import json
import os
import shutil
from pathlib import Path

import pytest

from uadtools import files
from uadtools.errors import UadError
from uadtools.files import check_free, is_name, read_json, read_rows, read_toml, write_json, written


@pytest.fixture
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def fail_with(error, part):
    part.write_bytes(b"half")
    raise error


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.b.nii.gz"
    with written(path, force=False) as part:
        part.write_bytes(b"half")
        assert not path.exists()
        assert part.parent == tmp_path
        assert part.name.endswith(".nii.gz")
    assert path.read_bytes() == b"half"
    assert names(tmp_path) == ["a.b.nii.gz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, UadError, SystemExit])
@pytest.mark.parametrize("before", [None, b"mine"])
def test_a_failure_leaves_all_as_it_was(error, before, tmp_path):
    path = tmp_path / "a.txt"
    if before:
        path.write_bytes(before)
    with pytest.raises(error), written(path, force=True) as part:
        fail_with(error, part)
    assert names(tmp_path) == (["a.txt"] if before else [])
    assert before is None or path.read_bytes() == before


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    with pytest.raises(UadError, match=r"a\.txt: No space left on device$"), written(tmp_path / "a.txt", force=False):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_a_file_that_exists_is_replaced_only_by_force(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"mine")
    with pytest.raises(UadError, match=r"a\.txt: exists \(--force replaces it\)$"), written(path, force=False):
        pytest.fail("the block must not run")
    assert path.read_bytes() == b"mine"
    with written(path, force=True) as part:
        part.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_came_in_the_meantime_is_kept(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(UadError, match="exists"), written(path, force=False) as part:
        shutil.copy(__file__, path)
    assert not part.exists()
    assert path.read_bytes() == Path(__file__).read_bytes()
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002], indirect=True)
def test_permissions_are_those_of_any_file_the_user_makes(umask, tmp_path):
    with written(tmp_path / "a.txt", force=False) as part:
        part.write_bytes(b"")
    with written(tmp_path / "b.txt", force=False) as part:
        part.unlink()
        part.touch(0o600)
    for name in ("a.txt", "b.txt"):
        assert (tmp_path / name).stat().st_mode & 0o7777 == 0o666 & ~umask
    assert os.umask(umask) == umask


@pytest.mark.parametrize("umask", [0o022], indirect=True)
def test_a_model_file_can_be_read_by_others(umask, tmp_path):
    import torch

    from uadtools.models.checkpoint import write_tensors

    write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {})
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o7777 == 0o644


def test_a_missing_folder_is_told(tmp_path):
    path = tmp_path / "none" / "a.txt"
    with (
        pytest.raises(UadError, match=r"the folder .*none does not exist \(make it first\)"),
        written(path, force=True),
    ):
        pytest.fail("the block must not run")
    (tmp_path / "file").touch()
    with pytest.raises(UadError, match=r"the folder .*file does not exist"):
        check_free(tmp_path / "file" / "a.txt", force=False)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_never_replaced(force, tmp_path):
    with pytest.raises(UadError, match=r"is a folder \(name a file\)"), written(tmp_path, force=force):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("force", [False, True])
def test_a_device_or_pipe_is_never_replaced(force, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UadError, match=r"pipe: is no regular file, so it is not replaced \(-o -"):
        check_free(tmp_path / "pipe", force=force)
    with pytest.raises(UadError, match=r"^/dev/null: is no regular file"):
        check_free(Path("/dev/null"), force=force)


@pytest.mark.parametrize("name", ["a" * 300, "a." + "b" * 250])
def test_a_name_that_is_too_long_is_told(name, tmp_path):
    with pytest.raises(UadError, match=r"File name too long$"), written(tmp_path / name, force=False):
        pytest.fail("the block must not run")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UadError, match=r"a\.txt: Permission denied$"), written(tmp_path / "a.txt", force=False):
        pytest.fail("the block must not run")


def test_json_holds_finite_numbers_alone(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")}, force=False)
    assert not names(tmp_path)
    write_json(path, {"a": [1.5, None]}, force=False)
    assert json.loads(path.read_text()) == {"a": [1.5, None]}
    with pytest.raises(UadError, match="exists"):
        write_json(path, {}, force=False)
    write_json(path, {}, force=True)
    assert path.read_text() == "{}\n"


def test_tables_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, null]}')
    (tmp_path / "a.toml").write_text("a = [1, 2]")
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}
    assert read_toml(tmp_path / "a.toml") == {"a": [1, 2]}


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000], ids=["cut short", "no text", "deep"])
def test_a_file_of_no_table_is_named_with_what_is_wrong(content, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(UadError) as told:
        read_json(path, "no threshold in it (expected JSON)")
    assert str(told.value) == f"{path}: no threshold in it (expected JSON)"
    with pytest.raises(UadError, match=f"^{path}: not a readable recipe [(].+[)]$"):
        read_toml(path, "not a readable recipe")


@pytest.mark.parametrize("read", [read_json, read_toml])
def test_a_table_that_is_not_there_is_named(read, tmp_path):
    with pytest.raises(UadError, match=f"^{tmp_path / 'a'}: No such file or directory$"):
        read(tmp_path / "a")
    with pytest.raises(UadError, match=f"^{tmp_path}: Is a directory$"):
        read(tmp_path)


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_or_checks(tmp_path):
    path = tmp_path / "a.nii.gz"
    for next_run in (lambda: write_json(path, {}, force=True), lambda: check_free(path, force=True)):
        (tmp_path / ".uad-a.nii.gz").write_bytes(b"half")
        next_run()
        assert names(tmp_path) == ["a.nii.gz"]


def test_of_two_that_write_one_file_one_wins_whole_and_the_other_is_told(tmp_path):
    path = tmp_path / "a.json"
    with written(path, force=True) as part:
        part.write_text("1")
        check_free(path, force=True)
        with pytest.raises(UadError, match=r"a\.json: another process is writing it \(let it end"):
            write_json(path, {}, force=True)
        assert part.read_text() == "1"
    assert (names(tmp_path), path.read_text()) == (["a.json"], "1")


def test_a_disk_without_locks_is_written_to_as_well(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    path = tmp_path / "a.json"
    with written(path, force=True) as part, written(path, force=True) as other:
        part.write_text("1")
        other.write_text("2")
    assert (names(tmp_path), path.read_text()) == (["a.json"], "1")


def test_what_an_interrupt_leaves_half_goes_when_the_process_ends(tmp_path):
    """It may come where the block has not begun to guard the file."""
    block = written(tmp_path / "a.json", force=True)
    part = block.__enter__()
    assert part.exists()
    files.clean_up()
    assert names(tmp_path) == []


def test_a_link_that_leads_nowhere_is_a_file_that_exists(tmp_path):
    path = tmp_path / "a.json"
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(UadError, match="exists"):
        write_json(path, {}, force=False)
    assert path.is_symlink()
    write_json(path, {}, force=True)
    assert not path.is_symlink()


@pytest.mark.parametrize(
    "name",
    ["../../pwned", "/pwned", "a/b", "a\\b", "a\0b", "a\nb", "a\x1bb", "", ".", "..", "nul", "com1.x", "a" * 201],
)
def test_what_leads_elsewhere_or_is_none_is_no_name(name):
    assert not is_name(name)


@pytest.mark.parametrize("name", ["a", "sub-01 (x)", "a.b", "Jürgen", "console"])
def test_other_names_are_names(name):
    assert is_name(name)


HUGE = "1" + "0" * 400
ODD = {
    "nested": "[" * 200 + "]" * 200,
    "endless": '{"a": {"b": Infinity}}',
    "no number": '{"a": NaN}',
    "large": f'{{"a": [1, {HUGE}]}}',
    "rounded": '{"a": 1e400}',
    "half a character": r'{"a": "\ud800"}',
    "NUL": r'{"a": "\u0000"}',
    "too many digits": "1" * 5000,
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_json_that_nobody_means_is_refused(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UadError, match=r"a\.json: no report$"):
        read_json(tmp_path / "a.json", "no report")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"a = {'[' * 3000}{']' * 3000}", "nested too deep"),
        ("a.b = inf", "a.b is no finite number"),
        (f"a = [1, {HUGE}]", "a.1 is no finite number, or one of more than 64 bits"),
        (r'a = "\u0000"', "a NUL character"),
        (r'a = "\U00000000"', "a NUL character"),
    ],
)
def test_toml_that_nobody_means_is_refused_with_its_place(content, said, tmp_path):
    (tmp_path / "a.toml").write_text(content)
    with pytest.raises(UadError, match=rf"a\.toml: not readable settings \(.*{said}"):
        read_toml(tmp_path / "a.toml")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    for name, content in (("a.json", '{"a": 1}'), ("a.toml", "a = 1")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert read_json(tmp_path / "a.json") == read_toml(tmp_path / "a.toml") == {"a": 1}


def test_no_more_is_read_than_settings_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 1 << 20)
    with pytest.raises(UadError, match=r"^/dev/zero: not readable settings \(larger than 1 MiB\)$"):
        read_toml(Path("/dev/zero"))


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t")])
def test_rows_are_read_by_their_columns(name, mark, tmp_path):
    lines = ["\ufeffwho,age", '"a\u2028b", 7 ', "", "c", "d,8,9"]
    (tmp_path / name).write_text("\r\n".join(line.replace(",", mark) for line in lines), newline="")
    rows = [("a\u2028b", "7"), ("c", ""), ("d", "8")]
    assert read_rows(tmp_path / name) == [{"who": who, "age": age} for who, age in rows]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'who\n"' + b"y" * 200_000, "no table (field larger than field limit"),
        (b"who\na\0b\n", "no table (it holds a NUL character)"),
        (b"who\n\xff\n", "no table ('utf-8' codec"),
        (b"\nwho\n", "no table (it has no column who)"),
        (b"age\n3\n", "no table (it has no column who)"),
    ],
)
def test_a_table_that_is_none_is_told(content, said, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UadError) as told:
        read_rows(tmp_path / "a.csv", ("who",))
    assert str(told.value).startswith(f"{tmp_path}/a.csv: {said}")


def test_rows_without_columns_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("\na,b\n")
    with pytest.raises(UadError, match="its first line names no columns"):
        read_rows(tmp_path / "a.csv")
