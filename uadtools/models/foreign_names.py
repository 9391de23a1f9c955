"""What the weights of other programs are called here, and what their shapes say of the network. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from uadtools.errors import UadError

Shapes = Mapping[str, tuple[int, ...]]

FIRST_OF_ENCODER = "layer1.0.conv1.weight"
FIRST_OF_CODEBOOK = "quantizer.quantizer.embedding.weight"

_GUIDED = (
    (r"^time_embedding\.1", "time_embed.0"), (r"^time_embedding\.3", "time_embed.2"),
    (r"^label_emb\.", "condition_embed."), (r"^(input_blocks|down)\.0\.0", "first"), (r"^output_blocks", "up"),
    (r"^middle_block", "middle"), (r"^out\.0", "out_norm"), (r"^out\.2", "out_conv"),
    (r"emb(ed)?_layers\.1", "embed"), (r"in_layers\.0", "in_norm"), (r"in_layers\.2", "in_conv"),
    (r"out_layers\.0", "out_norm"), (r"out_layers\.3", "out_conv"), (r"skip_connection", "skip"), (r"to_qkv", "qkv"),
    (r"proj_out", "proj"), (r"\.(op|downsample)\.", ".conv."),
)  # fmt: skip
_MONAI = (
    (r"^conv_in\.conv", "first"), (r"^middle_block\.resnet_1", "middle.0"),
    (r"^middle_block\.attention\b", "middle.1"), (r"^middle_block\.resnet_2", "middle.2"), (r"^out\.0", "out_norm"),
    (r"^out\.2\.conv", "out_conv"), (r"norm1", "in_norm"), (r"conv1\.conv", "in_conv"), (r"time_emb_proj", "embed"),
    (r"norm2", "out_norm"), (r"conv2\.conv", "out_conv"), (r"skip_connection\.conv", "skip"), (r"\.attn\.", "."),
    (r"proj_attn|out_proj", "proj"), (r"\.(op|conv|postconv)\.conv\.", ".conv."),
)  # fmt: skip
_ENCODER = (
    (r"^conv1", "stem"), (r"^fc", "head"), (r"downsample\.0", "skip_conv"), (r"downsample\.1", "skip_norm"),
    (r"^bn1", "norm"), (r"bn(\d)", r"norm\1"),
)  # fmt: skip


def _replaced(key: str, words: Iterable[tuple[str, str]]) -> str:
    for theirs, ours in words:
        key = re.sub(theirs, ours, key)
    return key


def of_guided(key: str) -> str:
    """Return our name for a weight of guided-diffusion and what came of it: AnoDDPM, pDDPM, cDDPM."""
    return re.sub(r"^(?:input_blocks|down)\.(\d+)", lambda match: f"down.{int(match[1]) - 1}", _replaced(key, _GUIDED))


_CODEBOOK = {
    "quantizer.quantizer.embedding.weight": "codebook.codes",
    "quantizer.quantizer.ema_cluster_size": "codebook.counts",
    "quantizer.quantizer.ema_w": "codebook.sums",
}


def of_codebook(shapes: Shapes) -> dict[str, str]:
    """Return our names for the weights of MONAI's VQ-VAE, whose layers are numbered without the activations.

    shapes: by MONAI's names.
    """
    renamed = dict(_CODEBOOK)
    for part in ("encoder", "decoder"):
        place, blocks = 0, _numbers(shapes, rf"{part}\.blocks\.(\d+)")
        for block in blocks:
            plain = f"{part}.blocks.{block}.conv"
            if f"{plain}.weight" in shapes:
                renamed |= {f"{plain}.{kind}": f"{part}.{place}.{kind}" for kind in ("weight", "bias")}
                resamples = shapes[f"{plain}.weight"][2] == 4
                place += 2 if resamples and block != blocks[-1] else 1
            else:
                for conv, kind in product(("conv1", "conv2"), ("weight", "bias")):
                    renamed[f"{part}.blocks.{block}.{conv}.conv.{kind}"] = f"{part}.{place}.{conv}.{kind}"
                place += 1
    return renamed


def codebook_sizes(shapes: Shapes) -> dict[str, Any]:
    """Tell the settings of a VQ-VAE from the shapes of its weights, by our names."""
    halving = [key for key in shapes if re.fullmatch(r"encoder\.\d+\.weight", key) and shapes[key][2] == 4]
    residual = [key for key in shapes if re.fullmatch(r"encoder\.\d+\.conv1\.weight", key)]
    codes, dimension = shape_of(shapes, "codebook.codes")
    widths = [shapes[key][0] for key in sorted(halving, key=lambda key: int(key.split(".")[1]))]
    return {
        "kind": "codebook",
        "widths": widths,
        "residuals": len(residual) // max(len(widths), 1),
        "codes": codes,
        "dimension": dimension,
    }


def of_encoder(key: str) -> str:
    """Return our name for a weight of timm's ResNet."""
    return re.sub(r"^layer(\d+)", lambda match: f"stages.{int(match[1]) - 1}", _replaced(key, _ENCODER))


