"""Encoders and decoders around a dense latent: the networks of ae, vae, svae and fanogan."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn


def _halved(into: int, out: int, groups: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(into, out, 4, stride=2, padding=1), nn.GroupNorm(groups, out), nn.SiLU())


def _doubled(into: int, out: int, groups: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(into, out, 4, stride=2, padding=1), nn.GroupNorm(groups, out), nn.SiLU())


class Encoder(nn.Module):
    """From an image to a vector: a strided convolution for each of `widths`, and a linear layer.

    shape: (H, W) of the image, multiples of 2^len(widths); out: length of the vector; channels: of the image. spatial:
    to a map of `out` channels instead, each pixel by itself.
    """

    def __init__(
        self, shape: tuple[int, int], widths: Sequence[int], out: int, *, groups: int, channels: int = 1,
        spatial: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = nn.Sequential(*(_halved(into, to, groups) for into, to in pairwise([channels, *widths])))
        self.spatial = spatial
        self.head = nn.Conv2d(widths[-1], out, 1) if spatial else nn.Linear(widths[-1] * _pixels(shape, widths), out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out), or (B, out, h, w)."""
        features = self.features(x)
        latent: Tensor = self.head(features if self.spatial else features.flatten(1))
        return latent


class Decoder(nn.Module):
    """The way back, from a vector of length `latent`, or a map of as many channels, by transposed convolutions."""

    def __init__(
        self, shape: tuple[int, int], widths: Sequence[int], latent: int, *, groups: int, channels: int = 1,
        spatial: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        down = 2 ** len(widths)
        self.start = (widths[-1], shape[0] // down, shape[1] // down)
        pixels = _pixels(shape, widths)
        self.head = nn.Conv2d(latent, widths[-1], 1) if spatial else nn.Linear(latent, widths[-1] * pixels)
        self.body = nn.Sequential(
            nn.GroupNorm(groups, widths[-1]),
            nn.SiLU(),
            *(_doubled(into, to, groups) for into, to in pairwise(reversed(widths))),
            nn.ConvTranspose2d(widths[0], channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, latent), or (B, latent, h, w), to (B, C, H, W)."""
        image: Tensor = self.body(self.head(z).view(-1, *self.start))
        return image


def _pixels(shape: tuple[int, int], widths: Sequence[int]) -> int:
    down: int = 2 ** len(widths)
    return (shape[0] // down) * (shape[1] // down)


class Autoencoder(nn.Module):
    """An encoder to `latent` numbers, and a decoder.

    shape: (H, W); base: channels of the first level, times `multipliers` at each level; a level halves the image;
    channels: of the image; spatial: the latent is a map of `latent` channels.
    """

    OUTPUTS = 1

    def __init__(
        self, shape: tuple[int, int], *, base: int, multipliers: Sequence[int], latent: int, groups: int,
        channels: int = 1, spatial: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [base * multiplier for multiplier in multipliers]
        how: dict[str, Any] = {"groups": groups, "channels": channels, "spatial": spatial}
        self.encoder = Encoder(shape, widths, self.OUTPUTS * latent, **how)
        self.decoder = Decoder(shape, widths, latent, **how)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W)."""
        image: Tensor = self.decoder(self.encoder(x))
        return image


class VAE(Autoencoder):
    """An encoder to mean and log variance of `latent` numbers, and a decoder. Sizes as for Autoencoder."""

    OUTPUTS = 2

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, (B, latent) each."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct from the mean, without a draw. x: (B, C, H, W)."""
        image: Tensor = self.decoder(self.encode(x)[0])
        return image


class SequenceVAE(VAE):
    """A VAE whose latent also knows the slices above and below.

    Every slice is encoded by itself; a recurrent layer runs over the vectors of a window of 2 reach + 1 slices in both
    directions, and what it knows in the middle becomes the middle slice's mean and log variance.
    """

    def __init__(self, shape: tuple[int, int], *, latent: int, reach: int, channels: int = 1, **sizes: Any) -> None:
        super().__init__(shape, latent=latent, channels=channels, **sizes)
        self.reach, self.channels = reach, channels
        self.recurrent = nn.GRU(2 * latent, latent, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * latent, 2 * latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the middle slices. x: windows (B, C (2 reach + 1), H, W)."""
        windows = x.reshape(x.shape[0], self.channels, -1, *x.shape[2:]).transpose(1, 2)
        vectors = self.encoder(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        states, _ = self.recurrent(vectors)
        mean, log_variance = self.head(states[:, self.reach]).chunk(2, dim=1)
        return mean, log_variance


class FAnoGAN(nn.Module):
    """Generator and critic of a GAN, and an encoder from images to the generator's latent.

    Sizes as for Autoencoder. The critic normalises each image by itself (one group), as its penalty is per image.
    """

    def __init__(
        self, shape: tuple[int, int], *, base: int, multipliers: Sequence[int], latent: int, groups: int,
        channels: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [base * multiplier for multiplier in multipliers]
        self.latent = latent
        self.generator = nn.Sequential(Decoder(shape, widths, latent, groups=groups, channels=channels), nn.Tanh())
        self.critic = Encoder(shape, widths, 1, groups=1, channels=channels)
        self.encoder = Encoder(shape, widths, latent, groups=groups, channels=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct: encode, then generate. x: (B, C, H, W)."""
        image: Tensor = self.generator(self.encoder(x))
        return image
