"""What uad-heal does for a scan that was not prepared: what uad-preprocess would have done by default."""

from __future__ import annotations

from uadtools.errors import UadError
from uadtools.models.checkpoint import default_path, read_config
from uadtools.models.config import ModelConfig
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.preprocess import Tell, preprocess
from uadtools.volume.background import background_value
from uadtools.volume.reading import AS_IT_IS, Reading
from uadtools.volume.stream import Study


def is_raw(study: Study, config: ModelConfig | None = None) -> bool:
    """Tell whether a study's scan is still to be prepared for a model; none: for a method without one, on any grid.

    A scan that uadtools worked on already is not raw: what does not fit a model then was prepared for another. Nor is
    an image on the grid of a model of images, which learns them with their background as it is.
    """
    scan = study.need("scan")
    if scan.provenance.get("history"):
        return False
    fits = config is None or not config.grid.misfit(scan.grid)
    low, high = float(scan.data.min()), float(scan.data.max())
    whole = config is not None and config.grid.flat
    return not fits or low < 0 or high > 1 or (low < high and not whole and background_value(scan.data) > 0)


def by_default(study: Study, config: ModelConfig | None, reading: Reading) -> Preparation:
    """Return how a raw scan is prepared for a model. Raises UadError where a contrast is missing that it sees."""
    model = config or read_config(default_path())
    brain, others = study.images.get("brain", "auto"), model.contrasts[1:]
    channels = dict(zip(others, study.of_contrasts(others), strict=True))
    return Preparation(grid=model.grid, intensity=model.intensity, brain=brain, reading=reading, channels=channels)


def prepared(
    study: Study, config: ModelConfig | None = None, *, reading: Reading = AS_IT_IS, tell: Tell = lambda text: None
) -> Study:
    """Return a study whose scan is prepared for a model: the same study, or scan and brain made of its raw scan.

    A raw scan is prepared as uad-preprocess would by default, on the grid and with the intensities of the model; of the
    default model, where the method has none. The study's brain mask, if it has one, says where the brain is. reading:
    how the scan was read. tell: gets one line about anything the user should know. Raises UadError when
    the scan cannot be prepared.
    """
    if not is_raw(study, config):
        return study
    try:
        return preprocess(study.need("scan"), by_default(study, config, reading), name=study.name, tell=tell)
    except UadError as error:
        raise UadError(f"{study.name}: is not prepared, and uad-preprocess cannot do it by default: {error}") from None
