"""The kinds of hostile files: each a function of random numbers and good files that writes a bad one, with a call."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (16, 16, 8)
GRID = ["--shape", "16,16,8", "--spacing", "2"]
NETWORK = {"base": 8, "multipliers": (1, 2), "res_blocks": 1, "attention": (2,), "heads": 2, "groups": 4}
RECIPE = """name = "tiny"
source = "tests"
network = { base = 8, multipliers = [1, 2], res_blocks = 1, attention = [2], heads = 2, groups = 4 }
grid = { shape = [16, 16, 8] }
training = { steps = 1, batch = 2, t_range = [0, 300], log_every = 1, validate_every = 1 }
optimiser = { learning_rate = 1e-3, warmup = 1, ema = 0.9 }
"""
PLAN = """name = "b"
data.train = ["good.nii.gz"]
[[set]]
name = "s"
val = ["good.nii.gz"]
test = ["other.nii.gz"]
simulate = { kind = "blobs", size = [4.0, 9.0], count = [1, 2] }
[[method]]
name = "blur"
heal = { method = "blur", sigma = 4.0 }
"""
STEER = "\x1b]0;x\x07\x9b2J\u202e"
"""Takes a terminal over, if it gets there."""
ODD: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"), "", "a", STEER,
    "\0", "../../x", "/etc/passwd", "\ud800", "x" * 5000, [], {}, [[]], {"": None}, [1, 2, 3], [1e9] * 3,
    [10**6] * 3, 0.5, 999, [[0] * 4] * 4, [[1e-9, 0, 0, 0], [0, 1e-9, 0, 0], [0, 0, 1e-9, 0], [0, 0, 0, 1]],
]  # fmt: skip
ODD_TOML = [
    "0", "-1", "1e400", "nan", "inf", "9" * 20, '""', '"x"', '"../../out/x"', "[]", "{}", "true", "1979-05-27", "2",
    "64", "[" * 3000 + "]" * 3000, r'"\u0000"', r'"\u001b[31m"', "[1, 2]", "1e-300", "1000000", r'"a\nb"',
]  # fmt: skip
ODD_TEXT = ["\0", STEER, "../" * 50, "-", "--force", "x" * 5000, "a\u2028b", '"', "=1+1", "\r", "/dev/zero",
            "{" * 5000, "[" * 100_000, '"' + "y" * 200_000, "1" * 5000, "\t\t\t", "nan", "1e999", "\ufeff",
            "\ud800", "out"]  # fmt: skip
ODD_NUMBERS = [0, 1, -1, 2, 3, 5, 7, 8, 16, 64, 127, 256, 512, 768, 32767, -32768, 2**31 - 1, 2**62, 1e-30, 1e30,
               float("nan"), float("inf"), 0.5, 352, 10**6]  # fmt: skip
Good = dict[str, bytes]
Run = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Case:
    """A call. names: one is in an error; several: it goes on after a scan that fails; own: where it may write."""

    words: list[str]
    names: tuple[str, ...] = ()
    stdin: bytes = b""
    several: bool = False
    own: str = "out/"


def good_files(run: Run) -> Good:
    """Write what cases are made from into the current folder; returns the files."""
    import torch

    from uadtools.models.checkpoint import save_model
    from uadtools.models.config import ModelConfig
    from uadtools.models.model import build

    about = {"name": "tiny", "network": NETWORK, "grid": {"shape": SHAPE}, "target": "x0", "defaults": {"t": [20]}}
    config = ModelConfig.model_validate(about)
    torch.manual_seed(0)
    weights = {name: value + 0.01 for name, value in build(config).state_dict().items()}
    save_model(Path("model.safetensors"), config, weights)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    inside, waves = (places**2).sum(axis=0) < 0.8, np.sin(5 * places[0]) * np.cos(4 * places[1])
    affine = np.diag([2.0, 2, 2, 1])
    nib.save(nib.Nifti1Image(np.where(inside, 500 + 300 * waves, 0).astype(np.int16), affine), "raw.nii.gz")
    calls = {
        "preprocess": ["raw.nii.gz", *GRID, "-o", "prepared.nii"],
        "heal": ["prepared.nii", "--model", "model.safetensors", "-o", "healed.nii"],
        "score": ["prepared.nii", "healed.nii", "-o", "score.nii"],
        "postproc": ["score.nii", "--threshold", "0.01", "--erode", "0", "-o", "found.nii"],
        "eval": ["score.nii", "--truth", "mask.nii.gz", "--best", "-o", "report.json"],
        "train": ["good.nii.gz", "--recipe", "recipe.toml", "-o", "run.safetensors", "-q"],
    }
    Path("recipe.toml").write_text(RECIPE)
    for name, words in calls.items():
        left = run([name, *words])
        assert not left.status, left
        assert not left.broken, left
        if name == "preprocess":
            grid = nib.load("prepared.nii").affine
            values = np.where(inside, 0.5 + 0.3 * waves, 0).astype(np.float32)
            for file, data in (("good", values), ("other", 0.9 * values), ("mask", (values > 0.6).astype(np.uint8))):
                nib.save(nib.Nifti1Image(data, grid), f"{file}.nii.gz")
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def damaged(rng: random.Random, raw: bytes, within: int = 0) -> bytes:
    """Flip, overwrite, insert, cut or repeat some bytes, up to four times. within: of the first so many."""
    made = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, count = rng.randrange(max(1, min(len(made), within or len(made)))), rng.choice((1, 2, 8, 64, 1000))
        match rng.randrange(6):
            case 0:
                made[at : at + 1] = bytes(byte ^ (1 << rng.randrange(8)) for byte in made[at : at + 1])
            case 1:
                made[at : at + count] = rng.randbytes(len(made[at : at + count]))
            case 2:
                del made[at + 1 if not within else -count :]
            case 3:
                made[at:at] = rng.randbytes(count)
            case 4:
                made[at:at] = made[at : at + count]
            case 5:
                made[at : at + count] = rng.choice((b"\0", b"\xff")) * len(made[at : at + count])
    return bytes(made)


def odd_header(rng: random.Random, raw: bytes) -> bytes:
    """Set fields of a NIfTI-1 header to values that nobody expects."""
    header = np.frombuffer(raw[:348], nib.Nifti1Header.template_dtype).copy()
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice([name for name in header.dtype.names if name not in ("sizeof_hdr", "unused_str")])
        field = header[name].reshape(-1)
        try:
            with np.errstate(all="ignore"):
                text = rng.choice((b"\x1b[2J", b"healed", b"score", b"truth", b"\xff" * 16, b"ni1", b"n+2"))
                field[rng.randrange(field.size)] = text if field.dtype.kind == "S" else rng.choice(ODD_NUMBERS)
        except (ValueError, OverflowError):
            continue
        header[name] = field.reshape(header[name].shape)
    return header.tobytes() + raw[348:]


def odd_tree(rng: random.Random, data: Any) -> Any:
    """Replace, remove or add things anywhere in JSON."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places: list[tuple[Any, Any]] = []
        waiting = [data]
        while waiting:
            table = waiting.pop()
            keys = list(table) if isinstance(table, dict) else range(len(table)) if isinstance(table, list) else ()
            places += [(table, key) for key in keys]
            waiting += [table[key] for key in keys]
        if not places:
            break
        table, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del table[key]
            case 1 if isinstance(table, list):
                table.append(odd(rng))
            case 2 if isinstance(table, dict):
                table[rng.choice(["", "shape", "matrix", STEER])] = odd(rng)
            case 3 if isinstance(table[key], int | float):
                table[key] = rng.choice([-table[key], table[key] * 10**6, table[key] + 1, str(table[key])])
            case _:
                table[key] = odd(rng)
    return data


