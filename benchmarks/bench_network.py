#!/usr/bin/env python3
"""The network of AnoDDPM's size against other libraries': python benchmarks/bench_network.py [--runs N] [--json OUT].

A U-Net of 98.6 million parameters (base 128, multipliers 1, 1, 2, 3, 4) looks at slices of 256x256, on the CPU: ours in
float32 and as `uad-heal` has it by default (--precision auto), and where they are installed (pip install
'uadtools[bench]') MONAI's DiffusionModelUNet and diffusers' UNet2DModel of the same shape, each as it comes. MONAI's is
also timed in bf16 with its channels last, the best that a user can make of it. In every run all are timed in turn, on
the same slices, each in a process of its own; printed are medians, medians of the ratios to MONAI's within a run, and
slices per second. Also the limits, in the same run: how fast the CPU multiplies large matrices in bf16 and copies
memory, and what arithmetic a slice takes; and how far x0 of the default is from that of float32, on random weights,
where nothing is averaged out: |difference| / |x0|.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from bench import at_least, report, writable
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from uadtools.models.model import Model, build, pick_precision
from uadtools.nets.layout import layout
from uadtools.nets.unet import UNet
from uadtools.terminal import keep_memory
from uadtools.training.recipe import load_recipe

T = 300
CPU = torch.device("cpu")
Ask = Callable[[Tensor], Any]


def ours(precision: torch.dtype) -> Model:
    """Make the network with random weights, the same in every precision, as load_model makes it."""
    config = load_recipe("sss").model({})
    torch.manual_seed(0)
    net = build(config)
    assert isinstance(net, UNet)
    for weight in net.parameters():
        if not weight.any():  # layers that start at 0 would hide all that comes before
            torch.nn.init.normal_(weight, std=0.02)
    net.eval().requires_grad_(False).fold()
    if precision != torch.float32:
        net.halve(precision)
    net = net.to(memory_format=layout(2))
    return Model(config, net, CPU, precision)


def of_monai(precision: torch.dtype) -> Ask:
    from monai.networks.nets import DiffusionModelUNet

    net = DiffusionModelUNet(
        spatial_dims=2, in_channels=1, out_channels=1, num_res_blocks=2, channels=(128, 128, 256, 384, 512),
        attention_levels=(False, False, False, True, True), num_head_channels=(0, 0, 0, 192, 256),
        norm_num_groups=32, resblock_updown=True,
    ).eval()  # fmt: skip
    if precision == torch.float32:
        return lambda x: net(x, torch.full((len(x),), T))
    net = net.to(precision, memory_format=torch.channels_last)
    return lambda x: net(x.to(precision, memory_format=torch.channels_last), torch.full((len(x),), T))


def of_diffusers() -> Ask:
    from diffusers import UNet2DModel

    plain, attentive = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")
    blocks = [plain, plain, plain, attentive, attentive]
    net = UNet2DModel(
        sample_size=256, in_channels=1, out_channels=1, layers_per_block=2, attention_head_dim=256,
        block_out_channels=(128, 128, 256, 384, 512), down_block_types=tuple(down for down, _ in blocks),
        up_block_types=tuple(up for _, up in reversed(blocks)),
    ).eval()  # fmt: skip
    return lambda x: net(x, T)


@cache
def network(name: str) -> Ask:
    """Make one of the networks, once in a process."""
    if name == "diffusers":
        return of_diffusers()
    precision = torch.bfloat16 if name.endswith("bf16") else torch.float32
    if name.startswith("MONAI"):
        return of_monai(precision)
    keep_memory()
    model = ours(precision)
    return lambda x: model.predict(x, T)


@torch.inference_mode()
def seconds(name: str, batch: int) -> float:
    """Time one batch of a network, or one of the limits."""
    if name in LIMITS:
        return LIMITS[name]()
    x = torch.randn(batch, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    ask = network(name)
    start = time.perf_counter()
    ask(x)
    return time.perf_counter() - start


def product() -> float:
    """Return the seconds that 10^12 operations take in a product of matrices of 2048x2048 in bf16."""
    a = torch.randn(2048, 2048).bfloat16()
    start = time.perf_counter()
    for _ in range(8):
        a @ a
    return (time.perf_counter() - start) / (8 * 2 * 2048**3) * 1e12


def copy() -> float:
    """Return the seconds that 1 GB takes to be read and written elsewhere, counted twice."""
    a = torch.ones(2**26)
    b = a.clone()
    start = time.perf_counter()
    for _ in range(4):
        b.copy_(a)
    return (time.perf_counter() - start) / (4 * 2 * 2**28) * 1e9


LIMITS = {"product": product, "copy": copy}


def timed(names: list[str], batch: int, runs: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each, slices per second, and the median of the ratios to MONAI's, if it is there."""
    times: dict[str, list[float]] = {name: [] for name in names}
    spawn = multiprocessing.get_context("spawn")
    processes = {name: ProcessPoolExecutor(1, spawn) for name in names}
    for _ in range(runs + 1):
        for name, process in processes.items():
            times[name].append(process.submit(seconds, name, batch).result())
    for process in processes.values():
        process.shutdown()
    made = {}
    for name, (_, *counted) in times.items():
        typical = statistics.median(counted)
        if name in LIMITS:
            made[name] = {"product": {"gflop_per_second": 1e3 / typical}, "copy": {"gb_per_second": 1 / typical}}[name]
            continue
        made[name] = {"seconds": typical, "slices_per_second": batch / typical}
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


def gflop() -> float:
    """Return the operations that a slice takes, as it is healed."""
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        ours(torch.float32).net(torch.zeros(1, 1, 256, 256), torch.tensor([T]))
    return counted.get_total_flops() / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=at_least(1), default=3)
    parser.add_argument("--batch", type=at_least(1), nargs="+", default=[1, 8])
    parser.add_argument("--json", type=writable)
    options = parser.parse_args()
    names = ["uadtools, fp32"]
    error = None
    if pick_precision("auto", CPU) == torch.bfloat16:
        names.append("uadtools, bf16")
        error = apart(ours(torch.float32), ours(torch.bfloat16))
    names += ["MONAI", "MONAI, bf16"] if find_spec("monai") else []
    names += ["diffusers"] if find_spec("diffusers") else []
    found = {
        "threads": torch.get_num_threads(),
        "gflop_per_slice": gflop(),
        "x0_error": error,
        "batches": {batch: timed([*names, *LIMITS], batch, options.runs) for batch in options.batch},
    }
    report(found, options.json)


if __name__ == "__main__":
    main()
