"""The programs whose checkpoints can be read, and what they do that a checkpoint does not say. No torch here.

Some are called as the method they were written for, so this file alone names what looks like methods.
"""

from __future__ import annotations

from typing import Any, Literal

Program = Literal["anoddpm", "guided-diffusion", "pddpm", "cddpm", "monai"]
Table = dict[str, Any]

FIRST = {
    "anoddpm": "time_embedding.1.weight", "guided-diffusion": "input_blocks.0.0.weight",
    "pddpm": "input_blocks.0.0.weight", "cddpm": "input_blocks.0.0.weight", "monai": "conv_in.conv.weight",
}  # fmt: skip
"""A weight that every network of a program has, and networks of another family do not: by it they are found."""
CONDITIONED: tuple[Program, ...] = ("cddpm",)
"""Those whose networks are told an image's code."""
CODEBOOK = "vqvae"
"""What an autoencoder with a codebook is here."""
RECIPES = {"anoddpm": "anoddpm", "pddpm": "pddpm-code", "cddpm": "cddpm-code"}
"""Our recipes of what a program trains."""
PLAIN = {"pddpm": "ddpm-baseline"}
"""Of the plain diffusion model of the same program, where it has one, too."""
_GROUPS: Table = {"groups": 32, "eps": 1e-5}
_BEHRENDT: Table = {
    "network": {"head_channels": 64, "sinusoid": "cos_sin", **_GROUPS},
    "schedule": {"kind": "cosine", "steps": 1000},
    "noise": {"octaves": 6, "persistence": 0.8, "frequency": 2.0**-6},
}
_PERCENTILES: Table = {"intensity": {"kind": "percentile", "low": 1.0, "high": 99.0}}
PICTURES: Table = {
    "target": "eps",
    "schedule": {"kind": "linear", "steps": 1000},
    "noise": {"kind": "gaussian"},
    "grid": {"shape": [64, 64, 1], "spacing": [1.0, 1.0, 1.0]},
    "intensity": {"kind": "none"},
    "defaults": {"method": "sss", "t": [300]},
}
ASSUMED: dict[str, Table] = {
    "anoddpm": {"network": {"attention_order": "heads_first", **_GROUPS}, **_PERCENTILES},
    "pddpm": _BEHRENDT,
    "cddpm": _BEHRENDT,
    "guided-diffusion": {
        "network": {"heads": 4, "attention_order": "heads_first", "sinusoid": "cos_sin", **_GROUPS}, **PICTURES
    },
    "monai": {
        "network": {
            "head_channels": 8, "attention_order": "qkv_first", "sinusoid": "cos_sin", "groups": 32, "eps": 1e-6
        },
        **PICTURES,
    },
}  # fmt: skip
"""What the programs do where a checkpoint does not say, and our recipes of them do not, either."""
