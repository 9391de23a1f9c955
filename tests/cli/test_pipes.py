"""What only real processes show: pipes that end early, full disks, signals, terminals."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.models.checkpoint import read_config
from uadtools.volume.io import to_bytes
from uadtools.volume.stream import read_image

LARGE = ("--shape", "200", "--spacing", "2", "--brain", "none")
"""A grid that takes a while to write."""
ENDLESS = ("--method", "ddpm", "-t", 999, "--samples", 1000)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def wait_for(happened, process):
    """Wait until something has happened; it must, before the process ends."""
    for _ in range(6000):
        if happened():
            return
        assert process.poll() is None, process.communicate(timeout=60)
        time.sleep(0.01)
    pytest.fail("it never happened")


def test_the_pipe_of_the_readme_equals_the_same_with_files(shell, uad, scan, tiny_model, here):
    steps = "--erode 1 --median 1 --threshold 0.05"
    piped = shell(
        f"uad-preprocess -q raw.nii.gz --model {tiny_model} -o - | uad-heal --model {tiny_model} --method sss -t 200 | "
        f"uad-score | uad-postproc {steps} --native -o out.nii.gz -q"
    )
    assert (piped.status, piped.out, piped.err) == (0, b"", "")
    assert names(here) == ["out.json", "out.nii.gz", "raw.nii.gz"]
    uad("preprocess", scan, "--model", tiny_model)
    uad("heal", "raw_preprocessed.nii.gz", "--model", tiny_model, "--method", "sss", "-t", 200)
    uad("score", "raw_preprocessed.nii.gz", "raw_healed.nii.gz")
    uad("postproc", "raw_score.nii.gz", *steps.split(), "--native")
    pipe, files = nib.load(here / "out.nii.gz"), nib.load(here / "raw_detection.nii.gz")
    np.testing.assert_array_equal(pipe.get_fdata(), files.get_fdata())
    np.testing.assert_array_equal(pipe.affine, files.affine)
    assert pipe.shape == (13, 14, 9)
    assert 0 < pipe.get_fdata().sum() < pipe.get_fdata().size


def test_several_studies_in_one_pipe_equal_each_alone(shell, uad, raw, tiny_model, here):
    nib.save(raw, "a.nii.gz")
    nib.save(nib.Nifti1Image(raw.get_fdata()[::-1].astype(np.int16), raw.affine), "b.nii")
    piped = shell(
        f"uad-preprocess -q a.nii.gz b.nii --model {tiny_model} -o - | "
        f"uad-heal --model {tiny_model} | uad-score -o scores"
    )
    assert (piped.status, piped.out, piped.err) == (0, b"", "")
    assert names(here / "scores") == ["a_score.json", "a_score.nii.gz", "b_score.json", "b_score.nii.gz"]
    for name in ("a.nii.gz", "b.nii"):
        prepared = uad("preprocess", name, "--model", tiny_model, "-o", "-").out
        uad("score", "-o", "alone.nii", "--force", stdin=uad("heal", "--model", tiny_model, stdin=prepared).out)
        alone, together = read_image(here / "alone.nii"), read_image(here / "scores" / f"{name[0]}_score.nii.gz")
        np.testing.assert_allclose(alone.data, together.data, rtol=0, atol=5e-6)  # other batches round otherwise
        for image in (alone, together):  # fingerprints of healed voxels, which round otherwise, too
            assert len(image.provenance["history"][-1].pop("source")) == 16
        assert alone.provenance == together.provenance


def test_json_ends_a_pipe(shell, scan, tiny_model):
    ended = shell("cat raw.nii.gz | uad preprocess -q --json --shape 16 --spacing 2")
    assert [row["name"] for row in ended.json] == ["standard input"]


def test_a_foreign_stream_is_read_plain_and_gzipped(shell, raw, here):
    plain, zipped = (f"{how} | uad-preprocess -q --shape 16 --spacing 2" for how in ("cat", "gzip -c"))
    results = [shell(line, stdin=raw.to_bytes()) for line in (plain, zipped)]
    assert [(result.status, result.err) for result in results] == [(0, ""), (0, "")]
    assert results[0].out == results[1].out
    first = nib.Nifti1Image.from_bytes(results[0].out)
    assert first.shape == (16, 16, 16)
    assert first.get_fdata().max() == 1


def test_every_command_of_a_broken_pipe_says_what_it_knows(shell):
    broken = shell("uad-preprocess none.nii.gz -o - | uad-heal | uad-score | uad-postproc -o out.nii")
    said = dict(line.split(": error: ") for line in broken.lines)
    assert broken.status == 1
    assert said.pop("uad-preprocess") == "none.nii.gz: No such file or directory"
    assert said.keys() == {"uad-heal", "uad-score", "uad-postproc"}
    assert set(said.values()) == {
        "standard input: empty (a NIfTI image was expected; did the command before it fail?)"
    }  # fmt: skip


@pytest.mark.parametrize(
    "command", ["preprocess raw.nii.gz --brain none --shape 64 --spacing 2 -o -", "preprocess --help", "heal --version"]
)
def test_a_closed_pipe_is_141_and_silent(command, shell, scan):
    result = shell(f"exec 3>&1; {{ uad-{command}; echo $? >&3; }} | true")
    assert (result.out, result.err) == (b"141\n", "")


def test_a_pipe_that_closes_early_is_141_and_silent(shell, scan):
    result = shell(
        "uad-preprocess raw.nii.gz --brain none --shape 128 --spacing 2 -o - | head -c 1000 | wc -c; "
        "echo ${PIPESTATUS[0]}"
    )
    assert (result.out, result.err) == (b"1000\n141\n", "")


@pytest.mark.parametrize(
    "command",
    [
        "uad-preprocess raw.nii.gz --brain none --shape 64 --spacing 2 -o -",
        "uad-preprocess raw.nii.gz --shape 16 --spacing 2 -o -",
        "uad-preprocess -q - --shape 16 --spacing 2 --json",
        "uad-eval raw.nii.gz --truth raw.nii.gz",
        "uad-train --dry-run",
        "uad-heal --help",
        "uad",
    ],
)
def test_a_full_standard_output_is_one_line(command, shell, scan, here):
    result = shell(f"{command} < raw.nii.gz > /dev/full")
    assert (result.status, result.out) == (1, b"")
    *told, last = result.lines
    assert last == f"{command.split()[0]}: error: standard output: No space left on device"
    assert not told or command.startswith("uad-eval")  # which says how it reads a scan as a mask
    assert names(here) == ["raw.nii.gz"]


def limited(size):
    """Let no file grow beyond this many bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_a_file_that_finds_no_room_is_not_left_half(name, shell, scan, here):
    result = shell(f"uad-preprocess raw.nii.gz --shape 16,16,8 --spacing 2 -o {name}", preexec_fn=limited(500))
    result.fails("preprocess", 1, f"{name}: File too large")
    assert names(here) == ["raw.nii.gz"]


