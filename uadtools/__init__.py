"""uadtools: find lesions in brain scans without ever having been shown one.

The functions behind the commands, for Python users; each is imported when it is first asked for.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "preprocess": "uadtools.preparing.preprocess",
    "heal": "uadtools.healing.heal",
    "score": "uadtools.scoring.score",
    "postproc": "uadtools.scoring.postproc",
    "calibrate": "uadtools.scoring.calibrate",
    "evaluate": "uadtools.evaluation.evaluate",
    "simulate": "uadtools.simulation.simulate",
    "train": "uadtools.training.train",
    "picture": "uadtools.report.picture",
    "load_model": "uadtools.models.model",
    "read": "uadtools.cohort.files",
    "save": "uadtools.cohort.files",
    "UadError": "uadtools.errors",
}
__all__ = [
    "UadError",
    "calibrate",
    "evaluate",
    "heal",
    "load_model",
    "picture",
    "postproc",
    "preprocess",
    "read",
    "save",
    "score",
    "simulate",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'uadtools' has no attribute {name!r}")
