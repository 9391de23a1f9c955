"""What a comparison of methods consists of: its data, test sets and methods, as a TOML file says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from uadtools.bench.sweep import expanded
from uadtools.errors import UadError
from uadtools.files import read_toml
from uadtools.models.config import parse
from uadtools.scoring.postproc import Steps
from uadtools.scoring.score import Metric, Signed
from uadtools.settings import Config, Deviation, PositiveFloat, PositiveInt, faults
from uadtools.simulation.lesions import Tone
from uadtools.simulation.plan import MASKED, STRONGEST, Simulation

FEWEST_FOLDS = 3
Sources = tuple[str, ...]
"""Files, folders and lists, relative to the data's folder."""


class DataConfig(Config):
    """Prepared scans. train, val: healthy ones to learn from and to choose weights by; unit: what is one case.

    labels: masks of lesions in those, for recipes that learn from them, as uad-train takes them; label, ignore: which
    of their labels count, and which count neither way. unit slice: each slice of a 2-D stack or of a volume is a case
    of its own; slices: only so many of them, see `data.spread`. voxels with a score are those of the brain.
    participants: a table with a row for each person, by whose ids the names of files begin; stratify: its columns in
    which the folds of a plan are to be alike.
    """

    train: Sources = ()
    val: Sources = ()
    labels: Sources = ()
    label: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    unit: Literal["scan", "slice"] = "scan"
    slices: PositiveInt | None = None
    participants: str | None = None
    stratify: tuple[str, ...] = ()


class SimulateConfig(Config):
    """What is drawn into healthy scans, as uad-simulate does it; what is not given is its default."""

    kind: Literal["blobs", "masks", "cavities", "sprites", "glioma"]
    tone: Tone = "dark"
    size: tuple[float, float] | None = None
    count: tuple[int, int] | None = None
    masks: Sources = ()
    masks_box: str | tuple[float, float, float, float, float, float] | None = None
    copies: PositiveInt = 1

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        try:
            Simulation(**self.model_dump(exclude={"copies", "masks"}, exclude_none=True))
        except UadError as error:
            raise ValueError(str(error).removeprefix("--")) from None
        if not self.masks and self.kind in MASKED:
            raise ValueError(f'{self.kind} are drawn from masks, and none are named (masks = ["FOLDER"])')
        return self

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

    Neither: none is needed. minutes: of training, in place of the recipe's steps, see bench.course; rates: steps per
    second that were measured on other machines, by their names.
    heal: options of uad-heal, such as method, t and samples. metric, signed: of uad-score; told: the set's sign.
    postproc: what is another than in the plan's [postproc]. family, swept: of the rows that bench.sweep makes.
    """

    name: str
    model: str | None = None
    recipe: str | None = None
    changes: tuple[str, ...] = ()
    minutes: PositiveFloat | None = None
    rates: dict[str, PositiveFloat] = Field(default_factory=dict)
    heal: dict[str, Any] = Field(default_factory=dict)
    metric: Metric | None = None
    signed: Literal[Signed, "told"] = "both"
    postproc: dict[str, bool | int | float] = Field(default_factory=dict)
    family: str = ""
    swept: dict[str, Any] = Field(default_factory=dict)

    def for_set(self, part: SetConfig) -> MethodConfig:
        """Return the method as it is used on a set, whose sign it knows if it is told."""
        return self.model_copy(update={"signed": part.sign}) if self.signed == "told" else self

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.model and self.recipe:
            raise ValueError("a model is named or a recipe trained, not both")
        if self.changes and not self.recipe:
            raise ValueError("changes are to a recipe, and none is named")
        if (self.minutes or self.rates) and not self.recipe:
            raise ValueError("minutes and rates are of training, and no recipe is named")
        return self


def _odd(window: int) -> int:
    if window % 2 == 0:
        raise ValueError(f"an odd number is needed (1: no filter), and not {window}")
    return window


class ChainConfig(Config):
    """Post-processing, the same for all methods that have none of their own.

    threshold: a score; without it, it is found on val.
    """

    median: Annotated[PositiveInt, AfterValidator(_odd)] = 5
    smooth: Deviation = 0.0
    erode: Annotated[int, Field(ge=0)] = 3
    min_size: Annotated[int, Field(ge=0)] = 7
    dilate: Annotated[int, Field(ge=0)] = 0
    largest: bool = False
    threshold: PositiveFloat | None = None

    @property
    def steps(self) -> Steps:
        return Steps(**self.model_dump(exclude={"threshold"}))


class BenchConfig(Config):
    """A comparison. reference: the method that the others are tested against; by default the first.

    folds: the people are parted into so many, see bench.folds; 0: they are not.
    """

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=0, le=100)] = 0
    reference: str = ""
    data: DataConfig = DataConfig()
    postproc: ChainConfig = ChainConfig()
    sets: tuple[SetConfig, ...] = Field(alias="set", min_length=1)
    methods: tuple[MethodConfig, ...] = Field(alias="method", min_length=1)

    @model_validator(mode="after")
    def _folded(self) -> Self:
        if 0 < self.folds < FEWEST_FOLDS:
            raise ValueError(f"folds = {self.folds}: at least {FEWEST_FOLDS} (to judge on, to tune on, to learn from)")
        if self.folds and not self.data.train:
            raise ValueError("folds part the people of data.train, and there are none")
        if not self.folds and (self.data.participants or self.data.stratify):
            raise ValueError("data.participants and data.stratify are for folds (add folds = 5)")
        if self.data.slices and self.data.unit == "scan":
            raise ValueError('data.slices are cases of their own (add unit = "slice")')
        if self.data.stratify and not self.data.participants:
            raise ValueError("data.stratify names columns of data.participants, which is missing")
        return self

    @model_validator(mode="after")
    def _chains(self) -> Self:
        for method in self.methods:
            try:
                self.chain_of(method)
            except ValidationError as error:
                raise ValueError(f"[[method]] {method.name}: postproc: {faults(error, method.postproc)}") from None
        return self

    def chain_of(self, method: MethodConfig) -> ChainConfig:
        """Return the post-processing of a method. Raises ValidationError for one that there is not."""
        return ChainConfig.model_validate({**self.postproc.model_dump(), **method.postproc})

    @model_validator(mode="after")
    def _names(self) -> Self:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name = '{self.name}': files are called so (letters, digits, and . _ - after the first)")
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
    if path.is_dir():
        raise UadError(f"{path}: is a folder (name a plan, a .toml file; what was compared is published by --report)")
    return bench_of(read_toml(path, "not a readable comparison"), str(path))


def bench_of(data: dict[str, Any], where: str) -> BenchConfig:
    """Check a comparison, with a row for each of a sweep's. Raises UadError, which says where it is from."""
    if isinstance(rows := data.get("method"), list):
        try:
            data = {**data, "method": [one for row in rows for one in expanded(row)]}
        except ValueError as error:
            raise UadError(f"{where}: {error}") from None
    return parse(BenchConfig, data, where)