def odd(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(ODD))


def odd_json(rng: random.Random, data: Any) -> bytes:
    made = json.dumps(odd_tree(rng, data))
    wrong = [made * 2, made[:-3], "[" * 100_000, '{"a":' * 50_000, "1" * 5000, "null", "[]", '"x"', "", "\ufeff" + made]
    return (made if rng.random() < 0.6 else rng.choice(wrong)).encode("utf-8", "surrogatepass")


def odd_toml(rng: random.Random, source: str) -> bytes:
    lines = source.splitlines()
    for _ in range(rng.choice((1, 1, 2, 3))):
        i = rng.randrange(len(lines))
        values = list(re.finditer(r'(?<=[=\[,] )("[^"]*"|-?\d[\d.e-]*|\[[^\[\]]*\]|\{[^{}]*\})', lines[i]))
        match rng.randrange(5):
            case 0:
                lines.insert(i, lines[i])
            case 1 if len(lines) > 1:
                lines.pop(i)
            case 2:
                lines[i] = damaged(rng, lines[i].encode() or b" ").decode("utf-8", "replace")
            case _ if values:
                value = rng.choice(values)
                lines[i] = lines[i][: value.start()] + rng.choice(ODD_TOML) + lines[i][value.end() :]
    return "\n".join(lines).encode()


