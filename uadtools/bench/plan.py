"""What a comparison of methods consists of: its data, test sets and methods, as a TOML file says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from uadtools.files import read_toml
from uadtools.models.config import parse
from uadtools.scoring.postproc import Steps
from uadtools.scoring.score import Metric, Signed
from uadtools.settings import Config, PositiveInt
from uadtools.simulation.lesions import Tone
from uadtools.simulation.simulate import STRONGEST

Sources = tuple[str, ...]
"""Files, folders and lists, relative to the data's folder."""


class DataConfig(Config):
    """Prepared scans. train, val: healthy ones to learn from and to choose weights by; unit: what is one case.

    labels: masks of lesions in those, for recipes that learn from them, as uad-train takes them; label, ignore: which
    of their labels count, and which count neither way. unit slice: each slice of a 2-D stack is a case of its own.
    voxels with a score are those of the brain.
    """

    train: Sources = ()
    val: Sources = ()
    labels: Sources = ()
    label: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    unit: Literal["scan", "slice"] = "scan"


class SimulateConfig(Config):
    """What is drawn into healthy scans, as uad-simulate does it; what is not given is its default."""

    kind: Literal["blobs", "masks", "cavities", "sprites"]
    tone: Tone = "dark"
    size: tuple[float, float] | None = None
    count: tuple[int, int] | None = None
    masks: Sources = ()
    masks_box: str | tuple[float, float, float, float, float, float] | None = None
    copies: PositiveInt = 1

    @property
    def drawing(self) -> dict[str, Any]:
        """What decides a drawing; what is stored keeps its name when no box is given."""
        return self.model_dump(mode="json", exclude={"masks_box"} if self.masks_box is None else None)


class SetConfig(Config):
    """Scans with lesions: val to find thresholds on, test to judge on.

    simulate: the scans are healthy, and this is drawn into them. Without it, val and test name .csv lists with the
    columns path and truth. contrast: the level to which test, not val, is changed after lesions were drawn, as
    uad-simulate does it: a domain shift that was not known when the threshold was chosen. sign: of all its lesions, for
    methods that are told.
    """

    name: str
    val: Sources = Field(min_length=1)
    test: Sources = Field(min_length=1)
    simulate: SimulateConfig | None = None
    contrast: Annotated[float, Field(gt=0, le=STRONGEST)] = 1.0
    sign: Literal["dark", "bright"] | None = None


class MethodConfig(Config):
    """A row of the table. model: "bundled", a bundled one's name, or a file; recipe: one is trained, with changes.

    Neither: none is needed.
    heal: options of uad-heal, such as method, t and samples. metric, signed: of uad-score; told: the set's sign.
    """

    name: str
    model: str | None = None
    recipe: str | None = None
    changes: tuple[str, ...] = ()
    heal: dict[str, Any] = Field(default_factory=dict)
    metric: Metric | None = None
    signed: Signed | Literal["told"] = "both"

    def for_set(self, part: SetConfig) -> MethodConfig:
        """Return the method as it is used on a set, whose sign it knows if it is told."""
        return self.model_copy(update={"signed": part.sign}) if self.signed == "told" else self

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.model and self.recipe:
            raise ValueError("a model is named or a recipe trained, not both")
        if self.changes and not self.recipe:
            raise ValueError("changes are to a recipe, and none is named")
        return self


class ChainConfig(Config):
    """Post-processing, the same for all methods; the threshold is found on val."""

    median: PositiveInt = 5
    erode: Annotated[int, Field(ge=0)] = 3
    min_size: Annotated[int, Field(ge=0)] = 7

    @property
    def steps(self) -> Steps:
        return Steps(median=self.median, erode=self.erode, min_size=self.min_size)


class BenchConfig(Config):
    """A comparison. reference: the method that the others are tested against; by default the first."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    seed: Annotated[int, Field(ge=0)] = 0
    reference: str = ""
    data: DataConfig = DataConfig()
    postproc: ChainConfig = ChainConfig()
    sets: tuple[SetConfig, ...] = Field(alias="set", min_length=1)
    methods: tuple[MethodConfig, ...] = Field(alias="method", min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Self:
        for what, names in (("set", [s.name for s in self.sets]), ("method", [m.name for m in self.methods])):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"two of [[{what}]] are called '{twice[0]}'")
        if self.reference and self.reference not in (m.name for m in self.methods):
            raise ValueError(f"reference = '{self.reference}' is none of the methods")
        if any(m.recipe for m in self.methods) and not self.data.train:
            raise ValueError("data.train is needed to train recipes")
        if (names := [m.name for m in self.methods if m.signed == "told"]) and not all(s.sign for s in self.sets):
            raise ValueError(f'\'{names[0]}\' is told the sign, so every [[set]] needs sign = "dark" or "bright"')
        return self


def load_bench(path: Path) -> BenchConfig:
    """Read a comparison. Raises UadError for what cannot be read, unknown keys and values that do not fit."""
    return parse(BenchConfig, read_toml(path, "not a readable comparison"), str(path))
