"""The four steps for one study after the other, settled before the first: what is wrong with all is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uadtools.cohort.postproc import Detecting
from uadtools.cohort.results import Watch, carried
from uadtools.cohort.score import Scoring
from uadtools.concerns import Tell, silent
from uadtools.datasets.channels import Channels
from uadtools.datasets.failed import blamed_on_scan
from uadtools.datasets.sources import Sources, words
from uadtools.errors import Misuse
from uadtools.healing.ensemble import (
    Ensemble,
    condition_of,
    ensembles_of,
    heal_with,
    suiting,
    tell_without_threshold,
)
from uadtools.pipeline.asked import READ_ONCE, Asked
from uadtools.preparing.options import settle
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.preprocess import prepare
from uadtools.volume.io import Image
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, read_mask, streamed


@dataclass(frozen=True)
class Healing:
    """Heals one study after the other, each with the ensemble that suits it. brain: a mask in place of its own."""

    ensembles: Sequence[Ensemble]
    condition: Study | None
    brain: Image | None
    seed: int
    batch: int

    @classmethod
    def of(
        cls,
        *,
        model: Sources = (),
        condition: Path | str | None = None,
        brain: Path | str | None = None,
        seed: int = 0,
        batch: int = 0,
        tell: Tell = silent,
        **how: Any,
    ) -> Healing:
        """Settle how to heal, in uad-heal's words. Raises UadError."""
        ensembles = ensembles_of(words(model), tell=tell, **how)
        mask = None if brain is None else read_mask(Path(brain), tell=tell)
        return cls(ensembles, condition_of(condition, ensembles[0].plans[0]), mask, seed, batch)

    def __call__(self, study: Study, watch: Watch) -> Study:
        study = study if self.brain is None else study.adding(*study.images.values(), self.brain)
        settings: dict[str, Any] = {"condition": self.condition, "seed": self.seed, "batch": self.batch}
        return heal_with([study], suiting(self.ensembles, study).members, watch=watch, **settings)[0]


@dataclass(frozen=True)
class Steps:
    """The steps, as they were asked for. Between them a study is what a pipe would carry, to the last bit."""

    preparation: Preparation
    channels: Channels
    healing: Healing
    scoring: Scoring
    detecting: Detecting
    tell: Tell

    @classmethod
    def of(cls, asked: Asked, tell: Tell, *, several: bool, suffix: str = "") -> Steps:
        """Settle all steps, before any work is done. several, suffix: see `Channels.of`. Raises UadError."""
        preprocess, heal, score, postproc = (dict(options) for options in asked.steps.values())
        reading = Reading(**{name: preprocess.pop(name, None) for name in READ_ONCE}, surrounded=True)
        given = preprocess.pop("channel", ())
        preparation = settle(**preprocess, reading=reading)
        channels = Channels.of(given, several=several, suffix=suffix, align=preparation.align)
        healing = Healing.of(**heal, tell=tell)
        _require_seen(score.get("contrast", "mean"), healing.ensembles[0])
        detecting = Detecting.of(**postproc, native=True, tell=tell)
        if "threshold" not in postproc:
            tell_without_threshold(healing.ensembles, tell)
        return cls(preparation, channels, healing, Scoring.of(**score, tell=tell), detecting, tell)

    @property
    def made(self) -> tuple[str, ...]:
        """The roles of what is made before the score."""
        plan = self.healing.ensembles[0].plans[0]
        return ("scan", "brain", plan.product, *plan.maps)

    def prepare(self, raw: Study, channels: Mapping[str, Image]) -> Study:
        """Prepare a raw scan, with its other contrasts. Raises UadError that names it."""
        with blamed_on_scan(raw.name):
            prepared = prepare(raw.product, replace(self.preparation, channels=channels), name=raw.name)
        for concern in (*raw.product.noted, *prepared.concerns):
            self.tell(f"{raw.name}: {concern}")
        return streamed(prepared.study)

    def heal(self, prepared: Study, watch: Watch) -> Study:
        """Heal a prepared scan. Raises UadError."""
        healed = streamed(self.healing(prepared, watch))
        carried(healed, self.tell)
        return healed

    def detect(self, healed: Study) -> Study:
        """Score and detect: a study of all that was made, its detection on the raw scan's grid. Raises UadError."""
        return self.detecting(streamed(self.scoring(healed)))


def _require_seen(contrast: str, ensemble: Ensemble) -> None:
    """Raise Misuse for a contrast to score that the model does not see."""
    seen = ensemble.config.contrasts if ensemble.config else ()
    if contrast not in ("mean", "max", *seen):
        raise Misuse(
            f"--set score.contrast={contrast}: the model sees {', '.join(seen) or 'one contrast'} (or mean, or max)"
        )
