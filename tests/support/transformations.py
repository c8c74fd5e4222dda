"""JAX's transformations and debugging flags, a row each: what a loss gives under them.

A row takes a `Problem` and returns the relative error against the plain value and gradient. It is
run for small images (one fused expression) and large ones (a loop on a CPU), on one device by
`tests/_pass/test_transformations.py` and on eight by `tests/programs/sharding/transformations.py`.
"""

import functools
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jax.sharding import PartitionSpec as P

import dice_jax as dj

SHAPES = {"small": (8, 8, 16), "large": (8, 32, 48)}
CLASSES = 3


def dice_and_cross_entropy(logits, labels):
    """A training loss: both sums of one pass."""
    sums = dj.softmax_region_sums(logits, labels)
    return dj.dice_loss(sums, smooth=1e-5).mean() + dj.cross_entropy_loss(sums)


class Problem:
    """Images of one size, and what the loss and its gradient are there."""

    def __init__(self, size):
        rng = np.random.default_rng(0)
        shape = SHAPES[size]
        self.is_large = size == "large"
        self.logits = jnp.asarray(rng.normal(size=(*shape, CLASSES)), jnp.float32)
        self.labels = jnp.asarray(rng.integers(0, CLASSES, shape), jnp.int32)
        self.plain = jax.jit(jax.value_and_grad(reference))(self.logits, self.labels)

    def error(self, value, gradient=None):
        """How far a value and a gradient are from the plain ones, relative to the largest."""
        pairs = [(value, self.plain[0])]
        if gradient is not None:
            pairs.append((gradient, self.plain[1]))
        return max(relative_error(a, b) for a, b in pairs)


