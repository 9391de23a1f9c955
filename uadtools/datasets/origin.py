"""What an image is made of, by which tool and how, by which a later run knows what it need not make again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from uadtools.datasets.anonymous import nameless
from uadtools.errors import UadError
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, fingerprint


@dataclass(frozen=True)
class Origin:
    """What is to be made of a study.

    tool: that makes it; name: of the study; settings: what the tool's line of history says of how it is made; source:
    fingerprint of what goes in, empty where that is made first; after: what the line before it says of that then.
    """

    tool: str
    name: str
    settings: Mapping[str, Any]
    source: str = ""
    after: Origin | None = None

    @classmethod
    def of(cls, tool: str, name: str, settings: object, *images: Image) -> Origin:
        """Say what a tool makes of images; settings: all else that decides what comes out, as JSON has it."""
        known = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        return cls(tool, name, {"settings": known}, fingerprint(*images) if images else "")

    def nameless(self, name: str) -> Origin:
        """Return what anonymous images say of themselves."""
        after = self.after and self.after.nameless(name)
        return replace(self, name=name, settings=nameless(dict(self.settings)), after=after)

    def noted(self, study: Study) -> Study:
        """Return a study of which the images that the tool made say what they are made of."""
        return Study(study.name, {role: self._noted(image) for role, image in study.images.items()})

    def _noted(self, image: Image) -> Image:
        *before, last = image.provenance.get("history") or [{}]
        if last.get("tool") != self.tool:
            return image
        history = [*before, last | {"source": self.source, **self.settings}]
        return replace(image, provenance=image.provenance | {"history": history})

    def check(self, made: Image, path: Path, *, provenance: bool) -> None:
        """Raise UadError for an image that was made by something else, of another study, or in another way.

        provenance: images are written with their history; else it may be missing.
        """
        *before, line = made.provenance.get("history") or [{}]
        if provenance and line.get("tool") != self.tool:
            raise UadError(f"{path}: exists, and {self.tool} did not make it (--force replaces it)")
        other = self.source and line.get("source", self.source) != self.source
        if other or made.provenance.get("study", self.name) != self.name:
            raise UadError(
                f"{path}: exists, and was made of another scan, or of another state of it (--force replaces it)"
            )
        if provenance and any(line.get(key) != value for key, value in self.settings.items()):
            raise UadError(f"{path}: exists, and was made with other settings (--force replaces it)")
        if self.after:
            self.after.check(
                replace(made, provenance=made.provenance | {"history": before}), path, provenance=provenance
            )
