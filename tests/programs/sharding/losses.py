"""Every loss of the battery on images that are spread over eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.losses import test_battery as battery

SHAPE = (8, 4, 6)  # one image a device, and one region that pools them all


def measure(name, sharding):
    """The errors of value and slope against the oracle, and whether the gradient stays in place."""
    x, y = battery.draw(name, SHAPE)
    loss, oracle = battery.loss_of(name), battery.oracle_of(name)

    def total(x, y):
        value = loss(x, y)
        scale = jnp.arange(1.0, 1 + value.size).reshape(value.shape)
        return jnp.sum(value * scale.astype(value.dtype)), value

    placed = [jax.device_put(a, sharding) for a in (x, y)]
    (_, value), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(*placed)
    expected, slope = oracle(x, y), battery._slope(oracle, x, y)
    found = np.sum(np.asarray(gradient, np.float64) * battery._direction(x))
    return {
        "value_error": float(np.max(np.abs(value - expected) / (np.abs(expected) + 1e-3))),
        "slope_error": float(abs(found - slope) / (abs(slope) + 1e-3)),
        "devices": len(gradient.sharding.device_set),
    }


def measure_psum(case, mesh, sharding):
    """The errors of value and gradient where each device sums its image and `psum` merges them."""
    x, y = case.kind.draw(np.random.default_rng(0), SHAPE)

    def device_sums(x, y):
        return jax.lax.psum(case.make_sums(x, y), "images")

    merged = jax.shard_map(device_sums, mesh=mesh, in_specs=P("images"), out_specs=P())

    def of_devices(x, y):
        return jnp.sum(case.loss_of_sums(merged(x, y)))

    def of_images(x, y):
        # A leading axis of one image, as a device has it.
        sums = jax.vmap(case.make_sums)(x[:, None], y[:, None])
        return jnp.sum(case.loss_of_sums(jax.tree.map(lambda field: field.sum(0), sums)))

    placed = [jax.device_put(a, sharding) for a in (x, y)]
    value, gradient = jax.jit(jax.value_and_grad(of_devices))(*placed)
    expected, slope = jax.jit(jax.value_and_grad(of_images))(x, y)
    return {
        "psum_value_error": float(abs(value - expected) / (abs(expected) + 1e-3)),
        "psum_gradient_error": float(np.max(np.abs(gradient - slope)) / np.max(np.abs(slope))),
    }


def facts():
    mesh = jax.make_mesh((8,), ("images",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P("images"))
    results = {}
    for name, case in battery.CASES.items():
        results[name] = measure(name, sharding)
        if case.make_sums is not None:
            results[name] |= measure_psum(case, mesh, sharding)
    return results