def relative_error(actual, expected):
    """The largest difference over the largest number; infinite where a number is not finite."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if not np.isfinite(actual).all():
        return float("inf")
    return float(
        np.max(np.abs(actual - expected), initial=0) / np.max(np.abs(expected), initial=1e-30)
    )


def reference(logits, labels):
    """The same loss in plain jax.numpy."""
    p = jax.nn.softmax(logits)
    y = jax.nn.one_hot(labels, CLASSES, dtype=p.dtype)
    axes = tuple(range(labels.ndim))
    overlap, size = jnp.sum(p * y, axes), jnp.sum(p + y, axes)
    dice = 1 - (2 * overlap + 1e-5) / (size + 1e-5)
    return dice.mean() - jnp.mean(jnp.sum(y * jax.nn.log_softmax(logits), -1))


ROWS = {}


def row(function):
    """Put a function into the table, under its name."""
    ROWS[function.__name__] = function
    return function


value_and_grad = jax.value_and_grad(dice_and_cross_entropy)


# Without compilation, and the debugging flags.


@row
def disable_jit(problem):
    with jax.disable_jit():
        return problem.error(*value_and_grad(problem.logits, problem.labels))


@row
def fake_jit(problem):
    with chex.fake_jit():
        return problem.error(*jax.jit(value_and_grad)(problem.logits, problem.labels))


@row
def debug_nans_without_a_nan(problem):
    with jax.debug_nans(True):
        return problem.error(*value_and_grad(problem.logits, problem.labels))


@row
def debug_nans_finds_a_nan(problem):
    bad = problem.logits.at[0, 0, 0, 0].set(jnp.nan)
    with jax.debug_nans(True):
        try:
            jax.jit(value_and_grad)(bad, problem.labels)
        except FloatingPointError:
            return 0.0
    return float("inf")


@row
def debug_infs(problem):
    with jax.debug_infs(True):
        return problem.error(*value_and_grad(problem.logits, problem.labels))


@row
def rank_promotion_raise(problem):
    near = jnp.ones((CLASSES, CLASSES)) - jnp.eye(CLASSES)

    def others(z, y):
        p = jax.nn.softmax(z)
        masked = dj.softmax_region_sums(z, y, axis=(1, 2), where=y != 1)
        return (
            dj.lovasz_softmax_loss(p, y).mean()
            + dj.generalized_wasserstein_dice_loss(p, y, near)
            + dj.unified_focal_loss(z, y)
            + dj.softmax_focal_loss(z, y, gamma=2.0).sum()
            + dj.generalized_dice_loss(masked).sum()
        )

    with jax.numpy_rank_promotion("raise"):
        jax.jit(jax.grad(others))(problem.logits, problem.labels)
        return problem.error(*value_and_grad(problem.logits, problem.labels))


@row
def checkify_all(problem):
    checked = checkify.checkify(jax.jit(value_and_grad), errors=checkify.float_checks)
    error, result = checked(problem.logits, problem.labels)
    error.throw()
    return problem.error(*result)


# Transformations.


@row
def vmap_of_grad(problem):
    stacked = jnp.stack([problem.logits, problem.logits])
    values, gradients = jax.vmap(value_and_grad, (0, None))(stacked, problem.labels)
    return max(map(problem.error, values, gradients))


@row
def vmap_over_nothing(problem):
    nothing = jnp.zeros((0, *problem.logits.shape))
    values, gradients = jax.vmap(value_and_grad, (0, None))(nothing, problem.labels)
    assert (values.shape, gradients.shape) == ((0,), nothing.shape)
    return 0.0


@row
def grad_of_vmap(problem):
    def each(logits):
        return jax.vmap(lambda z: dice_and_cross_entropy(z, problem.labels))(logits[None]).sum()

    return problem.error(*jax.value_and_grad(each)(problem.logits))


@row
def linearize(problem):
    value, slope = jax.linearize(
        lambda z: dice_and_cross_entropy(z, problem.labels), problem.logits
    )
    expected = jnp.vdot(problem.plain[1], problem.logits)
    return max(problem.error(value), relative_error(slope(problem.logits), expected))


@row
def hessian_vector_product(problem):
    def product(loss):
        gradient = jax.grad(lambda z: loss(z, problem.labels))
        return jax.jit(lambda z: jax.jvp(gradient, (z,), (jnp.sin(z),))[1])(problem.logits)

    return relative_error(product(dice_and_cross_entropy), product(reference))


@row
def linear_transpose_of_a_sum(problem):
    y = problem.labels == 1
    p = jnp.zeros(y.shape, jnp.float32)

    def total(p):
        return dj.region_sums(p, y).intersection

    # A small image's sum is an expression that is NaN where p is no probability, so that JAX finds
    # it not linear in p. Its derivative is linear, and so is the pass over a large image.
    linear = total if problem.is_large else jax.linearize(total, p)[1]
    (gradient,) = jax.linear_transpose(linear, p)(jnp.float32(2))
    return relative_error(gradient, np.where(y, 2.0, 0.0))


@row
def custom_vjp_around(problem):
    @jax.custom_vjp
    def loss(z):
        return dice_and_cross_entropy(z, problem.labels)

    loss.defvjp(
        lambda z: jax.vjp(lambda z: dice_and_cross_entropy(z, problem.labels), z),
        lambda pull, cotangent: pull(cotangent),
    )
    return problem.error(*jax.value_and_grad(loss)(problem.logits))


@row
def checkpoint_policies(problem):
    worst = 0.0
    for policy in (None, "everything_saveable", "nothing_saveable", "dots_saveable"):
        chosen = policy and getattr(jax.checkpoint_policies, policy)
        loss = jax.checkpoint(dice_and_cross_entropy, policy=chosen)
        result = jax.jit(jax.value_and_grad(loss))(problem.logits, problem.labels)
        worst = max(worst, problem.error(*result))
    return worst


@row
def scan_while_and_cond(problem):
    loss = functools.partial(dice_and_cross_entropy, labels=problem.labels)

    def through_scan(z):
        return jax.lax.scan(lambda c, _: (c + loss(z), None), 0.0, None, 2)[0] / 2

    def through_cond(z):
        return jax.lax.cond(z[0, 0, 0, 0] < 1e9, loss, lambda z: 0.0, z)

    def through_while(z):
        start = (0, jnp.zeros_like(z))
        return jax.lax.while_loop(
            lambda state: state[0] < 2, lambda state: (state[0] + 1, jax.grad(loss)(z)), start
        )[1]

    return max(
        problem.error(*jax.jit(jax.value_and_grad(through_scan))(problem.logits)),
        problem.error(*jax.jit(jax.value_and_grad(through_cond))(problem.logits)),
        problem.error(problem.plain[0], jax.jit(through_while)(problem.logits)),
    )


# Compilation.


@row
def ahead_of_time(problem):
    compiled = jax.jit(value_and_grad).lower(problem.logits, problem.labels).compile()
    return problem.error(*compiled(problem.logits, problem.labels))


@row
def donation(problem):
    copy = jnp.array(problem.logits)
    gradient = jax.jit(jax.grad(dice_and_cross_entropy), donate_argnums=0)(copy, problem.labels)
    assert copy.is_deleted()
    return problem.error(problem.plain[0], gradient)


@row
def export_for_every_platform(problem):
    platforms = ("cpu", "tpu", "cuda")
    exported = jax.export.export(jax.jit(value_and_grad), platforms=platforms)(
        problem.logits, problem.labels
    )
    return problem.error(*exported.call(problem.logits, problem.labels))


@row
def export_with_symbolic_shapes(problem):
    b, h, w = jax.export.symbolic_shape("b, h, w")
    exported = jax.export.export(jax.jit(value_and_grad))(
        jax.ShapeDtypeStruct((b, h, w, CLASSES), jnp.float32),
        jax.ShapeDtypeStruct((b, h, w), jnp.int32),
    )
    return problem.error(*exported.call(problem.logits, problem.labels))


@row
def x64_toggled(problem):
    with jax.enable_x64(True):
        wide = value_and_grad(jnp.asarray(problem.logits, jnp.float64), problem.labels)
        worst = problem.error(*wide)
        assert wide[1].dtype == jnp.float64
        traced = jax.jit(value_and_grad).trace(problem.logits, problem.labels)
    compiled = traced.lower().compile()
    worst = max(worst, problem.error(*compiled(problem.logits, problem.labels)))
    return max(worst, problem.error(*value_and_grad(problem.logits, problem.labels)))


@row
def eight_threads(problem):
    errors = []

    def work():
        result = jax.jit(jax.value_and_grad(functools.partial(dice_and_cross_entropy)))(
            problem.logits, problem.labels
        )
        errors.append(problem.error(*result))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 8
    return max(errors)


@row
def flax_serialization(problem):
    try:
        from flax import serialization
    except ImportError:
        return 0.0
    sums = dj.softmax_region_sums(problem.logits, problem.labels)
    again = serialization.from_bytes(sums, serialization.to_bytes(sums))
    assert isinstance(again, dj.RegionSums)
    return max(map(relative_error, jax.tree.leaves(again), jax.tree.leaves(sums)))


# A head without its logits: these rows map `Head` to the problem's logits.


class Head:
    """Features and a kernel whose product is a problem's logits, exactly: halves, swapped."""

    def __init__(self, problem):
        self.features, self.labels = problem.logits[..., ::-1] / 2, problem.labels
        self.kernel = 2 * jnp.eye(CLASSES)[::-1]
        features = np.asarray(self.features, np.float64).reshape(-1, CLASSES)
        slope = np.asarray(problem.plain[1], np.float64)
        self.plain = (
            problem.plain[0],
            (2 * slope[..., ::-1], features.T @ slope.reshape(-1, CLASSES)),
        )

    def error(self, value, gradients):
        actual, expected = (value, *gradients), (self.plain[0], *self.plain[1])
        return max(map(relative_error, actual, expected))


