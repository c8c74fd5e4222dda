"""Every public function, called with awkward arguments: the right value, NaN or a clear error.

The arguments are drawn from values that break code: NaN, ±∞, −0, subnormal numbers, 2³¹, 2⁶³, 255,
1 + ε, one pixel, one class, no pixel, everything masked. tests/support/calls.py is the table. A
call of valid arguments must give the oracle's value. One of invalid arguments must give NaN in the
region of the invalid value, or an error that names an argument. Masked pixels may hold anything.
"""

from __future__ import annotations

import functools
import inspect
import re
import zlib

import numpy as np
import pytest

import dice_jax as dj
from tests.support import calls, metric_calls
from tests.support.calls import CALLS, KINDS

assert metric_calls  # completes the table

# Images, height, width, classes. The first one is also traced.
SHAPES = {"small": (2, 2, 3, 3), "one pixel and class": (2, 1, 1, 1), "no pixel": (2, 0, 3, 3)}
NAMES = "probabilities|targets|labels|logits|where|instances|signed_distances|predicted|values|x"
# What a function refuses because of the shape alone, with an error that names the argument.
REFUSED = {
    ("unified_focal_loss", "one pixel and class"),
    ("unified_focal_sums", "one pixel and class"),
}


def test_every_public_function_is_in_the_table():
    """A new function needs a call and an oracle there."""
    assert {name.split(" ")[0] for name in CALLS} == calls.public()


def drawn(call, rng, shape):
    """Valid arrays; the same with something spoiled; what is spoiled where it counts."""
    *pixels, classes = shape
    clean = []
    for kind in call.arguments:
        values = KINDS[kind]
        size = (*pixels, classes) if values.classes else tuple(pixels)
        array = np.array(values.valid, values.dtype)[rng.integers(len(values.valid), size=size)]
        if kind == "label":
            array %= classes
        clean.append(array)
    if rng.random() < 0.2 and call.arguments[-1] in ("weight", "where"):
        clean[-1][rng.integers(2)] = 0
    if rng.random() < 0.2 and clean[0].size:
        k = rng.integers(len(clean))
        clean[k][:] = clean[k].reshape(-1)[:1]
    dirty = [x.copy() for x in clean]
    # What the oracle sees: odd values, but none that is invalid or masked.
    seen = [x.copy() for x in clean]
    bad, odd = np.zeros(2, bool), np.zeros(2, bool)
    spoiled = set()
    for _ in range(rng.integers(3) if clean[0].size else 0):
        k = int(rng.integers(len(clean)))
        values = KINDS[call.arguments[k]]
        spoilers = [(v, bad) for v in values.invalid] + [(v, odd) for v in values.odd]
        if not spoilers:
            continue
        value, how = spoilers[rng.integers(len(spoilers))]
        place = tuple(int(rng.integers(n)) for n in clean[k].shape)
        pixel = place[:3]
        if (k, place) in spoiled or (len(clean) - 1, pixel) in spoiled:
            continue
        spoiled.add((k, place))
        dirty[k][place] = value
        if k == len(clean) - 1 or clean[-1][pixel] != 0:
            how[pixel[0]] = True
            if how is odd:
                seen[k][place] = value
    return dirty, seen, bad, odd


def clipped(call, arrays):
    """What the oracles see: rounding errors inside [0, 1] (powers, logs), no subnormal numbers."""
    unit = {"probability", "class probability", "soft"}
    return [
        np.where(np.abs(x) < 1e-37, 0, np.clip(x, 0, 1)).astype(x.dtype) if kind in unit else x
        for kind, x in zip(call.arguments, arrays, strict=True)
    ]


