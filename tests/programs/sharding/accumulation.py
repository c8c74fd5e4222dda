"""Accumulated gradients on one, two and eight devices, against the whole batch on one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dice_jax as dj
from tests.sums.test_accumulation import dice, pixel_sums, small_params
from tests.support import networks
from tests.support.networks import in_microbatches, relative_error

COLLECTIVES = r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("


def mesh_of(devices, kind=AxisType.Auto):
    axes = tuple(("data", "height")[: len(devices)])
    count = int(np.prod(devices))
    return jax.make_mesh(
        devices, axes, axis_types=(kind,) * len(axes), devices=jax.devices()[:count]
    )


def put(tree, mesh, *spec):
    return jax.device_put(tree, NamedSharding(mesh, P(*spec)))


def error(result, reference):
    return max(relative_error(*pair) for pair in zip(result, reference, strict=True))


def inside_shard_map(f, mesh, check_vma):
    return jax.jit(
        jax.shard_map(
            f, mesh=mesh, in_specs=(P(), P(None, "data")), out_specs=P(), check_vma=check_vma
        )
    )


def small_model(report):
    """Few numbers, so that every combination can be compiled."""
    rng = np.random.default_rng(0)
    target = (rng.uniform(size=(32, 12)) < np.linspace(0, 0.8, 32)[:, None]).astype(np.int32)
    data = (target + rng.normal(size=target.shape)).astype(np.float32), target
    whole = jax.value_and_grad(lambda p: dice(pixel_sums(p, data)))(small_params())
    f = dj.accumulated_value_and_grad(pixel_sums, dice, axis_name="data")
    cut = in_microbatches(data, 4)
    for devices in (1, 2, 8):
        mesh = mesh_of((devices,))
        for check_vma in (True, False):
            program = inside_shard_map(f, mesh, check_vma).lower(small_params(), cut).compile()
            name = f"shard_map {devices=} {check_vma=}"
            report[name] = error(program(small_params(), cut), whole)
            if devices > 1:
                found = re.findall(COLLECTIVES, program.as_text())
                report[f"collectives of {name}"] = sorted(set(found))

    # Parameters that the caller has marked already, and a mesh with explicit axes.
    def marked(params, data):
        return f(jax.lax.pcast(params, "data", to="varying"), data)

    report["marked by the caller"] = error(
        inside_shard_map(marked, mesh_of((8,)), True)(small_params(), cut), whole
    )
    explicit = mesh_of((8,), AxisType.Explicit)
    f = dj.accumulated_value_and_grad(pixel_sums, dice)
    report["explicit axes"] = error(
        f(put(small_params(), explicit), put(cut, explicit, None, "data")), whole
    )
    # A stream of pieces that are spread over the devices.
    mesh = mesh_of((8,))
    halves = [tuple(x[half] for x in data) for half in (slice(0, 16), slice(16, 32))]
    pieces = [put(half, mesh, "data") for half in halves]
    streamed = dj.streamed_value_and_grad(pixel_sums, dice)
    report["stream of sharded pieces"] = error(streamed(put(small_params(), mesh), pieces), whole)


def network(report):
    """The U-Net, in float64, where the tolerance is tight; `combinations` has it under `jit`."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(np.float64), networks.unet()[1])
        data = networks.batch(16, dtype=np.float64)
        whole = jax.jit(jax.value_and_grad(networks.whole_loss))(params, data)
        f = dj.accumulated_value_and_grad(networks.unet_sums, networks.unet_loss, axis_name="data")
        cut = in_microbatches(data, 2)
        for check_vma in (True, False):
            program = inside_shard_map(f, mesh_of((8,)), check_vma)
            report[f"U-Net shard_map {check_vma=}"] = error(program(params, cut), whole)


def bad_input(report):
    mesh = mesh_of((8,))
    f = dj.accumulated_value_and_grad(pixel_sums, dice, axis_name="rows")
    try:
        inside_shard_map(f, mesh, True)(small_params(), (jnp.ones((1, 8)), jnp.ones((1, 8))))
    except ValueError as problem:
        report["unbound axis"] = str(problem)


def facts():
    errors: dict[str, object] = {"devices": jax.device_count()}
    for check in (small_model, network, bad_input):
        check(errors)
    return errors
