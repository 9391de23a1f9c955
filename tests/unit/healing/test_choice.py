"""Which bundled model does what is asked for."""

from dataclasses import replace

import pytest

from uadtools import methods
from uadtools.anatomy import contrast as contrast_module
from uadtools.anatomy.contrast import Contrast
from uadtools.bench.plan import BenchConfig
from uadtools.bench.run import Bench, Runner
from uadtools.errors import UadError
from uadtools.healing import choice
from uadtools.healing.choice import alternatives, bundled_for, suited
from uadtools.models.checkpoint import bundled, default_path, located, read_config
from uadtools.models.likeness import Unlike
from uadtools.training.recipe import load_recipe
from uadtools.volume.stream import Study


@pytest.fixture
def shipped(ship, tiny_model, tiny_models):
    """Bundled models, by name: the default m is a vae; z and a diffuse; an autoencoder."""
    return ship(m=tiny_models["vae"], a=tiny_model, ae=tiny_models["ae"], z=tiny_model)


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


@pytest.mark.parametrize("method", [name for name in methods.names() if methods.kinds(name)])
def test_where_none_can_a_recipe_is_named(method, tiny_models, ship):
    """And it is one that trains such a model."""
    ship(m=tiny_models["ae" if method != "ae" else "vae"])
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
    assert found == (shipped[expected] if expected else base / model)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(("method", "expected"), [(None, ["m"]), ("vae", ["m"]), ("sss", ["a", "z"]), ("ae", ["ae"])])
def test_a_scan_gets_one_of_those_of_the_same_kind(method, expected):
    assert [path.stem for path in alternatives(method)] == expected


@pytest.fixture
def configs(tiny_config, healthy_table):
    """Of a model that knows several contrasts, of one for T1 alone, and of one that does not say."""
    several = healthy_table.model_copy(update={"contrasts": dict.fromkeys(["T1", "T2"], healthy_table.contrasts["T1"])})
    return [tiny_config.model_copy(update={"likeness": table}) for table in (several, healthy_table, None)]


@pytest.fixture
def typical(monkeypatch):
    """Every scan looks like those that models learnt from."""
    monkeypatch.setattr(choice, "judged", lambda *given: Unlike(0.4, 1.1, "", 0.8))


@pytest.mark.usefixtures("typical")
@pytest.mark.parametrize(
    ("contrast", "expected"),
    [
        ({"name": "T1", "p": {"T1": 0.995, "T2": 0.005}, "away": 0.3}, 1),
        ({"name": "T1", "p": {"T1": 0.98, "T2": 0.02}, "away": 0.3}, 0),  # not sure enough
        ({"name": "T2", "p": {"T1": 0.0, "T2": 1.0}, "away": 0.3}, 0),
        ({"name": "other", "p": {"T1": 1.0, "T2": 0.0}, "away": 2.0}, 0),  # the nearest, but far from it
        (None, 0),  # too small a scan to tell
    ],
)
def test_the_model_of_one_contrast_is_for_scans_that_surely_have_it(contrast, expected, configs, phantom):
    scan = phantom.need("scan")
    known = replace(scan, provenance={"contrast": contrast} if contrast else {})
    assert suited(Study("p", {"scan": known}), configs) == expected
    assert suited(Study("p", {"scan": known}), [configs[0], configs[2]]) == 0


@pytest.mark.parametrize(("p", "beyond", "expected"), [(0.5, False, 1), (0.49, False, 0), (0.9, True, 0)])
def test_and_no_less_like_what_it_learnt_from_than_half_of_that_is(p, beyond, expected, configs, phantom, monkeypatch):
    monkeypatch.setattr(choice, "judged", lambda *given: Unlike(2.0 if beyond else 0.4, 1.1, "", p))
    told = {"name": "T1", "p": {"T1": 1.0, "T2": 0.0}, "away": 0.3}
    known = replace(phantom.need("scan"), provenance={"contrast": told})
    assert suited(Study("p", {"scan": known}), configs) == expected


@pytest.mark.usefixtures("typical")
@pytest.mark.parametrize(("found", "expected"), [("T1", 1), ("other", 0)])
def test_a_scan_that_was_prepared_elsewhere_is_looked_at(found, expected, configs, phantom, monkeypatch):
    monkeypatch.setattr(contrast_module, "seen", lambda *given: Contrast(found, {"T1": 1.0, "T2": 0.0}, 0.2))
    assert suited(phantom, configs) == expected


def test_no_method_of_this_name():
    with pytest.raises(UadError, match="no method 'magic'"):
        bundled_for("magic")


def test_a_model_is_located_by_file_then_by_name(shipped, tmp_path_factory, monkeypatch):
    base = tmp_path_factory.mktemp("base")
    monkeypatch.chdir(base)
    (base / "z").write_bytes(b"")
    assert located(None) == shipped["m"]
    assert located(base.joinpath("a").relative_to(base)) == shipped["a"]
    assert str(located(base.joinpath("z").relative_to(base))) == "z"
    assert located(base / "a") == base / "a"
    monkeypatch.chdir(shipped["m"].parent)
    assert located(base.joinpath("z").relative_to(base), base) == base / "z"
    assert located(base.joinpath("a").relative_to(base), base) == shipped["a"]
