"""Run twice by test_distributed.py: each process holds half the batch; then the second one dies."""

import json
import os
import sys
import time

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dice_jax as dj
from experiments.runs.distributed import all_or_none
from tests.support import networks
from tests.support.networks import in_microbatches


def main(process: int, port: int) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"localhost:{port}", 2, process, initialization_timeout=60, heartbeat_timeout_seconds=10
    )
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P(None, "data"))
    half = slice(8 * process, 8 * process + 8)
    local = in_microbatches(jax.tree.map(lambda x: x[half], networks.batch()), 2)
    data = jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), local)
    f = dj.accumulated_value_and_grad(networks.unet_sums, networks.unet_loss, axis_name="data")
    step = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=(P(), P(None, "data")), out_specs=P()))
    loss, gradients = jax.device_get(step(networks.unet()[1], data))
    result = [float(loss), *(np.asarray(g).tolist() for g in jax.tree.leaves(gradients))]
    # Gloo writes lines of its own to the standard output.
    print("RESULT", json.dumps(result), flush=True)
    with all_or_none():
        if process == 1:
            os._exit(3)
        begin = time.monotonic()
        while time.monotonic() - begin < 60:
            jax.block_until_ready(step(networks.unet()[1], data))


if __name__ == "__main__":
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    main(int(sys.argv[1]), int(sys.argv[2]))
