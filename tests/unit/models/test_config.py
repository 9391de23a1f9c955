import subprocess
import sys
from pathlib import Path

import pytest

from uadtools.errors import UadError
from uadtools.methods.diffusion import DenoiserConfig
from uadtools.models.checkpoint import default_path, located, read_config
from uadtools.models.config import (
    DefaultsConfig,
    GridConfig,
    IntensityConfig,
    ModelConfig,
    NoiseConfig,
    NoisedSettings,
    ScheduleConfig,
    parse,
)
from uadtools.models.networks import (
    BitsConfig,
    BottleneckConfig,
    CodebookConfig,
    DenseConfig,
    EncoderConfig,
    MaskedConfig,
    SequenceConfig,
    UNetConfig,
)


def test_the_defaults_make_a_model():
    config = parse(ModelConfig, {"name": "m"}, "here")
    assert config.network.divisor == 16
    assert config.grid.shape == (96, 96, 96)
    assert config.defaults.method == "sss"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"name": "m", "colour": 1}, "here: colour: unknown key"),
        ({"name": "m", "network": {"bas": 64}}, "here: network.bas: unknown key"),
        ({}, "here: name: is missing"),
        ({"name": "m", "grid": {"shape": [96, 0, 96]}}, "here: grid.shape.1: above 0 is needed, and not 0"),
        ({"name": "m", "x": 1, "schedule": {"y": 2}}, "here: schedule.y: unknown key; x: unknown key"),
        ([], "here: a table is needed, and not []"),
    ],
)
def test_a_fault_is_told_with_its_key_in_one_line(data, expected):
    with pytest.raises(UadError) as fault:
        parse(ModelConfig, data, "here")
    assert str(fault.value) == expected


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        (UNetConfig, {"base": 24}, r"groups = 32 must divide the channels of every level: \[24, 24, 48, 72, 96\]"),
        (UNetConfig, {"base": 32, "heads": 5, "groups": 8}, "heads = 5 must divide"),
        (UNetConfig, {"base": 9, "heads": 3, "groups": 3}, "base = 9 must be even"),
        (UNetConfig, {"multipliers": []}, "multipliers"),
        (UNetConfig, {"dropout": 1}, "dropout"),
        (UNetConfig, {"base": 1 << 17}, "base: .* 65536"),
        (UNetConfig, {"res_blocks": 257}, "res_blocks: .* 256"),
        (UNetConfig, {"kind": "vit"}, "kind"),
        (ScheduleConfig, {"kind": "sigmoid"}, "kind"),
        (ScheduleConfig, {"steps": 1, "kind": "cosine"}, "steps"),
        (ScheduleConfig, {"steps": 20}, "a linear schedule needs more than 20"),
        (ScheduleConfig, {"kind": "quadratic", "steps": 20}, "a quadratic schedule needs more than 20"),
        (NoiseConfig, {"persistence": 0}, "persistence"),
        (NoiseConfig, {"frequency": float("nan")}, "frequency"),
        (NoiseConfig, {"scale": "half"}, "scale"),
        (GridConfig, {"spacing": [2, 2]}, "spacing"),
        (IntensityConfig, {"low": 60, "high": 40}, "low = 60.0 must be below high = 40.0"),
        (IntensityConfig, {"high": 101}, "high"),
        (DenseConfig, {"base": 12}, r"groups = 8 must divide the channels of every level: \[12, 24, 48, 48\]"),
        (DenseConfig, {"latent": 0}, "latent"),
        (DenseConfig, {"reach": 1}, "reach: unknown key"),
        (SequenceConfig, {"reach": 0}, "reach"),
        (DefaultsConfig, {"t": [-1]}, r"t\.0"),
        (DefaultsConfig, {"samples": 0}, "samples"),
        (DefaultsConfig, {"thresholds": {"sss 300": 0}}, "thresholds"),
        (ModelConfig, {"name": "m", "grid": {"shape": [96, 90, 96]}}, "90 is no multiple of 16"),
        (ModelConfig, {"name": "m", "defaults": {"t": [300, 1000]}}, "must be below schedule.steps = 1000"),
    ],
)
def test_what_cannot_be_is_refused(kind, data, reason):
    with pytest.raises(UadError, match=reason) as fault:
        parse(kind, data, "here")
    assert "\n" not in str(fault.value)


