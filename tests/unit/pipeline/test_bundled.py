"""Which bundled model does what is asked for."""

import pytest

from uadtools import methods
from uadtools.errors import UadError
from uadtools.models import checkpoint
from uadtools.models.checkpoint import bundled, default_path, located, read_config
from uadtools.pipeline.bench import Bench, Runner
from uadtools.pipeline.bench_plan import BenchConfig
from uadtools.pipeline.bundled import bundled_for
from uadtools.training.recipe import load_recipe


@pytest.fixture
def shipped(tmp_path, tiny_model, tiny_models, monkeypatch):
    """Bundled models, by name: the default m is a vae; z and a diffuse; an autoencoder."""
    for name, file in {"a": tiny_model, "ae": tiny_models["ae"], "m": tiny_models["vae"], "z": tiny_model}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(file.read_bytes())
    monkeypatch.setattr(checkpoint, "files", lambda package: tmp_path)
    monkeypatch.setattr(checkpoint, "DEFAULT", "m")
    return tmp_path


def test_every_bundled_model_says_its_own_name():
    assert bundled()[0] == default_path()
    assert all(read_config(path).name == path.stem for path in bundled())


@pytest.mark.usefixtures("shipped")
def test_the_default_comes_first():
    assert [path.stem for path in bundled()] == ["m", "a", "ae", "z"]


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    ("method", "expected"), [(None, "m"), ("vae", "m"), ("blur", "m"), ("sss", "a"), ("ddim", "a"), ("ae", "ae")]
)
def test_the_default_if_it_can_else_the_first_that_can(method, expected):
    assert bundled_for(method).stem == expected


@pytest.mark.parametrize("method", [name for name in methods.NAMES if methods.KINDS[name]])
def test_where_none_can_a_recipe_is_named(method, tmp_path, tiny_models, monkeypatch):
    """And it is one that trains such a model."""
    other = "ae" if method != "ae" else "vae"
    (tmp_path / "m.safetensors").write_bytes(tiny_models[other].read_bytes())
    monkeypatch.setattr(checkpoint, "files", lambda package: tmp_path)
    monkeypatch.setattr(checkpoint, "DEFAULT", "m")
    with pytest.raises(UadError, match=rf"^--method {method} needs a model of kind ") as raised:
        bundled_for(method)
    recipe = str(raised.value).partition("--recipe ")[2].split()[0]
    assert load_recipe(recipe).kind in methods.kinds(method)


@pytest.mark.parametrize(
    ("model", "method", "expected"),
    [("bundled", "sss", "a"), ("bundled", "vae", "m"), ("bundled", None, "m"), ("z", "sss", "z"), ("here", "ae", None)],
)
def test_what_a_plan_of_uad_bench_means(model, method, expected, shipped, tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    heals = {"name": "x", "model": model, "heal": {"method": method} if method else {}}
    plan = {"name": "p", "set": [{"name": "s", "val": ["a"], "test": ["b"]}], "method": [heals]}
    bench = Bench(BenchConfig.model_validate(plan), base, base / "out")
    found = Runner(bench, bench.config.methods[0])._path
    assert found == (shipped / f"{expected}.safetensors" if expected else base / model)


def test_no_method_of_this_name():
    with pytest.raises(UadError, match="no method 'magic'"):
        bundled_for("magic")


def test_a_model_is_located_by_file_then_by_name(shipped, tmp_path_factory, monkeypatch):
    base = tmp_path_factory.mktemp("base")
    monkeypatch.chdir(base)
    (base / "z").write_bytes(b"")
    assert located(None) == shipped / "m.safetensors"
    assert located(base.joinpath("a").relative_to(base)) == shipped / "a.safetensors"
    assert str(located(base.joinpath("z").relative_to(base))) == "z"
    assert located(base / "a") == base / "a"
    monkeypatch.chdir(shipped)
    assert located(base.joinpath("z").relative_to(base), base) == base / "z"
    assert located(base.joinpath("a").relative_to(base), base) == shipped / "a.safetensors"
