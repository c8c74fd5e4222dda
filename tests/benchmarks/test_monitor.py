"""The row of the monitor: the step trains as it does without, and the report is really made."""

from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.families import monitor
from benchmarks.families.registry import FAMILIES
from benchmarks.harness.case import difference


@pytest.mark.slow
def test_a_watched_step_is_the_same_step_with_a_report():
    assert monitor.MONITOR in FAMILIES
    case = monitor.monitor_case("tiny", (2, 8, 8))
    # Optax's Adam relies on it; the command runs with JAX's own setting.
    with jax.numpy_dtype_promotion("standard"):
        plain, watched = (build() for build in case.builders.values())
    assert plain.result is not None
    assert watched.result is not None
    assert difference(plain.result(), watched.result(), case.tolerance) is None
    call: Any = watched.call
    *_, report = call()
    assert set(report.losses) == {"dice", "bce"}
    assert np.isfinite(report.losses["dice"].norm)
    assert len(call()) == len(plain.call()) + 1
