"""Scores behave as users expect, and never average a region that was not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import metrics

SCORES = metrics.Scores(
    jnp.array([[0.5, 1.0, 0.25], [0.75, 1.0, 0.0]]),
    jnp.array([[True, False, True], [True, True, True]]),
)


def test_an_index_takes_values_and_presence():
    foreground = SCORES[..., 1:]
    np.testing.assert_array_equal(foreground.value, SCORES.value[..., 1:])
    np.testing.assert_array_equal(foreground.present, SCORES.present[..., 1:])
    np.testing.assert_allclose(foreground.mean(), (0.25 + 1.0 + 0.0) / 3)
    assert SCORES[0, 1].shape == ()


def test_length_and_iteration_go_along_the_first_axis():
    assert len(SCORES) == 2
    assert [scores.shape for scores in SCORES] == [(3,), (3,)]
    assert [float(score) for score in SCORES[1]] == [0.75, 1.0, 0.0]
    with pytest.raises(TypeError, match=r"no length; write float\(scores\)"):
        len(SCORES[0, 0])


def test_a_single_region_is_formatted_as_a_number():
    assert f"{SCORES[0, 2]:.3f}" == "0.250"
    assert f"{SCORES[0, 2:]:.1%}" == "25.0%"
    assert float(SCORES[0, 2:]) == 0.25
    with pytest.raises(TypeError, match=r"single region, got those of shape \(2, 3\)"):
        f"{SCORES:.3f}"
    with pytest.raises(TypeError, match=r"float\(scores\) needs.*scores.mean\(\)"):
        float(SCORES)


def test_the_representation_is_short():
    assert repr(SCORES[0]) == "Scores([0.5  1.   0.25], present=[ True False  True])"
    assert f"{SCORES[0]}" == repr(SCORES[0])
    many = metrics.Scores(jnp.ones(1000), jnp.ones(1000, bool))
    assert len(repr(many)) < 80
    shown = []
    jax.jit(lambda scores: shown.append(repr(scores)))(SCORES)
    assert shown[0].startswith("Scores(JitTracer")


@pytest.mark.parametrize(
    "mean",
    [jnp.mean, jnp.nanmean, jnp.sum, jnp.asarray, np.mean, np.nanmean, np.median, np.sum, np.max],
    ids=lambda f: f"{f.__module__}.{f.__name__}",
)
def test_functions_that_do_not_know_of_presence_are_refused(mean):
    with pytest.raises(TypeError, match=r"write scores.mean\(\).*scores.value for an array"):
        mean(SCORES)


def test_numpy_takes_the_values():
    np.testing.assert_array_equal(np.asarray(SCORES), SCORES.value)
    assert np.asarray(SCORES, np.float64).dtype == np.float64


def test_scores_pass_through_transformations():
    doubled = jax.jit(lambda s: jax.tree.map(lambda x: x | x, s))(SCORES.present)
    np.testing.assert_array_equal(doubled, SCORES.present)
    rows = jax.vmap(lambda s: s.mean())(SCORES)
    np.testing.assert_allclose(rows, SCORES.mean(axis=1))


def test_a_worst_value_makes_the_mean_of_distances_exist():
    """Three images: found at distance 3, missed, invented; a fourth has nothing in either mask."""
    target, predicted = (np.zeros((4, 12, 16), bool) for _ in range(2))
    target[0, 2:4, 2:4], predicted[0, 5:7, 2:4] = True, True
    target[1, 2, 2] = True
    predicted[2, 2, 2] = True
    spacing = (1.0, 0.75)
    distances = metrics.hausdorff_distance(predicted, target, axis=(1, 2), spacing=spacing)
    assert np.isinf(distances.mean())
    diagonal = metrics.image_diagonal((12, 16), spacing=spacing)
    assert diagonal == np.hypot(12, 12)
    finite = distances.with_worst(diagonal)
    np.testing.assert_array_equal(finite.present, [True, True, True, False])
    np.testing.assert_allclose(finite.mean(), (3 + 2 * diagonal) / 3, rtol=1e-6)
    np.testing.assert_allclose(finite.with_worst(0.0).value, finite.value)


def test_every_metric_returns_scores():
    """The rule of the package: metrics return Scores, counts add up, the rest is arrays."""
    p, y = jnp.array([0.75, 0.25, 0.5]), jnp.array([1, 0, 1])
    mask, objects = p > 0.4, jnp.array([1, 0, 2])
    sums = dj.region_sums(mask, y)
    calls = {
        **{
            f: lambda f=f: f(sums)
            for f in (
                metrics.absolute_volume_difference,
                metrics.accuracy,
                metrics.balanced_accuracy,
                metrics.negative_predictive_value,
                metrics.precision,
                metrics.recall,
                metrics.specificity,
                metrics.volume_bias,
            )
        },
        **{
            f: lambda f=f: f(p, y)
            for f in (
                metrics.adaptive_calibration_error,
                metrics.average_precision,
                metrics.brier_score,
                metrics.expected_calibration_error,
                metrics.maximum_calibration_error,
                metrics.roc_auc,
            )
        },
        **{
            f: lambda f=f: f(mask, y)
            for f in (
                metrics.average_surface_distance,
                metrics.directed_hausdorff_distance,
                metrics.directed_surface_distance,
                metrics.hausdorff_distance,
                metrics.medpy_assd,
                metrics.medpy_hd95,
            )
        },
        **{
            f: lambda f=f: f(objects, y)
            for f in (
                metrics.instance_average_precision,
                metrics.instance_f1,
                metrics.panoptic_quality,
            )
        },
        metrics.f_beta: lambda: metrics.f_beta(sums, beta=1.0),
        metrics.surface_dice: lambda: metrics.surface_dice(mask, y, tolerance=1.0),
        metrics.area_weighted_surface_dice: lambda: metrics.area_weighted_surface_dice(
            mask[None], y[None], tolerance=1.0
        ),
        **{
            f: lambda f=f: f(mask[None], y[None])
            for f in (
                metrics.area_weighted_hausdorff_distance,
                metrics.area_weighted_surface_distance,
            )
        },
        metrics.centreline_dice: lambda: metrics.centreline_dice(mask, y, mask, y),
        metrics.of_regions: lambda: metrics.of_regions(dj.dice_index(sums), sums),
    }
    others = {
        "best_threshold",
        "calibration",
        "class_sums",
        "confusion_counts",
        "confusion_matrix",
        "dice_optimal_mask",
        "image_diagonal",
        "instance_counts",
        "top_label",
    }
    functions = {name for name, f in vars(metrics).items() if callable(f) and name[0].islower()}
    assert {f.__name__ for f in calls} == functions - others
    for function, call in calls.items():
        assert isinstance(call(), metrics.Scores), function.__name__
