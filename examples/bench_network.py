#!/usr/bin/env python3
"""The network of AnoDDPM's size against other libraries': python examples/bench_network.py [--runs N] [--json OUT].

A U-Net of 98.6 million parameters (base 128, multipliers 1, 1, 2, 3, 4) looks at slices of 256x256, on the CPU: ours in
float32 and as `uad-heal` has it by default (--precision auto), and where they are installed (pip install
'uadtools[bench]') MONAI's DiffusionModelUNet and diffusers' UNet2DModel of the same shape, each as it comes. In every
run all are timed in turn, on the same slices; printed are medians, medians of the ratios to MONAI's within a run, and
slices per second. Also how far x0 of the default is from that of float32, on random weights, where nothing is averaged
out: |difference| / |x0|.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uadtools.models.model import Model, build, pick_precision, schedule_of
from uadtools.nets.layout import layout
from uadtools.nets.unet import UNet
from uadtools.training.recipe import load_recipe

T = 300
CPU = torch.device("cpu")
Ask = Callable[[Tensor], Any]


def ours(precision: torch.dtype) -> Model:
    """Make the network with random weights, the same in every precision."""
    config = load_recipe("sss").model({})
    torch.manual_seed(0)
    net = build(config)
    assert isinstance(net, UNet)
    for weight in net.parameters():
        if not weight.any():  # layers that start at 0 would hide all that comes before
            torch.nn.init.normal_(weight, std=0.02)
    net = net.to(memory_format=layout(2)).eval().requires_grad_(False)
    if precision != torch.float32:
        net.halve(precision)
    return Model(config, net, schedule_of(config), CPU, precision)


def others() -> dict[str, Ask]:
    """Make the networks of the libraries that are installed."""
    found: dict[str, Ask] = {}
    try:
        from monai.networks.nets import DiffusionModelUNet

        monai = DiffusionModelUNet(
            spatial_dims=2, in_channels=1, out_channels=1, num_res_blocks=2, channels=(128, 128, 256, 384, 512),
            attention_levels=(False, False, False, True, True), num_head_channels=(0, 0, 0, 192, 256),
            norm_num_groups=32, resblock_updown=True,
        ).eval()  # fmt: skip
        found["MONAI"] = lambda x: monai(x, torch.full((len(x),), T))
    except ImportError:
        pass
    try:
        from diffusers import UNet2DModel

        plain, attentive = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")
        blocks = [plain, plain, plain, attentive, attentive]
        theirs = UNet2DModel(
            sample_size=256, in_channels=1, out_channels=1, layers_per_block=2, attention_head_dim=256,
            block_out_channels=(128, 128, 256, 384, 512), down_block_types=tuple(down for down, _ in blocks),
            up_block_types=tuple(up for _, up in reversed(blocks)),
        ).eval()  # fmt: skip
        found["diffusers"] = lambda x: theirs(x, T)
    except ImportError:
        pass
    return found


@torch.inference_mode()
def timed(asks: dict[str, Ask], batch: int, runs: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each, slices per second, and the median of the ratios to MONAI's, if it is there."""
    x = torch.randn(batch, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    times: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(runs + 1):
        for name, ask in asks.items():
            start = time.perf_counter()
            ask(x)
            times[name].append(time.perf_counter() - start)
    made = {}
    for name, (_, *counted) in times.items():
        seconds = statistics.median(counted)
        made[name] = {"seconds": seconds, "slices_per_second": batch / seconds}
        if "MONAI" in times:
            made[name]["faster_than_monai"] = statistics.median(
                m / own for m, own in zip(times["MONAI"][1:], counted, strict=True)
            )
    return made


def apart(one: Model, other: Model) -> float:
    """Return how far the x0 of two models are apart, relative to that of the first."""
    x = torch.randn(2, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    here, there = (model.predict(x, T).x0 for model in (one, other))
    return float((here - there).norm() / here.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    auto = pick_precision("auto", CPU)
    full, default = ours(torch.float32), ours(auto)
    asks: dict[str, Ask] = {"uadtools, fp32": lambda x: full.predict(x, T)}
    if auto != torch.float32:
        asks["uadtools, bf16"] = lambda x: default.predict(x, T)
    asks |= others()
    found = {
        "threads": torch.get_num_threads(),
        "x0_error": apart(full, default),
        "batches": {batch: timed(asks, batch, options.runs) for batch in options.batch},
    }
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
