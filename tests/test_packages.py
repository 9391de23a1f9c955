"""What is packed is whole: the wheel, and the images of containers, which are built where there is a builder."""

import fnmatch
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
APPTAINER = (ROOT / "apptainer.def").read_text().replace("\\\n", "")


def lines(word):
    return [line.split(maxsplit=1)[1] for line in DOCKERFILE.splitlines() if line.startswith(f"{word} ")]


def section(name):
    (text,) = re.findall(rf"^%{name}\n(.*?)(?=^%|\Z)", APPTAINER, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in text.splitlines() if line.strip()]


def pip(text):
    (line,) = re.findall(r"pip install [^&\n]*", text)
    return shlex.split(line)


def test_the_wheel_has_every_file_of_the_package():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["uadtools"]
    package = ROOT / "uadtools"
    names = [str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()]
    others = [name for name in names if not name.endswith((".py", ".pyc"))]
    assert not [name for name in others if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    assert all((ROOT / name).is_file() for name in PROJECT["project"]["license-files"])


def test_both_images_are_made_of_the_same_files_in_the_same_way():
    copied = [name for words in lines("COPY") for name in shlex.split(words)[:-1]]
    assert copied == [line.split()[0] for line in section("files")]
    assert all((ROOT / name).exists() for name in copied)
    let = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(let) == sorted(copied)
    assert pip(DOCKERFILE) == pip(APPTAINER)
    (base,) = lines("FROM")
    assert f"From: {base}\n" in APPTAINER


def test_images_have_what_the_constraints_say_and_fetch_from_nowhere_else():
    words = pip(DOCKERFILE)
    assert words[words.index("-c") + 1] == "constraints.txt"
    (extras,) = re.findall(r"\.\[(.*)\]", words[-1])
    assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()
    assert "://" not in DOCKERFILE + APPTAINER
    assert "ADD" not in DOCKERFILE
    assert 'PIP_EXTRA_INDEX_URL="$INDEX"' in DOCKERFILE
    assert 'PIP_EXTRA_INDEX_URL="{{ INDEX }}"' in APPTAINER


def test_images_run_uad():
    assert lines("ENTRYPOINT") == ['["uad"]']
    assert section("runscript") == ['exec uad "$@"']
    assert "uad" in PROJECT["project"]["scripts"]
    assert lines("RUN")[-1:] == section("test")


@pytest.mark.parametrize("builder", ["docker", "apptainer"])
def test_images_are_built_and_heal_without_network(builder, tmp_path):
    asked = {"docker": ["docker", "info"], "apptainer": ["apptainer", "version"]}[builder]
    if not shutil.which(builder) or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip(f"no {builder} here that builds")
    shutil.copy(ROOT / "tests" / "data" / "ixi033_T1w.nii.gz", tmp_path / "scan.nii.gz")
    if builder == "docker":
        subprocess.run(["docker", "build", "-t", "uadtools-test", ROOT], check=True)
        run = ["docker", "run", "--rm", "--network", "none", "-v", f"{tmp_path}:/data", "uadtools-test"]
    else:
        image = tmp_path / "uadtools.sif"
        subprocess.run(["apptainer", "build", image, "apptainer.def"], cwd=ROOT, check=True)
        run = ["apptainer", "run", "--net", "--network", "none", "--bind", f"{tmp_path}:/data", "--pwd", "/data", image]
    subprocess.run([*run, "heal", "scan.nii.gz"], check=True)
    assert (tmp_path / "scan_healed.nii.gz").exists()
