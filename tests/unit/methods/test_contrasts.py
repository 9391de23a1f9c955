"""Models of several contrasts: every kind sees them as channels, learns from each, and heals each."""

import pytest
import torch

from uadtools import methods
from uadtools.errors import UadError
from uadtools.healing.catalogue import check
from uadtools.healing.plan import plan
from uadtools.interface.learning import Batch, Corrupted, denoiser
from uadtools.interface.recipe import Recipe
from uadtools.models.config import ModelConfig, parse
from uadtools.models.kinds import kind as file_of
from uadtools.models.model import Model, build, load_model
from uadtools.nets.layout import middle

CPU = torch.device("cpu")
CONTRASTS = ("T1", "FLAIR")
ENDED = 10**6
"""A step after the last: f-AnoGAN's encoder is what is trained."""
FIRST = {
    **dict.fromkeys(("ae", "vae", "cevae", "svae", "fanogan"), "encoder.features.0.0"),
    **dict.fromkeys(("dae", "mae", "diffusion", "pddpm", "distilled", "restoration", "supervised", "segment"), "first"),
    **dict.fromkeys(("vqvae", "binary"), "encoder.0"),
    "cddpm": "encoder.stem", "spark": "encoder.stem", "cfg": "unet.first", "classifier": "classifier.first",
    "joined": "reader.first", "lsegdiff": "unet.first",
}  # fmt: skip
"""The first of the layers that learn, where these see images."""
FROZEN = ("bernoulli", "fewshot", "ldm", "transformer")
"""What sees images does not learn."""
HEALING = [name for name in methods.names() if methods.needs_model(name)]


@pytest.fixture(scope="module")
def recipes(request):
    """Of two contrasts, by kind."""
    several = ("tiny_recipes", "guided_recipes", "weak_recipes", "mask_recipes")
    single = [request.getfixturevalue(name) for name in ("tiny_recipe", "few_recipe")]
    single += [recipe for name in several for recipe in request.getfixturevalue(name).values()]
    data = {recipe.kind: recipe.model_dump() | {"contrasts": CONTRASTS} for recipe in reversed(single)}
    data["restoration"]["corruption"]["domains"]["contrast"] = 0.0
    return {kind: Recipe.model_validate(values) for kind, values in data.items()}


@pytest.fixture
def net(recipes):
    """Make a network of a kind, in which no layer is left at zero."""

    def make(kind):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = build(recipes[kind])
            for weight in made.parameters():
                if not weight.any():
                    torch.nn.init.normal_(weight, std=0.1)
        return made.eval()

    return make


@pytest.fixture
def loss(recipes, net):
    """Tell the loss of slabs: loss(kind, net, x0, step)."""
    import numpy as np

    teacher = Model(recipes["diffusion"].model({}), net("diffusion"), CPU)

    def of(kind, made, x0, step=0):
        recipe, drawn = recipes[kind], torch.Generator().manual_seed(1)
        labels = torch.rand(2, 1, 16, 16, generator=drawn) > 0.7
        items = Corrupted(x0, middle(x0, 2), labels.float(), (x0[:, :1] > -1).float(), torch.tensor([9, 500]))
        batch = Batch(x0, np.array([3, 2**63 - 1]), items, labels.byte(), torch.tensor([True, False]))
        return file_of(kind).loss(recipe, made, batch, step, *([teacher] if recipe.taught else []))

    return of


def slabs(settings, seed=0):
    made = torch.rand(2, settings.seen, 16, 16, generator=torch.Generator().manual_seed(seed))
    made[:, :, :, :3] = 0
    return 2 * made - 1


def changed(x, channel):
    """Turn the intensities of a contrast around, inside the brain."""
    parts = list(x.chunk(2, dim=1))
    parts[channel] = torch.where(parts[channel] > -1, -parts[channel], parts[channel])
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("kind", methods.all_kinds())
def test_every_kind_learns_from_each_contrast(kind, recipes, net, loss):
    recipe = recipes[kind]
    assert recipe.SEVERAL
    assert (recipe.channels, recipe.seen) == (2, 2 * (2 * recipe.reach + 1))
    for step in (0, ENDED):
        made, x0 = net(kind), slabs(recipe)
        told = loss(kind, made, x0, step)
        assert told.shape == ()
        assert told.isfinite()
        for channel in range(2):
            assert loss(kind, made, changed(x0, channel), step) != told
    if kind in FROZEN:
        return
    told.backward()
    gradient = made.get_submodule(FIRST[kind]).weight.grad
    assert gradient.shape[1] >= 2
    assert gradient.abs().sum(dim=(0, 2, 3)).min() > 0


