"""Every arm equals its paper's formula in float64, and a sum of arms is their sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from experiments.learning.arms import (
    LOSSES,
    OVERLAP_SYNONYMS,
    arm_sums,
    canonical_name,
    parse_arm,
)
from experiments.learning.class_arms import CLASS_LOSSES, class_name

S = 1e-5


def _oracles(z, y):
    """From the papers, in float64 NumPy, pooled over everything."""
    p = 1 / (1 + np.exp(-z))
    pool = {"i": (p * y).sum(), "p": p.sum(), "t": y.sum()}
    fp, fn = ((1 - y) * p).sum(), (y * (1 - p)).sum()
    dice = (2 * pool["i"] + S) / (pool["p"] + pool["t"] + S)
    tversky = (pool["i"] + S) / (pool["i"] + 0.3 * fp + 0.7 * fn + S)
    union = pool["p"] + pool["t"] - pool["i"]
    ce = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    pt = np.where(y == 1, p, 1 - p)
    alpha = np.where(y == 1, 0.25, 0.75)
    # Sudre: weights 1/T², the larger scaled to 1.
    t = np.array([(1 - y).sum(), y.sum()])
    w = t.min() ** 2 / t**2
    hit = np.array([((1 - p) * (1 - y)).sum(), pool["i"]])
    size = np.array([(1 - p).sum(), pool["p"]]) + t
    return {
        "bce": ce.mean(),
        "balanced_bce": (ce[y == 1].mean() + ce[y == 0].mean()) / 2,
        "focal": (alpha * (1 - pt) ** 2 * ce).mean(),
        "dice": 1 - dice,
        "squared_dice": 1 - (2 * pool["i"] + S) / ((p**2).sum() + (y**2).sum() + S),
        "jaccard": 1 - (pool["i"] + S / 2) / (union + S / 2),
        "tversky": 1 - tversky,
        "focal_tversky": (1 - tversky) ** 0.75,
        "generalized_dice": 1 - (2 * (w * hit).sum() + S) / ((w * size).sum() + S),
        "log_dice": -np.log(dice),
        "log_cosh_dice": np.log(np.cosh(1 - dice)),
    }


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    y = generator.random((3, 8, 8)) < 0.1
    z = (generator.normal(size=y.shape) + 2 * y - 1).astype(np.float32)
    return z, y


@pytest.fixture(scope="module")
def values(batch):
    """All arms in one program: one compilation."""
    names = [*LOSSES, "dice+bce"]
    evaluate = jax.jit(lambda z, y: {name: parse_arm(name)(arm_sums(z, y)) for name in names})
    return evaluate(*map(jnp.asarray, batch))


def test_every_arm_has_an_oracle(batch):
    assert set(_oracles(*batch)) == set(LOSSES) == set(LOSSES)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_arm_equals_the_papers_formula(name, batch, values):
    z, y = batch
    expected = _oracles(z.astype(np.float64), y.astype(np.float64))[name]
    np.testing.assert_allclose(values[name], expected, rtol=2e-5)


def test_sum_of_arms(values):
    np.testing.assert_allclose(values["dice+bce"], values["dice"] + values["bce"], rtol=1e-6)


def test_an_arm_is_one_object_so_that_it_compiles_once():
    assert parse_arm("dice+bce") is parse_arm("dice+bce")


def test_unknown_pooling():
    with pytest.raises(KeyError, match="pixel"):
        parse_arm("dice", "pixel")


@pytest.mark.parametrize("name", ["nonsense", "dice+nonsense", "", "dice+"])
def test_unknown_arm(name):
    with pytest.raises(KeyError):
        parse_arm(name)


def test_jaccard_is_the_negative_control(batch):
    """At half the smoothing its gradient is parallel to Dice's (C3)."""
    z, y = map(jnp.asarray, batch)
    gradients = [
        dj.analysis.pixel_gradient(parse_arm(name), z, y, sums=arm_sums).ravel()
        for name in ("dice", "jaccard")
    ]
    a, b = (np.asarray(g, np.float64) for g in gradients)
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 1 - 1e-9


