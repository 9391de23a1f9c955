"""Files of features: made of what LPIPS and torchvision save, and read."""

import pytest
import torch

from uadtools.errors import UadError
from uadtools.models.checkpoint import file_hash
from uadtools.models.features import import_features, load_features, named
from uadtools.nets.lpips import Lpips

CPU = torch.device("cpu")
SLICES = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
"""Of LPIPS' AlexNet, by the layers' numbers."""


@pytest.fixture
def net():
    """A narrow AlexNet of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Lpips("alex", (4, 6, 5, 3, 4))
        for i in range(5):
            made.get_buffer(f"weights{i}").uniform_()
    return made


def learnt(net):
    return {f"lin{i}.model.1.weight": net.get_buffer(f"weights{i}").view(1, -1, 1, 1) for i in range(5)}


def of_torchvision(net):
    """As torchvision names the layers, beside what is not used."""
    layers = {f"features.{name}": value for name, value in net.features.state_dict().items()}
    return layers | learnt(net) | {"classifier.1.weight": torch.zeros(3, 3)}


def of_lpips(net):
    """As LPIPS saves itself, where its own weights are there twice."""
    layers = net.features.state_dict().items()
    made = {f"net.slice{SLICES[int(name.split('.')[0])]}.{name}": value for name, value in layers}
    twice = {name.replace("lin", "lins.").replace(".model", ".model"): value for name, value in learnt(net).items()}
    return made | learnt(net) | twice | {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}


@pytest.mark.parametrize("saved", [of_torchvision, of_lpips])
def test_what_is_imported_compares_as_it_did(net, saved, tmp_path):
    torch.save(saved(net), tmp_path / "w.pth")
    told = import_features(tmp_path / "w.pth", tmp_path / "f.safetensors")
    name = f"f.safetensors:{file_hash(tmp_path / 'f.safetensors')}"
    assert told == {"features": str(tmp_path / "f.safetensors"), "network": "alex", "name": name}
    assert named(tmp_path / "f.safetensors") == name
    x, other = torch.rand(1, 1, 40, 40), torch.rand(1, 1, 40, 40)
    made = load_features(tmp_path / "f.safetensors", CPU)
    assert torch.equal(made(x, other), net(x, other))
    assert not any(weight.requires_grad for weight in made.parameters())


def test_a_file_that_was_replaced_is_read_anew(net, tmp_path):
    torch.save(of_torchvision(net), tmp_path / "w.pth")
    out, x, other = tmp_path / "f.safetensors", torch.rand(1, 1, 40, 40), torch.rand(1, 1, 40, 40)
    import_features(tmp_path / "w.pth", out)
    before = load_features(out, CPU)(x, other)
    torch.save(of_torchvision(net) | {"lin0.model.1.weight": torch.zeros(1, 4, 1, 1)}, tmp_path / "w.pth")
    with pytest.raises(UadError, match="exists"):
        import_features(tmp_path / "w.pth", out)
    import_features(tmp_path / "w.pth", out, force=True)
    assert not torch.equal(load_features(out, CPU)(x, other), before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if "features.8" not in k}, "no AlexNet or VGG16 with torchvision's"),
        (lambda s: {k: v for k, v in s.items() if "lin3" not in k}, "such as lin3.model.1.weight"),
        (lambda s: s | {"lin1.model.1.weight": torch.ones(1, 5, 1, 1)}, "not the layers of alex"),
        (lambda s: s | {"features.3.weight": torch.ones(6, 5, 5, 5)}, "not the layers of alex"),
        (lambda s: s | {"features.3.bias": torch.full((6,), torch.nan)}, "features.3.bias holds NaN or infinity"),
        (lambda s: {}, "no AlexNet or VGG16"),
    ],
)
def test_weights_of_something_else_are_refused_in_one_line(net, change, said, tmp_path):
    torch.save(change(of_torchvision(net)), tmp_path / "w.pth")
    with pytest.raises(UadError, match=said) as fault:
        import_features(tmp_path / "w.pth", tmp_path / "f.safetensors")
    assert str(fault.value).startswith(str(tmp_path / "w.pth"))
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "f.safetensors").exists()


def test_a_model_holds_no_features(tiny_model):
    with pytest.raises(
        UadError,
        match=r"a model, which holds no features \(--model takes it; `uad-models import --from lpips` makes .* them\)$",
    ):
        named(tiny_model)
