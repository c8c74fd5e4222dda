"""The sums of a linear head's logits, which are never made: against the same with logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import reference

FEATURES, CLASSES = 6, 5
# One expression, tiles with a rest, and sums over the first axis, which a loop over tiles is not
# for.
SHAPES = {"small": ((3, 4, 5), None), "tiles": ((2, 47, 61), (1, 2)), "blocks": ((9, 16, 32), 0)}
KINDS = ("classes", "soft classes", "binary", "labels that overlap", "weights by class")


class Problem:
    """Arrays of one kind of head, and how its sums are made with and without logits."""

    def __init__(self, kind, shape, axis, dtype=np.float64):
        rng = np.random.default_rng(0)
        self.binary = kind == "binary"
        columns = () if self.binary else (CLASSES,)
        draw = lambda *size: rng.normal(size=size).astype(dtype)  # noqa: E731
        self.head = draw(*shape, FEATURES), draw(FEATURES, *columns), draw(*columns)
        self.where = rng.choice([0.0, 0.5, 1.0, 2.0], shape).astype(dtype)
        if kind == "classes":
            self.targets = rng.integers(0, CLASSES, shape)
        elif kind == "soft classes":
            self.targets = rng.dirichlet(np.ones(CLASSES), shape).astype(dtype)
        else:
            self.targets = rng.integers(0, 2, (*shape, *columns))
            if kind == "weights by class":
                self.where = rng.choice([0.0, 1.0, 2.0], (*shape, CLASSES)).astype(dtype)
            elif columns:
                self.where = self.where[..., None]
        softmax = "classes" in kind
        self.fused = dj.linear_softmax_region_sums if softmax else dj.linear_sigmoid_region_sums
        self.unfused = dj.softmax_region_sums if softmax else dj.sigmoid_region_sums
        self.axis = axis

    def with_head(self, features, kernel, bias):
        return self.loss(
            self.fused(features, kernel, self.targets, bias=bias, axis=self.axis, where=self.where)
        )

    def with_logits(self, features, kernel, bias):
        logits = features @ kernel + bias
        return self.loss(self.unfused(logits, self.targets, axis=self.axis, where=self.where))

    @staticmethod
    def loss(sums):
        """All nine sums, and unequal parts: a gradient that goes to the wrong place shows."""
        fields = [f / (1 + sums.count) for f in jax.tree.leaves(sums)]
        value = sum((k + 1) * f * f for k, f in enumerate(fields))
        return jnp.sum(
            value * jnp.arange(1.0, 1 + value.size, dtype=value.dtype).reshape(value.shape)
        )


def relative_error(actual, expected):
    assert actual.dtype == expected.dtype
    return np.max(np.abs(np.asarray(actual - expected))) / np.max(np.abs(np.asarray(expected)))


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_with_logits(kind, size):
    with jax.enable_x64(True):
        problem = Problem(kind, *SHAPES[size])
        both = [
            jax.jit(jax.value_and_grad(f, (0, 1, 2)))(*problem.head)
            for f in (problem.with_head, problem.with_logits)
        ]
        for actual, expected in zip(*map(jax.tree.leaves, both), strict=True):
            assert actual.dtype == jnp.float64
            assert relative_error(actual, expected) < 1e-11


def test_the_classes_of_an_overlapping_head_can_be_pooled_too():
    problem = Problem("labels that overlap", (4, 5, 6), None, np.float32)
    features, kernel, bias = problem.head
    logits = features @ kernel + bias
    shapes = {None: (), -1: (4, 5, 6), (0, 3): (5, 6), (0, 1, 2): (5,)}
    for axis, shape in shapes.items():
        sums = dj.linear_sigmoid_region_sums(
            features, kernel, problem.targets, bias=bias, axis=axis
        )
        assert sums.shape == shape
        expected = dj.sigmoid_region_sums(logits, problem.targets, axis=axis)
        np.testing.assert_allclose(sums.intersection, expected.intersection, rtol=1e-5)


def test_the_loss_is_the_oracle_s():
    problem = Problem("classes", (2, 47, 61), None, np.float32)
    features, kernel, bias = problem.head
    sums = dj.linear_softmax_region_sums(features, kernel, problem.targets, bias=bias)
    p = reference.softmax(reference.float64(features) @ reference.float64(kernel) + bias)
    y = np.eye(CLASSES)[problem.targets]
    overlap, both = (p * y).sum((0, 1, 2)), (p + y).sum((0, 1, 2))
    np.testing.assert_allclose(dj.dice_loss(sums), 1 - (2 * overlap + 1) / (both + 1), rtol=1e-5)
    logarithms = -np.mean(np.log((p * y).sum(-1)))
    np.testing.assert_allclose(dj.cross_entropy_loss(sums), logarithms, rtol=1e-5)


@pytest.mark.parametrize("kind", ["classes", "binary", "weights by class"])
def test_a_masked_pixel_may_hold_anything(kind):
    problem = Problem(kind, (2, 47, 61), (1, 2), np.float32)
    hidden = np.zeros((2, 47, 61), bool)
    hidden[:, 5:9] = hidden[1] = True
    weights = np.broadcast_to(
        hidden[..., None] if kind == "weights by class" else hidden, problem.where.shape
    )
    problem.where = np.where(weights, 0, 1).astype(np.float32)
    program = jax.jit(lambda *head: jax.value_and_grad(problem.with_head, (0, 1, 2))(*head))
    expected = program(*problem.head)
    features = problem.head[0].copy()
    features[hidden] = np.nan
    problem.targets = problem.targets.copy()
    problem.targets[hidden] = 255
    actual = jax.jit(jax.value_and_grad(problem.with_head, (0, 1, 2)))(features, *problem.head[1:])
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert not np.asarray(actual[1][0])[hidden].any()


def test_a_label_out_of_range_makes_its_image_nan():
    problem = Problem("classes", (3, 40, 40), (1, 2), np.float32)
    problem.targets[1, 2, 3] = CLASSES
    features, kernel, _ = problem.head
    sums = dj.linear_softmax_region_sums(features, kernel, problem.targets, axis=(1, 2))
    np.testing.assert_array_equal(np.isnan(sums.intersection).any(-1), [False, True, False])


@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_that_of_a_linear_layer(half):
    """Products in half precision, sums in float32, every gradient in the type of its array."""
    problem = Problem("classes", (2, 47, 61), None, np.float32)
    problem.where = None
    head = [jnp.asarray(x, half) for x in problem.head]
    value, gradients = jax.jit(jax.value_and_grad(problem.with_head, (0, 1, 2)))(*head)
    wide = [x.astype(jnp.float32) for x in head]
    expected, slopes = jax.jit(jax.value_and_grad(problem.with_logits, (0, 1, 2)))(*wide)
    assert value.dtype == jnp.float32
    assert [g.dtype for g in gradients] == [half] * 3
    np.testing.assert_allclose(value, expected, rtol=5e-3)
    for a, b in zip(gradients, slopes, strict=True):
        a, b = reference.float64(a), reference.float64(b)
        assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(b)


def test_features_in_half_precision_meet_a_kernel_in_single():
    problem = Problem("classes", (2, 47, 61), None, np.float32)
    features, kernel, bias = problem.head
    half = jnp.asarray(features, jnp.bfloat16)
    value, gradients = jax.value_and_grad(problem.with_head, (0, 1))(half, kernel, bias)
    expected = problem.with_head(half.astype(jnp.float32), kernel, bias)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.float32]


def test_both_passes_have_the_precision_of_the_call():
    """The second pass is traced when a program is lowered: another setting may hold then."""
    problem = Problem("classes", (2, 47, 61), None, np.float32)
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(jax.value_and_grad(problem.with_head, (0, 1, 2))).trace(*problem.head)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) >= 4
    assert all(line.count("HIGHEST") == 2 for line in products)


def test_mapped_over_kernels():
    problem = Problem("classes", (2, 47, 61), None, np.float32)
    features, kernel, bias = problem.head
    several = jnp.stack([kernel, 2 * kernel])
    grad = jax.value_and_grad(problem.with_head, (0, 1))
    values, gradients = jax.jit(jax.vmap(grad, (None, 0, None)))(features, several, bias)
    expected = [jax.jit(grad)(features, k, bias) for k in several]
    for k in range(2):
        np.testing.assert_allclose(values[k], expected[k][0], rtol=1e-5)
        for a, b in zip(gradients, expected[k][1], strict=True):
            assert relative_error(a[k], b) < 1e-5


def test_accumulated_images_equal_one_step_over_all():
    problem = Problem("classes", (4, 70, 61), None, np.float32)
    features, kernel, bias = problem.head

    def sums_fn(head, piece):
        return dj.linear_softmax_region_sums(piece[0], *head[:1], piece[1], bias=head[1])

    def loss_fn(sums):
        return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)

    data = features, problem.targets
    f = dj.accumulated_value_and_grad(sums_fn, loss_fn)
    actual = f((kernel, bias), data)
    expected = jax.jit(jax.value_and_grad(lambda head: loss_fn(sums_fn(head, data))))(
        (kernel, bias)
    )
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert relative_error(a, b) < 1e-5


# What is compiled: no array of the logits' size.


def dice_and_cross_entropy(features, kernel, bias, labels, axis=None):
    sums = dj.linear_softmax_region_sums(features, kernel, labels, bias=bias, axis=axis)
    return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums).mean()


@pytest.mark.parametrize(
    ("shape", "classes", "axis"),
    [((2**20,), 104, None), ((256, 2**13), 104, 0), ((16, 256, 256), 4, None)],
    ids=["104 classes", "104 classes, first axis", "4 classes"],
)
def test_temporaries_stay_below_ten_megabytes_or_a_block(shape, classes, axis):
    arrays = [(*shape, 32), (32, classes), (classes,)]
    arrays = [jax.ShapeDtypeStruct(size, jnp.float32) for size in arrays]
    labels = jax.ShapeDtypeStruct(shape, jnp.int32)
    loss = functools.partial(dice_and_cross_entropy, axis=axis)
    program = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(*arrays, labels).compile()
    temporaries = program.memory_analysis().temp_size_in_bytes
    if axis is None:
        assert temporaries < 10e6
    else:
        # It goes in blocks of 16 MB, and its sums alone are [8192, 104] each.
        assert temporaries < 4 * 256 * 2**13 * classes / 4


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_an_accelerator_takes_blocks_too(platform):
    """Lowered without such a device: nothing in the program has the logits' size."""
    arrays = [(2**20, 32), (32, 104), (104,)]
    arrays = [jax.ShapeDtypeStruct(size, jnp.float32) for size in arrays]
    labels = jax.ShapeDtypeStruct((2**20,), jnp.int32)
    traced = jax.jit(jax.value_and_grad(dice_and_cross_entropy, (0, 1, 2))).trace(*arrays, labels)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "x104xf32" in text
    assert "1048576x104" not in text


