"""Batches of slices: how draws come together."""

import numpy as np

from uadtools import methods
from uadtools.healing.heal import heal
from uadtools.interface.healing import Healing
from uadtools.models.model import load_model


def test_a_map_is_the_mean_over_all_t_and_all_draws(tiny_model, phantom, monkeypatch):
    """Four draws that say 1, 2, 3 and 4."""
    said = iter((1, 2, 3, 4))

    def found(model, x, options, noise, **more):
        return Healing(x, {"region": np.float32(next(said)) * (x * 0 + 1)})

    monkeypatch.setattr(methods.get("sss"), "heal", found)
    model = load_model(tiny_model, device="cpu", precision="fp32")
    made = heal(phantom, model, t=[100, 200], samples=2, batch=64, method="sss").need("region").data
    brain = phantom.need("brain").data > 0
    np.testing.assert_allclose(made[brain], 2.5, rtol=1e-6)
