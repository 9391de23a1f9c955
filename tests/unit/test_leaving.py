"""A command that ends while a thread works ahead ends as it says, whatever that thread computes in a library."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
import torch
from uadtools.cohort.parallel import prefetched
from uadtools.errors import UadError
from uadtools.program.command import Command

def ahead():
    yield 1
    while True:
        torch.nn.functional.conv3d(torch.ones(1, 8, 40, 40, 40), torch.ones(8, 8, 3, 3, 3))

def work() -> None:
    for number in prefetched(ahead()):
        time.sleep(0.5)
        raise {raised}

sys.argv = ["uad-x"]
Command(work, "uad-x").run()
"""


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [("KeyboardInterrupt", 130, "uad-x: interrupted\n"), ("UadError('no')", 1, "uad-x: error: no\n")],
)
def test_what_works_ahead_does_not_crash_the_end(raised, status, said):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{raised}", raised)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


WRITER = """
import atexit, sys, threading, time
from pathlib import Path

def late():
    from uadtools import files
    files._begun(Path("x.nii"))  # as a thread does that goes on while all else ends

atexit.register(late)  # what is registered first runs last
from uadtools.program.command import Command

def work() -> None:
    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
    raise KeyboardInterrupt

sys.argv = ["uad-x"]
Command(work, "uad-x").run()
"""


def test_what_is_begun_as_it_ends_is_removed_too(tmp_path):
    words = [sys.executable, "-c", WRITER]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "uad-x: interrupted\n")
    assert list(tmp_path.iterdir()) == []
