"""Scan, healed and score as the channels of a small network: what it sees, and what of it learns."""

import numpy as np
import pytest
import torch
from torch import nn

from uadtools.errors import UadError
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import read_tensors
from uadtools.models.config import parse
from uadtools.models.model import build, load_model
from uadtools.nets.joined import Joined
from uadtools.training.loop import Trainer
from uadtools.training.start import donor_of, start_from
from uadtools.training.state import fresh

CPU = torch.device("cpu")


class Heals(nn.Module):
    """Adds .5 to the middle slice, and is sure by a logit of 2 that this was changed; notes what it is told."""

    def forward(self, x, t):
        self.told = t.tolist()
        return torch.cat([torch.full_like(x[:, :1], 0.5), torch.full_like(x[:, :1], 2.0)], dim=1)


class Reads(nn.Module):
    """Notes what it sees."""

    def forward(self, x):
        self.seen = x
        return x[:, :1]


def test_the_reader_sees_slab_healed_and_score():
    """The score of uad-score --metric product, in units of [0, 1], over the scale."""
    net = Joined(Heals(), Reads(), 999)
    net.scale.fill_(0.1)
    x = torch.tensor([-0.5, 0.2, 0.9]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert net(x).shape == (2, 1, 4, 4)
    sure = float(1 / (1 + np.exp(-2))) ** 0.5
    expected = torch.tensor([-0.5, 0.2, 0.9, 0.7, 0.25 * sure / 0.1]).view(1, 5, 1, 1).expand(2, 5, 4, 4)
    torch.testing.assert_close(net.reader.seen, expected)
    assert net.frozen.told == [999, 999]
    healed, score = net.known(x + 0.6)  # .8, healed to 1 at most
    torch.testing.assert_close(healed, torch.ones(2, 1, 4, 4))
    torch.testing.assert_close(score, torch.full((2, 1, 4, 4), 0.1 * sure))


def begun(recipe, slices):
    state = fresh(recipe, 0, CPU)
    start_from(donor_of(recipe), state, recipe, slices)
    return state


def test_the_healer_comes_from_its_model_and_is_not_trained(mask_recipes, tiny_guided, sick):
    recipe, slices = mask_recipes["joined"], sick(8, 0)
    state, first = begun(recipe, slices), begun(recipe, slices).net
    list(Trainer(recipe, slices, None, 0, CPU, torch.float32).run(state))
    donor = read_tensors(tiny_guided["restoration"])
    for net in (state.net, state.average):
        weights = net.frozen.state_dict()
        assert weights.keys() == donor.keys()
        assert all(torch.equal(weights[name], value.float()) for name, value in donor.items())
        assert net.scale == first.scale
    assert not torch.equal(state.net.reader.first.weight, first.reader.first.weight)
    score = first.known(slices.seen(slices.windows(np.arange(8), 2)))[1]
    torch.testing.assert_close(first.scale, score.std())
    assert not any(part.training for part in state.net.train().frozen.modules())


def test_a_recipe_takes_the_sizes_of_its_healer(mask_recipes, mask_models):
    recipe = mask_recipes["joined"]
    assert (recipe.reach, recipe.healer.reach, recipe.network.reach) == (2, 2, 0)
    assert recipe.healer.skips == "blocks"
    config = recipe.model({})
    assert "pretrained" not in config.healer.model_dump()
    assert build(config).frozen.first.in_channels == 5
    assert build(config).reader.first.in_channels == 7
    model = load_model(mask_models["joined"], device="cpu", precision="fp32")
    assert model.config.held((16, 16)) == 8 * 256


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"healer": {}},
            r"pretrained is needed: a model of kind restoration \(--set healer\.pretrained=any-small",
        ),
        ({"healer": {"pretrained": "nowhere.safetensors"}}, "nowhere.safetensors: No such file"),
        ({"healer": {"pretrained": "ae"}}, "a model of kind 'ae', which does not heal in one look"),
        ({"healer": {"pretrained": "restoration", "base": 16}}, "base is 8 there, 16 in the recipe"),
        ({"grid": {"shape": (16, 16, 8), "spacing": (1.0, 1.0, 1.0)}}, r"grid\.spacing is .+ there"),
        ({"network": {"base": 8, "groups": 4, "heads": 2, "reach": 1}}, r"network\.reach: the slab is that of the hea"),
    ],
)
def test_healers_that_are_none_are_refused(mask_recipes, tiny_guided, tiny_models, sick, change, said):
    files = {"ae": str(tiny_models["ae"]), "restoration": str(tiny_guided["restoration"])}
    own = {"pretrained": files["restoration"]}
    if "healer" in change:
        own = {key: files.get(value, value) for key, value in change["healer"].items()}
    data = mask_recipes["joined"].model_dump(exclude={"healer"}) | change | {"healer": own}
    with pytest.raises(UadError, match=said) as fault:
        begun(parse(Recipe, data, "r"), sick(2, 0))
    assert "\n" not in str(fault.value)
