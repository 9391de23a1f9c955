import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from uadtools import methods
from uadtools.errors import UadError
from uadtools.interface.recipe import Recipe
from uadtools.models.config import DefaultsConfig, ModelConfig, NoisedSettings
from uadtools.models.model import build
from uadtools.training.recipe import load_recipe, names

FOLDER = Path(str(files("uadtools.training") / "recipes"))
LEAST = 'name = "r"\nsource = "s"\n[training]\nsteps = 5\n'


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_makes_a_model(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    config = recipe.model({"steps": 0})
    if name != "spark":  # an encoder heals nothing by itself
        assert config.kind in methods.kinds(config.defaults.method)
    with torch.device("meta"):  # the published networks are large, and only their sizes are asked for
        least = 4e5 if name == "binary-t1" else 9e5  # which has two levels alone
        assert sum(weight.numel() for weight in build(config).parameters()) > least
    assert bool(config.defaults.t) == (
        isinstance(config, NoisedSettings) and name not in ("lsegdiff", "segment")
    )  # from noise alone
    assert not config.defaults.t or max(config.defaults.t) < recipe.t_range[1]


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_explains_itself(name):
    text = (FOLDER / f"{name}.toml").read_text()
    assert text.startswith("# ")
    assert {"training", "optimiser", "grid"} <= tomllib.loads(text).keys()


def test_names_are_the_files():
    assert names() == sorted(path.stem for path in FOLDER.iterdir())
    assert "t1-ddpm" in names()


def test_a_recipe_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(LEAST)
    recipe = load_recipe(str(path), ["training.batch=3"])
    assert (recipe.name, recipe.training.steps, recipe.training.batch) == ("r", 5, 3)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(UadError, match=r"no recipe 'nope' \(there are: .*t1-ddpm.*; or name a \.toml or \.json file\)"):
        load_recipe("nope")


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(UadError, match=r"bad\.toml: not a readable recipe"):
        load_recipe(str(path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UadError, match="no recipe"):
        load_recipe(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("line", ["colour = 1", "[training]\nsteps = 5\nlr = 1", "[optimiser]\nlr = 1"])
def test_an_unknown_key_is_refused(tmp_path, line):
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\nsource = "s"\n' + line)
    with pytest.raises(UadError, match=r"(colour|training\.lr|optimiser\.lr): unknown key"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("training.steps=100", lambda r: r.training.steps == 100),
        (" training.steps =100", lambda r: r.training.steps == 100),
        ("optimiser.learning_rate=1e-3", lambda r: r.optimiser.learning_rate == 1e-3),
        ("network.multipliers=[1, 2]", lambda r: r.network.multipliers == (1, 2)),
        ("noise.kind=gaussian", lambda r: r.noise.kind == "gaussian"),
        ('noise.kind="gaussian"', lambda r: r.noise.kind == "gaussian"),
        ("licence=CC BY 4.0 = free", lambda r: r.licence == "CC BY 4.0 = free"),
        ("network.middle_attention=false", lambda r: r.network.middle_attention is False),
        ("defaults={method = 'ddpm', t = [100]}", lambda r: r.defaults == DefaultsConfig(method="ddpm", t=(100,))),
    ],
)
def test_one_line_is_changed(change, read):
    recipe = load_recipe("t1-ddpm", [change])
    assert read(recipe)
    assert not read(load_recipe("t1-ddpm"))


def test_of_two_changes_the_last_counts():
    assert load_recipe("t1-ddpm", ["training.steps=100", "training.steps=50"]).training.steps == 50


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("training.steps", "expected KEY=VALUE"),
        ("", "expected KEY=VALUE"),
        ("training.step=3", "training.step: unknown key"),
        ("trainig.steps=3", "trainig: unknown key"),
        ("=3", "unknown key"),
        ("name.first=3", "name is no table"),
        ("training.steps.more=3", "steps is no table"),
        ("contrasts=[T1,FLAIR]", r"words want quotes in it: 'contrasts=\[\"...\"\]'"),
        ("training.steps=many", 'training.steps: a whole number is needed, and not "many"'),
        ("training.steps=0", "training.steps: above 0 is needed, and not 0"),
        ("training.t_range=[0, 2000]", r"training.t_range \[0, 2000\) must lie in \[0, schedule.steps = 1000\)"),
        ("training.t_range=[300, 300]", "must lie in"),
        ("schedule.steps=20", "a linear schedule needs more than 20"),
        ("grid.shape=[95, 96, 96]", "95 is no multiple of 8"),
        ("defaults.t=[1000]", "must be below schedule.steps"),
        ("augment.flip=1.5", "augment.flip"),
        ("optimiser.betas=[0.9, 1]", r"optimiser\.betas\.1"),
        ("optimiser.ema=1", r"optimiser\.ema"),
        ("training.loss=l3", r"training\.loss"),
    ],
)
def test_a_change_that_cannot_be_is_refused_in_one_line(change, reason):
    with pytest.raises(UadError, match=reason) as fault:
        load_recipe("t1-ddpm", [change])
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("recipe", "change", "reason"),
    [
        ("ae", "noise.kind=gaussian", "noise: without a meaning for models of kind 'ae'"),
        ("ae", "target=x0", "target: without a meaning"),
        ("ae", "beta=0.1", "beta: without a meaning"),
        ("ae", "training.t_range=[0, 500]", "training.t_range: without a meaning for models of kind 'ae'"),
        ("vae", "coarse.std=0.1", "coarse: without a meaning"),
        ("dae", "gan.share=0.1", "gan: without a meaning"),
        ("t1-ddpm", "beta=0.1", "beta: without a meaning for models of kind 'diffusion'"),
        ("t1-ddpm", "network.latent=3", "network.latent: unknown key"),
        (
            "t1-ddpm",
            "training.positions=random",
            "training.positions: without a meaning for models of kind 'diffusion'",
        ),
        ("cddpm", "training.loss_on=image", "training.loss_on: without a meaning"),
        ("pddpm", "encoder.base=32", "encoder: without a meaning for models of kind 'pddpm'"),
        ("cddpm", "patches.sizes=[48]", "patches: without a meaning"),
        ("cddpm", "hidden=0.5", "hidden: without a meaning"),
        ("spark", "hidden=1", "hidden: below 1 is needed, and not 1"),
        ("spark", "encoder.pretrained=x", "encoder.pretrained: cddpm starts from an encoder, and spark makes one"),
        ("pddpm", "training.positions=anywhere", "training.positions"),
        ("cddpm", "augment.ghosts=[9, 4]", "from the smaller number to the larger"),
        ("dae", "coarse.resolution=1", "coarse.resolution"),
        ("fanogan", "gan.share=1", "gan.share"),
        ("svae", "grid.shape=[96, 96, 1]", "need neighbouring slices"),
        ("vae", "grid.shape=[96, 90, 96]", "90 is no multiple of 16"),
    ],
)
def test_a_change_without_a_meaning_is_refused(recipe, change, reason):
    with pytest.raises(UadError, match=reason) as fault:
        load_recipe(recipe, [change])
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("name", names())
def test_every_recipe_fits_the_grid_of_headct_but_those_that_need_neighbours(name):
    change = ["grid.shape=[64, 64, 1]", "grid.spacing=[1, 1, 1]", "intensity.kind=none", "data.min_brain=0"]
    if name in ("any-small", "fewshot", "joined", "lsegdiff", "segment", "supervised", "svae"):
        with pytest.raises(UadError, match="neighbouring slices"):
            load_recipe(name, change)
    elif name.endswith("-3d"):
        with pytest.raises(UadError, match="1 is no multiple of"):
            load_recipe(name, change)
    else:
        assert load_recipe(name, change).grid.flat


