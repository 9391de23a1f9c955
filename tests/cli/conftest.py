"""How the tests run a command: in this process, or as a real one where signals, pipes or limits matter."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.volume.io import Image, save

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Result:
    """What a command left behind: its exit status, and what it said."""

    status: int
    out: bytes
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return self.err.splitlines()

    def fails(self, name, status, *words):
        """It stopped with this status, one line on stderr that holds these words, and nothing on stdout."""
        assert self.status == status, self.err
        assert self.out == b""
        assert len(self.lines) == 1, self.err
        assert self.err.startswith(f"uad-{name}: error: ")
        for word in words:
            assert str(word) in self.err
        return self


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def uad(here, monkeypatch, capfdbinary):
    """Run a command in this process: uad("heal", "a.nii.gz", "-t", 5); stdin: bytes, else there is nothing on it."""

    def run(name, *words, stdin=b""):
        source = here / ".stdin"
        source.write_bytes(stdin)
        capfdbinary.readouterr()
        with source.open() as file, monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", file)
            try:
                import_module(f"uadtools.cli.{name}").COMMAND.call([str(word) for word in words])
                status = 0
            except SystemExit as leaving:
                status = leaving.code
        source.unlink()
        said = capfdbinary.readouterr()
        return Result(status, said.out, said.err.decode())

    return run


COMPARISON = """
name = "small"
[data]
val = ["{val}"]
[postproc]
median = 1
erode = 0
[[set]]
name = "blobs"
val = ["{val}"]
test = ["{test}"]
simulate = {{ kind = "blobs", size = [6.0, 8.0] }}
"""


@pytest.fixture
def compared(uad, here):
    """Compare methods, by their names and TOML, on lesions drawn into a scan; returns the table's rows by method."""

    def run(val, test, methods):
        tables = (f'[[method]]\nname = "{name}"\n{about}\n' for name, about in methods.items())
        (here / "plan.toml").write_text(COMPARISON.format(val=val, test=test) + "".join(tables))
        done = uad("bench", "plan.toml", "-o", "out", "--device", "cpu")
        assert done.status == 0, done.err
        rows = json.loads((here / "out/small.json").read_text())["sets"][0]["rows"]
        return {row["method"]: row for row in rows}

    return run


@pytest.fixture
def environment():
    """A user's, in which the commands under test are found first."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**mine, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def shell(environment):
    """Run a line of shell; it fails as soon as one command of a pipe does."""

    def run(line, stdin=b"", **options):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"],
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=120,
            check=False,
            **options,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture
def start(environment):
    """Start a command and leave it running; whatever happens, it has ended when the test has."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that a shell runs in the background ignore it
    running = []

    def begin(name, *words, **options):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        running.append(subprocess.Popen([str(BIN / name), *map(str, words)], env=environment, **pipes))
        return running[-1]

    yield begin
    for process in running:
        with process:
            process.kill()


@pytest.fixture
def raw():
    """A stripped head of 13x14x9 voxels of 2.5 mm in the order LAS, int16, with smooth contents."""
    shape = (13, 14, 9)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = (places**2).sum(axis=0) < 0.75
    contents = 500 + 300 * np.sin(5 * places[0]) * np.cos(4 * places[1]) + 90 * places[2]
    affine = np.array([[-2.5, 0, 0, 20], [0, 2.5, 0, -14], [0, 0, 2.5, -9], [0, 0, 0, 1]])
    return nib.Nifti1Image(np.where(inside, contents, 0).astype(np.int16), affine)


@pytest.fixture
def scan(here, raw):
    """The file of that head: raw.nii.gz."""
    nib.save(raw, here / "raw.nii.gz")
    return here / "raw.nii.gz"


@pytest.fixture
def prepared(here, phantom):
    """A scan on the tiny model's grid, as a file without history: p.nii.gz."""
    scan = phantom.need("scan")
    save(Image(scan.data, scan.grid), here / "p.nii.gz")
    return here / "p.nii.gz"


@pytest.fixture
def scans(here, phantom):
    """Two scans s1 and s2 with a bright lesion each, and its mask; grid and intensities of the tiny models."""
    scan = phantom.need("scan")
    for i, z in ((1, 4), (2, 3)):
        mask = np.zeros(scan.data.shape, np.uint8)
        mask[5 : 5 + 2 * i, 6:9, z] = 1
        save(Image(np.where(mask, 1, scan.data).astype(np.float32), scan.grid), here / f"s{i}.nii.gz")
        save(Image(mask, scan.grid), here / f"s{i}_mask.nii.gz")
    return here


@pytest.fixture
def mask(here, phantom):
    """Half of that scan's brain, as a file: mask.nii.gz."""
    brain = phantom.need("brain")
    half = brain.data.copy()
    half[: half.shape[0] // 2] = 0
    save(Image(half, brain.grid), here / "mask.nii.gz")
    return here / "mask.nii.gz"


@pytest.fixture
def locked(monkeypatch):
    """Lets nobody list a folder."""

    def lock(folder):
        listed = os.scandir

        def scandir(path="."):
            if Path(path).resolve() == folder.resolve():
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return lock


@pytest.fixture
def terminal():
    """A terminal; read() returns what was written to it so far."""
    leader, follower = os.openpty()
    os.set_blocking(leader, False)
    seen = bytearray()

    def read():
        try:
            while piece := os.read(leader, 65536):
                seen.extend(piece)
        except OSError:
            pass
        return seen.decode()

    yield follower, read
    os.close(leader)
    os.close(follower)
