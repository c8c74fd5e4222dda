"""Test settings: shared compiled programs, strict dtype promotion, for doctests and tests alike."""

import gc
import os
from importlib.util import find_spec
from pathlib import Path

# The tests must not depend on whether this machine has an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests compile more than they compute. One directory of compiled programs serves all workers,
# the processes that tests start, and the next run. JAX finds a program by its text and options.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import jax
import pytest

# Compiled quickly, because most programs run once and on few numbers: the machine code is not
# optimised, but operations and temporaries are the users'. XLA_FLAGS="" compiles as users do.
QUICKLY = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11, 1) and find_spec("libtpu") is None:
    # A quarter of the compiler's time. Later versions, libtpu's too, have only the new emitters and
    # abort at an option that they do not know.
    QUICKLY += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
# XLA reads it when it compiles for the first time.
os.environ.setdefault("XLA_FLAGS", QUICKLY)

# Programs are run by tests, and what tests share has no examples.
collect_ignore = ["tests/programs", "tests/support"]
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Free the memory of a module's programs; the directory above still has them."""
    yield
    jax.clear_caches()


def pytest_collection_modifyitems(items):
    """Put modules with slow tests first, so that the workers end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """Collect garbage seldom, and never look through what was imported: it stays until the end."""
    gc.freeze()
    gc.set_threshold(50_000)
