"""A mean over what is present has a value where nothing is, and so has every recipe with one."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj

ROOT = Path(__file__).parents[2]
X = jnp.array([[1.0, 2.0, 4.0], [3.0, jnp.nan, 5.0]])
W = jnp.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(("axis", "expected"), [(None, 3.0), (1, [3.0, 0.0]), (0, [1.0, 0.0, 4.0])])
def test_safe_mean_is_the_weighted_mean_and_0_without_weight(axis, expected):
    def total(x):
        return jnp.sum(dj.safe_mean(x, where=W, axis=axis))

    np.testing.assert_allclose(dj.safe_mean(X, where=W, axis=axis), expected)
    gradient = jax.grad(total)(X)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[W == 0], 0)


def test_safe_mean_equals_numpy_where_something_is_present():
    present = np.array([[True, False, True], [True, False, True]])
    np.testing.assert_allclose(dj.safe_mean(X, where=present), np.mean(X, where=present))
    np.testing.assert_allclose(
        dj.safe_mean(X[0], where=present[0]), jnp.mean(X[0], where=present[0])
    )


def test_a_nan_that_counts_is_seen():
    assert np.isnan(dj.safe_mean(X, where=jnp.ones(3, bool)))


def test_wrong_arguments_are_named():
    for call, error, message in (
        (lambda: dj.safe_mean(jnp.arange(3), where=W[0]), TypeError, "values must be floating"),
        (lambda: dj.safe_mean(X, where=None), TypeError, "where must say"),
        (lambda: dj.safe_mean(X, where=W[:, :2]), ValueError, "where must broadcast"),
        (lambda: dj.safe_mean(X, where=W, axis=2), ValueError, "axis 2 does not exist"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_blob_loss_without_objects_is_0_with_a_zero_gradient():
    """Also under vmap, beside an image that has one."""
    p = jnp.full((2, 6), 0.5)
    instances = jnp.array([[0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]])

    def loss(p, instances):
        y = instances > 0
        objects = dj.instance_region_sums(p, y, instances, num_instances=2)
        background = dj.region_sums(p, y, where=instances == 0)
        losses = dj.dice_loss(objects + background.broadcast_to(objects.shape), smooth=1e-5)
        return dj.safe_mean(losses, where=objects.count > 0)

    values, gradients = jax.vmap(jax.value_and_grad(loss))(p, instances)
    assert values[0] == 0
    assert values[1] > 0
    np.testing.assert_array_equal(gradients[0], 0)
    assert (gradients[1] != 0).all()


def test_no_page_divides_by_a_count_that_may_be_0():
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("dice_jax/**/*.py")]
    unsafe = re.compile(r"jnp\.mean\([^`]*loss[^`]*where=[^`]*present|target > 0\)|\.count > 0\)")
    for page in pages:
        for line in page.read_text().splitlines():
            if unsafe.search(line) and "jnp.mean(" in line:
                assert "safe_mean" in line or "is NaN" in line, f"{page}: {line}"


def test_monai_s_recipe_of_generalised_dice_has_a_value_for_an_absent_class():
    page = (ROOT / "docs/coming-from/monai.md").read_text()
    code = re.search(r"^def weighted.*?(?=^```)", page, re.DOTALL | re.MULTILINE)
    names = {"jax": jax, "jnp": jnp}
    exec(code[0], names)
    sums = dj.softmax_region_sums(jnp.zeros((4, 3)), jnp.array([0, 0, 0, 1]))
    loss = dj.dice_loss(names["weighted"](sums, power=2), smooth=1e-5)
    # Weights 1/9, 1 and, of the absent class, the largest: 1.
    i, both = np.array([1.0, 1 / 3, 0.0]), np.array([3.0, 1.0, 0.0]) + 4 / 3
    w = np.array([1 / 9, 1.0, 1.0])
    np.testing.assert_allclose(loss, 1 - (2 * w @ i + 1e-5) / (w @ both + 1e-5), rtol=1e-5)


def test_deep_supervision_without_a_level_that_counts_is_refused():
    for weights in ([0], [0.0, 0.0], [jnp.zeros(())]):
        with pytest.raises(ValueError, match="weights must have one above 0"):
            dj.deep_supervision(lambda x: x, weights)
    assert dj.deep_supervision(lambda x: x.sum(), [0.0, 1.0])([X, W]) == 3