def of_monai(key: str, res_blocks: int) -> str:
    """Return our name for a weight of MONAI's DiffusionModelUNet with so many residual blocks per level.

    What comes after the residual blocks of a level is halving, on the way up doubling in the last one's own stage.
    """
    key = _replaced(key, _MONAI)
    if match := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsampler|upsampler)\.(?:(\d+)\.)?(.*)", key):
        direction, level, what, block, rest = match.groups()
        stage = int(level) * (res_blocks + 1) + int(block or res_blocks)
        layer = {"resnets": 0, "attentions": 1, "downsampler": 0, "upsampler": "last"}[what]
        return f"{direction}.{stage}.{layer}.{rest}"
    return key


def with_last_numbered(keys: Iterable[str]) -> dict[str, str]:
    """Number what of_monai() calls the last layer of a stage: it comes after the attention, where there is one."""
    keys = set(keys)
    renamed = {}
    for key in keys:
        stage, last, rest = key.partition(".last.")
        renamed[key] = f"{stage}.{2 if f'{stage}.1.norm.weight' in keys else 1}.{rest}" if last else key
    return renamed


def _numbers(shapes: Iterable[str], pattern: str) -> list[int]:
    return sorted({int(match[1]) for key in shapes if (match := re.match(pattern, key))})


def monai_res_blocks(keys: Iterable[str]) -> int:
    """Return how many residual blocks a level of MONAI's network has. Raises UadError unless all have the same."""
    keys = list(keys)
    counts = [
        len(_numbers(keys, rf"down_blocks\.{level}\.resnets\.(\d+)")) for level in _numbers(keys, r"down_blocks\.(\d+)")
    ]
    if len(set(counts)) != 1:
        raise UadError(f"levels with {counts} residual blocks: they must all have the same number")
    return counts[0]


def unet_sizes(shapes: Shapes) -> dict[str, Any]:
    """Tell the settings of a U-Net from the shapes of its weights, by our names.

    Raises UadError for channels that are no integer multiples of the first, or a weight that is not there.
    """
    base = shape_of(shapes, "time_embed.0.weight")[1]
    stages = len(_numbers(shapes, r"up\.(\d+)\."))
    doubling = [key for key in shapes if re.fullmatch(r"up\.\d+\.[12]\.(in_)?conv\.weight", key)]
    res_blocks = min((int(key.split(".")[1]) for key in doubling), default=stages - 1)
    last = range(0, stages, res_blocks + 1)  # the first stage of each level, from the coarsest
    widths = [shape_of(shapes, f"up.{stage}.0.in_conv.weight")[0] for stage in last][::-1]
    if any(width % base for width in widths):
        raise UadError(f"channels {widths}: only whole multiples of the first, {base}, can be told")
    attention = [2**level for level, stage in enumerate(reversed(last)) if f"up.{stage}.1.qkv.weight" in shapes]
    block = shape_of(shapes, "middle.0.embed.weight")[0] // shape_of(shapes, "middle.0.in_conv.weight")[0]
    return {
        "kind": "unet",
        "base": base,
        "multipliers": [width // base for width in widths],
        "res_blocks": res_blocks,
        "attention": attention,
        "middle_attention": "middle.1.qkv.weight" in shapes,
        "embedding": "scale_shift" if block == 2 else "add",
        "resample": "conv" if any(".conv." in key for key in doubling) else "residual",
        "patch": 1,
    }


def encoder_sizes(shapes: Shapes) -> dict[str, Any]:
    """Tell the settings of a ResNet from the shapes of its weights, by our names.

    Raises UadError for one of basic blocks (ResNet-18, -34), or a weight that is not there.
    """
    if "stages.0.0.conv3.weight" not in shapes:
        raise UadError("an encoder of basic blocks (ResNet-18 or -34): only bottleneck blocks are supported")
    stages = _numbers(shapes, r"stages\.(\d+)")
    return {
        "base": shape_of(shapes, "stem.weight")[0],
        "blocks": [len(_numbers(shapes, rf"stages\.{stage}\.(\d+)")) for stage in stages],
        "dimension": shape_of(shapes, "head.weight")[0],
        "mlp": True,
    }


def shape_of(shapes: Shapes, name: str) -> tuple[int, ...]:
    """Return the shape of a weight. Raises UadError when it is not there."""
    if name not in shapes:
        raise UadError(f"without {name} (the names are ours; is the checkpoint complete?)")
    return shapes[name]