def test_a_model_that_finds_no_room_is_not_left_half(shell, prepared, here):
    (here / "r.toml").write_text(RECIPE)
    train = "uad-train p.nii.gz -o m.safetensors --recipe r.toml --steps 1 --device cpu"
    shell(train, preexec_fn=limited(5000)).fails("train", 1, "m.safetensors: ", "File too large")
    assert names(here) == ["p.nii.gz", "r.toml"]


def test_nothing_on_standard_input_and_standard_output_is_told(shell, scan):
    shell("uad-preprocess <&-").fails("preprocess", 2, "no input: name files, or pipe a stream in")
    shell("uad-preprocess raw.nii.gz -o - >&-").fails("preprocess", 1, "standard output is closed")


def test_a_name_that_is_no_text_is_no_obstacle(shell, scan, here):
    strange = os.fsdecode(b"caf\xe9.nii.gz")
    scan.rename(here / strange)
    result = shell("uad-eval *.nii.gz --truth *.nii.gz --csv t.csv && uad-preprocess -q *.nii.gz --shape 16")
    assert result.status == 0
    assert all(line.startswith("uad-eval: caf\\udce9") for line in result.lines)
    assert b"caf\\udce9" in result.out
    assert (here / os.fsdecode(b"caf\xe9_preprocessed.nii.gz")).exists()
    assert (here / "t.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9,")


@pytest.mark.parametrize("command", ["preprocess raw.nii.gz -o -", "heal", "score", "postproc"])
def test_images_are_not_written_to_a_terminal(command, start, terminal, scan):
    follower, read = terminal
    with scan.open() as file:
        process = start(f"uad-{command.split()[0]}", *command.split()[1:], stdin=file, stdout=follower)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert read() == ""
    told = "images are not written to a terminal (-o FILE, or pipe it into the next command)"
    assert err.decode() == f"uad-{command.split()[0]}: error: {told}\n"


