"""Tables of settings, as recipes and model files hold them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uadtools.errors import plain

PositiveInt = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0, le=256)]
Width = Annotated[int, Field(gt=0, le=1 << 16)]
"""Of layers and levels, and of their channels: no network has more, and no file makes this machine build one."""
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Deviation = Annotated[float, Field(ge=0, le=100)]
"""Of the Gaussian that smooths a score, in voxels."""


class Config(BaseModel):
    """A frozen table of settings in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False, defer_build=True)


NEEDED = {
    "tuple_type": "a list in brackets is needed", "list_type": "a list in brackets is needed",
    "dict_type": "a table is needed", "model_type": "a table is needed", "string_type": "a text in quotes is needed",
    "int_type": "a whole number is needed", "int_parsing": "a whole number is needed",
    "int_from_float": "a whole number is needed", "float_type": "a number is needed",
    "float_parsing": "a number is needed", "bool_type": "true or false is needed",
    "bool_parsing": "true or false is needed", "literal_error": "there are {expected}",
    "greater_than": "above {gt:g} is needed", "greater_than_equal": "at least {ge:g} is needed",
    "less_than": "below {lt:g} is needed", "less_than_equal": "at most {le:g} is needed",
    "too_short": "a list of at least {min_length} is needed", "too_long": "a list of at most {max_length} is needed",
}  # fmt: skip
"""What is said of a value, by pydantic's name for what is wrong with it; what it is comes after."""
TAG = re.compile(r"str|int|float|bool|[\w-]+\[.*\]")
"""What pydantic calls the ways of understanding a value that may be of several types."""
LONGEST = 60


def faults(error: ValidationError, data: object) -> str:
    """Say in plain words what is wrong with settings: the key, what is allowed, and what is there instead.

    data: what was checked; tables in a list are called by their names in it.
    """
    found = error.errors(include_url=False)
    places = [_key(fault["loc"], data) for fault in found]
    told = {place: _plain(fault) for place, fault in zip(places, found, strict=True) if not _follows(fault, found)}
    return "; ".join(f"{place}: {text}" if place else text for place, text in told.items())


def _follows(fault: Any, others: Sequence[Any]) -> bool:
    """Tell whether a list is too short only because what is in it is wrong."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and other is not fault for other in others
    )


def _key(place: Sequence[int | str], data: object) -> str:
    """Write where a value is; of a table in a list with its name, if it has one."""
    said: list[str] = []
    for part in place:
        if isinstance(part, str) and TAG.fullmatch(part):
            break
        data = data[part] if _holds(data, part) else None  # type: ignore[index]
        name = data.get("name") if isinstance(data, Mapping) and isinstance(part, int) else None
        if isinstance(name, str) and said:
            said[-1] = f"[[{said[-1]}]] {_shown(name)}"
        else:
            said.append(str(part))
    return ".".join(said)


def _holds(data: object, part: int | str) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, Sequence) and not isinstance(data, str) and isinstance(part, int) and part < len(data)


def _plain(fault: Any) -> str:
    kind = fault["type"]
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        last = fault["loc"][-1]
        return f"value {last + 1} of the list is missing" if isinstance(last, int) else "is missing"
    if kind == "tuple_type" and isinstance(fault["input"], Mapping) and len(fault["loc"]) == 1:
        return f"a list of tables is needed: [[{fault['loc'][0]}]]"
    if kind not in NEEDED:
        return plain(fault["msg"])
    return f"{NEEDED[kind].format(**fault.get('ctx', {}))}, and not {_shown(fault['input'])}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
