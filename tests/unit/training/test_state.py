import json

import pytest
import torch

from uadtools.errors import UadError
from uadtools.models.checkpoint import read_tensors, write_tensors
from uadtools.training.journal import COLUMNS, board_of, kept_rows
from uadtools.training.state import fresh, load_state, save_state

CPU = torch.device("cpu")


@pytest.fixture
def kept(tiny_recipe, tmp_path):
    """The state after one step, in a file."""
    state = fresh(tiny_recipe, 0, CPU)
    for parameter in state.net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimiser.step()
    state.step = 1
    save_state(tmp_path / "m.resume.safetensors", state, {"seed": 0})
    return tmp_path / "m.resume.safetensors"


def resumed(path, recipe):
    return load_state(path, fresh(recipe, 0, CPU), {"seed": 0})


def test_a_state_is_read_as_it_was_written(kept, tiny_recipe):
    assert resumed(kept, tiny_recipe) == {"step": 1, "best": None, "seed": 0}


@pytest.mark.parametrize(
    "note",
    ["null", "[]", '"x"', "3", "[" * 100_000, '{"seed": 0}', '{"seed": 0, "step": -1, "best": null}',
     '{"seed": 0, "step": [], "best": null}', '{"seed": 0, "step": 1, "best": "x"}', '{"seed": 0, "step": 1e99}',
     '{"seed": 0, "step": 1, "best": null, "planned": [8]}', '{"seed": 0, "step": 1, "best": 1, "started_from": 3}'],
)  # fmt: skip
def test_notes_that_are_none_are_told(note, kept, tiny_recipe):
    write_tensors(kept, read_tensors(kept), {"uadtools-training": note})
    with pytest.raises(UadError, match=r"m\.resume\.safetensors: not the state of a training run"):
        resumed(kept, tiny_recipe)


@pytest.mark.parametrize("change", ["shape", "step", "gone"])
def test_a_damaged_optimiser_is_told(change, kept, tiny_recipe):
    tensors = read_tensors(kept)
    name = next(name for name in tensors if name.startswith("exp_avg."))
    if change == "gone":
        del tensors[name]
    else:
        tensors[name if change == "shape" else name.replace("exp_avg.", "step.")] = torch.zeros(3)
    write_tensors(kept, tensors, {"uadtools-training": json.dumps({"seed": 0, "step": 1, "best": None})})
    with pytest.raises(UadError, match=r"m\.resume\.safetensors: the optimiser's state of .* is damaged"):
        resumed(kept, tiny_recipe)


@pytest.mark.parametrize("content", [b"\xff", b"a,b\n1,2\n", ",".join(COLUMNS).encode() + b"\none,0.5,,1\n"])
def test_a_damaged_log_is_told(content, tmp_path):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(UadError, match=r"m\.csv: not the log of a training run"):
        kept_rows(tmp_path / "m.csv", 5)


@pytest.mark.parametrize("line", ["[}", '{"step": "x"}', '{"a": 1}', "[" * 100_000 + "}"])
def test_damaged_notes_of_what_was_drawn_are_told(line, tmp_path):
    (tmp_path / "drawn.jsonl").write_text(line + "\n")
    with pytest.raises(UadError, match=r"drawn\.jsonl: not what a training run drew"):
        board_of(tmp_path, 5)
