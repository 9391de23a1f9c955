"""uadtools: find lesions in brain scans without ever having been shown one.

The functions behind the commands, for Python users (docs/python.md); each is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uadtools.cohort.calibrate import calibrate_all
    from uadtools.cohort.evaluate import evaluate_all
    from uadtools.cohort.files import read, read_study, save
    from uadtools.cohort.heal import heal_all
    from uadtools.cohort.postproc import postproc_all
    from uadtools.cohort.preprocess import preprocess_all
    from uadtools.cohort.report import report_all
    from uadtools.cohort.score import score_all
    from uadtools.cohort.simulate import simulate_all
    from uadtools.errors import UadError
    from uadtools.evaluation.evaluate import evaluate
    from uadtools.healing.heal import heal
    from uadtools.models.model import Model, load_model
    from uadtools.pipeline.run import run
    from uadtools.preparing.preprocess import preprocess
    from uadtools.report.notebook import show
    from uadtools.report.picture import picture
    from uadtools.scoring.calibrate import calibrate
    from uadtools.scoring.postproc import postproc
    from uadtools.scoring.score import score
    from uadtools.simulation.simulate import simulate
    from uadtools.training.train import train
    from uadtools.volume.io import Image
    from uadtools.volume.stream import Study

__version__ = "0.1.0"

_WHERE = {
    "read": "uadtools.cohort.files",
    "read_study": "uadtools.cohort.files",
    "save": "uadtools.cohort.files",
    "calibrate_all": "uadtools.cohort.calibrate",
    "evaluate_all": "uadtools.cohort.evaluate",
    "heal_all": "uadtools.cohort.heal",
    "postproc_all": "uadtools.cohort.postproc",
    "preprocess_all": "uadtools.cohort.preprocess",
    "report_all": "uadtools.cohort.report",
    "score_all": "uadtools.cohort.score",
    "simulate_all": "uadtools.cohort.simulate",
    "UadError": "uadtools.errors",
    "evaluate": "uadtools.evaluation.evaluate",
    "heal": "uadtools.healing.heal",
    "Model": "uadtools.models.model",
    "load_model": "uadtools.models.model",
    "run": "uadtools.pipeline.run",
    "preprocess": "uadtools.preparing.preprocess",
    "picture": "uadtools.report.picture",
    "show": "uadtools.report.notebook",
    "calibrate": "uadtools.scoring.calibrate",
    "postproc": "uadtools.scoring.postproc",
    "score": "uadtools.scoring.score",
    "simulate": "uadtools.simulation.simulate",
    "train": "uadtools.training.train",
    "Image": "uadtools.volume.io",
    "Study": "uadtools.volume.stream",
}
__all__ = [
    "Image",
    "Model",
    "Study",
    "UadError",
    "calibrate",
    "calibrate_all",
    "evaluate",
    "evaluate_all",
    "heal",
    "heal_all",
    "load_model",
    "picture",
    "postproc",
    "postproc_all",
    "preprocess",
    "preprocess_all",
    "read",
    "read_study",
    "report_all",
    "run",
    "save",
    "score",
    "score_all",
    "show",
    "simulate",
    "simulate_all",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'uadtools' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
