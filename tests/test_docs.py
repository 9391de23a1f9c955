"""What is written about the commands is true: man pages, help texts, README, docs and examples."""

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import typer.main

from uadtools.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "uadtools/models/bundled/**/*.md", "examples/**/*.sh", "experiments/*.sh")
    for path in ROOT.glob(pattern)
)
HEAVY = {"torch", "numpy", "scipy", "nibabel", "pydantic", "matplotlib", "rich.progress", "rich.table"}


def command(name):
    return import_module(f"uadtools.cli.{name}").COMMAND


def parameters(name):
    """All parameters of a command, and of the commands in it, with the function that takes them."""
    made = command(name)
    return [(part.body, p) for part in (made, *made.parts) for p in typer.main.get_command(part.app()).params]


def options(name):
    """All names of all options, -h and --help with them."""
    names = {o for _, p in parameters(name) for o in (*p.opts, *p.secondary_opts) if o.startswith("-")}
    return {"-h", "--help"} | names


EACH_PARAMETER = [(name, body, p) for name in COMMANDS for body, p in parameters(name)]
each_parameter = pytest.mark.parametrize(
    ("name", "body", "parameter"), EACH_PARAMETER, ids=lambda v: getattr(v, "__name__", getattr(v, "name", v))
)


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "man" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_name_leads_to_its_code_its_test_and_its_page(name):
    assert command(name).name == f"uad-{name}"
    plan = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    (row,) = [line for line in plan if line.startswith(f"| `uad-{name}` ")]
    work, tests = (cell.strip(" `") for cell in row.split("|")[2:4])
    for path in (f"uadtools/cli/{name}.py", f"uadtools/{work}", f"tests/cli/test_{name}.py", tests):
        assert (ROOT / path).exists(), path
    assert (ROOT / "man" / f"uad-{name}.1").is_file()
    assert f'uad-{name} = "uadtools.cli.{name}:main"' in (ROOT / "pyproject.toml").read_text()


def test_there_is_no_command_that_uad_does_not_list():
    files = {path.stem for path in (ROOT / "uadtools" / "cli").glob("[a-z]*.py")}
    assert files - {"main"} == set(COMMANDS)


def test_man_pages_are_installed():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert data == {"share/man/man1": ["man/*.1"]}


def test_man_pages_are_what_the_commands_say(pages):
    """Else: make man."""
    assert {path.name for path in (ROOT / "man").glob("*.1")} == pages.keys()
    for name, text in pages.items():
        assert (ROOT / "man" / name).read_text() == text, f"{name} has drifted (make man)"


@each_parameter
def test_every_option_is_explained_in_help_and_man_page(name, body, parameter, pages):
    assert parameter.help
    page = pages[f"uad-{name}.1"].replace("\\-", "-").replace("\\(dq", '"').replace("\\e", "\\")
    assert parameter.help in page
    for option in (*parameter.opts, *parameter.secondary_opts):
        assert not option.startswith("-") or f"\\fB{option}\\fR" in page


@each_parameter
def test_every_option_is_read(name, body, parameter):
    """In the body of its command; those of single methods together, --version before."""
    (function,) = ast.parse(inspect.getsource(body)).body
    read = {n.id for s in function.body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    own = "of_methods" if getattr(parameter, "rich_help_panel", None) else parameter.name
    assert own in read | {"version"}


def lines_with_commands(text):
    """Find `uad-NAME ...` and, in code, `uad NAME ...`: the name, and the words up to the end of that command."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for match in re.finditer(
        r"(?:(?<![\w./-])uad-|(?:^[ $]+|`|[|;] *)uad (?:help (?=[a-z]))?)([a-z]+)\b([^|;>#`&\n)]*)",
        joined,
        re.MULTILINE,
    ):
        yield match[1], match[2].split()


def check(text, where):
    for name, words in lines_with_commands(text):
        line = f"{where}: uad-{name} {' '.join(words)}"
        assert name in COMMANDS, line
        named = {re.split("[=,.:]", word)[0] for word in words if re.match(r"--?[A-Za-z]", word)}
        assert named <= options(name), f"{line}: there is no {', '.join(named - options(name))}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_texts_name_only_commands_and_options_that_exist(path):
    assert path.is_file(), f"{path.name} is still to be written"
    check(path.read_text(), path.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_name_only_commands_and_options_that_exist(name):
    assert any(found == name for found, _ in lines_with_commands(command(name).examples))
    check(command(name).examples, f"the help of uad-{name}")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("    uad-heal a -t 3 | uad-score --json > x", [("heal", ["a", "-t", "3"]), ("score", ["--json"])]),
        ("see `uad heal --eta 1` and `uad-eval`", [("heal", ["--eta", "1"]), ("eval", [])]),
        ("    uad heal x \\\n  --force  # comment --nonsense", [("heal", ["x", "--force"])]),
        ("see `uad help heal`", [("heal", [])]),
        ("the next uad tool, man/uad-heal.1", []),
    ],
)
def test_command_lines_are_found(line, found):
    assert list(lines_with_commands(line)) == found


@pytest.mark.parametrize(
    "line", ["`uad-heal --nonsense`", "uad-reconstruct x", "    uad cure", "uad-heal -x=3", "`uad help cure`"]
)
def test_what_does_not_exist_is_found(line):
    with pytest.raises(AssertionError):
        check(line, "here")


def test_help_of_all_commands_loads_nothing_heavy():
    code = f"""
import sys
from importlib import import_module
for name in {list(COMMANDS)}:
    try:
        import_module("uadtools.cli." + name).COMMAND.call(["--help"])
    except SystemExit as leaving:
        assert not leaving.code
sys.exit(", ".join(sys.modules.keys() & {HEAVY}) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"Usage: uad-{name} [OPTIONS]" in done.stdout for name in COMMANDS)
