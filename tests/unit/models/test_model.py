import pytest
import torch

from uadtools.diffusion.process import add_noise
from uadtools.errors import UadError
from uadtools.models.checkpoint import read_tensors, save_model
from uadtools.models.config import ModelConfig
from uadtools.models.model import Model, build, load_model, pick_device, pick_precision

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu", precision="fp32")


def resaved(path, config, weights, **change):
    save_model(path, config.model_copy(update=change), weights)
    return path


def test_a_loaded_model_computes_in_float32_and_does_not_train(model, tiny_model, tiny_config):
    assert model.config == tiny_config
    assert not model.net.training
    assert model.precision == torch.float32
    assert not any(weight.requires_grad for weight in model.net.parameters())
    stored, expected = read_tensors(tiny_model), build(tiny_config)
    expected.load_state_dict(stored)
    expected.fold()
    for name, weight in model.net.state_dict().items():
        assert weight.dtype == torch.float32
        assert stored[name].dtype == torch.float16
        torch.testing.assert_close(weight, expected.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize("clamp", [False, True])
def test_a_model_answers_x0_and_eps_whatever_it_predicts(tiny_model, tiny_config, tmp_path, target, clamp):
    weights = {name: 9 * value for name, value in read_tensors(tiny_model).items()}
    path = resaved(tmp_path / "m.safetensors", tiny_config, weights, target=target)
    other = load_model(path, device="cpu", precision="fp32")
    x_t = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made = other.predict(x_t, 300, clamp=clamp)
    with torch.no_grad():
        output = other.net(x_t, torch.full((3,), 300))
    torch.testing.assert_close(add_noise(made.x0, 300, made.eps, other.schedule), x_t, rtol=0, atol=1e-4)
    assert output.abs().max() > 1
    if clamp:
        assert made.x0.abs().max() <= 1
    else:
        torch.testing.assert_close(made.x0 if target == "x0" else made.eps, output, rtol=1e-5, atol=1e-5)


def test_bf16_is_near_and_float32_comes_out(tiny_model, model):
    x_t = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made = load_model(tiny_model, device="cpu", precision="bf16").predict(x_t, 300).x0
    assert made.dtype == torch.float32
    exact = model.predict(x_t, 300).x0
    assert 0 < (made - exact).abs().max() < 0.05


@pytest.mark.parametrize("kind", ["ae", "cevae", "dae", "fanogan", "svae", "vae"])
def test_other_kinds_of_model_reconstruct(tiny_models, kind):
    exact, rough = (load_model(tiny_models[kind], device="cpu", precision=p) for p in ("fp32", "bf16"))
    assert exact.config.kind == kind
    x = torch.rand(2, 2 * exact.config.reach + 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made, near = exact.ask(x), rough.ask(x)
    assert made.shape == (2, 1, 16, 16)
    assert made.dtype == near.dtype == torch.float32
    torch.testing.assert_close(made, exact.ask(x), rtol=0, atol=0)
    assert 0 < (made - near).abs().max() < 0.05


def test_rows_and_columns_are_not_mixed_up(tiny_recipes):
    """A grid's first axis runs along the rows of a slice, so it is their length."""
    for kind, recipe in tiny_recipes.items():
        config = ModelConfig.model_validate(recipe.model({}).model_dump() | {"grid": {"shape": (24, 16, 8)}})
        channels = 2 * config.reach + 1 + (kind == "mae")  # which also sees where a slice is hidden
        assert build(config)(torch.zeros(1, channels, 16, 24)).shape == (1, 1, 16, 24), kind


def test_weights_that_do_not_fit_are_refused(tiny_model, tiny_config, tmp_path):
    weights = read_tensors(tiny_model)
    missing = {name: value for name, value in weights.items() if name != "first.bias"}
    wider = {**weights, "first.bias": torch.zeros(9)}
    for name, wrong in {"missing": missing, "wider": wider, "more": {**weights, "tail": torch.zeros(1)}}.items():
        path = resaved(tmp_path / f"{name}.safetensors", tiny_config, wrong)
        with pytest.raises(UadError, match=rf"{name}\.safetensors: its weights do not fit its settings") as fault:
            load_model(path)
        assert "\n" not in str(fault.value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_weights_that_are_not_finite_are_refused(value, tiny_model, tiny_config, tmp_path):
    weights = read_tensors(tiny_model)
    weights["first.bias"][3] = value
    path = resaved(tmp_path / "m.safetensors", tiny_config, weights)
    with pytest.raises(UadError, match=r"m\.safetensors: first\.bias holds NaN or infinity"):
        load_model(path)


def test_settings_that_do_not_fit_are_refused(tiny_model, tiny_config, tmp_path):
    network = tiny_config.network.model_copy(update={"base": 16})
    path = resaved(tmp_path / "m.safetensors", tiny_config, read_tensors(tiny_model), network=network)
    with pytest.raises(UadError, match="size mismatch"):
        load_model(path)


def test_the_number_of_heads_is_part_of_the_model(tiny_model, tiny_config, tmp_path):
    """The weights of two heads load into one, and answer otherwise."""
    network = tiny_config.network.model_copy(update={"heads": 1})
    weights = {n: 9 * w if "qkv" in n or "proj" in n else w for n, w in read_tensors(tiny_model).items()}
    x_t = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    one, two = (
        load_model(resaved(tmp_path / "m.safetensors", tiny_config, weights, network=n), device="cpu")
        .predict(x_t, 9)
        .x0
        for n in (network, tiny_config.network)
    )
    assert (one - two).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UadError, match=f"--device {name}: not available here"):
        pick_device(name)


@pytest.mark.parametrize(("able", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_computes_in_what_it_multiplies_in_unless_told_otherwise(able, dtype, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    assert pick_precision("auto", CPU) == dtype
    assert pick_precision("auto", torch.device("mps")) == torch.float32
    assert pick_precision("fp32", CPU) == torch.float32
    assert pick_precision("bf16", CPU) == torch.bfloat16


def test_a_fresh_network_answers_0():
    sizes = {"base": 8, "multipliers": (1, 2), "attention": (1, 2), "groups": 4, "res_blocks": 1}
    net = build(ModelConfig.model_validate({"name": "m", "network": sizes}))
    x = torch.randn(2, 1, 8, 12)
    assert not net(x, torch.tensor([0, 999])).any()


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_schedule_is_the_models(tiny_config, kind):
    schedule = tiny_config.schedule.model_copy(update={"kind": kind, "steps": 40})
    made = Model(tiny_config.model_copy(update={"schedule": schedule}), None, CPU).schedule
    assert made.steps == 40
    assert made.alpha_bar(39) < 0.01


@pytest.mark.parametrize("kind", ["diffusion", "pddpm", "cddpm", "ldm", "bernoulli"])
def test_a_halved_network_is_near_the_whole_one(kind, tiny_model, tiny_guided):
    """Within 2% of x0 at t = 300, as the network of the papers is; its first and last layers stay whole."""
    path = tiny_model if kind == "diffusion" else tiny_guided[kind]
    exact, rough = (load_model(path, device="cpu", precision=p) for p in ("fp32", "bf16"))
    net = getattr(rough.net, "unet", rough.net)
    assert {name for name, weight in net.named_parameters() if weight.dtype == torch.float32} == {
        f"{layer}.{part}" for layer in ("first", "out_norm", "out_conv") for part in ("weight", "bias")
    }
    x_t = torch.randn(3, *exact.config.noise_shape((16, 16)), generator=torch.Generator().manual_seed(0))
    code = {"code": exact.ask(torch.rand(3, 1, 16, 16), of=exact.net.encoder)} if kind == "cddpm" else {}
    made, near = (model.predict(x_t, 300, **code).x0 for model in (exact, rough))
    assert near.dtype == torch.float32
    assert 0 < (made - near).norm() / made.norm() < 0.02
