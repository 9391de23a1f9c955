import os
import pickle
import zipfile

import pytest
import torch

from uadtools.errors import UadError
from uadtools.models.foreign import read_foreign

FIRST = "time_embedding.1.weight"


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def refused(path, program="anoddpm"):
    with pytest.raises(UadError) as told:
        read_foreign(path, program)
    assert str(told.value).startswith(f"{path}: ")
    return str(told.value)


def saved(path, tensors):
    torch.save(tensors, path)
    return path


def test_tables_that_hold_themselves_are_refused(tmp_path):
    tables = {FIRST: torch.ones(32, 8)}
    tables["self"] = tables
    assert "tables without end in one another" in refused(saved(tmp_path / "a.pt", tables))


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.ones(1).expand(10**6, 10**6), "has 1,000,000,000,000 numbers, and fewer are stored"),
        (torch.empty(10**9, device="meta"), "is no plain tensor but of torch.float32 on meta"),
        (torch.ones(3, dtype=torch.complex64), "is no plain tensor but of torch.complex64"),
        (torch.ones(2).to_sparse(), "is no plain tensor but torch.sparse_coo"),
    ],
)
def test_tensors_whose_numbers_are_not_all_there_are_refused(tensor, said, tmp_path):
    assert said in refused(saved(tmp_path / "a.pt", {FIRST: torch.ones(32, 8), "b": tensor}))


@pytest.mark.parametrize("program", ["anoddpm", "guided-diffusion", "pddpm", "cddpm", "monai"])
def test_weights_of_shapes_that_make_no_network_are_refused(program, tmp_path):
    names = ("input_blocks.0.0.weight", "conv_in.conv.weight", "down.0.0.weight", "out.2.weight", "out.2.conv.weight")
    tensors = {name: torch.ones(1, 1, 3, 3) for name in names} | {
        FIRST: torch.ones(32, 8),
        "time_embed.0.weight": torch.ones(1),
    }
    refused(saved(tmp_path / "a.pt", tensors), program)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.pt", {FIRST: torch.zeros(10**5)})
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("it was unpacked"))
    assert "a compressed archive, which torch.save does not write" in refused(tmp_path / "b.pt")


def test_code_in_a_checkpoint_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Evil()))
    refused(tmp_path / "a.pt")
    saved(tmp_path / "b.pt", {FIRST: Evil()})
    assert "is not opened without running code" in refused(tmp_path / "b.pt")
    assert not (tmp_path / "ran").exists()
