"""The autoencoder with a codebook, given the weights of MONAI's (golden/data/06g)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.nets.vqvae import VQVAE


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "06g_monai_vqvae_tiny.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def net(golden):
    """Convolutions come in the same order; their codebook is a table for look-ups."""
    made = VQVAE(widths=(16, 32), residuals=1, codes=32, dimension=8)
    theirs = {key[4:]: value for key, value in golden.items() if key.startswith("sd::")}
    weights = {}
    for part in ("encoder", "decoder"):
        ours = [name for name in made.state_dict() if name.startswith(part)]
        weights |= dict(zip(ours, (v for k, v in theirs.items() if k.startswith(part)), strict=True))
    for ours, name in (("codes", "embedding.weight"), ("counts", "ema_cluster_size"), ("sums", "ema_w")):
        weights[f"codebook.{ours}"] = theirs[f"quantizer.quantizer.{name}"]
    made.load_state_dict(weights)
    return made.eval()


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