def test_arms_per_sample_are_means_of_the_images_own_losses(batch, values):
    z, y = batch
    names = list(LOSSES)
    arms = [parse_arm(name, "sample") for name in names]
    per_sample = jax.jit(lambda z, y: jnp.stack([arm(arm.sums(z, y)) for arm in arms]))(
        *map(jnp.asarray, batch)
    )
    alone = [_oracles(*image) for image in zip(z.astype(np.float64), y.astype(float), strict=True)]
    for name, value in zip(names, per_sample, strict=True):
        np.testing.assert_allclose(value, np.mean([x[name] for x in alone]), rtol=2e-5)
        # A mean over pixels does not care; a ratio does.
        assert (abs(value - values[name]) < 1e-6) == (name in ("bce", "focal")), name


def test_smoothing_is_counted_in_pixels_and_read_by_every_overlap_loss(batch, values):
    z, y = batch
    names = list(LOSSES)
    smoothed = jax.jit(
        lambda z, y: jnp.stack([parse_arm(name, "batch", 3.0)(arm_sums(z, y)) for name in names])
    )(*map(jnp.asarray, batch))
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    expected = 1 - (2 * p[y].sum() + 3) / (p.sum() + y.sum() + 3)
    np.testing.assert_allclose(smoothed[names.index("dice")], expected, rtol=1e-6)
    for name, value in zip(names, smoothed, strict=True):
        assert (abs(value - values[name]) < 1e-6) == (name in ("bce", "balanced_bce", "focal"))


def test_smoothing_of_one_turns_the_push_on_a_small_object_round():
    """C6, where it is hardest to miss: one free logit, 12 of 4,096 pixels, an image at a time."""
    masks = jnp.zeros((2, 64, 64), bool).at[:, 10:14, 10:13].set(True)

    @jax.jit
    @jax.grad
    def pushes(bias):
        arms = [parse_arm("dice", "sample", smooth) for smooth in (1e-5, 1.0)]
        logits = [jnp.full(masks.shape, b) for b in bias]
        return sum(arm(arm.sums(z, masks)) for arm, z in zip(arms, logits, strict=True))

    up, down = pushes(jnp.array([3.0, 3.0]))
    assert up < 0 < down
    for smooth, best in ((1e-5, 1), (1.0, 0)):
        assert dj.analysis.dice_best_constant(12 / 4096, 12.0, smooth=smooth) == best


def test_arms_are_finite_without_foreground():
    z, y = jnp.zeros((2, 8, 8)), jnp.zeros((2, 8, 8), bool)
    values = jax.jit(lambda z: jnp.stack([parse_arm(n)(arm_sums(z, y)) for n in LOSSES]))
    assert np.isfinite(values(z)).all()
    gradients = jax.jit(jax.jacrev(values))(z)
    for name, gradient in zip(LOSSES, gradients, strict=True):
        assert np.isfinite(gradient).all(), name


@pytest.mark.parametrize(
    ("canonical", "known"), [(canonical_name, LOSSES), (class_name, CLASS_LOSSES)]
)
def test_names_of_losses_are_canonical(canonical, known):
    assert [canonical(name) for name in known] == list(known)
    ce = "ce" if "ce" in known else "bce"
    for name in ("BCE", "Cross-Entropy", " ce "):
        assert canonical(name) == ce
    assert canonical("Soft Dice Loss + CE,smooth=1") == f"dice+{ce},smooth=1"
    assert canonical("Generalised Dice") == "generalized_dice"
    assert canonical("Dice + Nonsense") == "dice+nonsense"


def test_every_synonym_is_the_name_of_a_loss():
    names = [*OVERLAP_SYNONYMS, "crossentropy", "binarycrossentropy", "balancedce", "dicece"]
    for name in names:
        assert set(canonical_name(name).split("+")) <= set(LOSSES), name
