"""The settings of corruption: what is put into healthy slabs, and what differs between them. Quick to import."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from uadtools.settings import Amount, Config, Fraction, PositiveFloat, PositiveInt


class Shapes(Config):
    """Weights of shapes: rough ellipsoids, many small ones, clouds, cores with a ring around, bands along the
    ventricles (rim), masks of a library.
    """

    blob: Amount = 0.4
    many: Amount = 0.3
    cloud: Amount = 0.15
    ring: Amount = 0.15
    rim: Amount = 0.1
    mask: Amount = 0.0


class Looks(Config):
    """Weights of looks: an intensity, a factor, another scan's patch, waves, blur, texture and pushed tissue.

    dark and bright: weights of the two directions in which level and factor may go.
    """

    level: Amount = 0.42
    factor: Amount = 0.25
    foreign: Amount = 0.12
    waves: Amount = 0.09
    blur: Amount = 0.04
    texture: Amount = 0.04
    push: Amount = 0.04
    dark: Amount = 0.5
    bright: Amount = 0.5


class AnomalyConfig(Config):
    """How anomalies are drawn.

    shapes, looks: what is drawn, by weights, so that one is left out by setting it to 0. none: the share of items
    without any. most: groups in an item. radius: of blobs, smallest and largest, in pixels, even in its logarithm.
    edge: width of their soft border, narrowest and widest, in pixels, of many small ones at most 1.2. least: the least
    change of a level. fade: the steps over which anomalies go from easy (large, strong, in almost
    every item) to all of this.
    """

    shapes: Shapes = Shapes()
    looks: Looks = Looks()
    none: Fraction = 0.2
    most: PositiveInt = 6
    radius: tuple[PositiveFloat, PositiveFloat] = (1.0, 12.0)
    edge: tuple[PositiveFloat, PositiveFloat] = (0.4, 2.0)
    least: PositiveFloat = 0.07
    fade: PositiveInt = 10_000


class DomainConfig(Config):
    """Shares of items, 0 to 1, and amounts of what is changed in input and target alike.

    flip, turn (degrees), scale, aspect, shift (pixels): deviations; warp: pixels at most, in a share of .7; widen: by
    how many pixels fluid spreads, at most, in a share of .4 (a quarter of that is how far it may shrink). contrast: the
    share of items whose tissue levels are drawn anew, of which flair and t2 are such, and the rest anything; regions:
    in these, the greatest deviation of structures from their tissue's level, where label maps tell them; vessels: the
    share of these whose fluid holds what only T1 shows as dark as fluid; bilateral: the share of these in which places
    of a tissue, alike on both sides, are darker or brighter than the rest; gamma: of the exponent's logarithm; curve:
    the share with an uneven brightness; headroom: the share whose brightest tissue is made darker than the brightest
    value, as large bright lesions do. blur (pixels, a share of .5), thick (the share of smeared slices), bias (a share
    of .6), ghosts, strip (pixels at most, a share of .4), noise: of the input alone.
    """

    flip: Fraction = 0.5
    turn: Amount = 7.0
    scale: Amount = 0.07
    aspect: Amount = 0.05
    shift: Amount = 2.0
    warp: Amount = 1.8
    widen: Amount = 4.0
    contrast: Fraction = 0.0
    flair: Fraction = 0.35
    t2: Fraction = 0.25
    regions: Amount = 0.08
    vessels: Fraction = 0.5
    bilateral: Fraction = 0.0
    gamma: Amount = 0.2
    curve: Fraction = 0.3
    headroom: Fraction = 0.4
    blur: Amount = 0.9
    thick: Fraction = 0.2
    bias: Amount = 0.25
    ghosts: Fraction = 0.1
    strip: Amount = 3.0
    noise: Amount = 0.025


class CorruptionConfig(Config):
    """What an item is made of: anomalies, which are to be mended, and domains, which are not.

    masks: files and folders of lesion masks, whose slices are the shapes of anomalies.shapes.mask; labels: those of
    label maps of the training scans' anatomy, NAME_dseg of the scan NAME, by which domains.regions are told.
    """

    anomalies: AnomalyConfig = AnomalyConfig()
    domains: DomainConfig = DomainConfig()
    masks: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _with_masks(self) -> Self:
        if self.anomalies.shapes.mask and not self.masks:
            raise ValueError("anomalies.shapes.mask: shapes of masks are wanted, and corruption.masks names none")
        return self