def odd_text(rng: random.Random, source: str, words: tuple[str, ...]) -> bytes:
    """Put something into a text, or in place of a word of it."""
    at, word = rng.randrange(len(source)), rng.choice(ODD_TEXT)
    made = rng.choice((source[:at] + word + source[at:], source.replace(rng.choice(words), word)))
    raw = made.encode("utf-8", "surrogatepass")
    return damaged(rng, raw) if rng.random() < 0.2 else raw


def safetensors(header: dict[str, Any], raw: bytes) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + raw


def opened(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, and its tensors."""
    size = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:size]), raw[size:]


def call_on(rng: random.Random, bad: str) -> list[str]:
    """A command that takes an image, and this one in one of its places."""
    out, model = ["-o", "out/x.nii.gz"], ["--model", "model.safetensors", "-t", "3"]
    return rng.choice((
        ["preprocess", bad, *GRID, *out], ["preprocess", bad, *GRID, "--brain", "none", *out],
        ["preprocess", "raw.nii.gz", *GRID, "--brain", bad, *out], ["heal", bad, *model, *out],
        ["preprocess", "raw.nii.gz", *GRID, "--channel", f"FLAIR={bad}", *out],
        ["heal", "good.nii.gz", *model, "--brain", bad, *out], ["heal", bad, "--method", "blur", *out],
        ["score", bad, "good.nii.gz", *out], ["score", "prepared.nii", bad, *out],
        ["score", "prepared.nii", "healed.nii", "--normal", bad, *out], ["score", bad, "healed.nii", "--native", *out],
        ["postproc", bad, "--threshold", "0.1", "--erode", "0", "--native", *out],
        ["postproc", "score.nii", "--threshold", "0.01", "--brain", bad, *out],
        ["eval", bad, "--truth", "mask.nii.gz", "-o", "out/x.json"],
        ["eval", "score.nii", "--truth", bad, "--best", "-o", "out/x.json"],
        ["eval", "healed.nii", "--scan", bad, "--json"], ["simulate", bad, "--kind", "blobs", "-o", "out/"],
        ["simulate", bad, "--kind", "contrast", "-o", "out/"],
        ["calibrate", bad, "score.nii", "--level", "0.5", "--erode", "0", "-o", "out/x.json"],
        ["train", bad, "--recipe", "recipe.toml", "-o", "out/x.safetensors", "-q"],
    ))  # fmt: skip


def some_image(rng: random.Random, good: Good) -> bytes:
    raw = good[rng.choice(("good.nii.gz", "raw.nii.gz", "mask.nii.gz", "prepared.nii", "healed.nii", "score.nii"))]
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def image(rng: random.Random, good: Good) -> Case:
    raw = some_image(rng, good)
    raw = odd_header(rng, raw) if rng.random() < 0.7 else damaged(rng, raw, rng.choice((0, 352)))
    if rng.random() < 0.2:
        words = rng.choice((["heal", "--method", "blur"], ["preprocess", *GRID], ["postproc", "--threshold", "0.1"]))
        return Case([*words, "-o", "out/x.nii"], stdin=raw)
    Path("bad.nii").write_bytes(raw)
    return Case(call_on(rng, "bad.nii"), ("bad.nii", "bad"))


def pair(rng: random.Random, good: Good) -> Case:
    nib.save(nib.Nifti1Pair.from_image(nib.load("good.nii.gz")), "bad.img")
    for name, change in rng.sample((("bad.hdr", odd_header), ("bad.img", damaged)), rng.choice((1, 2))):
        Path(name).write_bytes(change(rng, Path(name).read_bytes()))
    return Case(call_on(rng, rng.choice(("bad.hdr", "bad.img"))), ("bad.hdr", "bad.img", "bad"))


def packed(rng: random.Random, good: Good) -> Case:
    raw = damaged(rng, gzip.compress(some_image(rng, good), 1), rng.choice((0, 0, 20)))
    Path("bad.nii.gz").write_bytes(raw)
    return Case(call_on(rng, "bad.nii.gz"), ("bad.nii.gz", "bad"))


def stream(rng: random.Random, good: Good) -> Case:
    parts = [some_image(rng, good) for _ in range(rng.choice((2, 3, 5)))]
    i = rng.randrange(len(parts))
    parts[i] = rng.choice((damaged, odd_header))(rng, parts[i])
    if rng.random() < 0.3:
        j, role = rng.randrange(len(parts)), rng.choice((b"scan:T2", b"healed:T2", b"scan:" + bytes(range(1, 9)), b":"))
        parts[j] = parts[j][:328] + role.ljust(16, b"\0") + parts[j][344:]
    tools = (["heal", "--model", "model.safetensors", "-t", "3"], ["score"], ["postproc", "--threshold", "0.1"])
    return Case([*rng.choice(tools), "-o", rng.choice(("-", "out/"))], stdin=b"".join(parts), several=True)


def history(rng: random.Random, good: Good) -> Case:
    """The extension in which provenance travels."""
    raw = good[rng.choice(("prepared.nii", "healed.nii", "score.nii", "found.nii"))]
    at = int(struct.unpack_from("<f", raw, 108)[0])
    content = odd_json(rng, json.loads(raw[360:at].rstrip(b"\0")))
    Path("bad.nii").write_bytes(with_history(raw, content))
    return Case(call_on(rng, "bad.nii"))


def model(rng: random.Random, good: Good) -> Case:
    header, tensors = opened(good["model.safetensors"])
    match rng.randrange(4):
        case 0:
            settings = json.loads(header["__metadata__"]["uadtools"])
            header["__metadata__"]["uadtools"] = odd_json(rng, settings).decode("utf-8", "surrogatepass")
        case 1:
            header[rng.choice(list(header))] = odd(rng)
        case 2:
            name = rng.choice([name for name in header if not name.startswith("_")])
            header[name] = odd_tree(rng, header[name])
    raw = safetensors(header, tensors)
    raw = damaged(rng, raw, rng.choice((0, 9, 2000))) if rng.random() < 0.4 else raw
    Path("bad.safetensors").write_bytes(raw)
    calls = (
        ["heal", "good.nii.gz", "--model", "bad.safetensors", "-t", "3", "-o", "out/x.nii"],
        ["preprocess", "raw.nii.gz", "--model", "bad.safetensors", "-o", "out/x.nii"],
        *(["models", *words] for words in (["info", "bad.safetensors"], ["check", "bad.safetensors"])),
    )
    return Case(rng.choice(calls), ("bad.safetensors", "good", "raw", "method"))


def state(rng: random.Random, good: Good) -> Case:
    """What a training run keeps for --resume."""
    Path("own").mkdir()
    names = [name for name in good if name.startswith("run.")]
    for name in names:
        Path("own", name).write_bytes(good[name])
    bad = rng.choice(["run.resume.safetensors"] * 3 + names)
    raw = good[bad]
    if bad == "run.resume.safetensors" and rng.random() < 0.6:
        header, tensors = opened(raw)
        notes = json.loads(header["__metadata__"]["uadtools-training"])
        header["__metadata__"]["uadtools-training"] = odd_json(rng, notes).decode("utf-8", "surrogatepass")
        raw = safetensors(header, tensors)
    else:
        raw = damaged(rng, raw)
    Path("own", bad).write_bytes(raw)
    words = ["train", "good.nii.gz", "--recipe", "recipe.toml", "-o", "own/run.safetensors", "--resume", "-q"]
    return Case([*words, "--set", "training.steps=2"], ("own/run.",), own="own/")


def recipe(rng: random.Random, good: Good) -> Case:
    Path("bad.toml").write_bytes(odd_toml(rng, RECIPE))
    words = ["train", "good.nii.gz", "--recipe", "bad.toml", "-o", "out/x.safetensors", "-q"]
    return Case(words, ("bad.toml", "good.nii.gz", "--batch", "diverged", "tiny", "out/x.safetensors"))


def plan(rng: random.Random, good: Good) -> Case:
    raw = odd_toml(rng, PLAN)
    if rng.random() < 0.2:
        lists = (
            re.sub(r"simulate.*\n", "", PLAN)
            .replace('["good.nii.gz"]', '["list.csv"]')
            .replace("other.nii.gz", "list.csv")
        )
        raw = lists.encode()
    Path("list.csv").write_bytes(odd_text(rng, "path,truth\ngood.nii.gz,mask.nii.gz\n", ("good.nii.gz", "truth")))
    Path("bad.toml").write_bytes(raw)
    return Case(["bench", "bad.toml", "-o", "out/r", "-q"])


def figures(rng: random.Random, good: Good) -> Case:
    """Reports and thresholds."""
    report, bad = json.loads(good["report.json"]), "bad.json"
    chain = {"median": 5, "erode": 3, "min_size": 7, "dilate": 0, "largest": False}
    threshold = {"threshold": 0.1, "chain": chain, "rule": "scanwise", "way": {"voxels": [2.0, 2.0, 2.0]}}
    calls = (
        (report, ["eval", "--compare", "report.json", bad]), (report, ["eval", "--healthy", bad, "--sick", bad]),
        (threshold, ["postproc", "score.nii", "--threshold", bad, "-o", "out/x.nii"]),
        (threshold, ["eval", "score.nii", "--truth", "mask.nii.gz", "--threshold-from", bad, "-o", "out/x.json"]),
    )  # fmt: skip
    data, words = rng.choice(calls)
    Path(bad).write_bytes(odd_json(rng, data))
    return Case(words, ("bad", "report.json", "score"))


def listed(rng: random.Random, good: Good) -> Case:
    rows = {
        "bad.txt": "good.nii.gz\nother.nii.gz\n# r\n",
        "bad.csv": "path,age\ngood.nii.gz,3\nother.nii.gz,4\n",
        "bad.jsonl": '{"path": "good.nii.gz"}\n{"path": "other.nii.gz"}\n',
    }
    name = rng.choice(list(rows))
    Path(name).write_bytes(odd_text(rng, rows[name], ("good.nii.gz", name)))
    train = ["train", name, "--recipe", "recipe.toml", "-o", "out/x.safetensors", "-q"]
    return Case(rng.choice((train, ["preprocess", name, *GRID, "--brain", "none", "-o", "out/"])), several=True)


def people(rng: random.Random, good: Good) -> Case:
    rows = "participant_id\tsex\tage\nscore\tF\t20\nsim\tM\t30\n"
    Path("bad.tsv").write_bytes(odd_text(rng, rows, ("20", "F", "age")))
    words = ["eval", "score.nii", "--truth", "mask.nii.gz", "--best", "--participants", "bad.tsv", "-o", "out/x.json"]
    return Case([*words, "--by", rng.choice(("sex", "age"))], ("bad.tsv", "score", "participants"))


def flat(rng: random.Random, good: Good) -> Case:
    """Pictures and stacks of them."""
    from PIL import Image

    pixels, file = np.frombuffer(rng.randbytes(256), np.uint8).reshape(16, 16), io.BytesIO()
    name = rng.choice(("bad.png", "bad.jpg", "bad.npz"))
    if name == "bad.npz":
        kind = rng.choice(("u1", "f8", "?", "c8", "M8[s]", "U5", "O"))
        array = np.full((1, 16, 16), None) if kind == "O" else (pixels[None] // 255).astype(kind)
        np.savez_compressed(file, **{rng.choice(("test", "../x", STEER, "")): array})
    else:
        Image.fromarray(pixels).save(file, "PNG" if name == "bad.png" else "JPEG")
    raw = file.getvalue()
    Path(name).write_bytes(damaged(rng, raw) if rng.random() < 0.8 else raw)
    train = ["train", name, "--recipe", "recipe.toml", "-o", "out/x.safetensors", "-q"]
    return Case(rng.choice((train, ["simulate", name, "--kind", "sprites", "-o", "out/"])), ("bad",))


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch RAN",)


def checkpoint(rng: random.Random, good: Good) -> Case:
    """What another program trained: tables in tables, tensors of other kinds, code."""
    import torch

    tensors: dict[Any, Any] = {
        name: torch.ones(8, 1, 3, 3) for name in ("input_blocks.0.0.weight", "conv_in.conv.weight")
    }
    tensors |= {"time_embedding.1.weight": torch.ones(32, 8), "out.2.weight": torch.ones(1, 8, 3, 3)}
    odd_tensors = (
        torch.ones(3), torch.tensor(float("nan")), torch.ones(3, dtype=torch.complex64), torch.ones(2).to_sparse(),
        torch.ones(1).expand(10**6, 10**6), torch.empty(10**9, device="meta"), 5, "x",
    )  # fmt: skip
    if rng.random() < 0.3:
        tensors["self"] = tensors
    for name in rng.sample(("betas", 3, None, ("a",), STEER, "down.0.0.weight"), rng.choice((0, 1, 2))):
        tensors[name] = rng.choice(odd_tensors)
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=rng.random() < 0.7)
    raw = pickle.dumps(Evil()) if rng.random() < 0.1 else file.getvalue()
    name = rng.choice(("bad.pt", "bad.pt", "bad.safetensors"))
    Path(name).write_bytes(damaged(rng, raw) if rng.random() < 0.5 else raw)
    program = rng.choice(("anoddpm", "guided-diffusion", "pddpm", "cddpm", "monai"))
    return Case(["models", "import", name, "--from", program, "-o", "out/x.safetensors"], (name,))


def bomb(rng: random.Random, good: Good) -> Case:
    """A small file that says, or unpacks to, more than there is memory for."""
    name, make = rng.choice((
        ("bad.nii.gz", _bomb_gzip), ("bad.npz", _bomb_npz), ("bad.png", _bomb_png), ("bad.pt", _bomb_pickle),
        ("bad.safetensors", _bomb_network), ("bad.nii", _bomb_chain),
    ))  # fmt: skip
    make(Path(name), good)
    calls = {
        ".pt": ["models", "import", name, "--from", "anoddpm", "-o", "out/x.safetensors"],
        ".safetensors": ["heal", "good.nii.gz", "--model", name, "-o", "out/x.nii"],
        ".nii": ["postproc", name, "--threshold", "0.01", "--native", "-o", "out/x.nii"],
    }
    train = ["train", name, "--recipe", "recipe.toml", "-o", "out/x.safetensors", "-q"]
    return Case(calls.get(Path(name).suffix, train), (name, "bad"))


def _bomb_gzip(path: Path, good: Good) -> None:
    """A header that promises 16 GB, and as many zeros."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((2000, 2000, 1000))
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    zeros = gzip.compress(bytes(1 << 25), 9)
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)) + zeros * 480)