DENSE = {"name": "m", "kind": "ae", "defaults": {"method": "ae"}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"kind": "gan"},
            "^here: kind: there are 'diffusion', 'ae', 'bernoulli', .* or 'vqvae', and not \"gan\"$",
        ),
        ({"network": {"heads": 2}}, "^here: network.heads: unknown key$"),
        ({"network": {"base": 12}}, "^here: network: groups = 8 must divide"),
        ({"network": {"kind": "unet"}}, "network.kind unet: not that of models of kind 'ae'"),
        ({"network": {"kind": "vit"}}, "network.kind vit: not that of models of kind 'ae'"),
        ({"network": 3}, "^here: network: "),
        ({"kind": ["ae"]}, "^here: kind: "),
        ({"defaults": 3}, "^here: defaults: "),
        ({"target": "eps"}, r"target: without a meaning for models of kind 'ae' \(leave it out\)"),
        ({"schedule": {}, "noise": {}}, "schedule, noise: without a meaning"),
        ({"defaults": {"t": [300]}}, "defaults.t: without a meaning"),
        ({"defaults": {"samples": 2}}, "defaults.samples: without a meaning"),
        ({"patches": {}}, "patches: without a meaning"),
        ({"kind": "dae", "network": {}, "encoder": {}}, "encoder: without a meaning"),
        ({"kind": "pddpm", "network": {}}, "target eps: what is not noised has no noise to tell; patches need x0"),
        (
            {"kind": "pddpm", "network": {}, "target": "x0", "patches": {"sizes": [97]}},
            "larger than the slices of 96x96x",
        ),
        ({"kind": "pddpm", "network": {}, "target": "x0", "patches": {"sizes": []}}, "patches.sizes"),
        (
            {"kind": "pddpm", "network": {}, "target": "x0", "patches": {"stride": 60}},
            "stride 60: leaves gaps between pat",
        ),
        ({"kind": "pddpm", "network": {}, "target": "x0", "patches": {"sizes": [48, 48]}}, "the same size twice"),
        ({"kind": "spark", "network": {}, "grid": {"shape": [96, 80, 9]}}, "80 is no multiple of 32"),
        ({"kind": "cddpm", "network": {"head_channels": 48}}, "head_channels = 48 must divide"),
        ({"grid": {"shape": [96, 104, 96]}}, "104 is no multiple of 16"),
        ({"kind": "svae", "grid": {"shape": [96, 96, 1]}}, "models of kind 'svae' need neighbouring slices"),
    ],
)
def test_what_has_no_meaning_for_a_kind_of_model_is_refused(change, reason):
    with pytest.raises(UadError, match=reason) as fault:
        parse(ModelConfig, DENSE | change, "here")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        ("diffusion", DenoiserConfig), ("dae", UNetConfig), ("ae", BottleneckConfig), ("vae", DenseConfig),
        ("svae", SequenceConfig), ("fanogan", DenseConfig), ("pddpm", UNetConfig), ("cddpm", UNetConfig),
        ("spark", MaskedConfig), ("restoration", UNetConfig), ("vqvae", CodebookConfig),
        ("distilled", DenoiserConfig), ("binary", BitsConfig),
    ],
)  # fmt: skip
def test_the_network_follows_from_the_kind_of_model(kind, network):
    given = {"name": "m", "kind": kind} | ({"target": "x0"} if kind == "pddpm" else {})
    made = parse(ModelConfig, given, "here")
    assert made.network == network()
    assert made.defaults.method == {"diffusion": "sss", "restoration": "restore"}.get(kind, kind)
    assert made.reach == (2 if kind == "svae" else 0)
    told = made.model_dump(mode="json")
    assert ({"schedule", "target", "noise"} <= told.keys()) == isinstance(made, NoisedSettings)
    assert ("encoder" in told, "patches" in told) == (kind in ("cddpm", "spark"), kind == "pddpm")
    assert parse(ModelConfig, told, "there") == made


def test_the_bundled_models_are_one_of_restoration_and_one_of_diffusion():
    config = read_config(default_path())
    assert (config.kind, config.network.kind, config.defaults.method) == ("restoration", "unet", "restore")
    config = read_config(located(Path("t1-ddpm")))
    assert (config.kind, config.network.kind, config.defaults.t) == ("diffusion", "unet", (300,))


def test_schedules_just_long_enough_are_taken():
    from uadtools.diffusion.schedule import Schedule

    for config in (ScheduleConfig(steps=21), ScheduleConfig(kind="cosine", steps=2)):
        made = Schedule.of(config.kind, config.steps)
        assert ((made.betas > 0) & (made.betas < 1)).all()
        assert made.alpha_bar(config.steps - 1) > 0


def test_slices_need_no_depth_that_fits_the_network():
    assert parse(ModelConfig, {"name": "m", "grid": {"shape": [96, 96, 97]}}, "here").grid.shape[2] == 97


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        GridConfig().shape = (1, 1, 1)


def test_settings_survive_json():
    config = parse(
        ModelConfig, {"name": "m", "training": {"steps": 3}, "defaults": {"thresholds": {"sss 300": 0.1}}}, "here"
    )
    assert parse(ModelConfig, config.model_dump(mode="json"), "there") == config


def test_settings_are_read_without_torch():
    code = "import sys, uadtools.models.config, uadtools.models.checkpoint; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_heads_of_so_many_channels_divide_where_there_is_attention():
    assert UNetConfig(heads=3, head_channels=64).head_channels == 64
    small = {"base": 32, "multipliers": (1, 2), "head_channels": 64}
    assert UNetConfig(**small, attention=()).head_channels == 64
    with pytest.raises(ValueError, match="head_channels = 64 must divide"):
        UNetConfig(**small, attention=(1,))


@pytest.mark.parametrize(("blocks", "divisor"), [((3, 4, 6, 3), 32), ((1,), 4), ((2, 2, 2), 16)])
def test_the_last_features_of_an_encoder(blocks, divisor):
    assert EncoderConfig(blocks=blocks).divisor == divisor
