"""What each loss of the battery takes: how to draw it, and how to call the loss in one form.

The losses differ in what they take. A `Kind` says how to draw it and how to call the loss, so that
every test sees one form: ``loss(predictions, targets, axis=…, where=…)``, with some pixel axes and,
for some kinds, a class axis last. `case` puts an oracle, and so its loss, into ``CASES``.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from tests.support import reference

CLASSES = 3


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a family of losses takes.

    draw: a generator and a pixel shape to float32 predictions and hard targets.
    perfect: targets to predictions that say just that.
    saturate: the predictions pushed to the ends of their range.
    call: (a loss, where its functions of sums are, its options) to the common form.
    junk: what a masked target may hold.
    sums: the name of the function that makes its sums; None for a loss of arrays.
    soft: whether targets may be soft.
    """

    draw: Callable[..., Any]
    perfect: Callable[..., Any]
    saturate: Callable[..., Any]
    call: Callable[..., Any]
    junk: Any = 255
    sums: str | None = None
    soft: bool = False


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss in the battery.

    name: of the public function.
    at_truth: the value at perfect predictions; -inf if that is a minimum that depends on the
        targets; None if it is no minimum.
    signed: whether foreground is never pushed down, nor background up.
    whole_images: whether a pixel's term depends on its whole image.
    """

    name: str
    kind: Kind
    options: dict[str, Any]
    at_truth: float | None = 0.0
    signed: bool = False
    whole_images: bool = False

    @property
    def loss(self) -> Callable[..., Any]:
        return getattr(dj, self.name)

    @property
    def make_sums(self) -> Callable[..., Any] | None:
        """The function that makes the loss's sums, with the options that are the sums' own."""
        make = getattr(dj, self.kind.sums or self.name.replace("_loss", "_sums"), None)
        if make is None:
            return None
        own = {k: v for k, v in self.options.items() if k in inspect.signature(make).parameters}
        return partial(make, **own)

    def loss_of_sums(self, sums: Any) -> Any:
        """The loss of what `make_sums` makes."""
        own = self.make_sums.keywords
        return self.loss(sums, **{k: v for k, v in self.options.items() if k not in own})


CASES: dict[str, Case] = {}


def case(
    kind: Kind,
    variant: str = "",
    *,
    at_truth: float | None = 0.0,
    signed: bool = False,
    whole_images: bool = False,
    **options: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put the loss whose oracle is decorated into the battery, with some options."""

    def register(oracle: Callable[..., Any]) -> Callable[..., Any]:
        name = oracle.__name__
        CASES[f"{name} {variant}".strip()] = Case(
            name, kind, options, at_truth, signed, whole_images
        )
        return oracle

    return register


def _binary_targets(rng, shape):
    return (rng.random(shape) < 0.4).astype(np.int32)


def _draw_probabilities(rng, shape):
    return rng.uniform(0.05, 0.95, shape).astype(np.float32), _binary_targets(rng, shape)


def _draw_distances(rng, shape):
    p, y = _draw_probabilities(rng, shape)
    return p, reference.signed_distance(y).astype(np.float32)


def _draw_logits(rng, shape):
    return rng.normal(0, 2, shape).astype(np.float32), _binary_targets(rng, shape)


def _draw_class_logits(rng, shape):
    logits = rng.normal(0, 2, (*shape, CLASSES)).astype(np.float32)
    return logits, rng.integers(0, CLASSES, shape).astype(np.int32)


def _draw_class_probabilities(rng, shape):
    logits, labels = _draw_class_logits(rng, shape)
    return reference.softmax(logits).astype(np.float32), labels


def _as_probabilities(targets):
    return np.asarray(targets, np.float32)


def _as_class_probabilities(labels):
    return reference.one_hot(labels, CLASSES).astype(np.float32)


def _sums_call(sums_name):
    def call(loss, makers, options):
        sums = getattr(makers, sums_name)
        return lambda x, y, axis=None, where=None: loss(
            sums(x, y, axis=axis, where=where), **options
        )

    return call


def _array_call(loss, makers, options):
    return lambda x, y, axis=None, where=None: loss(x, y, axis=axis, where=where, **options)


def _pixel_call(loss, makers, options):
    """One number per pixel: summed over the region here, so that it has the common form."""
    add = jnp.sum if makers is dj else np.sum
    return lambda x, y, axis=None, where=None: add(loss(x, y, where=where, **options), axis)


SUMS = Kind(
    _draw_probabilities,
    _as_probabilities,
    np.round,
    _sums_call("region_sums"),
    sums="region_sums",
    soft=True,
)
CLASS_SUMS = Kind(
    _draw_class_logits,
    lambda y: 60 * _as_class_probabilities(y),
    lambda x: 1e4 * np.sign(x),
    _sums_call("softmax_region_sums"),
    sums="softmax_region_sums",
)
ARRAYS = Kind(_draw_probabilities, _as_probabilities, np.round, _array_call, soft=True)
LOGITS = Kind(_draw_logits, lambda y: 60.0 * (2 * y - 1), lambda x: 1e4 * np.sign(x), _array_call)
DISTANCES = Kind(
    _draw_distances, lambda phi: (phi < 0).astype(np.float32), np.round, _array_call, junk=np.nan
)
CLASS_LOGITS = dataclasses.replace(CLASS_SUMS, call=_array_call, sums=None)
CLASS_PIXELS = dataclasses.replace(CLASS_SUMS, call=_pixel_call, sums=None)
CLASS_ARRAYS = Kind(_draw_class_probabilities, _as_class_probabilities, np.round, _array_call)