# Bad input.


def good():
    return jnp.ones((4, 6)), jnp.ones((6, 3)), jnp.zeros(4, jnp.int32)


@pytest.mark.parametrize(
    ("change", "problem", "message"),
    [
        ({"features": jnp.ones((4, 6), int)}, TypeError, "features must be floating"),
        ({"kernel": jnp.ones((6, 3), int)}, TypeError, "kernel must be floating"),
        ({"kernel": jnp.ones((3, 6))}, ValueError, r"F = 6.*write kernel\.T"),
        ({"kernel": jnp.ones((1, 1, 6, 3))}, ValueError, r"write kernel\[0, 0\]"),
        ({"kernel": jnp.ones((5, 3))}, ValueError, r"kernel must be \[F, C\] with F = 6"),
        ({"kernel": jnp.ones(6)}, ValueError, r"kernel must be \[F, C\] with F = 6"),
        ({"features": jnp.ones(())}, ValueError, "features must have a feature axis last"),
        ({"bias": jnp.ones(6)}, ValueError, r"bias must have shape \(3,\)"),
        ({"labels": jnp.zeros(3, int)}, ValueError, "labels do not fit the logits"),
        ({"labels": jnp.zeros(4)}, TypeError, r"write labels.astype\(jnp.int32\)"),
        ({"axis": 1}, ValueError, "axis 1 does not exist"),
        ({"where": jnp.ones((4, 3))}, ValueError, r"where must broadcast to the pixel shape"),
    ],
)
def test_bad_input_of_a_softmax_head(change, problem, message):
    features, kernel, labels = good()
    given = {"features": features, "kernel": kernel, "labels": labels} | change
    with pytest.raises(problem, match=message):
        dj.linear_softmax_region_sums(**given)


def test_bad_input_of_a_sigmoid_head():
    features, kernel, labels = good()
    with pytest.raises(ValueError, match=r"kernel must be \[F\] or \[F, C\] with F = 6"):
        dj.linear_sigmoid_region_sums(features, kernel[0], labels)
    with pytest.raises(ValueError, match=r"targets must have the shape of logits \(4, 3\)"):
        dj.linear_sigmoid_region_sums(features, kernel, labels)
    with pytest.raises(ValueError, match=r"bias must have shape \(\)"):
        dj.linear_sigmoid_region_sums(features, kernel[:, 0], labels, bias=jnp.ones(1))
