"""The plans of tables in print, each on made-up data sets as they are handed out, with tiny networks."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from handed_out import HEALTHY, ball, handed_out

from uadtools.bench.plan import load_bench
from uadtools.bench.run import Bench
from uadtools.cohort.preprocess import preprocess_all
from uadtools.preparing.options import settle
from uadtools.training.recipe import load_recipe
from uadtools.training.train import train

FOLDER = Path("examples/bench")
PLANS = sorted(FOLDER.glob("*.toml"))
PRINTED = sorted((FOLDER / "printed").glob("*.csv"))
SIDE = 16
SETS = {
    "ixi": ("ixi", "T2"), "brats21": ("brats2021", "T2"), "brats20": ("brats2020", "T2"),
    "brats": ("brats2020", "FLAIR"), "mslub": ("mslub", "T2"), "atlas": ("atlas2", "T1"),
    "wmh": ("wmh2017", "FLAIR"), "nfbs": ("nfbs", "T1"), "tumours": ("bids", "T1"), "ukb": ("ixi", "PD"),
    "ukb-sick": ("bids", "FLAIR"), "cromis": ("ixi", "T1"), "cromis-sick": ("bids", "T1"), "kch": ("bids", "FLAIR"),
    "chronic": ("isles2022", "DWI"),
}  # fmt: skip
"""What stands for the folders of the plans: those that no layout has are made of others."""
NETWORK = {
    "base": 8, "multipliers": [1, 2], "res_blocks": 1, "attention": [], "middle_attention": False, "heads": 1,
    "groups": 4, "patch": 1, "embedding": "scale_shift", "resample": "conv",
}  # fmt: skip
DENSE = {"base": 8, "multipliers": [1, 2], "latent": 6, "groups": 4}
ENCODER = {"base": 4, "blocks": [1, 1], "dimension": 6}
CODES = {"widths": [4, 8], "residuals": 1, "codes": 16, "dimension": 3}
OF_KIND = {
    "vae": {"network": DENSE},
    "svae": {"network": DENSE | {"reach": 1}},
    "fanogan": {"network": DENSE, "gan": {"share": 0.5, "critic": 2}},
    "restoration": {"network": NETWORK | {"reach": 1, "skips": "blocks"}},
    "cddpm": {"network": NETWORK},
    "ldm": {"network": NETWORK, "region": {"steps": [40, 60], "percentile": 97.5}},
    "transformer": {"network": {"width": 8, "layers": 1, "heads": 2, "dropout": 0.1}},
}
"""Tables of recipes that are replaced, by the kind of the model; of others it is the network."""


def inline(value):
    """Write tables as TOML has them in one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {inline(part)}' for key, part in value.items())} }}"
    return json.dumps(value)