def of_head(features, kernel, labels):
    return _of_sums(dj.linear_softmax_region_sums(features, kernel, labels))


of_head_and_grad = jax.value_and_grad(of_head, (0, 1))


@row
def head(problem):
    h = Head(problem)
    with jax.disable_jit():
        worst = h.error(*of_head_and_grad(h.features, h.kernel, h.labels))
    policy = jax.checkpoint_policies.everything_saveable
    checkpointed = jax.checkpoint(of_head, policy=policy)
    program = jax.jit(jax.value_and_grad(checkpointed, (0, 1)))
    return max(worst, h.error(*program(h.features, h.kernel, h.labels)))


@row
def head_curvature(problem):
    h = Head(problem)

    def product(loss):
        gradient = jax.grad(lambda z: loss(z, problem.labels))
        return jax.jit(lambda z: jax.jvp(gradient, (z,), (z,))[1])(problem.logits)

    def through_features(z, labels):
        return of_head(z[..., ::-1] / 2, h.kernel, labels)

    return relative_error(product(through_features), product(reference))


@row
def head_sharded(problem):
    """Under jit, over a mesh of Explicit axes, and inside shard_map; the kernel is everywhere."""
    h, worst = Head(problem), 0.0
    for explicit in (False, True):
        mesh = _mesh("data", explicit=explicit)
        with jax.set_mesh(mesh):
            sharding = jax.NamedSharding(mesh, P("data"))
            features, labels = jax.device_put((h.features, h.labels), sharding)
            kernel = jax.device_put(h.kernel, jax.NamedSharding(mesh, P()))
            value, gradients = jax.jit(of_head_and_grad)(features, kernel, labels)
            assert gradients[0].sharding.is_equivalent_to(sharding, gradients[0].ndim)
            worst = max(worst, h.error(value, gradients))
    mesh = _mesh("data")
    for check in (True, False):

        @functools.partial(
            jax.shard_map,
            mesh=mesh,
            in_specs=(P("data"), P(), P("data")),
            out_specs=P(),
            check_vma=check,
        )
        def loss(features, kernel, labels):
            sums = dj.linear_softmax_region_sums(features, kernel, labels)
            return _of_sums(jax.lax.psum(sums, "data"))

        program = jax.jit(jax.value_and_grad(loss, (0, 1)))
        worst = max(worst, h.error(*program(h.features, h.kernel, h.labels)))
    return worst


