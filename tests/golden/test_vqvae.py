"""The autoencoder with a codebook, given the weights of MONAI's (golden/data/06g)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.healing.catalogue import import_model
from uadtools.models.model import load_model


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "06g_monai_vqvae_tiny.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def net(golden, tmp_path_factory):
    """Imported as a user would."""
    folder = tmp_path_factory.mktemp("vqvae")
    torch.save({key[4:]: value for key, value in golden.items() if key.startswith("sd::")}, folder / "theirs.pt")
    given = {"grid": {"shape": [32, 32, 1], "spacing": [1.0, 1.0, 1.0]}}
    made = import_model(folder / "theirs.pt", "monai", folder / "ours.safetensors", given=given)
    assert (made["kind"], made["methods"]) == ("vqvae", ["vqvae"])
    return load_model(folder / "ours.safetensors", device="cpu", precision="fp32").net


def close(made, expected):
    np.testing.assert_allclose(made.detach(), expected, rtol=0, atol=1e-5)


def test_latent_codes_and_indices(net, golden):
    close(net.encode(golden["x"]), golden["z_e"])
    found = net.quantise(golden["x"])
    np.testing.assert_array_equal(found.indices, golden["indices"])
    close(found.codes, golden["z_q"])
    close(net.codebook.look_up(golden["indices"]), golden["z_q"])


def test_images(net, golden):
    close(net.decode(golden["z_q"]), golden["decoded_from_zq"])
    close(net(golden["x"]), golden["output"])


def test_commitment(net, golden):
    """Theirs is a quarter of the mean squared distance."""
    z, found = net.encode(golden["x"]), net.quantise(golden["x"])
    close(0.25 * ((z - found.codes) ** 2).mean(), golden["quantization_loss"])


@pytest.mark.parametrize("channels", [(8,), (8, 8, 16)])
@torch.no_grad()
def test_a_network_of_monai_itself(channels, tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    halve, double = ((2, 4, 1, 1),) * len(channels), ((2, 4, 1, 1, 0),) * len(channels)
    sizes = {"channels": channels, "num_res_channels": channels, "num_res_layers": 3, "num_embeddings": 20}
    theirs = nets.VQVAE(2, 1, 1, **sizes, downsample_parameters=halve, upsample_parameters=double, embedding_dim=5)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    import_model(tmp_path / "theirs.pt", "monai", tmp_path / "ours.safetensors", given={})
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    close(load_model(tmp_path / "ours.safetensors", device="cpu", precision="fp32").ask(x), theirs.eval()(x)[0])
