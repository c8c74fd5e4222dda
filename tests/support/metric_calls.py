"""The metrics' part of the table of calls: importing it completes the table."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from dice_jax import metrics
from tests.support import metric_oracles
from tests.support.calls import AXES, add, each, fields, masked, whole


def _of_hard_sums(metric: Any, p: Any, y: Any, w: Any) -> Any:
    return metric(dj.region_sums(p, y, axis=AXES, where=w))


for _name, _metric in {
    "precision": metrics.precision,
    "recall": metrics.recall,
    "specificity": metrics.specificity,
    "f_beta": partial(metrics.f_beta, beta=2.0),
    "volume_bias": metrics.volume_bias,
    "absolute_volume_difference": metrics.absolute_volume_difference,
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "negative_predictive_value": metrics.negative_predictive_value,
}.items():
    _oracle = getattr(metric_oracles, "f2" if _name == "f_beta" else _name)
    add(
        f"metrics.{_name}",
        "claim, target, weight",
        partial(_of_hard_sums, _metric),
        each(_oracle),
    )
add(
    "metrics.of_regions",
    "claim, target, weight",
    partial(_of_hard_sums, lambda s: metrics.of_regions(dj.dice_index(s), s)),
    each(metric_oracles.dice),
)
add(
    "metrics.confusion_counts",
    "claim, target, weight",
    lambda p, y, w: fields(_of_hard_sums(metrics.confusion_counts, p, y, w)),
    each(lambda p, y, w: np.array(metric_oracles.counts(p, y, w))),
)
add(
    "metrics.confusion_matrix",
    "label, label, weight",
    lambda p, y, w: metrics.confusion_matrix(p, y, num_classes=3, axis=AXES, where=w),
    each(metric_oracles.confusion_matrix),
)
add(
    "metrics.class_sums",
    "label, label, weight",
    lambda p, y, w: fields(metrics.class_sums(p, y, num_classes=3, axis=AXES, where=w)),
    each(metric_oracles.class_sums),
)
for _name in ("average_precision", "roc_auc", "best_threshold"):
    add(
        f"metrics.{_name}",
        "score, target, weight",
        masked(getattr(metrics, _name)),
        each(getattr(metric_oracles, _name)),
    )
for _name in (
    "expected_calibration_error",
    "maximum_calibration_error",
    "adaptive_calibration_error",
    "brier_score",
):
    add(
        f"metrics.{_name}",
        "exact probability, soft, weight",
        masked(getattr(metrics, _name)),
        each(getattr(metric_oracles, _name)),
    )
add(
    "metrics.calibration",
    "probability, target, weight",
    lambda p, y, w: fields(metrics.calibration(p, y, axis=AXES, where=w)).swapaxes(1, 2),
    each(metric_oracles.calibration),
)
add(
    "metrics.top_label",
    "exact class probability, label, one",
    lambda p, y, w: jnp.where(
        jnp.asarray(w)[..., None] == 0, 0.0, jnp.stack(metrics.top_label(p, y), -1)
    ),
    lambda p, y, w: np.where(
        w[..., None] == 0, 0.0, np.stack([p.max(-1), p.argmax(-1) == y], -1).astype(np.float64)
    ),
)


def _expected_dice(masks: Any, p: Any, w: Any) -> Any:
    """Of each image's mask; NaN where the mask is."""
    values = []
    for mask, image, weight in zip(np.asarray(masks), p, w, strict=True):
        image = np.where(weight != 0, image, 0.0).reshape(-1)
        bad = np.isnan(mask).any()
        values.append(np.nan if bad else metric_oracles.expected_dice(image, mask.reshape(-1)))
    return np.array(values)


add(
    "metrics.dice_optimal_mask",
    "probability, where",
    lambda p, w: _expected_dice(metrics.dice_optimal_mask(p, axis=AXES, where=w), p, w),
    each(lambda p, w: metric_oracles.best_expected_dice(np.clip(p, 0, 1), w)),
    on_host=True,
)
for _name, _options in {
    "hausdorff_distance": {},
    "directed_hausdorff_distance": {},
    "average_surface_distance": {},
    "directed_surface_distance": {},
    "medpy_hd95": {},
    "medpy_assd": {},
    "surface_dice": {"tolerance": 1.0},
    "area_weighted_surface_dice": {"tolerance": 1.0},
    "area_weighted_hausdorff_distance": {},
    "area_weighted_surface_distance": {},
}.items():
    add(
        f"metrics.{_name}",
        "mask, mask, where",
        masked(getattr(metrics, _name), **_options),
        whole(getattr(metric_oracles, _name)),
    )
add(
    "metrics.centreline_dice",
    "mask, mask, mask, mask, where",
    lambda p, y, a, b, w: metrics.centreline_dice(p, y, a, b, axis=AXES, where=w),
    each(lambda p, y, a, b, w: metric_oracles.centreline_dice(p, y, w, a, b)),
)
for _name in ("instance_f1", "panoptic_quality", "instance_average_precision"):
    add(
        f"metrics.{_name}",
        "map, map, where",
        masked(getattr(metrics, _name)),
        whole(getattr(metric_oracles, _name)),
        on_host=True,
    )


def _counted(p: Any, y: Any, w: Any) -> Any:
    found = [metrics.instance_counts(*a, where=v) for *a, v in zip(p, y, w, strict=True)]
    return np.array(
        [[c.true_positives, c.false_positives, c.false_negatives, c.iou] for c in found]
    )


add(
    "metrics.instance_counts",
    "map, map, where",
    _counted,
    whole(metric_oracles.instance_counts),
    on_host=True,
)
add(
    "metrics.image_diagonal",
    "component, component",
    lambda x, w: np.float64(metrics.image_diagonal(x.shape)),
    lambda x, w: np.sqrt(np.sum(np.square(x.shape))),
    on_host=True,
    pooled=True,
)
