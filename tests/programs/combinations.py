"""Run by test_combinations.py, as one process or as two: microbatches, devices and shardings."""

import contextlib
import json
import sys

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dice_jax as dj
from tests.support import networks

IMAGES = 32
MICROBATCHES = (1, 2, 4, 16)
# By name: the mesh (over images, over rows of an image).
MESHES = {
    "1 device": (1, 1),
    "2 devices, batch": (2, 1),
    "2 devices, height": (1, 2),
    "8 devices, batch": (8, 1),
    "8 devices, height": (1, 8),
    "8 devices, both": (2, 4),
}


def cases(processes, tested=MICROBATCHES):
    """List what can be: images that divide over the mesh, and a device of every process."""
    for name, shape in MESHES.items():
        for microbatches in tested:
            devices = shape[0] * shape[1]
            if devices >= processes and (IMAGES // microbatches) % shape[0] == 0:
                yield name, shape, microbatches


def mesh_of(shape, processes):
    """Take the same number of devices of every process."""
    each = shape[0] * shape[1] // processes
    chosen = [
        device
        for process in range(processes)
        for device in [d for d in jax.devices() if d.process_index == process][:each]
    ]
    # Process by process along the rows of an image too: its sums cross processes.
    return jax.sharding.Mesh(
        np.array(chosen).reshape(shape), ("data", "height"), axis_types=(AxisType.Auto,) * 2
    )


def put(x, sharding):
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def main(microbatches, processes=1, process=0, port=0):
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    f = jax.jit(dj.accumulated_value_and_grad(networks.unet_sums, networks.unet_loss))
    errors = {}
    for dtype, tested in (("float64", microbatches), ("float32", (4,))):
        double = jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()
        with double:
            params = jax.tree.map(lambda x, t=dtype: np.asarray(x, t), networks.unet()[1])
            data = networks.batch(IMAGES, dtype=dtype)
            whole = jax.device_get(jax.jit(jax.value_and_grad(networks.whole_loss))(params, data))
            for name, shape, count in cases(processes, tested):
                mesh = mesh_of(shape, processes)
                everywhere = NamedSharding(mesh, P())
                spread = NamedSharding(mesh, P(None, "data", "height"))
                cut = networks.in_microbatches(data, count)
                arguments = (
                    jax.tree.map(lambda x, s=everywhere: put(x, s), params),
                    jax.tree.map(lambda x, s=spread: put(x, s), cut),
                )
                result = jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), f(*arguments))
                key = f"{dtype}, {count} microbatches, {name}"
                errors[key] = max(
                    networks.relative_error(*pair) for pair in zip(result, whole, strict=True)
                )
    # Gloo writes lines of its own to the standard output.
    print("RESULT", json.dumps(errors), flush=True)


if __name__ == "__main__":
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    main([int(m) for m in sys.argv[1].split(",")], *map(int, sys.argv[2:]))
