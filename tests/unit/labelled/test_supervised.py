"""A plain U-Net that learns lesions from masks, and what all that learn these share: the loss and the map."""

import numpy as np
import pytest
import torch
from torch import nn

from uadtools.errors import UadError
from uadtools.interface.learning import Batch
from uadtools.interface.recipe import Recipe
from uadtools.labelled import supervised
from uadtools.labelled._donors import config_of
from uadtools.labelled._lesions import distance, marked
from uadtools.metrics.ranking import average_precision
from uadtools.models.model import load_model
from uadtools.training.loop import Trainer
from uadtools.training.state import fresh

CPU = torch.device("cpu")


def test_what_is_shown_is_found_elsewhere(mask_recipes, sick):
    data = mask_recipes["supervised"].model_dump()
    training = data["training"] | {"steps": 60, "batch": 8, "log_every": 60, "validate_every": 60}
    recipe = Recipe.model_validate(data | {"training": training})
    others, state = sick(8, 1), fresh(recipe, 0, CPU)
    list(Trainer(recipe, sick(8, 0), None, 0, CPU, torch.float32).run(state))
    with torch.no_grad():
        logit = state.average(others.seen(others.windows(np.arange(8), 1)))
    assert average_precision(logit[:, 0].numpy(), others.labels == 1) > 0.9


def test_the_loss_is_that_of_the_middle_slice(mask_recipes):
    class Known(nn.Module):
        def forward(self, x):
            return 3 * x[:, 2:]

    recipe, x = mask_recipes["supervised"], 2 * torch.rand(2, 3, 16, 16) - 1
    x[:, 1, :4] = -1
    labels = (torch.rand(2, 1, 16, 16) < 0.2).to(torch.uint8)
    made = supervised.loss(recipe, Known(), Batch(x, np.arange(2), labels=labels), 0)
    assert made == distance(3 * x[:, 2:], x[:, 1:2], labels)
    assert made != distance(3 * x[:, 2:], x[:, 2:], labels)


@pytest.mark.parametrize("kind", ["supervised", "joined"])
def test_the_map_is_a_probability_from_one_look_and_above_0(mask_models, kind):
    from uadtools import methods

    model, method = load_model(mask_models[kind], device="cpu", precision="fp32"), methods.get(kind)
    x = 2 * torch.rand(2, 2 * model.config.reach + 1, 16, 16) - 1
    made = method.heal(model, x, method.Options(), lambda: 1 / 0)
    assert made.healed is None
    torch.testing.assert_close(made.maps["anomaly"], method.probe(model, x).sigmoid())
    assert method.Options().evaluations((16, 16)) == 1
    assert marked(torch.zeros(1)).maps["anomaly"] > 0


def test_settings_of_a_model_are_read_where_they_can_be(tiny_model, tiny_models):
    assert config_of("healer", str(tiny_model), ("diffusion",), "of no use").kind == "diffusion"
    assert config_of("healer", "nowhere.safetensors", ("diffusion",), "of no use") is None
    assert config_of("healer", None, ("diffusion",), "of no use") is None
    said = r"^healer\.pretrained .*: a model of kind 'ae', of no use \(those of diffusion and restoration are\)$"
    with pytest.raises(UadError, match=said):
        config_of("healer", str(tiny_models["ae"]), ("diffusion", "restoration"), "of no use")
