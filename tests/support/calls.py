"""How to call every public function, with what, and its oracle: for tests of awkward arguments.

A function that is not in the table fails tests/project/test_awkward.py. Losses come from the
battery's ``CASES``. Every function is called on images [2, H, W], one region an image.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from dice_jax import metrics
from tests.support import metric_oracles, oracles, reference
from tests.support.cases import CASES

AXES = (1, 2)
BIG = [2**31, 2**32 + 1, 2**63 - 1, -(2**63)]


@dataclasses.dataclass(frozen=True)
class Values:
    """What an argument may hold.

    valid: values that the documentation allows.
    invalid: values that it does not: NaN or an error has to follow.
    odd: values for which NaN is as good as the oracle's value (infinite logits).
    classes: whether it has a class axis.
    """

    valid: tuple[Any, ...]
    invalid: tuple[Any, ...] = ()
    odd: tuple[Any, ...] = ()
    classes: bool = False
    dtype: Any = np.float32


_ONE = (0.0, -0.0, 1.0, 0.5, 0.25, 1e-40, 1 - 2**-24, 1 + 2**-23)
_LOGITS = (0.0, -0.0, 1.0, -3.0, 1e-40, 60.0, -60.0)
_OUTSIDE = (np.nan, np.inf, -np.inf, 255.0, -4.0)
KINDS = {
    "probability": Values(_ONE, _OUTSIDE),
    "class probability": Values(_ONE, _OUTSIDE, classes=True),
    # Without what rounds to another value.
    "exact probability": Values((0.0, -0.0, 1.0, 0.5, 0.25, 0.75), _OUTSIDE),
    "exact class probability": Values((0.0, -0.0, 1.0, 0.5, 0.25), _OUTSIDE, classes=True),
    "exact soft": Values((0.0, -0.0, 1.0, 0.5, 0.25, 0.75), _OUTSIDE),
    "soft": Values(_ONE, _OUTSIDE),
    "logit": Values(_LOGITS, (np.nan,), (np.inf, -np.inf, 1e36)),
    "class logit": Values(_LOGITS, (np.nan,), (np.inf, -np.inf, 1e36), classes=True),
    "score": Values((0.0, -0.0, 1.0, -3.0, 1e-30, -1.5, 1e36, -np.inf, np.inf), (np.nan,)),
    "number": Values((*_LOGITS, -1.5), (np.nan,), (np.inf, -np.inf, 1e36)),
    "target": Values((0, 1), (2, -1, 255, *BIG), dtype=np.int64),
    "label": Values((0, 1, 2), (3, -1, 255, *BIG), dtype=np.int64),
    "object": Values((1, 2), (3, -1, 255, *BIG), dtype=np.int64),
    "map": Values((0, 0, 1, 2, 255, -1, *BIG), dtype=np.int64),
    "component": Values((0, 0, 1, 2, 255), dtype=np.int64),
    "mask": Values((0, 0, 1, 255, -1, *BIG), dtype=np.int64),
    "claim": Values((False, True), dtype=np.bool_),
    "weight": Values((1.0, 1.0, 1.0, 0.0, 0.5, 2.0), (-1.0, np.nan, np.inf)),
    "one": Values((1.0,)),
    "where": Values((1.0, 1.0, 1.0, 0.0, 0.5, 2.0), (), (-1.0, np.nan, np.inf)),
}


@dataclasses.dataclass(frozen=True)
class Call:
    """A public function in the table.

    name: of the function, "metrics." in front for those.
    arguments: the kind of each array, in order; the weights come last.
    run: calls the function with the arrays, as ``run(*arrays)``: one result a region.
    oracle: the same in float64 NumPy.
    on_host: whether it cannot be traced.
    pooled: whether there is one result for all images.
    slack: how far float32 may be from the oracle: a small power makes much of rounding.
    """

    name: str
    arguments: tuple[str, ...]
    run: Callable[..., Any]
    oracle: Callable[..., Any]
    on_host: bool = False
    pooled: bool = False
    slack: float = 5e-5


CALLS: dict[str, Call] = {}


def add(name: str, arguments: str, run: Any, oracle: Any, **how: Any) -> None:
    names = tuple(a.strip() for a in arguments.split(","))
    CALLS[name] = Call(name, names, run, oracle, **how)


def public() -> set[str]:
    """Every public function of `dice_jax` and `dice_jax.metrics`."""
    found = set()
    for module, prefix in ((dj, ""), (metrics, "metrics.")):
        for name in dir(module):
            value = getattr(module, name)
            if not name.startswith("_") and inspect.isfunction(value):
                found.add(prefix + name)
    return found


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    """An oracle of one image's flat arrays, for every image."""
    return whole(lambda *arrays: function(*(x.reshape(-1) for x in arrays)))


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """An oracle of one image's arrays, for every image."""

    def every(*arrays: Any) -> Any:
        wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in arrays]
        return np.stack([np.asarray(function(*images)) for images in zip(*wide, strict=True)])

    return every


