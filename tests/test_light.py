"""The light install: an empty environment without torch, in which a scan is healed and reported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = "import sys; sys.argv[0] = 'uad'; from uadtools.cli.{} import main; main()"


def megabytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def test_a_light_install_does_it_all(tmp_path):
    """From a stripped scan to its report; torch, and what else is not there, is told of in one line."""
    python = tmp_path / "light/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "light"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile"]
    done = subprocess.run(
        [*pip, "-c", ROOT / "constraints.txt", "-r", ROOT / "requirements-light.txt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no registry that could be reached: {done.stderr.splitlines()[-1][:200]}")
    assert megabytes(tmp_path / "light") < 360
    (packages,) = (tmp_path / "light/lib").glob("*/site-packages")
    assert not (packages / "torch").exists()

    def light(name, *words):
        command = [python, "-c", RUN.format(name), *words]
        settings = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=settings)

    ran = light("run", ROOT / "examples/data/patient19_FLAIR.nii.gz", "-o", "out", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)
    assert list((tmp_path / "out").glob("*.html"))
    said = light("models", "check", "t1-small")
    assert (said.returncode, said.stderr) == (1, "uad-models: error: this needs torch (pip install torch)\n")
