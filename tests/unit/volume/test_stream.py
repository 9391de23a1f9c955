import gzip
import io
import os
import threading
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uadtools import methods
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume import stream
from uadtools.volume.io import Image, save, to_bytes
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import (
    PIECE,
    Study,
    base_name,
    is_image,
    read_image,
    read_path,
    read_studies,
    record,
    streamed,
    write_study,
)

SHAPE = (4, 3, 2)


def image(role="scan", study=None, value=1, shape=SHAPE, dtype="float32"):
    known = {"study": study, "history": []} if study else {}
    return Image(np.full(shape, value, dtype=dtype), Grid(shape, np.diag([2.0, 2, 2, 1])), role, known)


def joined(*images):
    return b"".join(to_bytes(i) for i in images)


def studies(content, name="stream"):
    return [(s.name, list(s.images)) for s in read_studies(io.BytesIO(content), name)]


def test_a_streamed_study_is_what_a_pipe_carries():
    scan = replace(image("scan", "a"), grid=Grid(SHAPE, np.diag([1 / 3, 2, 0.1, 1])))
    whole = Study("a", {"scan": scan, "brain": image("brain", "a", dtype="uint8")})
    piped = next(read_studies(io.BytesIO(joined(*whole.images.values())), "stream"))
    ours = streamed(whole)
    assert (ours.name, list(ours.images)) == (piped.name, list(piped.images)) == ("a", ["scan", "brain"])
    for role in ours.images:
        np.testing.assert_array_equal(ours.need(role).data, piped.need(role).data, strict=True)
        np.testing.assert_array_equal(ours.need(role).grid.affine, piped.need(role).grid.affine)
    assert (ours.need("scan").grid.affine != scan.grid.affine).any()


def test_a_study_ends_where_a_role_comes_again():
    content = joined(image("scan"), image("brain"), image("scan"), image("brain"), image("scan"))
    assert studies(content) == [("stream", ["scan", "brain"]), ("stream", ["scan", "brain"]), ("stream", ["scan"])]


def test_the_channels_of_a_scan_are_one_study():
    roles = ["healed", "healed:T2", "scan", "scan:T2", "brain"]
    (study,) = read_studies(io.BytesIO(joined(*map(image, roles))), "s")
    assert list(study.images) == roles
    assert study.channels == ["", "T2"]
    assert [i.role for i in study.in_channels("healed")] == ["healed", "healed:T2"]
    seen = study.seen_in("T2")
    assert seen.need("scan") is study.need("scan:T2")
    assert seen.need("healed") is study.need("healed:T2")
    assert seen.need("brain") is study.need("brain")
    assert study.seen_in("").images == study.images
    assert study.of_contrasts(["T2"]) == [study.need("scan:T2")]
    with pytest.raises(UadError, match="no FLAIR beside the scan"):
        study.of_contrasts(["T2", "FLAIR"])


def test_a_study_ends_where_another_name_comes():
    content = joined(image("healed", "a"), image("scan", "a"), image("brain", "b"), image("spread", "c"))
    assert studies(content) == [("a", ["healed", "scan"]), ("b", ["brain"]), ("c", ["spread"])]


@pytest.mark.parametrize("roles", [["healed", "bound", "region", "chain", "scan", "brain"], list(ROLES)])
def test_a_study_is_one_without_provenance_too(roles):
    """Then nothing but the role says what an image is, so one that is not known would be the next study's scan."""
    content = b"".join(to_bytes(image(role), provenance=False) for role in roles)
    assert studies(content) == [("stream", roles)]


def test_what_methods_make_has_roles_that_are_known():
    options = [methods.get(name).Options() for name in methods.names()] + [methods.get("ldm").Options(chain=2)]
    made = {role for o in options for role in getattr(o, "maps", ())}
    assert {"chain", "region", "probability"} < made <= ROLES.keys()


def one_of(**values):
    return Study("s", {role: image(role, value=value) for role, value in values.items()})


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"detection": 0, "score": 1, "healed": 0, "scan": 1, "brain": 0}, False),
        ({"detection": 0, "score": 0, "healed": 0, "scan": 1}, True),
        ({"spread": 1, "score": 1, "healed": 0}, False),
        ({"detection": 0, "score": 1}, True),
        ({"spread": 1, "detection": 0}, True),
    ],
)
def test_the_mask_else_the_scan_its_healed_self_or_the_score_says_where_the_brain_is(values, where):
    assert (one_of(**values).brain() == where).all()


def test_a_brain_on_another_grid_is_refused_with_advice():
    study = one_of(score=1, scan=1).adding(image("brain", shape=(5, 3, 2)))
    for on, role in ((None, "scan"), (study.need("score"), "score")):
        with pytest.raises(
            UadError, match=rf"^s: {role} and brain lie on different grids: 4x3x2 .*5x3x2 .* [(]do it[)]$"
        ):
            study.brain(on, "do it")
    assert study.brain(study.need("brain")).all()


