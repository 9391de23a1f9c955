"""The experiments are scripts, no package; here they are loaded as modules."""

import importlib.util
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def load(name):
    """Load an experiment anew; those that import it by its name get this one."""
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
