"""The closed forms are those of the arms that train: autodiff and a search are the oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from experiments.analysis.theory import (
    Region,
    best_constant,
    class_ratio,
    foreground_share,
    posterior_volume_bias,
    region_of,
    resting_share,
    share_at_constant,
)
from experiments.learning.arms import LOSSES, arm_sums, parse_arm
from experiments.learning.training import diagnose
from tests.experiments.made import made_entry, study

SHAPE = (4, 16, 16)
PIXELS = 4 * 16 * 16


@pytest.fixture(scope="module")
def masks():
    rows, columns = np.mgrid[:16, :16]
    return jnp.asarray([(rows - 5) ** 2 + (columns - k) ** 2 < k + 3 for k in range(3, 7)])


# One for all tests: an arm compiles once.
_DIAGNOSE = jax.jit(diagnose, static_argnums=0)


def _measured(loss, logits, masks, smooth):
    _, numbers = _DIAGNOSE(parse_arm(loss, smooth=smooth), logits, masks)
    entry = {name: float(value) for name, value in numbers.items()}
    config = study(image_size=16, batch_size=4, fractions=(0.1,), smooth=smooth)
    return entry, region_of(config, entry)


@pytest.mark.parametrize("smooth", [1e-5, 1.0])
@pytest.mark.parametrize("loss", ["bce", "balanced_bce", "dice", "jaccard", "log_cosh_dice",
                                  "tversky", "focal_tversky"])  # fmt: skip
def test_shares_and_ratios_are_those_of_autodiff(loss, smooth, masks):
    logits = jax.random.normal(jax.random.key(3), SHAPE) + jnp.where(masks, 0.5, -1.0)
    entry, region = _measured(loss, logits, masks, smooth)
    assert region.pixels == PIXELS
    space, share = foreground_share(loss, region, smooth)
    assert share == pytest.approx(entry[f"foreground_share_{space}"], rel=1e-4)
    ratio = class_ratio(loss, region, smooth)
    assert (ratio is None) == (loss in ("bce", "balanced_bce"))
    if ratio is not None:
        assert ratio == pytest.approx(entry["gradient_ratio"], rel=1e-4)


@pytest.mark.parametrize("loss", ["bce", "balanced_bce", "dice", "squared_dice", "tversky"])
@pytest.mark.parametrize("q", [0.02, 0.5])
def test_share_at_a_constant_is_that_of_both_spaces(loss, q, masks):
    logits = jnp.full(SHAPE, float(np.log(q / (1 - q))))
    entry, region = _measured(loss, logits, masks, 1e-5)
    share = share_at_constant(loss, region.fraction, q)
    assert share == pytest.approx(entry["foreground_share_probability"], rel=2e-3)
    assert share == pytest.approx(entry["foreground_share_logit"], rel=2e-3)


def test_nothing_is_claimed_where_theory_is_silent():
    region = Region(0.1, 0.5, 0.5, 100)
    for loss in ("focal", "generalized_dice", "dice+bce"):
        assert foreground_share(loss, region, 0.0) is None
        assert class_ratio(loss, region, 0.0) is None
        assert share_at_constant(loss, 0.1, 0.5) is None
        assert posterior_volume_bias(loss, np.ones(3, np.float32)) is None
    config = study()
    assert region_of(config, made_entry(0, foreground_fraction=0.0)) is None
    assert region_of(config, made_entry(0, mean_probability_foreground=None)) is None


GRID = np.linspace(-12, 12, 241)


@pytest.fixture(scope="module")
def constants():
    """The sums of one mask at every constant of the grid, 16 of 1024 pixels foreground."""
    masks = jnp.asarray(np.arange(PIXELS) < 16).reshape(1, 32, 32)
    return jax.jit(jax.vmap(lambda z: arm_sums(jnp.full(masks.shape, z), masks)))(
        jnp.asarray(GRID, jnp.float32)
    )


@pytest.mark.parametrize("smooth", [1e-5, 1.0])
@pytest.mark.parametrize("loss", [*LOSSES, "dice+bce", "bce+focal"])
def test_best_constant_is_the_minimum_of_the_arms_loss(loss, smooth, constants):
    values = np.asarray(jax.vmap(parse_arm(loss, smooth=smooth))(constants), np.float64)
    best = best_constant(loss, 16 / PIXELS, PIXELS, smooth)
    if best is None:
        assert (loss, smooth) == ("generalized_dice", 1e-5)
        assert np.ptp(values) < 1e-5
        return
    if best.finite:
        seen = GRID[int(np.argmin(values))]
        assert seen == pytest.approx(np.log(best.prediction / (1 - best.prediction)), abs=0.11)
    else:
        # Far out a float32 loss is flat: its end is its minimum, and lower than the middle.
        end = values[-1 if best.prediction == 1 else 0]
        assert end == pytest.approx(values.min(), abs=1e-6)
        assert end < values[len(GRID) // 2] - 1e-4
    assert best.closed == ("+" not in loss and loss not in ("focal", "generalized_dice"))


def test_the_articles_smoothing_turns_the_push_round():
    fraction = 16 / PIXELS
    assert best_constant("dice", fraction, PIXELS, 1e-5).prediction == 1
    assert best_constant("dice", fraction, PIXELS, 1.0).prediction == 0
    # At equality any q is as good: T = 1, s(1 − 2π) = 2πT.
    assert best_constant("dice", 0.25, 4, 1.0) is None


def test_share_at_rest():
    region = Region(0.2, 0.0, 0.0, 10_000)
    finite = best_constant("bce", 0.2, 10_000, 1e-5)
    assert resting_share("bce", finite, region, 1e-5) == 0.5
    infinite = best_constant("dice", 0.2, 10_000, 1e-5)
    # C7: (1 + ω)/(2 + ω), ω = ¼.
    assert resting_share("dice", infinite, region, 1e-5) == pytest.approx(1.25 / 2.25)
    # The arm itself, far out.
    masks = jnp.asarray(np.arange(PIXELS) % 4 == 0).reshape(SHAPE)
    region = Region(0.25, 0.0, 0.0, PIXELS)
    for loss in ("dice", "tversky"):
        entry, _ = _measured(loss, jnp.full(SHAPE, 9.0), masks, 1e-5)
        share = resting_share(loss, best_constant(loss, 0.25, PIXELS, 1e-5), region, 1e-5)
        assert entry["foreground_share_logit"] == pytest.approx(share, rel=1e-3)


def test_volume_bias_for_a_known_posterior():
    posterior = np.array([0.9, 0.4, 0.1], np.float32)
    assert posterior_volume_bias("bce", posterior) == ("soft_volume_bias", 0.0)
    # D* = 2 · 1.3/(2 + 1.4), and both pixels above D*/2 = 0.38 are taken.
    metric, bias = posterior_volume_bias("dice", posterior)
    assert (metric, bias) == ("volume_bias", pytest.approx(2 / 1.4 - 1))
    # Unclipped: c = √(Σμ/Σμ²).
    flat = np.array([0.5, 0.25], np.float32)
    metric, bias = posterior_volume_bias("squared_dice", flat)
    assert (metric, bias) == ("soft_volume_bias", pytest.approx(np.sqrt(0.75 / 0.3125) - 1))
    # Clipped in part.
    graded = np.random.default_rng(0).beta(0.3, 1.0, 300).astype(np.float32)
    oracle = np.asarray(dj.analysis.squared_dice_oracle(graded).prediction, np.float64)
    assert 0 < (oracle == 1).mean() < 1
    _, bias = posterior_volume_bias("squared_dice", graded)
    assert bias == pytest.approx(oracle.sum() / graded.sum() - 1, abs=1e-4)
