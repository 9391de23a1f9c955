"""Checkpoints of other programs, imported: the outputs of their networks, and their full sizes (data/06*)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.diffusion.schedule import betas
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.healing.catalogue import check, import_model
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.foreign_names import of_guided, unet_sizes
from uadtools.models.model import load_model
from uadtools.nets.resnet import ResNet
from uadtools.nets.unet import UNet
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

DATA = Path(__file__).parent / "data"
TINY = {"grid": {"shape": [32, 32, 4]}}
FULL = {
    "anoddpm": "anoddpm_256_base128_default_heads2",
    "pddpm": "pddpm_patched_96_base128_122",
    "ddpm": "pddpm_ddpm2d_96_base128_122",
    "cddpm": "cddpm_96_base128_122_cond512",
    "encoder": "cddpm_encoder_timm_resnet50_in1_out512",
}
SIZES = {
    "anoddpm": {"multipliers": (1, 1, 2, 2, 4, 4), "res_blocks": 2, "attention": (8, 16, 32), "embedding": "add"},
    "pddpm": {"multipliers": (1, 2, 2), "res_blocks": 3, "attention": (), "embedding": "scale_shift"},
    "ddpm": {"multipliers": (1, 2, 2), "res_blocks": 3, "attention": (), "embedding": "add"},
    "cddpm": {"multipliers": (1, 2, 2), "res_blocks": 3, "attention": (), "embedding": "scale_shift"},
}


def read(name):
    """The arrays of a file, and the state dict among them."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    return arrays, {key[4:]: value for key, value in arrays.items() if key.startswith("sd::")}


def close(made, expected):
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


def imported(checkpoint, program, folder, given):
    """Save a checkpoint as torch does, import it and load it."""
    torch.save(checkpoint, folder / "theirs.pt")
    out = folder / "ours.safetensors"
    made = import_model(folder / "theirs.pt", program, out, given=given)
    return load_model(out, device="cpu", precision="fp32"), made


@torch.no_grad()
def test_anoddpm_with_its_averaged_weights(tmp_path):
    arrays, state = read("06a_anoddpm_unet_tiny")
    others = {key: torch.zeros_like(value) for key, value in state.items()}
    model, made = imported({"n_epoch": 3, "model_state_dict": others, "ema": state}, "anoddpm", tmp_path, TINY)
    close(model.net(arrays["x"], arrays["t"]), arrays["output"])
    assert made["assumed"]["network.heads"] == 2


@torch.no_grad()
def test_anoddpm_with_another_number_of_heads(tmp_path):
    arrays, state = read("06a_anoddpm_unet_tiny")
    model, made = imported(state, "anoddpm", tmp_path, TINY | {"network": {"heads": 1}})
    close(model.net(arrays["x"], arrays["t"]), arrays["output_n_heads1"])
    assert not {"network.heads", "network.head_channels"} & made["assumed"].keys()


@torch.no_grad()
def test_pddpm_with_its_schedule(tmp_path):
    arrays, state = read("06c_pddpm_unet_tiny_patched_ss")
    with np.load(DATA / "02_schedules.npz") as file:
        saved = {"diffusion.betas": torch.from_numpy(file["pddpm_default_buffer_betas"])}
    lightning = {"epoch": 7, "state_dict": {f"diffusion.model.{key}": value for key, value in state.items()} | saved}
    given = TINY | {"network": {"heads": 2}, "patches": {"sizes": [16]}}
    model, made = imported(lightning, "pddpm", tmp_path, given)
    close(model.net(arrays["x"], arrays["t"]), arrays["output"])
    assert (model.config.kind, model.config.schedule.kind, model.schedule.steps) == ("pddpm", "cosine", 1000)
    assert "schedule.kind" not in made["assumed"]


@torch.no_grad()
def test_cddpms_u_net():
    arrays, state = read("06d_cddpm_unet_tiny")
    weights = {of_guided(key): value for key, value in state.items()}
    sizes = unet_sizes({name: tuple(value.shape) for name, value in weights.items()})
    del sizes["kind"]
    net = UNet(**sizes, heads=2, attention_order="qkv_first", condition=16, condition_mlp=True)
    net.load_state_dict(weights)
    close(net(arrays["x"], arrays["t"], arrays["cond"]), arrays["output"])