def test_the_critic_sees_each_contrast(net, loss, recipes):
    made = net("fanogan")
    loss("fanogan", made, slabs(recipes["fanogan"])).backward()
    assert made.critic.features[0][0].weight.grad.abs().sum(dim=(0, 2, 3)).min() > 0


@pytest.mark.parametrize("kind", methods.all_kinds())
def test_a_model_file_of_each_kind_answers(kind, recipes, save_random, tmp_path):
    """uad-models check asks it about an empty slice of all contrasts."""
    path = save_random(recipes[kind].model({}), tmp_path / "m.safetensors")
    if methods.able(kind) or hasattr(file_of(kind), "probe"):
        check(path)
    assert load_model(path, device="cpu", precision="fp32").channels == 2


@pytest.mark.parametrize("method", HEALING)
def test_every_method_heals_each_contrast_and_maps_all_together(method, recipes, save_random, tmp_path):
    file = methods.get(method)
    for kind in getattr(file, "KINDS", (method,)):
        path = save_random(recipes[kind].model({}), tmp_path / f"{kind}.safetensors")
        model = load_model(path, device="cpu", precision="fp32")
        given = {"t": (60,)} if hasattr(file.Options(), "t") and kind != "distilled" else {}
        given |= {"perceptual": True} if hasattr(file.Options(), "perceptual") else {}
        how, x = plan(model.config, method=method, **given), slabs(model.config)
        with torch.inference_mode():
            made = file.heal(model, x, how.options[0], model.noise((16, 16), [(1, 0), (1, 1)]))
        assert (made.healed is None) != how.heals
        assert made.healed is None or made.healed.shape == (2, 2, 16, 16)
        assert {*made.maps, "spread"} == {*how.maps, "spread"} | ({how.product} if not how.heals else set())
        for values in [*made.maps.values(), *([made.healed] if how.heals else [])]:
            assert values.isfinite().all()
            assert values is made.healed or values.shape == (2, 1, 16, 16)


@pytest.mark.parametrize("method", ["andi", "anofpdm", "autoddpm", "cfg", "thor"])
def test_slices_of_several_contrasts_heal_the_same_in_any_batch(method, recipes, save_random, tmp_path):
    file = methods.get(method)
    (kind,) = file.KINDS if hasattr(file, "KINDS") else (method,)
    path = save_random(recipes[kind].model({}), tmp_path / "m.safetensors")
    model = load_model(path, device="cpu", precision="fp32")
    options, x = plan(model.config, method=method, t=(60,)).options[0], slabs(model.config)
    with torch.inference_mode():
        whole = file.heal(model, x, options, model.noise((16, 16), [(1, 0), (1, 1)]))
        alone = file.heal(model, x[1:], options, model.noise((16, 16), [(1, 1)]))
    pairs = [(alone.maps[role], whole.maps[role]) for role in whole.maps]
    for one, both in [*pairs, *([(alone.healed, whole.healed)] if whole.healed is not None else [])]:
        torch.testing.assert_close(one, both[1:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["ae", "ldm", "supervised"])
def test_kinds_that_see_one_contrast_refuse_several(kind, recipes, monkeypatch):
    monkeypatch.setattr(file_of(kind).Settings, "SEVERAL", False)
    with pytest.raises(UadError, match=r"^here: contrasts: without a meaning for models of kind") as fault:
        parse(Recipe, recipes[kind].model_dump(), "here")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(("kind", "tables"), [("vqvae", ("network",)), ("ldm", ("network", "autoencoder"))])
def test_networks_of_volumes_see_one(kind, tables, recipes):
    data = recipes[kind].model_dump()
    data |= {table: data[table] | {"axes": 3} for table in tables}
    with pytest.raises(UadError, match=r"contrasts T1, FLAIR: networks of volumes see one"):
        parse(Recipe, data, "here")


def test_a_network_of_learned_variance_tells_that_of_each_contrast():
    config = ModelConfig.of_kind("diffusion")(
        name="m", contrasts=CONTRASTS, network={"base": 8, "groups": 4, "variance": "learned", "attention": ()}
    )
    guess = Model(config, denoiser(config), CPU).predict(torch.rand(1, 2, 32, 32), 5)
    assert guess.x0.shape == guess.eps.shape == guess.share.shape == (1, 2, 32, 32)