@functools.cache
def stated_range(name):
    """The range that a function's docstring states for its result; everything if it states none."""
    module, _, name = f"dj.{name.split(' ')[0]}".rpartition(".")
    function = getattr(dj.metrics if module.endswith("metrics") else dj, name)
    returns = inspect.getdoc(function).partition("\nReturns:\n")[2].partition("\n\n")[0]
    first = " ".join(returns.split()).split(". ")[0]
    if found := re.search(r"^(?:An array|The s).*, in \[0, (.+?)\]", first):
        return 0.0, {"100^γ": 100.0, "log cosh 1": np.log(np.cosh(1))}.get(found[1]) or float(
            found[1]
        )
    return (
        0.0 if re.search(r"^(?:Distances|The scores).* in units|at least 0", first) else -np.inf
    ), np.inf


def problem(call, run, arrays, seen, bad, odd, *, refused):
    """What is wrong with the result of a call; None if nothing is."""
    try:
        result = calls.values(run(*arrays))
    except (TypeError, ValueError) as error:
        if not refused and not (bad | odd).any():
            return f"raised {error!r} on valid arguments"
        named = re.match(rf"({NAMES})\b", str(error))
        return None if named else f"raised an error that names no argument: {error}"
    if refused:
        return "took a shape that it should refuse"
    with np.errstate(all="ignore"):
        # float32 overflows earlier.
        expected = np.asarray(call.oracle(*clipped(call, seen))).astype(np.float32)
    if call.pooled:
        result, expected = result[None], expected[None]
        bad, odd = np.array([bad.any()]), np.array([odd.any()])
    if result.shape != expected.shape:
        return f"gave the shape {result.shape}, not {expected.shape}"
    low, high = stated_range(call.name)
    # A probability of 1 + ε gives a loss of −ε.
    if ((result < low - 1e-6) | (result > high + 1e-6)).any():
        return f"gave {result}, outside the stated range [{low}, {high}]"
    for r in range(len(expected)):
        is_nan = np.isnan(result[r].astype(np.float64)).any()
        if odd[r] and not bad[r] and (is_nan or np.isnan(expected[r]).any()):
            continue
        if bad[r]:
            if not is_nan:
                return f"gave {result[r]} for an invalid value in region {r}"
        elif not np.allclose(result[r], expected[r], rtol=2e-4, atol=call.slack, equal_nan=True):
            return f"gave {result[r]}, not {expected[r]}, in region {r}"
    return None


def wrong_calls(name, shape, draws, *, trace=False):
    """The first wrong one of some drawn calls, for the test's message."""
    call = CALLS[name]
    rng = np.random.default_rng(zlib.crc32(f"{name} {shape}".encode()))
    run = calls.traced(call) if trace else call.run
    for _ in range(draws):
        dirty, seen, bad, odd = drawn(call, rng, SHAPES[shape])
        if trace:
            # As JAX would have it from NumPy outside of a caller's own jit.
            int32 = np.iinfo(np.int32)
            arrays = [
                np.clip(x, int32.min, int32.max).astype(np.int32) if x.dtype == np.int64 else x
                for x in dirty
            ]
        else:
            arrays = dirty
        wrong = problem(call, run, arrays, seen, bad, odd, refused=(name, shape) in REFUSED)
        if wrong:
            shown = dict(enumerate(zip(call.arguments, dirty, strict=True)))
            return f"{name} {wrong}; bad {bad}, odd {odd}: {shown}"
    return None


def every_call(test):
    return pytest.mark.parametrize("name", CALLS)(test)


@pytest.mark.slow
@every_call
def test_awkward_arguments(name):
    # Eagerly, where values are on the host, and traced, where they are not.
    assert not wrong_calls(name, "one pixel and class", 20)
    assert not wrong_calls(name, "no pixel", 1)
    assert not wrong_calls(name, "small", 25, trace=not CALLS[name].on_host)


@pytest.mark.huge
@every_call
def test_a_thousand_awkward_calls(name):
    """10⁵ calls in all: ``pytest -m huge tests/project/test_awkward.py``."""
    assert not wrong_calls(name, "small", 400)
    assert not wrong_calls(name, "one pixel and class", 200)
    if not CALLS[name].on_host:
        assert not wrong_calls(name, "small", 600, trace=True)