@torch.no_grad()
def test_cddpm_with_its_encoder(tmp_path):
    arrays, state = read("06d_cddpm_unet_tiny")
    torch.manual_seed(0)
    encoder = ResNet(base=8, blocks=(1, 2), dimension=16).eval()
    theirs = {timms(name): value for name, value in encoder.state_dict().items()}
    both = {f"diffusion.model.{key}": value for key, value in state.items()}
    both |= {f"encoder.encoder.{key}": value for key, value in theirs.items()}
    model, _ = imported({"state_dict": both}, "cddpm", tmp_path, TINY | {"network": {"heads": 2}})
    close(model.net(arrays["x"], arrays["t"], arrays["cond"]), arrays["output"])
    close(model.ask(arrays["x"], of=model.net.encoder), encoder(arrays["x"]))
    assert model.config.encoder.model_dump() == {"base": 8, "blocks": (1, 2), "dimension": 16, "mlp": True}


def timms(name):
    """What timm calls a weight of our encoder."""
    for ours, theirs in (("stages.0", "layer1"), ("stages.1", "layer2"), ("skip_conv", "downsample.0")):
        name = name.replace(ours, theirs)
    for ours, theirs in (("skip_norm", "downsample.1"), ("stem", "conv1"), ("head", "fc"), ("norm", "bn")):
        name = name.replace(ours, theirs)
    return name.replace("bn.", "bn1.") if name.startswith("bn.") else name


@pytest.mark.parametrize("resblocks", [False, True])
@pytest.mark.parametrize("one_linear", [False, True])
@torch.no_grad()
def test_monai(resblocks, one_linear, tmp_path):
    monai = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    theirs = monai.DiffusionModelUNet(
        2, 1, 1, num_res_blocks=2, channels=(32, 64, 64), attention_levels=(False, True, True), num_head_channels=16,
        resblock_updown=resblocks, use_combined_linear=one_linear,
    ).eval()  # fmt: skip
    for weight in theirs.parameters():
        if not weight.any():
            weight.normal_(0, 0.05)
    model, made = imported(theirs.state_dict(), "monai", tmp_path, {"network": {"head_channels": 16}})
    x, t = torch.randn(2, 1, 32, 32), torch.tensor([3, 700])
    close(model.net(x, t), theirs(x, t))
    assert model.config.network.resample == ("residual" if resblocks else "conv")
    assert made["assumed"]["network.eps"] == 1e-6


@torch.no_grad()
def test_guided_diffusion_with_strided_convolutions_and_a_learned_variance(tmp_path):
    """Its names and pDDPM's are the same; only what is between the levels is called otherwise."""
    torch.manual_seed(0)
    sizes = {"base": 32, "multipliers": (1, 2), "res_blocks": 1, "attention": (1,), "heads": 4, "resample": "conv"}
    net = UNet(**sizes, embedding="scale_shift", out_channels=2).eval()
    for weight in net.parameters():
        if not weight.any():
            weight.normal_(0, 0.05)
    theirs = {guideds(name): value for name, value in net.state_dict().items()}
    model, made = imported(theirs, "guided-diffusion", tmp_path, {})
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([3, 700])
    close(model.net(x, t), net(x, t))
    assert "learned variance" in made["notes"][0]
    assert model.config.network.variance == "learned"
    guess = model.predict(x, t)
    eps, between = net(x, t).chunk(2, dim=1)
    close(guess.eps, eps)
    close(guess.share, (between + 1) / 2)
    assert (model.config.noise.kind, model.config.target, model.config.schedule.kind) == ("gaussian", "eps", "linear")


@pytest.mark.parametrize("learned", [False, True])
@torch.no_grad()
def test_a_network_of_two_contrasts_is_taken_where_they_are_named(learned, tmp_path):
    torch.manual_seed(0)
    sizes = {"base": 32, "multipliers": (1, 2), "res_blocks": 1, "attention": (1,), "heads": 4, "resample": "conv"}
    net = UNet(**sizes, embedding="scale_shift", in_channels=2, out_channels=4 if learned else 2).eval()
    for weight in net.parameters():
        if not weight.any():
            weight.normal_(0, 0.05)
    theirs = {guideds(name): value for name, value in net.state_dict().items()}
    model, _ = imported(theirs, "guided-diffusion", tmp_path, {"contrasts": ["T1", "FLAIR"]})
    x, t = torch.randn(2, 2, 16, 16), torch.tensor([3, 700])
    close(model.net(x, t), net(x, t))
    assert model.channels == 2
    assert model.config.network.variance == ("learned" if learned else "fixed")
    guess = model.predict(x, t)
    close(guess.eps, net(x, t)[:, :2])
    assert (guess.share is not None) == learned
    for given in ({}, {"contrasts": ["T1", "T2", "FLAIR"]}):
        with pytest.raises(UadError, match=r"theirs\.pt: a network that takes 2 channels and not [13]: .*--set 'con"):
            import_model(tmp_path / "theirs.pt", "guided-diffusion", tmp_path / "no.safetensors", given=given)


