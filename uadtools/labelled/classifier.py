"""A classifier of noised slices beside a frozen diffusion model, in one file: guided heals with the two.

Source: Dhariwal & Nichol 2021, section 4; Wolleb et al. 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.labelled import _donors
from uadtools.methods.diffusion import DenoiserConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uadtools.interface.types import Batch, Donor, Healthy, Tensor
    from uadtools.nets.classifier import ClassifiedDiffusion


class Settings(NoisedSettings):
    """network: the frozen U-Net; the classifier has the sizes of its way down."""

    METHOD: ClassVar[str] = "guided"
    SEVERAL: ClassVar[bool] = True

    kind: Literal["classifier"] = "classifier"
    network: DenoiserConfig = DenoiserConfig()


class Recipe(base.WeakRecipe, Settings):
    """network: comes from another model, of which the classifier begins with the way down."""

    network: _donors.StartedDenoiser = _donors.StartedDenoiser()

    @property
    def donor(self) -> str:
        if (path := _donors.file_of(self.network)) is None:
            raise UadError(
                f"recipe {self.name}: network.pretrained is needed: a model of kind diffusion "
                "(--set network.pretrained=t1-ddpm or FILE)"
            )
        return path

    @model_validator(mode="before")
    @classmethod
    def _like_its_network(cls, data: Any) -> Any:
        return _donors.like_its_network(data)


def build(settings: Settings) -> ClassifiedDiffusion:
    from uadtools.interface.learning import denoiser
    from uadtools.nets.classifier import ClassifiedDiffusion, Classifier

    sizes = settings.network.model_dump(exclude={"kind", "reach", "variance", "skips", "pretrained"})
    return ClassifiedDiffusion(denoiser(settings), Classifier(in_channels=settings.channels, **sizes))


def loss(recipe: Recipe, net: ClassifiedDiffusion, batch: Batch, step: int) -> Tensor:
    """Noise each slice to a t of its own, and tell whether it is sick: binary cross-entropy."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    from uadtools.interface.learning import noised

    assert batch.sick is not None
    noisy = noised(recipe, batch.x0, batch.seeds)
    return binary_cross_entropy_with_logits(net(noisy.x_t, noisy.t), batch.sick.float())


def start(recipe: Recipe, nets: Sequence[ClassifiedDiffusion], donor: Donor, slices: Healthy) -> None:
    """Take the network, and its way down for the classifier. Raises UadError where it is another than was said."""
    donor.check_alike(recipe.model({}), _donors.ALIKE)
    weights = {name: weight.float() for name, weight in donor.weights.items()}
    for net in nets:
        net.unet.load_state_dict(weights)
        own = net.classifier.state_dict()
        net.classifier.load_state_dict(own | {name: weight for name, weight in weights.items() if name in own})
