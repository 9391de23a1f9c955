import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from uadtools.errors import UadError
from uadtools.models import checkpoint
from uadtools.models.checkpoint import file_hash, read_config, read_metadata, read_tensors, save_model, write_tensors
from uadtools.models.model import load_model


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was opened",))


def written(path, header, body=b""):
    """A file with a safetensors frame around any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def settings(path, found):
    return written(path, {"__metadata__": {"uadtools": found if isinstance(found, str) else json.dumps(found)}})


def test_round_trip(tiny_config, tmp_path):
    weights = {"a": torch.randn(3, 4), "b.c": torch.arange(5.0)}
    path = tmp_path / "m.safetensors"
    save_model(path, tiny_config, weights, half=False)
    assert read_config(path) == tiny_config
    found = read_tensors(path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_half_precision_storage(tiny_config, tmp_path):
    weights = {"a": torch.randn(100)}
    small, large = tmp_path / "small.safetensors", tmp_path / "large.safetensors"
    save_model(small, tiny_config, weights)
    save_model(large, tiny_config, weights, half=False)
    assert large.stat().st_size - small.stat().st_size == 200
    found = read_tensors(small)["a"]
    assert found.dtype == torch.float16
    assert torch.equal(found, weights["a"].half())


def test_weights_in_any_memory_layout_are_kept(tiny_config, tmp_path):
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    save_model(tmp_path / "m.safetensors", tiny_config, {"w": weight}, half=False)
    assert torch.equal(read_tensors(tmp_path / "m.safetensors")["w"], weight)


def test_the_settings_can_be_read_by_a_person(tiny_model):
    text = read_metadata(tiny_model)["uadtools"]
    assert json.loads(text)["format"] == checkpoint.FORMAT
    assert text.count("\n") > 20


def test_the_hash_names_the_content(tiny_model, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(tiny_model.read_bytes())
    assert file_hash(copy) == file_hash(tiny_model)
    assert len(file_hash(copy)) == 16
    copy.write_bytes(tiny_model.read_bytes() + b" ")
    assert file_hash(copy) != file_hash(tiny_model)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_and_never_opened(tmp_path, protocol):
    path = tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps({"weights": [Bomb()] * 9}, protocol))
    with pytest.raises(UadError, match=r"m\.safetensors: a pickle, which can run code"):
        read_config(path)


def test_a_torch_file_is_refused(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "m.ckpt")
    with pytest.raises(UadError, match="a pickle"):
        read_config(tmp_path / "m.ckpt")


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tiny_config, tmp_path, length):
    """The first byte is 0x80 and the second 2 to 5, as in a pickle."""
    header = b'{"__metadata__": {"a": "b"}}'.ljust(length)
    assert read_metadata(written(tmp_path / "m.safetensors", header)) == {"a": "b"}


@pytest.mark.parametrize("share", [0.999, 0.5, 0.1])
def test_a_truncated_file_is_refused(tiny_model, tmp_path, share):
    whole = tiny_model.read_bytes()
    path = tmp_path / "m.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UadError, match="damaged or cut short"):
        read_tensors(path)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_a_file_cut_in_its_header_is_refused(tiny_model, tmp_path, count):
    path = tmp_path / "m.safetensors"
    path.write_bytes(tiny_model.read_bytes()[:count])
    with pytest.raises(UadError, match="not a model file"):
        read_config(path)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused(tmp_path, seed):
    path = tmp_path / "m.safetensors"
    path.write_bytes(np.random.default_rng(seed).bytes(3000))
    with pytest.raises(UadError, match="not a model file"):
        read_config(path)


@pytest.mark.parametrize(
    "header", [[], 123, {"__metadata__": []}, {"__metadata__": None}, b"[" * 50_000, b'{"\xff": 1}', b"{" + b" " * 99]
)
def test_a_damaged_header_is_refused(tmp_path, header):
    with pytest.raises(UadError, match="not a model file, or cut short"):
        read_config(written(tmp_path / "m.safetensors", header))


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(UadError, match="without uadtools settings"):
        read_config(path)
    save_file({"a": torch.zeros(3)}, path, metadata={"format": "pt"})
    with pytest.raises(UadError, match="without uadtools settings"):
        read_config(path)


@pytest.mark.parametrize("text", ["", "no json", "[]", "3", '["format"]', "[" * 50_000])
def test_settings_that_are_no_table_are_refused(tmp_path, text):
    with pytest.raises(UadError, match="its uadtools settings are no JSON object"):
        read_config(settings(tmp_path / "m.safetensors", text))


@pytest.mark.parametrize("number", [None, 0, 2, "1"])
def test_another_format_number_is_refused(tiny_config, tmp_path, number):
    with pytest.raises(UadError, match=rf"model format {number}, this version reads format 1 \(update uadtools\)"):
        read_config(settings(tmp_path / "m.safetensors", {"format": number, **tiny_config.model_dump(mode="json")}))


def test_settings_of_a_later_version_are_refused_by_name(tiny_config, tmp_path):
    path = settings(tmp_path / "m.safetensors", {"format": 1, **tiny_config.model_dump(mode="json"), "wings": 2})
    with pytest.raises(UadError, match=r"m\.safetensors: wings: unknown key"):
        read_config(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UadError, match="No such file"):
        read_config(tmp_path / "m.safetensors")
    with pytest.raises(UadError, match="Is a directory"):
        read_config(tmp_path)


def test_a_save_that_fails_leaves_the_old_file_and_no_other(tiny_model, tiny_config, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(tiny_model.read_bytes())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UadError, match="No space left"):
        save_model(path, tiny_config, {"a": torch.zeros(3)})
    assert path.read_bytes() == tiny_model.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", ["ab", [1, "2"], [2.5], None])
def test_shapes_that_are_none_are_refused(shape, tmp_path):
    path = written(tmp_path / "m.safetensors", {"w": {"shape": shape}})
    with pytest.raises(UadError, match="not a model file, or cut short"):
        checkpoint.read_shapes(path)


@pytest.mark.parametrize(
    "change",
    [{"base": 2**40}, {"multipliers": [1] * 30}, {"res_blocks": 10**6}, {"base": 2**16, "multipliers": [2**16, 2**16]}],
)
def test_a_network_that_no_memory_holds_is_refused_before_it_is_built(change, tiny_config, tiny_model, tmp_path):
    about = {"format": 1, **tiny_config.model_dump(mode="json")}
    about["network"] |= change
    write_tensors(tmp_path / "m.safetensors", read_tensors(tiny_model), {"uadtools": json.dumps(about)})
    with pytest.raises(UadError, match=r"m\.safetensors: (network\.|there is no memory for a network)"):
        load_model(tmp_path / "m.safetensors")


def test_a_grid_of_more_voxels_than_scans_have_is_refused(tiny_config, tmp_path):
    about = tiny_config.model_dump(mode="json")
    about["grid"]["shape"] = [10**6] * 3
    with pytest.raises(UadError, match=r"grid: .*more than 2,147,483,648 voxels"):
        read_config(settings(tmp_path / "m.safetensors", {"format": 1, **about}))


def test_a_file_that_was_written_anew_is_read_anew(tmp_path, tiny_config):
    path, other = tmp_path / "m.safetensors", tiny_config.model_copy(update={"name": "tino"})
    assert len(other.name) == len(tiny_config.name)
    known = {}
    for config in (tiny_config, other):
        save_model(path, config, {"w": torch.zeros(2)})
        known[read_config(path).name] = file_hash(path)
    assert len({*known.values()}) == len(known) == 2
    assert read_config(path) is read_config(path)