@pytest.mark.parametrize("name", ["t1-ddpm", "distil"])
def test_a_variance_is_not_learnt(name):
    with pytest.raises(UadError, match=r"network\.variance learned: comes with networks of guided-diffusion"):
        load_recipe(name, ["network.variance=learned"])


def test_the_steps_of_a_gan():
    assert load_recipe("fanogan", ["training.steps=1000", "gan.share=0.7"]).first_usable == 700
    assert load_recipe("ae").first_usable == 0


def test_t_is_drawn_from_all_steps_unless_said_otherwise(tmp_path):
    (tmp_path / "r.toml").write_text(LEAST + "[schedule]\nsteps = 400")
    assert load_recipe(str(tmp_path / "r.toml")).t_range == (0, 400)
    assert load_recipe(str(tmp_path / "r.toml"), ["training.t_range=[3, 9]"]).t_range == (3, 9)


def test_a_recipe_survives_json(tiny_recipe, tiny_recipes):
    for recipe in (tiny_recipe, *tiny_recipes.values()):
        told = recipe.model_dump(mode="json")
        assert Recipe.model_validate(told) == recipe
        assert ("beta" in told) == (recipe.kind in ("vae", "cevae", "svae"))
        assert recipe.model({}).licence == recipe.licence == "as the training data"


def test_the_model_says_what_the_recipe_says(tiny_recipe):
    config = tiny_recipe.model({"steps": 7})
    assert isinstance(config, ModelConfig)
    for name in ("name", "licence", "network", "schedule", "target", "noise", "grid", "intensity", "defaults"):
        assert getattr(config, name) == getattr(tiny_recipe, name)
    assert config.training == {"steps": 7}


def test_least_recipe(tmp_path):
    assert Recipe.model_validate(tomllib.loads(LEAST)).target == "eps"


def test_what_training_starts_from_is_no_setting_of_the_model():
    recipe = load_recipe("cddpm", ["encoder.pretrained=there.safetensors"])
    assert recipe.encoder.pretrained == "there.safetensors"
    assert recipe.model({}).encoder == load_recipe("cddpm").model({}).encoder
    assert "pretrained" not in recipe.model({}).model_dump()["encoder"]


@pytest.mark.parametrize(("name", "other"), [("pddpm", "pddpm-code"), ("cddpm", "cddpm-code")])
def test_the_published_code_noises_otherwise_than_its_paper(name, other):
    assert (load_recipe(name).schedule.kind, load_recipe(other).schedule.kind) == ("linear", "cosine")
