"""The types that methods name in their signatures; torch comes with them, so only type checkers import this."""

from torch import Tensor, nn

from uadtools.diffusion.process import Denoiser, Timesteps
from uadtools.diffusion.samplers import Noise
from uadtools.interface.healing import Network
from uadtools.interface.learning import Batch, Donor, Healthy
from uadtools.models.model import Model

__all__ = ["Batch", "Denoiser", "Donor", "Healthy", "Model", "Network", "Noise", "Tensor", "Timesteps", "nn"]
