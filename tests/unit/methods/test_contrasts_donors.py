"""Parts of models of two contrasts that other models of these start from."""

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.interface.recipe import Recipe
from uadtools.labelled.fewshot import looks_at
from uadtools.models.checkpoint import read_tensors
from uadtools.models.config import ModelConfig
from uadtools.models.kinds import kind as file_of
from uadtools.models.model import Model
from uadtools.nets.layout import middle
from uadtools.nets.readout import statistics
from uadtools.training.data import Slices
from uadtools.training.loop import Trainer
from uadtools.training.start import donor_of, start_from, teacher_of
from uadtools.training.state import fresh

CPU = torch.device("cpu")
CONTRASTS = ("T1", "FLAIR")
TAKEN = {
    "cddpm": ("spark", "encoder", "encoder.", "encoder."), "ldm": ("vqvae", "autoencoder", "", "autoencoder."),
    "transformer": ("vqvae", "autoencoder", "", "autoencoder."),
    "bernoulli": ("binary", "autoencoder", "", "autoencoder."), "cfg": ("diffusion", "network", "", "unet."),
    "classifier": ("diffusion", "network", "", "unet."), "joined": ("restoration", "healer", "", "frozen."),
    "fewshot": ("restoration", "features", "", "frozen."), "distilled": ("diffusion", "teacher", "", ""),
    "restoration": ("restoration", "start", "", ""),
}  # fmt: skip
"""By kind: that of the donor, the recipe's key, and what the weights that are taken are called there and here."""
TELLS = ("cfg", "classifier", "fewshot", "joined")
"""Kinds that take the contrasts from the donor, too."""


@pytest.fixture
def slices():
    """Of two scans in two contrasts, with a bright square in every second slice."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.uniform(0.3, 0.5, (8, 2, 16, 16)), np.zeros((8, 16, 16), np.uint8)
    pixels[::2, 1, 4:8, 5:9], labels[::2, 4:8, 5:9] = 0.9, 1
    kinds = (np.arange(8) % 2 == 0).astype(np.uint8)
    halves = pixels.astype(np.float16)
    return Slices(halves[:, 0], np.repeat([0, 1], 4), labels=labels, kinds=kinds, others=halves[:, 1:])


@pytest.fixture
def of_two(request, save_random, tmp_path):
    """Make the recipe of a kind that starts from a donor of two contrasts, and the donor; contrasts: the recipe's."""
    several = ("guided_recipes", "weak_recipes", "mask_recipes")
    single = [request.getfixturevalue(name) for name in ("tiny_recipe", "few_recipe")]
    single += [recipe for name in several for recipe in request.getfixturevalue(name).values()]
    tables = {recipe.kind: recipe.model_dump(exclude={"contrasts"}) for recipe in reversed(single)}
    tables["restoration"]["corruption"]["domains"]["contrast"] = 0.0
    tables["fewshot"] |= {"features": {}}
    del tables["fewshot"]["network"]

    def make(kind, contrasts):
        donor, key, *_ = TAKEN[kind]
        theirs = Recipe.model_validate(tables[donor] | {"contrasts": CONTRASTS})
        path = save_random(theirs.model({}), tmp_path / "donor.safetensors")
        own = tables[kind] | ({} if contrasts is None else {"contrasts": contrasts})
        own[key] = own[key] | {"pretrained": str(path)} if isinstance(own[key], dict) else str(path)
        return Recipe.model_validate(own), path

    return make


def begun(recipe, slices):
    state = fresh(recipe, 0, CPU)
    return state, start_from(donor_of(recipe), state, recipe, slices)


@pytest.mark.parametrize("kind", TAKEN)
def test_what_a_donor_of_two_contrasts_has_is_taken_and_training_goes_on_from_it(kind, of_two, slices):
    recipe, path = of_two(kind, None if kind in TELLS else CONTRASTS)
    assert recipe.contrasts == CONTRASTS
    (state, name), (_, _, there, here) = begun(recipe, slices), TAKEN[kind]
    own = state.net.state_dict()
    taken = {key: value for key, value in read_tensors(path).items() if key.startswith(there) and "head" not in key}
    assert taken
    for key, value in taken.items():
        made = own[here + key.removeprefix(there)]
        made = made[:, : value.shape[1]] if kind == "cfg" and value.ndim == 2 else made  # it is told a class, too
        assert torch.equal(made, value.to(made))
    trainer = Trainer(recipe, slices, slices, 0, CPU, torch.float32, teacher=teacher_of(recipe, name, "cpu", "fp32"))
    *_, last = trainer.run(state)
    assert np.isfinite([last.loss, last.validation]).all()
    file, model = file_of(kind), Model(recipe.model({}), state.average, CPU)
    if hasattr(file, "finish"):
        assert file.finish(model, slices, 0)


@pytest.mark.parametrize("kind", TAKEN)
def test_a_donor_of_two_contrasts_is_refused_where_one_is_learnt_from(kind, of_two, slices):
    recipe, _ = of_two(kind, ())
    assert recipe.contrasts == ()
    with pytest.raises(UadError, match=r"donor\.safetensors: sees T1, FLAIR, and the recipe one contrast") as fault:
        begun(recipe, slices)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("kind", ["vqvae", "binary"])
def test_how_much_is_used_is_measured_on_both_contrasts(kind, request, slices, save_random, tmp_path):
    recipe = request.getfixturevalue("guided_recipes")[kind]
    config = ModelConfig.model_validate(recipe.model({}).model_dump() | {"contrasts": CONTRASTS})
    torch.manual_seed(0)
    net = file_of(kind).build(config)
    assert 0 < file_of(kind).measure(net, slices, CPU).used <= 1


@pytest.mark.parametrize("kind", ["fewshot", "joined"])
def test_what_is_measured_is_that_in_the_brain_of_the_first_contrast(kind, of_two, slices):
    recipe, _ = of_two(kind, None)
    slices.pixels[:, :8] = 0  # where the other contrast has values still
    net, x = begun(recipe, slices)[0].net, slices.seen(slices.windows(np.arange(8), recipe.reach))
    brain = middle(x, 2)[:, :1] > -1
    if kind == "joined":
        torch.testing.assert_close(net.scale, net.known(x)[1][brain].std())
    else:
        torch.testing.assert_close(net.centre, statistics(net.raw(*looks_at(recipe, x)), brain.float())[0])