def tiny(recipe, changes=(), shape=(SIDE, SIDE, SIDE)):
    """Return the changes that make a published recipe one of a second: its own, and smaller tables."""
    whole = load_recipe(recipe, changes)
    tables = OF_KIND.get(whole.kind, {"network": NETWORK})
    if whole.kind == "ae":
        tables = {"network": DENSE | {"spatial": whole.network.spatial}}
    made = [re.sub(r"patches.sizes=\[(\d+)\]", lambda size: f"patches.sizes=[{int(size[1]) // 6}]", c) for c in changes]
    made = [change for change in made if not change.startswith(("grid.", "autoencoder.widths"))]
    made += ['intensity={ kind = "percentile", low = 1.0, high = 99.0 }'] if whole.intensity.kind == "ct" else []
    made += [f"{key}={inline(table)}" for key, table in tables.items()]
    made += [f"grid.shape={[*shape]}", f"grid.spacing={[1.0 if shape[2] == 1 else 2.0] * 3}"]
    made += ["training.steps=1", "training.batch=2", "optimiser.warmup=0", "optimiser.decay=0", "data.min_brain=0"]
    if whole.kind == "cddpm":
        pretrained = {"pretrained": str(whole.encoder.pretrained)} if whole.encoder.pretrained else {}
        made.append(f"encoder={inline(ENCODER | pretrained)}")
    if whole.kind in ("ldm", "transformer"):
        made.append(f"autoencoder={inline(CODES | {'pretrained': 'vqvae.safetensors'})}")
    if whole.kind == "pddpm" and "patches.sizes" not in "".join(changes):
        made.append("patches.sizes=[8]")
    if "schedule" in whole.model_fields_set:
        made += ["schedule.steps=100", "training.t_range=[0, 100]", "defaults.t=[50]"]
    if whole.kind == "restoration":
        made += ["corruption.anomalies.radius=[1.0, 4.0]", "corruption.anomalies.fade=10"]
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of all plans: data sets, prepared and parted, and what is trained before them."""
    root = tmp_path_factory.mktemp("published")
    people = {
        layout: 3 if layout in HEALTHY else 2 for layout, _ in SETS.values()
    }  # one is judged: no permutation test
    raw = {layout: handed_out(root / "raw" / layout, layout, count) for layout, count in people.items()}
    small = {"shape": str(SIDE), "spacing": "2", "brain": "none"}
    for name, (layout, contrast) in SETS.items():
        split = "test=1,val=1,train" if layout in HEALTHY else "val=1,test"
        preprocess_all(str(raw[layout]), root / name, layout=layout, suffix=contrast, split=split, **small)
    images = np.stack([ball(n)[:, :, SIDE // 2] / 1000 * 255 for n in range(4)]).astype(np.uint8)
    np.savez(root / "headct_64.npz", train=images[:2], val=images[2:3], test=images[3:])
    learnt = {"validation": [str(root / "ixi/val.csv")], "force": True}
    scans = [str(root / "ixi/train.csv")]
    spark = [f"encoder={inline(ENCODER)}", "network.width=16"]
    codes = [f"network={inline(CODES)}"]
    for recipe, more in (("spark", spark), ("vqvae", codes)):
        changes = [*tiny(recipe)[1:], *more]
        train(scans, root / f"{recipe}.safetensors", load_recipe(recipe, changes), **learnt)
    return root


def small(config):
    """Make the plan of a table one of a minute: tiny networks, a tenth of the steps, the same rows and sets."""
    stacks = config.data.unit == "slice" and not config.data.slices  # else they are volumes
    shape = (SIDE, SIDE, 1 if stacks else SIDE)
    methods = []
    for method in config.methods:
        heal = {**method.heal}
        if method.recipe:
            steps = "schedule" in load_recipe(method.recipe, method.changes).model_fields_set
            heal |= {"t": [int(t) // 10 for t in np.atleast_1d(heal["t"])]} if steps and "t" in heal else {}
            changes = tuple(tiny(method.recipe, method.changes, shape))
            method = method.model_copy(update={"changes": changes, "heal": heal})  # noqa: PLW2901
        methods.append(method)
    steps = config.postproc.model_copy(update={"erode": 0})
    sets = [
        part.model_copy(update={"simulate": part.simulate.model_copy(update={"size": (6.0, 12.0)})})
        if part.simulate and part.simulate.kind == "blobs"
        else part
        for part in config.sets
    ]
    return config.model_copy(update={"methods": tuple(methods), "postproc": steps, "sets": tuple(sets)})


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_plan_runs_on_made_up_data_with_all_its_rows(plan, data, monkeypatch):
    monkeypatch.chdir(data)
    config = load_bench(Path(__file__).parents[3] / plan)
    table = Bench(small(config), data, data / "results").run()
    assert [part["set"] for part in table["sets"]] == [part.name for part in config.sets]
    for part in table["sets"]:
        assert [row["method"] for row in part["rows"]] == [method.name for method in config.methods]
        for row in part["rows"]:
            assert row["auprc"]["value"] is not None
            assert row["threshold"] is not None


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_scans_are_prepared_as_the_models_of_a_plan_want_them(plan):
    """By the commands at its head: the same grid and window of intensities, or what every plan of pictures has."""
    commands = re.findall("^#?.*uad-preprocess (.*)", plan.read_text(), re.MULTILINE)
    assert commands or "headct" in plan.read_text()
    for words in map(shlex.split, commands):
        given = dict(zip(words, [*words[1:], ""], strict=True))
        named = {name: given[f"--{name}"] for name in ("like", "shape", "spacing", "intensity") if f"--{name}" in given}
        prepared = settle(register="none", **named)
        for method in load_bench(plan).methods:
            if method.recipe:
                recipe = load_recipe(method.recipe, method.changes)
                assert (recipe.grid.shape, recipe.grid.spacing) == (prepared.grid.shape, prepared.grid.spacing)
                assert str(recipe.intensity) == str(prepared.intensity)


COUNTS = {
    "pddpm-table1": 10 * 5, "cddpm-t2": 13 * 4 + 7 * 5, "cddpm-t1": 13 * 4 + 7 * 2, "cddpm-table4-t2": 12 * 2,
    "cddpm-table4-t1": 12 * 2, "damudi-table2": 5 * 4, "pinaya-table1": 8 * 2, "pinaya-table2": 6 * 4,
    "pinaya-table3": 10 * 3,
}  # fmt: skip
"""Rows times columns that are printed."""


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: path.stem)
def test_what_is_printed_has_its_rows_in_the_plan(path):
    config = load_bench(FOLDER / f"{path.stem}.toml")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["set"], row["method"], row["figure"]) for row in rows}) == len(rows) == COUNTS[path.stem]
    assert {row["set"] for row in rows} == {part.name for part in config.sets}
    for row in rows:
        assert row["method"] in [method.name for method in config.methods]
        assert 0 <= float(row["value"]) < 100
        assert row["deviation"] == "" or float(row["deviation"]) >= 0