def fields(sums: Any) -> Any:
    """The fields of sums, one behind the other on the last axis."""
    own = [
        getattr(sums, f.name)
        for f in dataclasses.fields(sums)
        if not f.metadata.get("static") and getattr(sums, f.name) is not None
    ]
    return jnp.stack(own, -1)


def masked(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A function of two arrays and a mask, image by image."""
    return lambda x, y, w: function(x, y, axis=AXES, where=w, **options)


def _composed(outer: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arrays: outer(inner(*arrays))


# Losses, indices and sums.

_ARGUMENTS = {
    "_draw_probabilities": "probability, target, weight",
    "_draw_logits": "logit, target, weight",
    "_draw_class_logits": "class logit, label, weight",
    "_draw_class_probabilities": "class probability, label, weight",
    "_draw_distances": "probability, number, weight",
}


def _fitting(options: dict[str, Any], predictions: Any) -> dict[str, Any]:
    """Options of three classes cut to the classes that are there."""
    classes = predictions.shape[-1]
    cut = {k: (slice(classes),) * np.ndim(v) for k, v in options.items()}
    return {k: np.asarray(v)[cut[k]] if np.ndim(v) else v for k, v in options.items()}


def _loss(case: Any, loss: Any, makers: Any) -> Callable[..., Any]:
    def run(x: Any, y: Any, w: Any) -> Any:
        call = case.kind.call(loss, makers, _fitting(case.options, x))
        return call(x, y, axis=AXES, where=w)

    return run


def _loss_of_sums(case: Any) -> Callable[..., Any]:
    def run(x: Any, y: Any, w: Any) -> Any:
        fitting = dataclasses.replace(case, options=_fitting(case.options, x))
        return fitting.loss_of_sums(fitting.make_sums(x, y, axis=AXES, where=w))

    return run


for _name, _case in CASES.items():
    _arguments = _ARGUMENTS[_case.kind.draw.__name__]
    _oracle = _loss(_case, getattr(oracles, _case.name), reference)
    if _name == "matthews_loss":
        # At a constant prediction it jumps from 0 to 1, however close that is to the targets.
        _arguments = "exact probability, target, weight"
    _slack = 2e-2 if _case.options.get("gamma") == 0.3 else 5e-5
    add(_name, _arguments, _loss(_case, _case.loss, dj), _oracle, slack=_slack)
    if _case.kind.sums is None and _case.make_sums is not None:
        add(_name.replace("_loss", "_sums"), _arguments, _loss_of_sums(_case), _oracle)

for _name in ("region_sums", "sigmoid_region_sums"):
    for _target in ("target", "soft"):
        _x, _soft = ("probability", "soft") if _name == "region_sums" else ("logit", "exact soft")
        _make = getattr(dj, _name)
        add(
            _name if _target == "target" else f"{_name} soft",
            f"{_x}, {_target if _target == 'target' else _soft}, weight",
            _composed(fields, masked(_make)),
            _composed(partial(np.stack, axis=-1), masked(getattr(reference, _name))),
        )


def _identity_head(x: Any, y: Any, **options: Any) -> Any:
    return dj.linear_softmax_region_sums(x, np.eye(x.shape[-1], dtype=np.float32), y, **options)


for _name, _make in {
    "softmax_region_sums": dj.softmax_region_sums,
    "linear_softmax_region_sums": _identity_head,
}.items():
    add(
        _name,
        "class logit, label, weight",
        _composed(fields, masked(_make)),
        lambda x, y, w: np.stack(
            [
                np.broadcast_to(np.reshape(f, (2, -1)), (2, x.shape[-1]))
                for f in reference.softmax_region_sums(x, y, axis=AXES, where=w)
            ],
            -1,
        ),
    )
add(
    "linear_sigmoid_region_sums",
    "logit, target, weight",
    _composed(
        fields,
        masked(
            lambda x, y, **options: dj.linear_sigmoid_region_sums(
                x[..., None], np.ones(1, np.float32), y, **options
            )
        ),
    ),
    _composed(partial(np.stack, axis=-1), masked(reference.sigmoid_region_sums)),
)
for _name, _options in {
    "dice_index": {},
    "squared_dice_index": {},
    "jaccard_index": {},
    "tversky_index": {"alpha": 0.3, "beta": 0.7},
}.items():
    add(
        _name,
        "probability, target, weight",
        _composed(partial(getattr(dj, _name), **_options), masked(dj.region_sums)),
        _composed(partial(getattr(reference, _name), **_options), masked(reference.region_sums)),
    )
add(
    "generalized_dice_index",
    "class logit, label, weight",
    lambda x, y, w: dj.generalized_dice_index(dj.softmax_region_sums(x, y, axis=AXES, where=w)),
    lambda x, y, w: reference.generalized_dice_index(
        reference.softmax_region_sums(x, y, axis=AXES, where=w)
    ),
)


def _dice_of(p: Any, y: Any, w: Any) -> Any:
    return dj.dice_index(dj.region_sums(p, y, axis=AXES, where=w))


def _true_dice(p: Any, y: Any, w: Any) -> Any:
    return reference.dice_index(reference.region_sums(p, y, axis=AXES, where=w))


def _pooled_dice(p: Any, y: Any, w: Any) -> Any:
    return reference.dice_index(reference.region_sums(p, y, where=w))


def _by_objects(p: Any, y: Any, objects: Any, w: Any) -> Any:
    rows = []
    for arrays in zip(p, y, objects, w, strict=True):
        a, b, number, weight = arrays
        sums = [reference.region_sums(a, b, where=np.where(number == k, weight, 0)) for k in (1, 2)]
        rows.append(np.array(sums))
    return np.array(rows)


_EXAMPLE = "probability, target, weight"
add(
    "instance_region_sums",
    "probability, target, object, weight",
    lambda p, y, k, w: jnp.stack(
        [
            fields(dj.instance_region_sums(*a, num_instances=2, where=v))
            for *a, v in zip(p, y, k, w, strict=True)
        ]
    ),
    _by_objects,
)
add(
    "safe_mean",
    "number, weight",
    lambda x, w: dj.safe_mean(x, where=w, axis=AXES),
    each(lambda x, w: np.sum(np.where(w == 0, 0, x) * w) / w.sum() if w.sum() else 0.0),
)
add(
    "deep_supervision",
    _EXAMPLE,
    lambda p, y, w: dj.deep_supervision(_dice_of, [0.75, 0.25])([p, p], [y, y], [w, w]),
    _true_dice,
)
add(
    "concatenate_sums",
    _EXAMPLE,
    lambda p, y, w: dj.dice_index(
        dj.concatenate_sums(
            [
                dj.region_sums(p[k : k + 1], y[k : k + 1], axis=AXES, where=w[k : k + 1])
                for k in (0, 1)
            ]
        )
    ),
    _true_dice,
)
add(
    "with_canonical_convolutions",
    _EXAMPLE,
    lambda p, y, w: dj.with_canonical_convolutions(_dice_of)(p, y, w),
    _true_dice,
)


def _dice_in_one_expression(p: Any, y: Any, w: Any) -> Any:
    with dj.pass_implementation("fused"):
        return _dice_of(p, y, w)


add("pass_implementation", _EXAMPLE, _dice_in_one_expression, _true_dice)


def _sums_fn(scale: Any, piece: Any) -> Any:
    p, y, w = piece
    return dj.region_sums(p * scale, y, where=w)


# Made once: a new function would be compiled in every call.
_accumulated = dj.accumulated_value_and_grad(_sums_fn, dj.dice_index)
_streamed = dj.streamed_value_and_grad(_sums_fn, dj.dice_index)
add(
    "accumulated_value_and_grad",
    _EXAMPLE,
    lambda p, y, w: _accumulated(jnp.float32(1), (jnp.asarray(p), y, jnp.asarray(w)))[0],
    _pooled_dice,
    pooled=True,
)
add(
    "streamed_value_and_grad",
    _EXAMPLE,
    lambda p, y, w: _streamed(jnp.float32(1), list(zip(p, y, w, strict=True)))[0],
    _pooled_dice,
    pooled=True,
    on_host=True,
)


def _of_padded(p: Any, y: Any, w: Any) -> Any:
    (p, y, w), inside = dj.pad_piece((p, y, w), (2, 3, 4))
    return _dice_of(p, y, np.where(inside, w, 0))


add("pad_piece", _EXAMPLE, _of_padded, _true_dice, on_host=True)


# Images.

add(
    "distance_transform",
    "mask, where",
    lambda x, w: dj.distance_transform(x, axis=AXES, where=w),
    whole(metric_oracles.distance_transform),
)
add(
    "signed_distance",
    "mask, where",
    lambda x, w: dj.signed_distance(x, axis=AXES, where=w),
    whole(metric_oracles.signed_distance),
)
add(
    "soft_skeleton",
    "probability, where",
    lambda x, w: dj.soft_skeleton(x, axis=AXES, iterations=1, where=w),
    whole(lambda x, w: reference.soft_skeleton(x, iterations=1, inner=w != 0) * (w != 0)),
)
add(
    "label_components",
    "mask, where",
    lambda x, w: dj.label_components(x, axis=AXES),
    whole(lambda x, w: metric_oracles.components(x)),
    on_host=True,
)


def _to_region(components: Any, regions: Any) -> Any:
    """How far each pixel is from the component whose region it is in; 0 without components."""
    if not components.any():
        return np.zeros(components.shape)
    distances = np.full(components.shape, np.inf)
    for k in np.unique(regions):
        to = metric_oracles.distance_transform(components != k, np.ones(components.shape))
        distances = np.where(regions == k, to, distances)
    return distances


add(
    "voronoi_regions",
    "component, where",
    lambda x, w: np.stack(
        [_to_region(a, b) for a, b in zip(x, dj.voronoi_regions(x, axis=AXES), strict=True)]
    ),
    whole(
        lambda x, w: (
            metric_oracles.distance_transform(x == 0, np.ones(x.shape))
            if x.any()
            else np.zeros(x.shape)
        )
    ),
    on_host=True,
)


def values(result: Any) -> np.ndarray:
    """A result as NumPy: of `Scores`, their values."""
    return np.asarray(result.value if isinstance(result, metrics.Scores) else result)


def traced(call: Call) -> Callable[..., Any]:
    """The call under `jax.jit`, as an array."""

    def run(*arrays: Any) -> Any:
        result = call.run(*arrays)
        return result.value if isinstance(result, metrics.Scores) else result

    return jax.jit(run)
