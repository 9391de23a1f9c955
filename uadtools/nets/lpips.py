"""How unlike two images are to a network that knows natural images, with weights that were learnt from people.

Source: Zhang et al. 2018 (LPIPS), eq. 1, version 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from uadtools.errors import UadError
from uadtools.nets.perceptual import distance

Kind = Literal["alex", "vgg"]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of red, green and blue in [-1, 1], by which the networks see them."""


class Layers(NamedTuple):
    """Of a network of one row, numbered as torchvision's: of convolutions kernel, stride and padding, of pools the
    kernel, and after which of the ReLUs, which are all others, images are compared; least: pixels of an image's side.
    """

    convolutions: Mapping[int, tuple[int, int, int]]
    pools: Mapping[int, int]
    compared: tuple[int, ...]
    least: int


_SMALL = (3, 1, 1)
LAYERS: Mapping[Kind, Layers] = {
    "alex": Layers(
        {0: (11, 4, 2), 3: (5, 1, 2), 6: _SMALL, 8: _SMALL, 10: _SMALL}, {2: 3, 5: 3}, (1, 4, 7, 9, 11), least=31
    ),
    "vgg": Layers(
        dict.fromkeys((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), _SMALL),
        dict.fromkeys((4, 9, 16, 23), 2),
        (3, 8, 15, 22, 29),
        least=16,
    ),
}
"""AlexNet and VGG16."""


class Lpips(nn.Module):
    """Compares images by the layers of a network that is not trained here.

    widths: channels of its convolutions, in order. After each of five ReLUs, features of a place are scaled to unit
    length, and their squared distance is summed over the channels, each with a weight of its own; that is spread over
    the image, linearly, and summed over the layers. Its mean over the image is what the paper gives as one number.
    """

    def __init__(self, kind: Kind, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.kind, layers = kind, LAYERS[kind]
        features, here, left = list[nn.Module](), 3, iter(widths)
        for place in range(layers.compared[-1] + 1):
            if place in layers.convolutions:
                kernel, stride, padding = layers.convolutions[place]
                into, here = here, next(left)
                features.append(nn.Conv2d(into, here, kernel, stride, padding))
            else:
                features.append(nn.MaxPool2d(layers.pools[place], 2) if place in layers.pools else nn.ReLU())
            if place in layers.compared:
                self.register_buffer(f"weights{layers.compared.index(place)}", torch.ones(here))
        self.features = nn.Sequential(*features)
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)
        self.shift: Tensor
        self.scale: Tensor

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (B, 1, H, W). x, other: (B, C, H, W) in [-1, 1], of which each contrast is shown by itself, as grey.

        The distances of several contrasts are averaged. Raises UadError for images that are too small for the network.
        """
        count, contrasts, *shape = x.shape
        total = x.new_zeros(())
        for place, features in enumerate(self._compared(torch.cat([x, other]))):
            total = total + distance(features, shape, self.get_buffer(f"weights{place}"))
        return total.view(count, contrasts, *shape).mean(dim=1, keepdim=True)

    def describe(self, x: Tensor) -> Tensor:
        """Return the mean over places of the last features that images are compared by, (B, D). x: (B, 1, H, W)."""
        *_, last = self._compared(x)
        return last.mean(dim=(2, 3))

    def _compared(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the features that images are compared by, (B C, D, h, w). x: (B, C, H, W) in [-1, 1]."""
        layers, shape = LAYERS[self.kind], x.shape[2:]
        if min(shape) < layers.least:
            raise UadError(
                f"--features: slices of {min(shape)} pixels, {self.kind} needs {layers.least} (leave it out)"
            )
        h = (x.reshape(-1, 1, *shape) - self.shift) / self.scale
        for place, layer in enumerate(self.features):
            h = layer(h)
            if place in layers.compared:
                yield h
