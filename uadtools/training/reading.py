"""Reading what a run learns from and is judged on, with what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from uadtools.concerns import Concern, Tell, tell_concerns, united
from uadtools.interface.recipe import Recipe
from uadtools.training.data import Slices, load_slices, require_both, require_lesions, shared_scans
from uadtools.training.lesions import Masks, masks_of
from uadtools.training.sick import Sick, of_one_person, sick_of

TOLD = ("looks-unlike", "labels", "person")
"""The codes of concerns that are told as training begins: those that are guesses."""


@dataclass(frozen=True)
class Sources:
    """Where scans are, and what is known of them: files, folders and lists.

    scans, validation: healthy ones, but for recipes that take masks of their lesions, labels; sick, sick_validation:
    sick ones, for recipes that are told of them; sick_slices: masks of the lesions in these. label, ignore: of masks,
    which labels count and which count neither way.
    """

    scans: Sequence[str]
    validation: Sequence[str] = ()
    labels: Sequence[str] = ()
    label: Sequence[int] = ()
    ignore: Sequence[int] = ()
    sick: Sequence[str] = ()
    sick_validation: Sequence[str] = ()
    sick_slices: Sequence[str] = ()

    @property
    def learnt(self) -> list[str]:
        return [*self.scans, *self.sick]

    @property
    def judged(self) -> list[str]:
        return [*self.validation, *self.sick_validation]

    def known(self, recipe: Recipe) -> tuple[Masks | None, Sick | None]:
        """Find the masks of all scans, and which are sick, as far as a recipe is told that. Raises UadError."""
        healthy, sick = [*self.scans, *self.validation], [*self.sick, *self.sick_validation]
        told = sick_of(recipe, healthy, sick, self.sick_slices, self.label, self.ignore)
        return masks_of(recipe, healthy, self.labels, self.label, self.ignore), told


def read(
    recipe: Recipe, sources: Sources, masks: Masks | None, sick: Sick | None, tell: Tell
) -> tuple[Slices, Slices | None, list[Concern]]:
    """Read what is learnt from and judged on, and what speaks against it, which is told as far as it is a guess."""
    structures = recipe.corrupting.labels if recipe.corrupting else ()
    load = partial(
        load_slices, grid=recipe.grid, min_brain=recipe.data.min_brain, solid=recipe.solid, labels=structures,
        masks=masks, sick=sick, contrasts=recipe.contrasts[1:],
    )  # fmt: skip
    slices = load(sources.learnt)
    held_out = load(sources.judged) if sources.judged else None
    if masks:
        require_lesions(slices)
    if sick:
        require_both(slices, "--sick")
        if held_out is not None:
            require_both(held_out, "--val-sick")
    if held_out is not None and (shared := shared_scans(slices, held_out)):
        tell(f"--val: {shared} of these scans are learnt from, too, voxel for voxel (the loss on them flatters)")
    guesses = [*(masks.concerns if masks else ()), *(sick.masks.concerns if sick else ())]
    persons = of_one_person(sick, sources.learnt) if sick else ()
    concerns = united(slices.concerns, held_out.concerns if held_out else (), guesses, persons)
    tell_concerns([concern for concern in concerns if concern.code in TOLD], tell)
    return slices, held_out, concerns