def test_two_studies_of_one_name_are_two():
    content = joined(image("scan", "a"), image("brain", "a"), image("scan", "a"))
    assert studies(content) == [("a", ["scan", "brain"]), ("a", ["scan"])]


def test_an_image_without_a_name_belongs_to_the_study_before_it():
    assert studies(joined(image("healed"), image("scan", "a"), image("brain"))) == [("a", ["healed", "scan", "brain"])]


def test_every_study_holds_its_own_images():
    content = joined(*(image(role, value=v) for v in range(5) for role in ("healed", "scan")))
    values = [[i.data[0, 0, 0] for i in s.images.values()] for s in read_studies(io.BytesIO(content), "stream")]
    assert values == [[v, v] for v in range(5)]


def test_a_foreign_image_is_a_scan_named_after_the_stream():
    assert studies(joined(image())) == [("stream", ["scan"])]


@pytest.mark.parametrize("packed", [gzip.compress, lambda raw: gzip.compress(raw[:500]) + gzip.compress(raw[500:])])
def test_a_gzipped_stream_may_hold_many_images_and_members(packed):
    content = joined(image("scan", "a"), image("brain", "a"), image("scan", "b"))
    assert studies(packed(content)) == [("a", ["scan", "brain"]), ("b", ["scan"])]


def test_gzipped_files_one_after_the_other_are_a_stream():
    assert studies(gzip.compress(joined(image())) + gzip.compress(joined(image("brain")))) == [
        ("stream", ["scan", "brain"])
    ]


@pytest.mark.parametrize("packed", [lambda raw: raw, lambda raw: gzip.compress(raw)[:-20]])
def test_a_stream_cut_in_its_second_image_gives_no_half_study(packed):
    content = packed(joined(image("healed"), image("scan"))[:-1])
    with pytest.raises(UadError, match=r"^stream: .*cut short"):
        list(read_studies(io.BytesIO(content), "stream"))


def test_studies_before_the_cut_are_whole():
    found = read_studies(io.BytesIO(joined(image(), image(), image())[:-1]), "stream")
    assert list(next(found).images) == ["scan"]
    with pytest.raises(UadError, match="cut short after 95 bytes of its voxels"):
        list(found)


def test_an_empty_stream_is_told():
    with pytest.raises(UadError, match=r"^stream: empty"):
        list(read_studies(io.BytesIO(), "stream"))


def test_an_error_late_in_a_stream_says_where():
    with pytest.raises(UadError, match="what follows its image 2 is no NIfTI image"):
        list(read_studies(io.BytesIO(joined(image(), image("brain")) + b"junk" * 100), "stream"))


def test_memory_is_that_of_one_study_however_long_the_stream():
    """Studies of 256 KiB come through a pipe; the writer is never far ahead, and little memory is ever held."""
    source, sink = os.pipe()
    size, total, begun = (32, 32, 32), 40, []

    def write():
        with os.fdopen(sink, "wb") as file:
            for number in range(total):
                begun.append(number)
                write_study(Study("a", {r: image(r, "a", number, size) for r in ("scan", "brain")}), file)

    writer = threading.Thread(target=write)
    tracemalloc.start()
    writer.start()
    with os.fdopen(source, "rb") as file:
        for number, study in enumerate(read_studies(file, "stream")):
            assert study.product.data[0, 0, 0] == number
            assert begun[-1] <= number + 2
    writer.join()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == total - 1
    assert peak < 8 * 2 * np.prod(size) * 4


def test_a_live_pipe_is_read_as_far_as_it_goes():
    """A study is given out once the next begins, though the pipe stays open and silent."""
    source, sink = os.pipe()
    os.write(sink, joined(image("scan", "a"), image("scan", "b")))
    with os.fdopen(source, "rb") as file:
        found = read_studies(file, "stream")
        assert next(found).name == "a"
        os.close(sink)
        assert [s.name for s in found] == ["b"]


class Recorder(io.RawIOBase):
    """Takes at most `most` bytes at once, as a raw file may."""

    def __init__(self, most=1 << 40):
        self.most, self.pieces = most, []

    def write(self, data):
        self.pieces.append(bytes(data[: self.most]))
        return len(self.pieces[-1])


def test_images_are_written_in_pieces_of_a_mebibyte():
    file = Recorder()
    study = Study("a", {"scan": image(shape=(100, 100, 80)), "brain": image("brain")})
    write_study(study, file)
    assert max(len(p) for p in file.pieces) == PIECE == 1 << 20
    assert len(file.pieces) == 5
    assert b"".join(file.pieces) == joined(*study.images.values())


def test_a_file_that_takes_less_than_it_is_given_gets_everything():
    file = Recorder(most=1000)
    write_study(Study("a", {"scan": image(shape=(20, 20, 20))}), file)
    assert b"".join(file.pieces) == joined(image(shape=(20, 20, 20)))


