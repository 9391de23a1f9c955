"""Defaults give way to what is given: nobody is told off for an option that he did not give."""

import pytest

from uadtools import methods
from uadtools.errors import UadError
from uadtools.healing.plan import plan
from uadtools.models.config import ModelConfig

CONFIGS = {name: ModelConfig.of_kind(name)(name="m") for name in ("diffusion", "restoration")}


@pytest.mark.parametrize(("kind", "method", "usual"), [("diffusion", "ddim", 10), ("restoration", "disyre", 5)])
def test_a_small_t_has_fewer_steps_unless_their_number_is_given(kind, method, usual):
    config = CONFIGS[kind]
    assert [o.steps for o in plan(config, method=method, t=(2, 300)).options] == [3, usual]
    assert plan(config, method=method, t=(2, 300)).arguments["steps"] == [3, usual]
    assert [o.steps for o in plan(config, method=method, t=0).options] == [1]
    with pytest.raises(UadError, match=rf"^--steps {usual}: from -t 2 there are 1 to 3$"):
        plan(config, method=method, t=(2, 300), steps=usual)


MORE = {"pddpm": {"target": "x0"}, "bernoulli": {"network": {"multipliers": [1, 2]}}}
"""What kinds need said."""


@pytest.mark.parametrize("name", [name for name in methods.names() if hasattr(methods.get(name).Options(), "t")])
def test_every_method_heals_at_every_t(name):
    """Its other defaults follow."""
    kind, grid = methods.kinds(name)[0], {"shape": [64, 64, 8]}
    more = MORE.get(kind, {})
    config = ModelConfig.model_validate({"name": "m", "kind": kind, "grid": grid, **more})
    learnt = config.walk.learnt if kind == "distilled" else (0, 1, 5, 40, config.levels - 1)
    for t in learnt:
        assert [o.t for o in plan(config, method=name, t=t).options] == [t]


@pytest.mark.parametrize(("method", "t"), [("sss", 30), ("ddpm", 25), ("ddim", 25)])
def test_a_model_of_fewer_steps_has_a_default_t_as_far_along(method, t):
    config = ModelConfig.model_validate({"name": "short", "schedule": {"steps": 100}})
    assert [o.t for o in plan(config, method=method).options] == [t]


def test_a_patch_below_the_models_stride_has_a_stride_of_its_own():
    patches = {"sizes": [48], "stride": 24}
    config = ModelConfig.model_validate({"name": "p", "kind": "pddpm", "target": "x0", "patches": patches})
    assert [(o.patch, o.stride) for o in plan(config, patch=(16, 32)).options] == [(16, None), (32, 24)]
    with pytest.raises(UadError, match=r"^--stride 24: leaves gaps between patches of 16 pixels$"):
        plan(config, patch=(16, 32), stride=24)