# Several devices: on one, a mesh of one.


def _mesh(*names, explicit=False):
    kind = jax.sharding.AxisType.Explicit if explicit else jax.sharding.AxisType.Auto
    devices = jax.device_count()
    sizes = (devices,) if len(names) == 1 else (max(1, devices // 2), min(2, devices))
    return jax.make_mesh(sizes, names, axis_types=(kind,) * len(names))


def _of_sums(sums):
    return dj.dice_loss(sums, smooth=1e-5).mean() + dj.cross_entropy_loss(sums)


@row
def pmap(problem):
    n = jax.device_count()
    z = problem.logits.reshape(n, -1, *problem.logits.shape[1:])
    y = problem.labels.reshape(n, -1, *problem.labels.shape[1:])

    def loss(z, y):
        return _of_sums(jax.lax.psum(dj.softmax_region_sums(z, y), "data"))

    values = jax.pmap(loss, "data")(z, y)
    return max(map(problem.error, values))


@row
def sharded_under_jit(problem):
    sharding = jax.NamedSharding(_mesh("data"), P("data"))
    z, y = jax.device_put((problem.logits, problem.labels), sharding)
    value, gradient = jax.jit(value_and_grad)(z, y)
    assert gradient.sharding.is_equivalent_to(sharding, gradient.ndim)
    return problem.error(value, gradient)


@row
def explicit_mesh(problem):
    mesh = _mesh("data", explicit=True)
    with jax.set_mesh(mesh):
        sharding = jax.NamedSharding(mesh, P("data"))
        z, y = jax.device_put((problem.logits, problem.labels), sharding)
        value, gradient = jax.jit(value_and_grad)(z, y)
        assert gradient.sharding.is_equivalent_to(sharding, gradient.ndim)
        return problem.error(value, gradient)


@row
def explicit_mesh_sharded_by_height(problem):
    mesh = _mesh("data", "rows", explicit=True)
    with jax.set_mesh(mesh):
        sharding = jax.NamedSharding(mesh, P("data", "rows"))
        z, y = jax.device_put((problem.logits, problem.labels), sharding)
        return problem.error(*jax.jit(value_and_grad)(z, y))


@row
def explicit_mesh_vmap_of_grad(problem):
    mesh = _mesh("data", explicit=True)
    with jax.set_mesh(mesh):
        z, y = jax.device_put((problem.logits, problem.labels), jax.NamedSharding(mesh, P("data")))
        each = jax.vmap(jax.grad(dice_and_cross_entropy))
        expected = jax.jit(jax.vmap(jax.grad(reference)))(problem.logits, problem.labels)
        several = jax.vmap(value_and_grad, (0, None))(jnp.stack([z, z]), y)
        worst = max(map(problem.error, *several))
        # JAX 0.10.0 cannot map `jnp.where` with constants over an explicit axis, in plain functions
        # either.
        if jax.__version_info__ > (0, 10, 0):
            worst = max(worst, relative_error(jax.jit(each)(z, y), expected))
        return worst


@row
def explicit_mesh_second_derivative(problem):
    mesh = _mesh("data", explicit=True)
    with jax.set_mesh(mesh):
        z, y = jax.device_put((problem.logits, problem.labels), jax.NamedSharding(mesh, P("data")))

        def product(loss, z, y):
            return jax.jvp(jax.grad(lambda z: loss(z, y)), (z,), (z,))[1]

        actual = jax.jit(functools.partial(product, dice_and_cross_entropy))(z, y)
    expected = jax.jit(functools.partial(product, reference))
    return relative_error(actual, expected(problem.logits, problem.labels))


@row
def shard_map(problem):
    mesh = _mesh("data")
    worst = 0.0
    for check in (True, False):

        @jax.jit
        @functools.partial(
            jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=check
        )
        def loss(z, y):
            return _of_sums(jax.lax.psum(dj.softmax_region_sums(z, y), "data"))

        result = jax.value_and_grad(loss)(problem.logits, problem.labels)
        worst = max(worst, problem.error(*result))
    return worst


@row
def shard_map_of_one_axis_of_two(problem):
    mesh = _mesh("data", "rows")

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), axis_names={"data"}
    )
    def loss(z, y):
        return _of_sums(jax.lax.psum(dj.softmax_region_sums(z, y), "data"))

    return problem.error(*jax.value_and_grad(loss)(problem.logits, problem.labels))