def test_a_terminal_is_no_input(start, terminal):
    process = start("uad-postproc", stdin=terminal[0])
    assert process.communicate(timeout=60)[1].decode().startswith("uad-postproc: error: IN: no input: name files")
    assert process.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_healing_leaves_nothing(number, start, terminal, prepared, tiny_model, here):
    """The bar on the terminal says that it has begun."""
    follower, read = terminal
    process = start("uad-heal", prepared, "--model", tiny_model, *ENDLESS, stderr=follower)
    wait_for(lambda: "healing p" in read(), process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert read().endswith("uad-heal: interrupted\r\n")
    assert "Traceback" not in read()
    assert names(here) == ["p.nii.gz"]


RECIPE = """
name = "tiny"
source = "tests"
target = "x0"
network = { base = 8, multipliers = [1, 2], res_blocks = 1, attention = [2], heads = 2, groups = 4, resample = "conv" }
grid = { shape = [16, 16, 8] }
training = { steps = 1000000, batch = 2, t_range = [0, 300], log_every = 1, validate_every = 2, validation_slices = 4 }
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_whole_files(number, start, uad, prepared, here):
    (here / "r.toml").write_text(RECIPE)
    options = (prepared, "-o", "m.safetensors", "--recipe", "r.toml", "--device", "cpu")
    process = start("uad-train", *options)
    wait_for((here / "m.resume.safetensors").exists, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1] == "uad-train: interrupted"
    assert b"Traceback" not in err
    whole = {"m.csv", "m.last.safetensors", "m.resume.safetensors", "m.safetensors"}
    assert set(names(here)) - {"p.nii.gz", "r.toml"} == whole
    assert read_config(here / "m.safetensors").name == "tiny"
    assert uad("train", *options, "--resume", "--time", "0s", "--json").json["steps"] >= 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("before", [None, b"mine"])
def test_a_write_that_is_interrupted_leaves_no_half_file(number, before, start, scan, here):
    if before:
        (here / "out.nii.gz").write_bytes(before)
    process = start("uad-preprocess", scan, *LARGE, "-o", "out.nii.gz", "--force")
    wait_for(lambda: any(name.startswith(".uad-") for name in names(here)), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    left = [name for name in names(here) if name != "raw.nii.gz"]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert [name for name in left if not name.startswith(".")] == (["out.nii.gz"] if before else [])
    else:
        assert (process.returncode, err) == (130, b"uad-preprocess: interrupted\n")
        assert left == (["out.nii.gz"] if before else [])
    assert before is None or (here / "out.nii.gz").read_bytes() == before


def test_four_commands_do_without_torch(environment, scan, phantom, here):
    study = phantom.adding(phantom.need("scan").derive(phantom.need("scan").data, "healed"))
    (here / "h.nii").write_bytes(b"".join(map(to_bytes, study.images.values())))
    code = """
import sys
from uadtools.cli import eval, postproc, preprocess, score
preprocess.COMMAND.call(["raw.nii.gz", "-q", "--brain", "none"])
score.COMMAND.call(["h.nii"])
postproc.COMMAND.call(["h_score.nii.gz", "--threshold", "0", "--erode", "0", "-q"])
eval.COMMAND.call(["h_detection.nii.gz", "--truth", "h_detection.nii.gz", "-q"])
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"raw_preprocessed.nii.gz", "h_score.nii.gz", "h_detection.nii.gz"} < set(names(here))


def test_a_result_that_standard_output_does_not_take_is_told(shell, scan):
    command = "uad-preprocess raw.nii.gz --shape 16,16,8 --spacing 2 --brain none -o"
    shell(f"{command} a.nii --json >&-").fails("preprocess", 1, "standard output is closed, so the result is lost")
    shell(f"{command} b.nii --json > /dev/full").fails("preprocess", 1, "standard output: No space left on device")
    (Path("many") / "c").mkdir(parents=True)
    Path("many/c/d.nii").write_bytes(b"no scan")
    several = shell(f"{command} out --json many > /dev/full")
    assert "standard output: No space left on device" in several.err
    assert several.status == 1
