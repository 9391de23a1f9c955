"""What a comparison has on disk, read again: a file that was damaged since is told, or made anew."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from uadtools.errors import UadError
from uadtools.files import read_json


def key(*parts: Any) -> str:
    """Return a short name for settings: different ones have different names."""
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class StoredFigure(BaseModel):
    """A figure of a method on a test set, and its interval."""

    value: float | None
    interval: tuple[float, float] | None = None


class StoredRow(BaseModel):
    """What is used of a scan's figures."""

    name: str
    auprc: float | None = None
    dice: float | None = None
    l1_ratio: float | None = None
    l1: float | None = None
    kld: float | None = None


class StoredReport(BaseModel):
    """A method's report on a test set."""

    figures: dict[str, StoredFigure | float | None]
    scans: list[StoredRow]
    untouched: list[StoredRow] = []
    concerns: list[dict[str, Any]] = []


class StoredTraining(BaseModel):
    """What is to be said of how a model was trained."""

    steps: int
    slices: int
    parameters: int
    best_validation: float | None
    minutes: float


class StoredPace(BaseModel):
    """How long a step of training takes here."""

    seconds_per_step: Annotated[float, Field(gt=0)]


class StoredNotes(BaseModel):
    """What uad-bench notes of a score: figures of a scan, and a number for each case."""

    seconds: float
    l1: float | None
    l1_ratio: float | None
    kld: float | None
    bound: list[float | None]
    chain: list[float | None]


class StoredLine(BaseModel):
    """The line of history that notes it."""

    arguments: StoredNotes


class StoredScore(BaseModel):
    """What is said of a score, last of all that."""

    history: Annotated[list[dict[str, Any]], Field(min_length=1)]

    @field_validator("history")
    @classmethod
    def _noted(cls, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        StoredLine.model_validate(history[-1])
        return history


Stored = TypeVar("Stored", bound=BaseModel)


def read_stored(kind: type[Stored], path: Path) -> dict[str, Any]:
    """Read what a run before wrote. Raises UadError for what it did not write so."""
    damaged = "damaged (remove it, and the same command makes it again)"
    data = read_json(path, damaged)
    try:
        kind.model_validate(data)
    except ValidationError:
        raise UadError(f"{path}: {damaged}") from None
    return dict(data)
