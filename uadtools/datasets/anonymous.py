"""Studies whose names, and those of the files they came from, are not to be told."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from uadtools.volume.stream import Study


def nameless(value: Any) -> Any:
    """Leave out the names of files among arguments, of which provenance tells."""
    if isinstance(value, dict):
        return {key: nameless(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [nameless(part) for part in value]
    return "file" if isinstance(value, str) and ("/" in value or re.search(r"\.[A-Za-z]\w+$", value)) else value


def anonymous(study: Study, name: str) -> Study:
    """Give a study another name, and leave the names of files out of its images' history."""
    images = {}
    for role, image in study.images.items():
        history = {"history": nameless(line)} if (line := image.provenance.get("history")) else {}
        images[role] = replace(image, provenance={**image.provenance, "study": name, **history})
    return Study(name, images)
