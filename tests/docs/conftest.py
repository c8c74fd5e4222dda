"""The site's hooks as modules, without the site's builder."""

import importlib.util
import sys
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[2] / "docs" / "_hooks"


@pytest.fixture(scope="session")
def hook():
    """Load a hook by its name."""

    def load(name):
        known = f"dice_jax_docs_{name}"
        if known not in sys.modules:
            spec = importlib.util.spec_from_file_location(known, HOOKS / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[known] = module
            spec.loader.exec_module(module)
        return sys.modules[known]

    return load