@row
def nested_shard_map(problem):
    mesh = _mesh("data", "rows")

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), axis_names={"data"}
    )
    def loss(z, y):
        @functools.partial(
            jax.shard_map, in_specs=P(None, "rows"), out_specs=P(), axis_names={"rows"}
        )
        def of_rows(z, y):
            return jax.lax.psum(dj.softmax_region_sums(z, y), "rows")

        return _of_sums(jax.lax.psum(of_rows(z, y), "data"))

    # JAX itself does not lower the gradient of a nested `shard_map`, of plain functions either.
    return problem.error(loss(problem.logits, problem.labels))


# Last, because the rows after it would compile everything again.


@row
def check_tracer_leaks(problem):
    """A pass outlives the trace that made it: it must not hold on to traced values."""
    near = jnp.ones((CLASSES, CLASSES)) - jnp.eye(CLASSES)

    def others(z, y, gamma):
        p, where = jax.nn.softmax(z), y != 1
        return (
            dj.dice_loss(dj.softmax_region_sums(z, y, where=where)).mean()
            + dj.generalized_wasserstein_dice_loss(p, y, near, where=where)
            + dj.unified_focal_loss(z, y, gamma=gamma, where=where)
            + dj.dice_plus_plus_loss(p[..., 0], y == 0, gamma=1 + gamma, where=where)
        )

    # Nothing may be compiled already: what is not traced cannot leak.
    jax.clear_caches()
    with jax.checking_leaks():
        jax.jit(jax.grad(others))(problem.logits, problem.labels, jnp.float32(0.5))
        return problem.error(*jax.jit(value_and_grad)(problem.logits, problem.labels))
