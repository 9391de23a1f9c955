"""The house keeps its plan: imports point one way, files and functions stay small, heavy packages load late."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import uadtools
from uadtools import methods

PACKAGE = Path(uadtools.__file__).parent
ROOT = PACKAGE.parent
FLOORS = [
    {"__main__"},
    {"cli"},
    {"pipeline", "publishing"},
    {"cohort", "bench", "program"},
    {"report"},
    {"evaluation", "scoring", "exporting"},
    {"healing"},
    {"preparing"},
    {"training"},
    {"datasets"},
    {"labelled"},
    {"methods"},
    {"latents", "baselines"},
    {"interface"},
    {"simulation", "corrupting"},
    {"diffusion", "nets", "noise", "models"},
    {"anatomy"},
    {"volume", "metrics"},
    {"dicom"},
    {"grids"},
    {"files", "settings", "concerns", "terminal"},
    {"errors"},
]
"""From top to bottom; a room imports from lower floors only. Those beside models may use one another, in no circle."""
SHARED_FLOOR = next(floor for floor in FLOORS if "models" in floor)
WITHOUT_TORCH = ["anatomy", "grids", "dicom", "volume", "metrics", "simulation", "corrupting", "program", "cli"]
LIGHT = ["preparing.preprocess", "scoring.score", "scoring.postproc", "evaluation.evaluate", "report.tables"]
LIGHT += [f"cohort.{name}" for name in ("preprocess", "score", "postproc", "simulate", "calibrate", "evaluate")]
"""Commands without a network are made of these, and of the rooms WITHOUT_TORCH."""
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, LINES_OF_A_ROOM = 300, 50, 2000
FOLDERS = ["uadtools", "tests", "docs", "man", "examples", "benchmarks", "experiments"]
MACHINE_PATHS = re.compile(r"(?<![\w.~*<>])/(?:work|home|root|Users|mnt)/[\w.]|(?<!\w)/tmp/\w")


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module):
    """The second name: uadtools.volume.io is in volume. The package's own top has none."""
    return module.split(".")[1] if "." in module else ""


def is_for_types_only(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(module, *, late=True):
    """Modules of this package that a module imports, with those imported inside of functions if late."""

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: a relative import"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield whole if whole in MODULES else child.module
            elif not is_for_types_only(child) and (late or not isinstance(child, ast.FunctionDef)):
                yield from walk(child)

    return set(walk(ast.parse(MODULES[module].read_text())))


def functions():
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}.{node.name}", node


def floor(room):
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_has_its_floor():
    assert {room_of(module) for module in MODULES} - {""} == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    here = room_of(module)
    for imported in imports(module):
        there = room_of(imported) if imported in MODULES else ""
        if not here or not there or here == there:
            continue
        shared = {here, there} <= SHARED_FLOOR
        assert shared or floor(here) < floor(there), f"{module} imports {imported}"


ELSEWHERE = {"blur", "derivative", "threshold"}
"""Methods that are called as something else is, too: an artefact, a kind of data set in BIDS, a number."""
NAMED_AFTER_THEM = {"uadtools.models.foreign_programs"}
"""Other programs are called as the methods they were written for."""


OTHERS = [m for m in MODULES if room_of(m) not in methods.ROOMS and m not in NAMED_AFTER_THEM]


@pytest.mark.parametrize("module", OTHERS)
def test_no_kind_and_no_method_is_named_outside_of_methods(module):
    """Neither as a string of its own, nor by import; recipes, help and docstrings may."""
    names = {*methods.glances()} - ELSEWHERE
    tree = ast.parse(MODULES[module].read_text())
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not strings & names
    assert not imports(module) & {f"uadtools.{room}.{name}" for room in methods.ROOMS for name in methods.glances()}


def test_the_packages_top_imports_nothing_of_its_own():
    assert not imports("uadtools") & MODULES.keys()


def test_no_room_and_no_module_imports_itself_in_a_circle():
    modules = {module: imports(module) & MODULES.keys() - {module} for module in MODULES}
    tuple(TopologicalSorter(modules).static_order())
    rooms = {}
    for module in MODULES:
        found = {room_of(imported) for imported in imports(module) & MODULES.keys()}
        rooms.setdefault(room_of(module), set()).update(found - {room_of(module), ""})
    tuple(TopologicalSorter(rooms).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module):
    assert len(MODULES[module].read_text().splitlines()) < LINES_OF_A_FILE


def test_rooms_are_small():
    rooms = {}
    for module, path in MODULES.items():
        rooms[room_of(module)] = rooms.get(room_of(module), 0) + len(path.read_text().splitlines())
    assert not {room: lines for room, lines in rooms.items() if lines >= LINES_OF_A_ROOM}


def test_functions_are_short():
    """Counted are the lines of the body: parameters and docstring, one line for each thing to know, are not."""
    long = {}
    for name, node in functions():
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if body and (count := body[-1].end_lineno - body[0].lineno + 1) > LINES_OF_A_FUNCTION:
            long[name] = count
    assert not long


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in WITHOUT_TORCH])
def test_volume_metrics_and_commands_do_not_import_torch_at_once(module):
    names = {imported.split(".")[0] for imported in imports(module, late=False)}
    assert not names & {"torch", "safetensors", "deepbet"}


def test_torch_is_loaded_late():
    """By what needs it, and not by what the commands without a network are made of, nor by any command's help."""
    light = [module for module in MODULES if room_of(module) in WITHOUT_TORCH]
    light += [f"uadtools.{module}" for module in LIGHT]
    light += ["uadtools", "uadtools.models.config", "uadtools.models.checkpoint", "uadtools.methods"]
    code = f"import sys, {', '.join(light)}; sys.exit(', '.join(sys.modules.keys() & {{'torch', 'matplotlib'}}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", uadtools.__all__)
def test_the_python_api_is_there(name):
    assert getattr(uadtools, name).__name__ == name
    assert name in dir(uadtools)


def test_the_python_api_has_no_other_names():
    with pytest.raises(AttributeError, match="no attribute 'reconstruct'"):
        uadtools.reconstruct  # noqa: B018


def test_no_file_names_a_place_on_somebodys_machine():
    texts = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    texts += ROOT.glob("*.md")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in texts
        if path.suffix in (".py", ".md", ".toml", ".txt", ".csv", ".json", ".1", ".html")
        if (match := MACHINE_PATHS.search(path.read_text()))
    ]
    assert not found