def test_a_pipe_closed_before_writing_is_noticed():
    source, sink = os.pipe()
    os.close(source)
    with os.fdopen(sink, "wb", buffering=0) as file, pytest.raises(BrokenPipeError):
        write_study(Study("a", {"scan": image()}), file)


def test_a_pipe_closed_while_writing_is_noticed():
    source, sink = os.pipe()

    def read_a_little():
        os.read(source, 1000)
        os.close(source)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    file = os.fdopen(sink, "wb")
    with pytest.raises(BrokenPipeError):
        write_study(Study("a", {"scan": image(shape=(100, 100, 100))}), file)
    reader.join()
    with suppress(BrokenPipeError):
        file.close()


def test_what_is_written_is_read_again():
    content = io.BytesIO()
    for name in "ab":
        write_study(Study(name, {r: image(r, name) for r in ("healed", "scan", "brain")}), content)
    assert studies(content.getvalue()) == [(n, ["healed", "scan", "brain"]) for n in "ab"]


def test_without_provenance_roles_remain():
    content = io.BytesIO()
    write_study(Study("a", {r: image(r, "a") for r in ("healed", "scan")}), content, provenance=False)
    assert studies(content.getvalue()) == [("stream", ["healed", "scan"])]


def test_a_file_is_named_after_what_it_says_or_else_after_itself(tmp_path):
    (tmp_path / "b_healed.nii").write_bytes(joined(image("healed", "a"), image("scan", "a")))
    (tmp_path / "c_healed.nii").write_bytes(joined(image("healed")))
    assert [s.name for s in read_path(tmp_path / "b_healed.nii")] == ["a"]
    assert [s.name for s in read_path(tmp_path / "c_healed.nii")] == ["c"]
    assert read_image(tmp_path / "b_healed.nii").role == "healed"


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a\nb", "a\0b", "", "\ud800"])
def test_a_name_that_no_file_can_have_is_not_taken(name):
    assert studies(joined(image("scan", name))) == [("stream", ["scan"])]


def test_adding_puts_what_was_made_in_front():
    study = Study("a", {"scan": image(), "healed": image("healed")})
    made = study.adding(image("score"), image("healed", value=2))
    assert list(made.images) == ["score", "healed", "scan"]
    assert made.product.role == "score"
    assert made.need("healed").data[0, 0, 0] == 2
    assert list(study.images) == ["scan", "healed"]


def test_a_missing_role_is_told_with_those_there_are():
    with pytest.raises(UadError, match=r"^a: no image of role 'healed' \(it has: scan, brain\)$"):
        Study("a", {"scan": image(), "brain": image("brain")}).need("healed")


def test_record_adds_a_line_of_history_and_changes_nothing():
    start = image("scan", "a")
    first = record(start, "uad-heal", {"t": 1}, seed=3)
    assert first["study"] == "a"
    assert first["history"][0].items() >= {"tool": "uad-heal", "arguments": {"t": 1}, "seed": 3}.items()
    assert start.provenance["history"] == []
    again = record(Image(start.data, start.grid, "healed", first), "uad-score", {})
    assert [line["tool"] for line in again["history"]] == ["uad-heal", "uad-score"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/a.nii.gz", "a"),
        ("a_healed.nii", "a"),
        ("a_preprocessed_healed_score.nii.gz", "a"),
        ("a_simulated_healed.nii.gz", "a"),
        ("a_1_truth.nii.gz", "a_1"),
        ("a_score_map.nii", "a_score_map"),
        ("a_brain.nii", "a_brain"),
        ("healed.nii", "healed"),
        ("_healed.nii", "_healed"),
        ("sub-01_T1w.nii.gz", "sub-01_T1w"),
    ],
)
def test_base_name_drops_what_tools_appended(path, name):
    assert base_name(Path(path)) == name


@pytest.mark.parametrize(("name", "yes"), [("a.nii", 1), ("a.NII.GZ", 1), ("a.img", 1), ("a.json", 0), ("nii", 0)])
def test_images_are_known_by_their_suffix(name, yes):
    assert is_image(Path(name)) == yes


def test_a_file_that_is_written_to_while_it_is_read_is_told(tmp_path, phantom, monkeypatch):
    path = tmp_path / "a.nii"
    save(phantom.need("scan"), path)
    whole = stream.read_images

    def written_to(file, name, reading):
        for image in whole(file, name, reading):
            path.write_bytes(path.read_bytes()[:-4] + b"else")
            os.utime(path, ns=(0, 0))
            yield image

    monkeypatch.setattr(stream, "read_images", written_to)
    with pytest.raises(UadError, match=r"a\.nii: was changed while it was read"):
        read_image(path)


@pytest.mark.parametrize("name", ["../../pwned", "/pwned", "a/b", "..", "con", "a\x00b", "a\nb", "x" * 300])
def test_a_name_in_a_header_that_leads_elsewhere_is_not_taken(name, phantom):
    scan = phantom.need("scan")
    data = to_bytes(replace(scan, provenance={"study": name}))
    (study,) = read_studies(io.BytesIO(data), "stream")
    assert study.name == "stream"
