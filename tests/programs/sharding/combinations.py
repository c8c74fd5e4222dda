"""Microbatches, devices and shardings together, in one process or in two that work together."""

import json
import sys

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dice_jax as dj
from tests.support import networks

IMAGES = 32
# By name: the mesh (over images, over rows of an image).
MESHES = {
    "1 device": (1, 1),
    "2 devices, batch": (2, 1),
    "2 devices, height": (1, 2),
    "8 devices, batch": (8, 1),
    "8 devices, height": (1, 8),
    "8 devices, both": (2, 4),
}


def every(processes):
    """List what can be: images that divide over the mesh, and a device of every process."""
    return [
        (dtype, str(microbatches), name)
        for dtype, tested in (("float64", (1, 2, 4, 16)), ("float32", (4,)))
        for name, shape in MESHES.items()
        for microbatches in tested
        if shape[0] * shape[1] >= processes and (IMAGES // microbatches) % shape[0] == 0
    ]


def few(processes):
    """List every mesh once, and every number of microbatches; of two processes, two meshes."""
    if processes == 2:
        return [("float64", "2", "2 devices, batch"), ("float64", "4", "8 devices, both")]
    return [
        ("float64", "4", "1 device"),
        ("float64", "1", "2 devices, batch"),
        ("float64", "16", "2 devices, height"),
        ("float64", "2", "8 devices, batch"),
        ("float64", "2", "8 devices, height"),
        ("float64", "4", "8 devices, both"),
        ("float32", "4", "8 devices, both"),
    ]


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


def main(cases, processes, process, port):
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    f = jax.jit(dj.accumulated_value_and_grad(networks.unet_sums, networks.unet_loss))
    errors = {}
    for dtype in ("float64", "float32"):
        chosen = [case for case in cases if case[0] == dtype]
        with jax.enable_x64(dtype == "float64"):
            params = jax.tree.map(lambda x, t=dtype: np.asarray(x, t), networks.unet()[1])
            data = networks.batch(IMAGES, dtype=dtype)
            if chosen:
                step = jax.jit(jax.value_and_grad(networks.whole_loss))
                whole = jax.device_get(step(params, data))
            for case in chosen:
                mesh = mesh_of(MESHES[case[2]], processes)
                everywhere = NamedSharding(mesh, P())
                spread = NamedSharding(mesh, P(None, "data", "height"))
                cut = networks.in_microbatches(data, int(case[1]))
                arguments = (
                    jax.tree.map(lambda x, s=everywhere: put(x, s), params),
                    jax.tree.map(lambda x, s=spread: put(x, s), cut),
                )
                result = jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), f(*arguments))
                errors[", ".join(case)] = max(
                    networks.relative_error(*pair) for pair in zip(result, whole, strict=True)
                )
    # Gloo writes lines of its own to the standard output.
    print("RESULT", json.dumps(errors), flush=True)


if __name__ == "__main__":
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    which, numbers = sys.argv[1], [int(number) for number in sys.argv[2:]]
    main({"few": few, "every": every}[which](numbers[0]), *numbers)