def guideds(name):
    """What guided-diffusion calls a weight of ours."""
    if name.startswith("down."):
        stage, rest = name.split(".", 2)[1:]
        name = f"input_blocks.{int(stage) + 1}.{rest.replace('conv.', 'op.') if '0.conv.' in rest else rest}"
    for ours, theirs in (
        ("first", "input_blocks.0.0"), ("up.", "output_blocks."), ("middle.", "middle_block."), ("time_embed", "TIME"),
        ("embed", "emb_layers.1"), ("in_norm", "in_layers.0"), ("in_conv", "in_layers.2"), ("TIME", "time_embed"),
        ("proj", "proj_out"), ("skip", "skip_connection"),
    ):  # fmt: skip
        name = name.replace(ours, theirs)
    top = {"out_norm.": "out.0.", "out_conv.": "out.2."}
    for ours, theirs in top.items():
        name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
    return name.replace("out_norm", "out_layers.0").replace("out_conv", "out_layers.3")


@pytest.fixture(scope="module")
def shapes():
    return json.loads((DATA / "06_full_size_state_dict_shapes.json").read_text())


def random(shapes):
    """A state dict of these shapes, in 16 bits, of small numbers."""
    noise = torch.randn(2**16).half() / 50
    made = {}
    for key, shape in shapes.items():
        count = int(np.prod(shape))
        flat = noise.repeat(count // len(noise) + 1)[:count].view(shape)
        counter = key.endswith("num_batches_tracked")
        made[key] = torch.tensor(9) if counter else flat.abs() + 0.5 if key.endswith("running_var") else flat
    return made


@pytest.mark.parametrize("which", SIZES)
def test_full_size_checkpoints_heal_a_scan(which, shapes, tmp_path):
    """The networks are as large as published; the slice is small, for the sake of time."""
    torch.manual_seed(0)
    state = random(shapes[FULL[which]])
    if which == "anoddpm":
        checkpoint = {"n_epoch": 3000, "ema": state}
    else:
        state = {f"diffusion.model.{key}": value for key, value in state.items()}
        state["diffusion.betas"] = torch.from_numpy(betas("cosine", 1000)).float()
        if which == "cddpm":
            state |= {f"encoder.{key}": value for key, value in random(shapes[FULL["encoder"]]).items()}
        checkpoint = {"state_dict": state}
    side = 64 if which == "anoddpm" else 48
    torch.save(checkpoint, tmp_path / "theirs.pt")
    del checkpoint, state
    program = "pddpm" if which == "ddpm" else which
    given = {"grid": {"shape": [side, side, 1]}}
    out = tmp_path / "ours.safetensors"
    made = import_model(tmp_path / "theirs.pt", program, out, given=given, half=True)
    (tmp_path / "theirs.pt").unlink()
    model = load_model(out, device="cpu", precision="fp32")
    assert model.config.network.model_dump().items() >= SIZES[which].items()
    assert model.config.network.base == 128
    assert made["kind"] == ("diffusion" if which in ("anoddpm", "ddpm") else which)
    if which == "cddpm":
        assert (model.config.encoder.blocks, model.config.encoder.dimension) == ((3, 4, 6, 3), 512)

    brain = np.zeros((side, side, 1), np.uint8)
    brain[side // 4 : -side // 4, side // 4 : -side // 4] = 1
    grid = Grid(brain.shape, np.diag([-1.0, -1.0, 1.0, 1.0]) * ([*model.config.grid.spacing, 1.0]))
    contents = brain * np.linspace(0.3, 0.7, side)[:, None, None]
    images = {"scan": Image(contents, grid, "scan"), "brain": Image(brain, grid, "brain")}
    how = plan(model.config, method="sss" if which == "anoddpm" else None)
    healed = heal(Study("s", images), model, how).need("healed").data
    assert np.isfinite(healed).all()
    assert np.abs(healed - contents).max() > 0.01
    assert not healed[brain == 0].any()


def test_an_imported_model_is_sound(tmp_path):
    _, state = read("06a_anoddpm_unet_tiny")
    imported(state, "anoddpm", tmp_path, TINY)
    assert check(tmp_path / "ours.safetensors") == tmp_path / "ours.safetensors"
