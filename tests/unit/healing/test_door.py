"""heal() as Python users call it: a model by name or file, options as words."""

from dataclasses import replace

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.checkpoint import file_hash, read_config, read_tensors, save_model
from uadtools.models.model import load_model


def test_a_file_and_words_do_what_a_loaded_model_and_a_plan_do(phantom, tiny_model):
    model = load_model(tiny_model)
    for words in ({"t": 100}, {"t": [100, 200]}, {"method": "ddim", "t": 100, "steps": 2}):
        settled = plan(model.config, **words)
        expected = heal(phantom, model, settled).need("healed").data
        np.testing.assert_array_equal(heal(phantom, tiny_model, **words).need("healed").data, expected)
        np.testing.assert_array_equal(heal(phantom, str(tiny_model), settled).need("healed").data, expected)


def test_a_file_that_was_trained_anew_is_read_anew(phantom, tiny_model, tmp_path):
    path = tmp_path / "m.safetensors"
    config = read_config(tiny_model)
    for factor in (1.0, 0.5):
        save_model(path, config, {name: value.float() * factor for name, value in read_tensors(tiny_model).items()})
        used = heal(phantom, path).need("healed").provenance["history"][-1]["model"]
        assert used == f"tiny:{file_hash(path)}"


def test_options_beside_a_settled_plan_are_refused(phantom, tiny_model):
    model = load_model(tiny_model)
    with pytest.raises(UadError, match=r"^t: the plan is settled"):
        heal(phantom, model, plan(model.config), t=100)


def test_a_word_that_is_no_option_is_refused(phantom, tiny_model):
    with pytest.raises(UadError, match="--metod has no effect with --method sss"):
        heal(phantom, tiny_model, metod="ddim")


def test_a_raw_scan_is_left_alone_by_a_loaded_model(phantom, tiny_model):
    scan = phantom.need("scan")
    raw = replace(scan, data=scan.data * 1000, provenance={})
    with pytest.raises(UadError, match="not prepared for model tiny"):
        heal(phantom.adding(raw), load_model(tiny_model))
