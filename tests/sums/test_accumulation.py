"""Accumulation is exact: microbatches give what the whole batch gives, at a microbatch's memory."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dice_jax as dj
from tests.support import networks
from tests.support.networks import in_microbatches, relative_error


# One worker runs the tests that share the U-Net's programs.
def of_the_unet(test):
    return pytest.mark.slow(pytest.mark.xdist_group("accumulation of a U-Net")(test))


TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(scope="module")
def accumulation():
    """Compile accumulation of the U-Net once for each number of microbatches and type."""
    done = {}

    def get(microbatches, dtype="float32", images=16):
        key = microbatches, dtype, images
        if key not in done:
            with jax.enable_x64(dtype == "float64"):
                params = jax.tree.map(lambda p: p.astype(dtype), networks.unet()[1])
                data = in_microbatches(networks.batch(images, dtype=dtype), microbatches)
                f = jax.jit(dj.accumulated_value_and_grad(networks.unet_sums, networks.unet_loss))
                lowered = f.lower(params, data)
                # Memory and layout are looked at in float32, values in either.
                program = lowered.compile()
                done[key] = program, params, data
        return done[key]

    return get


@pytest.fixture(scope="module")
def whole():
    """Give value and gradient of the whole batch in one piece, for each type."""
    done = {}

    def get(dtype="float32"):
        if dtype not in done:
            with jax.enable_x64(dtype == "float64"):
                params = jax.tree.map(lambda p: p.astype(dtype), networks.unet()[1])
                step = jax.jit(jax.value_and_grad(networks.whole_loss))
                done[dtype] = jax.device_get(step(params, networks.batch(dtype=dtype)))
        return done[dtype]

    return get


def pieces_of(data):
    leaves, structure = jax.tree.flatten(data)
    return [structure.unflatten([x[k] for x in leaves]) for k in range(len(leaves[0]))]


@of_the_unet
# Every number in float64 is part of `python -m pytest -m huge tests/sums/test_combinations.py`.
@pytest.mark.parametrize(
    ("microbatches", "dtype"), [(1, "float32"), (16, "float32"), (2, "float64"), (4, "float64")]
)
def test_a_unet_in_microbatches_equals_the_whole_batch(accumulation, whole, microbatches, dtype):
    program, params, data = accumulation(microbatches, dtype)
    with jax.enable_x64(dtype == "float64"):
        loss, gradients = jax.device_get(program(params, data))
    chex.assert_trees_all_equal_shapes_and_dtypes(gradients, whole(dtype)[1])
    assert relative_error(loss, whole(dtype)[0]) < TOLERANCE[dtype]
    assert relative_error(gradients, whole(dtype)[1]) < TOLERANCE[dtype]


@of_the_unet
def test_averaging_the_microbatches_is_another_loss(whole):
    # The control: data on which the tests above can fail.
    step = jax.jit(jax.value_and_grad(networks.whole_loss))
    data = in_microbatches(networks.batch(), 4)
    each = [step(networks.unet()[1], piece)[1] for piece in pieces_of(data)]
    gradients = jax.tree.map(lambda *g: sum(g) / 4, *each)
    assert relative_error(gradients, whole()[1]) > 0.02


@of_the_unet
def test_memory_is_that_of_one_microbatch(accumulation):
    def temporary(*key):
        return accumulation(*key)[0].memory_analysis().temp_size_in_bytes

    many, few, one_piece = temporary(16), temporary(2, "float32", 2), temporary(1)
    assert many < 1.05 * few
    assert one_piece > 6 * many  # otherwise the line above would say nothing


@of_the_unet
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_wrapper_gives_convolutions_the_layout_that_xla_cpu_is_fast_in(wrapped):
    f = dj.accumulated_value_and_grad(networks.unet_sums, networks.unet_loss)
    f = dj.with_canonical_convolutions(f) if wrapped else f
    data = in_microbatches(networks.batch(4), 2)
    text = jax.jit(f).lower(networks.unet()[1], data).compile().as_text()
    layouts = set(re.findall(r"dim_labels=(\S+?)[,\s]", text))
    assert (layouts == {"b01f_01io->b01f"}) == wrapped


# Small models, against a loop over the pieces that is differentiated in one piece.


def pixel_sums(params, piece):
    image, target = piece
    return dj.sigmoid_region_sums(image * params["w"] + params["b"], target)


def dice(sums):
    return dj.dice_loss(sums, smooth=1e-5)


def small_params(dtype=jnp.float32):
    return {"w": jnp.asarray(1.5, dtype), "b": jnp.asarray(-0.5, dtype)}


def small_data(microbatches=4, size=30):
    rng = np.random.default_rng(1)
    fraction = np.linspace(0.05, 0.8, microbatches)[:, None]
    target = (rng.uniform(size=(microbatches, size)) < fraction).astype(np.int32)
    return (target + rng.normal(size=target.shape)).astype(np.float32), target


@partial(jax.jit, static_argnums=(0, 1))
def one_piece(sums_fn, loss_fn, params, data):
    def loss(params):
        each = [sums_fn(params, piece) for piece in pieces_of(data)]
        return loss_fn(jax.tree.map(lambda *s: sum(s), *each))

    return jax.value_and_grad(loss)(params)


@pytest.mark.parametrize("microbatches", [1, 5])
def test_any_number_of_microbatches(microbatches):
    data = small_data(microbatches)
    ours = dj.accumulated_value_and_grad(pixel_sums, dice)(small_params(), data)
    chex.assert_trees_all_close(ours, one_piece(pixel_sums, dice, small_params(), data), rtol=1e-5)


def test_a_loss_may_mix_sums_of_several_kinds():
    def sums_fn(params, piece):
        image, target = piece
        logits = image * params["w"] + params["b"]
        return {
            "fine": dj.sigmoid_region_sums(logits, target),
            "coarse": dj.sigmoid_region_sums(logits[::2], target[::2]),
            # A mean over images is a ratio of two sums, so that a loss per image is exact too.
            "per image": (dice(dj.sigmoid_region_sums(logits, target)), jnp.int32(1)),
            "power": jnp.sum(jnp.square(logits)),
        }

    def loss_fn(sums):
        total, images = sums["per image"]
        return (
            0.7 * dice(sums["fine"])
            + 0.3 * dice(sums["coarse"])
            + dj.binary_cross_entropy_loss(sums["fine"])
            + total / images.astype(jnp.float32)
            + 1e-3 * sums["power"] / sums["fine"].count
        )

    data = small_data()
    ours = dj.accumulated_value_and_grad(sums_fn, loss_fn)(small_params(), data)
    chex.assert_trees_all_close(ours, one_piece(sums_fn, loss_fn, small_params(), data), rtol=1e-5)


def test_aux_comes_stacked_from_the_first_pass():
    def sums_fn(params, piece):
        image, _ = piece
        return pixel_sums(params, piece), {"logits": image * params["w"], "n": jnp.int32(7)}

    data = small_data()
    f = dj.accumulated_value_and_grad(sums_fn, dice, has_aux=True)
    (loss, aux), gradients = f(small_params(), data)
    plain = dj.accumulated_value_and_grad(pixel_sums, dice)(small_params(), data)
    chex.assert_trees_all_close((loss, gradients), plain, rtol=1e-6)
    np.testing.assert_allclose(aux["logits"], 1.5 * data[0], rtol=1e-6)
    assert aux["n"].tolist() == [7, 7, 7, 7]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_gradients_of_half_precision_accumulate_in_float32(dtype):
    def sums_fn(w, x):
        return w * x

    # Added up in half precision, the running sums would stop growing at 256 and at 2048.
    data = jnp.ones(3000, dtype)
    loss, gradient = dj.accumulated_value_and_grad(sums_fn, lambda s: s)(jnp.ones((), dtype), data)
    assert gradient.dtype == dtype
    assert loss.dtype == jnp.float32
    assert float(loss) == 3000
    assert float(gradient) == float(jnp.asarray(3000, dtype))


def test_many_small_sums_do_not_drift():
    def sums_fn(w, x):
        return w * x

    data = jnp.full(20_000, 0.3, jnp.float32)
    loss, _ = dj.accumulated_value_and_grad(sums_fn, lambda s: s)(jnp.float32(1), data)
    np.testing.assert_allclose(float(loss), 20_000 * float(np.float32(0.3)), rtol=3e-7)


def test_parameters_may_be_complex():
    def sums_fn(params, x):
        return {"a": jnp.sum(jnp.square(jnp.abs(params * x))), "z": jnp.sum(params * x)}

    def loss_fn(sums):
        return sums["a"] / 100 + jnp.imag(sums["z"])

    data = jnp.arange(12.0, dtype=jnp.float32).reshape(4, 3).astype(jnp.complex64)
    params = jnp.asarray(0.3 - 0.2j, jnp.complex64)
    ours = dj.accumulated_value_and_grad(sums_fn, loss_fn)(params, data)
    chex.assert_trees_all_close(ours, one_piece(sums_fn, loss_fn, params, data), rtol=1e-5)


def test_an_optax_step_with_donated_buffers():
    optimizer = optax.sgd(1.0, momentum=0.9)
    f = dj.accumulated_value_and_grad(pixel_sums, dice)
    data = jax.tree.map(jnp.asarray, small_data())

    def step(gradient, params, state):
        loss, gradients = gradient(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    ours = jax.jit(
        lambda params, state, data: step(lambda p: f(p, data), params, state), donate_argnums=(0, 1)
    )
    params, state = small_params(), optimizer.init(small_params())
    given, losses, expected = params, [], small_params()
    expected_state = optimizer.init(expected)
    for _ in range(3):
        params, state, loss = ours(params, state, data)
        losses.append(float(loss))
        expected, expected_state, _ = step(
            lambda p: one_piece(pixel_sums, dice, p, data), expected, expected_state
        )
    assert given["w"].is_deleted()
    assert losses == sorted(losses, reverse=True)
    chex.assert_trees_all_close(params, expected, rtol=1e-4)


def test_it_is_traced_once_for_each_shape():
    traces = []

    def sums_fn(params, piece):
        traces.append(piece)
        return pixel_sums(params, piece)

    f = dj.accumulated_value_and_grad(sums_fn, dice)
    f(small_params(), small_data())
    once = len(traces)
    f(small_params(), small_data())
    assert len(traces) == once
    f(small_params(), small_data(2))
    assert len(traces) == 2 * once


def test_what_sums_fn_closes_over_may_be_traced():
    @jax.jit
    def outer(scale, params, data):
        def sums_fn(params, piece):
            return pixel_sums(params, (scale * piece[0], piece[1]))

        return dj.accumulated_value_and_grad(sums_fn, dice)(params, data)

    data = small_data()
    scaled = (2 * data[0], data[1])
    ours = outer(jnp.float32(2), small_params(), data)
    chex.assert_trees_all_close(
        ours, one_piece(pixel_sums, dice, small_params(), scaled), rtol=1e-5
    )


def test_its_own_derivatives_are_right():
    f = dj.accumulated_value_and_grad(pixel_sums, dice)
    params, data = small_params(), small_data()

    def whole(params):
        pooled = jax.tree.map(lambda x: x.reshape(-1), data)
        return dice(pixel_sums(params, pooled))

    @jax.jit
    def derivatives(params):
        ours = (
            jax.grad(lambda p: f(p, data)[0])(params),
            jax.jacfwd(lambda p: f(p, data)[1])(params),
        )
        return ours, (jax.grad(whole)(params), jax.hessian(whole)(params))

    chex.assert_trees_all_close(*derivatives(params), rtol=1e-3)


def test_under_vmap_with_an_axis_name_the_batch_is_spread_over_the_lanes():
    data = small_data(8)
    lanes = in_microbatches(data, 2)
    f = dj.accumulated_value_and_grad(pixel_sums, dice, axis_name="lanes")
    ours = jax.vmap(f, in_axes=(None, 0), axis_name="lanes")(small_params(), lanes)
    loss, gradients = one_piece(pixel_sums, dice, small_params(), data)
    chex.assert_trees_all_close(
        ours, jax.tree.map(lambda x: jnp.stack([x, x]), (loss, gradients)), rtol=1e-5
    )


# What a whole batch sees, and a microbatch does not.


def test_dropout_with_the_key_in_the_microbatch():
    from tests.support.flax_modules import Dropping, nnx

    graph, params = nnx.split(Dropping(rngs=nnx.Rngs(0)))

    def sums_fn(params, microbatch):
        image, target, key = microbatch
        logits = nnx.merge(graph, params)(image[..., None], rngs=nnx.Rngs(dropout=key))
        return dj.sigmoid_region_sums(logits, target)

    def run(seed):
        data = (*small_data(), jax.random.split(jax.random.key(seed), 4))
        ours = dj.accumulated_value_and_grad(sums_fn, dice)(params, data)
        chex.assert_trees_all_close(
            ours, one_piece(sums_fn, dice, params, data), rtol=1e-4, atol=1e-6
        )
        return ours[0]

    assert run(0) != run(1)  # the masks do depend on the key


def test_batch_norm_with_statistics_from_a_pass_of_their_own():
    from tests.support.flax_modules import Normalising, nnx

    graph, params, rest = nnx.split(Normalising(rngs=nnx.Rngs(0)), nnx.Param, ...)
    image, target = small_data()

    def moments(params, x):
        model = nnx.merge(graph, params, rest)
        features = model.first(x[..., None])
        return features.sum(0), jnp.square(features).sum(0), jnp.float32(len(x))

    @jax.jit
    def accumulated(params, data):
        stacked = jax.lax.map(partial(moments, params), data[0])
        total, squares, count = jax.tree.map(lambda m: m.sum(0), stacked)
        mean = total / count
        statistics = jax.lax.stop_gradient((mean, squares / count - jnp.square(mean)))

        def sums_fn(params, microbatch):
            model = nnx.merge(graph, params, rest, copy=True)
            model.norm.mean[...], model.norm.var[...] = statistics
            logits = model(microbatch[0][..., None], frozen=True)
            return dj.sigmoid_region_sums(logits, microbatch[1])

        return dj.accumulated_value_and_grad(sums_fn, dice)(params, data)

    def whole(params, *, frozen):
        model = nnx.merge(graph, params, rest, copy=True)
        x = image.reshape(-1)[..., None]
        if frozen:
            features = jax.lax.stop_gradient(model.first(x))
            model.norm.mean[...], model.norm.var[...] = features.mean(0), features.var(0)
        return dice(dj.sigmoid_region_sums(model(x, frozen=frozen), target.reshape(-1)))

    loss, gradients = accumulated(params, (image, target))
    # The value is that of ordinary batch normalisation over the whole batch …
    np.testing.assert_allclose(loss, whole(params, frozen=False), rtol=1e-5)
    # … and the gradient that of the same network with its statistics held fixed.
    chex.assert_trees_all_close(
        gradients, jax.jit(jax.grad(partial(whole, frozen=True)))(params), rtol=1e-4, atol=1e-6
    )


# Bad input.


def accumulate(params=None, data=None, sums_fn=pixel_sums, loss_fn=dice, **options):
    params, data = small_params() if params is None else params, data or small_data()
    return dj.accumulated_value_and_grad(sums_fn, loss_fn, **options)(params, data)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "microbatches .*one and the same axis", {"data": (np.ones(4), np.ones(3))}),
        (ValueError, "microbatches .*of 1 or more", {"data": (np.ones((0, 3)), np.ones((0, 3)))}),
        (ValueError, "microbatches .*shape \\(\\)", {"data": (np.float32(1), np.ones(3))}),
        (ValueError, "microbatches .*no array", {"data": (None,)}),
        (TypeError, "microbatches .*'name'", {"data": {"name": "a.png", "x": np.ones(3)}}),
        (TypeError, "params .*int32.*'steps'", {"params": {"w": 1.0, "steps": jnp.int32(3)}}),
        (TypeError, "params .*key", {"params": jax.random.key(0)}),
        (ValueError, "loss_fn .*loss.mean", {"loss_fn": lambda s: dice(s)[None]}),
        (TypeError, "loss_fn .*tuple", {"loss_fn": lambda s: (dice(s), s)}),
        (TypeError, "loss_fn .*int32", {"loss_fn": lambda s: jnp.int32(1)}),
        (TypeError, "sums_fn .*has_aux=True", {"has_aux": True}),
        (TypeError, "sums_fn .*bool", {"sums_fn": lambda p, x: (p["w"], jnp.bool_(True))}),
        (TypeError, "sums_fn .*a str", {"sums_fn": lambda p, x: (p["w"], "sum")}),
        (TypeError, "sums_fn .*floating sum.*nothing", {"sums_fn": lambda p, x: ()}),
        (TypeError, "sums_fn .*floating sum.*int32", {"sums_fn": lambda p, x: jnp.int32(1)}),
        (ValueError, "axis_name 'data' is not bound", {"axis_name": "data"}),
        (ValueError, "axis_name 'two' is not bound", {"axis_name": ("two", "one")}),
    ],
)
def test_errors_name_the_argument(error, message, arguments):
    with pytest.raises(error, match=message):
        accumulate(**arguments)
    # While traced, too.
    with pytest.raises(error, match=message):
        jax.jit(lambda: accumulate(**arguments))()
