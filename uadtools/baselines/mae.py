"""Squares are hidden, several times others, and what is told of them from the rest is the healthy slice, in the mean.
Source: He et al. 2022 (masked autoencoder).

Theirs is a transformer that sees an image once; ours is a U-Net that also sees where is hidden, and the mean over
masks is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.interface.healing import Healing, Option
from uadtools.models import settings
from uadtools.models.networks import UNetConfig
from uadtools.settings import Config, PositiveInt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uadtools.interface.types import Batch, Model, Noise, Tensor, nn


class MaskingConfig(Config):
    """square: side of the squares in pixels; hidden: the share of them that the network does not see."""

    square: PositiveInt = 8
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.75

    def seen(self, squares: int) -> int:
        """Return how many of so many squares are seen: one at least, and not all."""
        return min(max(1, round((1 - self.hidden) * squares)), squares - 1)


class Settings(settings.Settings):
    """network: a U-Net that is not told a t; masking: what it does not see of a slice."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["mae"] = "mae"
    network: UNetConfig = UNetConfig()
    masking: MaskingConfig = MaskingConfig()

    @property
    def squares(self) -> int:
        """How many there are on a slice."""
        return int(self.grid.shape[0] * self.grid.shape[1] // self.masking.square**2)

    @model_validator(mode="after")
    def _of_whole_squares(self) -> Self:
        if any(size % self.masking.square for size in self.grid.shape[:2]) or self.squares < 2:
            raise ValueError(f"masking.square {self.masking.square}: does not cut slices of {self.grid} into squares")
        return self


class Recipe(base.Recipe, Settings):
    """Nothing beyond what is common to all."""


@dataclass(frozen=True)
class Options:
    """views: more make a smoother mean."""

    views: Annotated[
        int, Option("How often a slice is seen, each time with other squares hidden. Default: 8.", least=2)
    ] = 8

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.views


def settle(config: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the options. Raises UadError where some squares would never be hidden."""
    views, squares = given.get("views", Options.views), config.squares
    if _views(views, squares, config.masking).all(axis=0).any():
        raise UadError(f"--views {views}: some squares are never hidden, as only {config.masking.hidden:g} of them are")
    return [{"views": views}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Tell what is behind each square. x: (B, C, H, W) in [-1, 1]; all slices and contrasts have the same masks."""
    import torch

    masking, (height, width) = model.config.masking, x.shape[2:]
    squares = (height // masking.square, width // masking.square)
    total, count = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
    for visible in _views(options.views, squares[0] * squares[1], masking):
        seen = torch.from_numpy(visible.reshape(1, 1, *squares)).to(x.device)
        hidden = ~_pixels(seen, masking.square)
        total += model.ask(covered(x, hidden)) * hidden
        count += hidden
    return Healing((total / count).clamp(-1, 1))


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import unet

    return unet(settings.network, in_channels=settings.channels + 1, out_channels=settings.channels)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Hide squares of each slice, the same in all contrasts, and tell them from the rest.

    The distance is that in what is hidden alone.
    """
    import numpy as np
    import torch

    from uadtools.interface.learning import measure, shape_of, streams_of
    from uadtools.nets.layout import packed

    x0, side = batch.x0, recipe.masking.square
    rows, columns = (length // side for length in shape_of(x0))
    ranks = np.stack([stream.permutation(rows * columns) for stream in streams_of(batch.seeds)])
    seen = torch.from_numpy(ranks < recipe.masking.seen(rows * columns)).view(len(x0), 1, rows, columns).to(x0.device)
    hidden = ~_pixels(seen, side)
    told = net(packed(covered(x0, hidden))).float()
    return (measure(recipe)(told, x0, reduction="none") * hidden).sum() / (recipe.channels * hidden.sum())


def covered(x: Tensor, hidden: Tensor) -> Tensor:
    """Return what the network sees: slices with 0 where they are hidden, and 1 there, else -1. (B, C + 1, H, W)."""
    import torch

    return torch.cat([torch.where(hidden, 0, x), (2 * hidden.float() - 1).expand(len(x), -1, -1, -1)], dim=1)


def _pixels(seen: Tensor, side: int) -> Tensor:
    """Bring a mask of squares to the pixels: (B, 1, rows, columns) to (B, 1, H, W)."""
    return seen.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)


def _views(views: int, squares: int, masking: MaskingConfig) -> NDArray[np.bool_]:
    """Tell which squares each view sees, (views, squares): windows on one shuffled order, evenly spaced around it."""
    import numpy as np

    order = np.random.default_rng(0).permutation(squares)
    starts = np.arange(views) * squares // views
    return np.asarray((order - starts[:, None]) % squares < masking.seen(squares))