def _bomb_npz(path: Path, good: Good) -> None:
    about = b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000, 1000, 16), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(about)) + about + bytes(100))


def _bomb_png(path: Path, good: Good) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(12_001 * 12_000), 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def _bomb_pickle(path: Path, good: Good) -> None:
    import torch

    torch.save({"time_embedding.1.weight": torch.ones(1).expand(10**6, 10**6)}, path)


def _bomb_network(path: Path, good: Good) -> None:
    header, tensors = opened(good["model.safetensors"])
    about = json.loads(header["__metadata__"]["uadtools"])
    about["network"] |= {"base": 2**16, "multipliers": [1, 2**16], "res_blocks": 200}
    header["__metadata__"]["uadtools"] = json.dumps(about)
    path.write_bytes(safetensors(header, tensors))


def _bomb_chain(path: Path, good: Good) -> None:
    raw = good["score.nii"]
    at = int(struct.unpack_from("<f", raw, 108)[0])
    known = json.loads(raw[360:at].rstrip(b"\0"))
    known["uadtools"]["chain"][0]["grid"]["shape"] = [10**6] * 3
    path.write_bytes(with_history(raw, json.dumps(known).encode()))


def with_history(raw: bytes, content: bytes) -> bytes:
    """Put provenance in place of that of an image."""
    at = int(struct.unpack_from("<f", raw, 108)[0])
    content += b"\0" * (-(len(content) + 8) % 16)
    start = raw[:108] + struct.pack("<f", 360 + len(content)) + raw[112:348]
    return start + struct.pack("<iii", 1, len(content) + 8, 6) + content + raw[at:]


KINDS: dict[str, Callable[[random.Random, Good], Case]] = {
    kind.__name__: kind
    for kind in (
        image, pair, packed, stream, history, model, state, recipe, plan, figures, listed, people, flat, checkpoint,
        bomb,
    )
}  # fmt: skip
