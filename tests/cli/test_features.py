"""Features of published networks: imported, and images compared by them in the perceptual map."""

import json

import numpy as np
import pytest
import torch

from uadtools.models.checkpoint import file_hash
from uadtools.nets.lpips import Lpips
from uadtools.volume.stream import last_by, read_image

SHORT = {"autoddpm": ("-t", 12, "--again", 4), "thor": ("-t", 12, "--every", 5), "sss": ("--perceptual",)}
WIDTHS = {"alex": (4, 6, 5, 3, 4), "vgg": (2, 3, 4, 3, 2, 3, 4, 2, 3, 4, 3, 2, 3)}
IMPORT = ("models", "import", "w.pth", "--from", "lpips", "-o", "f.safetensors")


@pytest.fixture
def weights(here):
    """Save a narrow network of random weights as w.pth."""

    def save(kind="vgg"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = Lpips(kind, WIDTHS[kind])
        state = {f"features.{name}": value for name, value in net.features.state_dict().items()}
        state |= {f"lin{i}.model.1.weight": net.get_buffer(f"weights{i}").view(1, -1, 1, 1) for i in range(5)}
        torch.save(state, here / "w.pth")

    return save


@pytest.fixture
def heal(uad, prepared, tiny_model, here):
    """Heal the prepared scan p.nii.gz with the tiny model; returns the perceptual map and what the history says."""

    def run(method, *options):
        words = ("--model", tiny_model, "--method", method, *SHORT[method], "--maps", "--force", *options)
        result = uad("heal", prepared, *words)
        assert result.status == 0, result.err
        said = json.loads((here / "p_healed.json").read_text())["history"][-1]["arguments"]
        return read_image(here / "p_perceptual.nii.gz").data, said

    return run


@pytest.mark.parametrize("method", SHORT)
def test_the_map_is_of_these_features_and_the_history_says_of_which(weights, heal, uad, prepared, here, method):
    weights()
    own, said = heal(method)
    assert "features" not in said
    told = uad(*IMPORT, "--json")
    name = f"f.safetensors:{file_hash(here / 'f.safetensors')}"
    assert told.json == {"features": "f.safetensors", "network": "vgg", "name": name}
    others, said = heal(method, "--features", "f.safetensors")
    assert said["features"] == name
    assert others.max() > 0
    assert np.abs(others - own).max() > 0.1 * own.max()
    assert uad("score", prepared, "p_healed.nii.gz", "--metric", "perceptual", "-o", "s.nii.gz").status == 0
    assert uad("postproc", "s.nii.gz", "--threshold", "otsu", "--median", 1, "--erode", 0).status == 0
    assert uad("report", "s_detection.nii.gz", "-o", "s.html").status == 0
    assert "--features FILE" in (here / "s.html").read_text()
    np.testing.assert_array_equal(heal(method)[0], own)


def test_a_file_is_told_by_its_contents_not_by_its_name(weights, heal, uad):
    """What was healed with another file of that name is not taken as done."""
    weights()
    assert uad(*IMPORT).err.endswith("f.safetensors: features of vgg, for uad-heal --features\n")
    before, said = heal("sss", "--features", "f.safetensors")
    state = torch.load("w.pth", weights_only=True)
    torch.save({name: 2 * value for name, value in state.items()}, "w.pth")
    assert uad(*IMPORT, "--force").status == 0
    after, told = heal("sss", "--features", "f.safetensors")
    assert said["features"] != told["features"]
    assert np.abs(after - before).max() > 0.1 * before.max()


def test_what_cannot_be_is_told_in_one_line(weights, uad, prepared, tiny_model):
    weights("alex")
    assert uad(*IMPORT).status == 0
    words = ("heal", prepared, "--model", tiny_model, "--method")
    file = ("--features", "f.safetensors")
    uad(*words, "sss", *file).fails("heal", 1, "--features has no effect without --perceptual")
    uad(*words, "andi", *file).fails("heal", 1, "--features has no effect with --method andi")
    said = "--features: slices of 16 pixels, alex needs 31 (leave it out)"
    uad(*words, "sss", "--perceptual", *file).fails("heal", 1, said)
    nowhere = ("--features", "nowhere.safetensors")
    uad(*words, "thor", *nowhere).fails("heal", 1, "nowhere.safetensors: No such file")
    uad(*words, "thor", "--features", tiny_model).fails(
        "heal", 1, "a model, which holds no features (--model takes it; `uad-models import --from lpips`"
    )
    uad(*words, "thor", "--features", "any-small").fails("heal", 1, "any-small: a model, which holds no features")
    why = "f.safetensors: features to compare images by, no model (uad-heal --features takes it)"
    uad("models", "info", "f.safetensors").fails("models", 1, why)
    uad("heal", prepared, "--model", "f.safetensors").fails("heal", 1, why)
    uad(*IMPORT).fails("models", 1, "f.safetensors", "--force")
    idle = "--config, --set, --licence and --half: without an effect with --from lpips"
    uad(*IMPORT, "--half", "--force").fails("models", 2, idle)
    torch.save({"conv.weight": torch.zeros(1)}, "w.pth")
    uad(*IMPORT, "--force").fails("models", 1, "w.pth: no AlexNet or VGG16 with torchvision's or LPIPS' names")


PLAN = """
name = "compared"
[data]
val = ["p.nii.gz"]
[[set]]
name = "blobs"
val = ["p.nii.gz"]
test = ["q.nii.gz"]
simulate = { kind = "blobs", size = [4.0, 8.0] }
"""
METHOD = """
[[method]]
name = "%s"
model = "%s"
metric = "perceptual"
heal = { method = "sss", t = [12], perceptual = true%s }
"""


def test_a_comparison_takes_features_from_beside_its_data(weights, uad, prepared, tiny_model, here):
    weights()
    assert uad(*IMPORT).status == 0
    data = here / "data"
    data.mkdir()
    for name in ("p.nii.gz", "f.safetensors"):
        (here / name).rename(data / name)
    (data / "q.nii.gz").write_bytes((data / "p.nii.gz").read_bytes())
    methods = METHOD % ("own", tiny_model, "") + METHOD % ("vgg", tiny_model, ', features = "f.safetensors"')
    (here / "plan.toml").write_text(PLAN + methods)
    ran = uad("bench", "plan.toml", "--data", "data", "-o", "out", "-q")
    assert ran.status == 0, ran.err
    own, vgg = (sorted(folder.glob("*.nii.gz")) for folder in (here / "out/scores").iterdir())
    assert [path.name for path in own] == [path.name for path in vgg]
    scores = [read_image(paths[0]).data for paths in (own, vgg)]
    assert np.abs(np.subtract(*scores)).max() > 0.1 * min(score.max() for score in scores) > 0
    (here / "plan.toml").write_text(PLAN + methods.replace("f.safetensors", "g.safetensors"))
    uad("bench", "plan.toml", "--data", "data", "-o", "out").fails("bench", 1, "method 'vgg': data/g.safetensors: No")


def test_a_run_compares_by_features_and_knows_when_they_are_others(weights, uad, scan, tiny_model, here):
    weights()
    assert uad(*IMPORT).status == 0
    run = ("run", scan, "-o", "out", "--model", tiny_model, "--method", "sss", "-t", 12, "--keep")
    run += ("--set", "heal.perceptual", "--set", "score.metric=perceptual", "--set", "postproc.threshold=otsu")
    run += ("--set", "heal.features=f.safetensors")
    assert "--features f.safetensors" in uad(*run, "--dry-run").out.decode()
    ran = uad(*run)
    assert ran.status == 0, ran.err
    said = last_by(read_image(here / "out/raw_perceptual.nii.gz"), "uad-heal")["arguments"]
    assert said["features"] == f"f.safetensors:{file_hash(here / 'f.safetensors')}"
    assert "--features FILE" in (here / "out/raw.html").read_text()
    assert "1 done before" in uad(*run).err
    state = torch.load("w.pth", weights_only=True)
    torch.save({name: 2 * value for name, value in state.items()}, "w.pth")
    assert uad(*IMPORT, "--force").status == 0
    uad(*run).fails("run", 1, "out/raw", "--force")
