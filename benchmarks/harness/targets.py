"""Compiling for a TPU v5e and for an H100 without one. Nothing is run.

`libtpu` compiles for TPUs. `jax-cuda12-plugin` and `jax-cuda12-pjrt` compile for GPUs, without the
libraries of CUDA. One environment may have all three. Set ``JAX_PLATFORMS=cpu`` there: else JAX
looks for the devices.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import AbstractDevice, AbstractMesh, SingleDeviceSharding

from benchmarks.harness.case import Unavailable

__all__ = ["H100", "TPU_V5E", "Target"]


@dataclass(frozen=True)
class Target:
    """A device that programs are compiled for.

    Args:
        title: for a table.
        platform: as JAX names it when it lowers.
        devices: describes the devices, or raises `Unavailable`.
    """

    title: str
    platform: str
    devices: Callable[[], Sequence[Any]]

    def compile(self, function: Callable[..., Any], *arguments: Any) -> jax.stages.Compiled:
        """Compile a function for one device.

        Args:
            function: of arrays; one that `jax.jit` has wrapped keeps its options.
            *arguments: pytrees of `jax.ShapeDtypeStruct`. One without a sharding lies on the first
                device. Anything else is handed over as it is.

        Returns:
            The compiled program. It cannot be called.
        """
        device = self.devices()[0]
        one = SingleDeviceSharding(device)

        def placed(x: Any) -> Any:
            free = isinstance(x, jax.ShapeDtypeStruct) and x.sharding is None
            return x.update(sharding=one) if free else x

        jitted: Any = function if hasattr(function, "trace") else jax.jit(function)
        here = [jax.tree.map(placed, x) for x in arguments]
        # Pallas asks which device it compiles for.
        described = AbstractDevice(
            device.device_kind, getattr(device, "num_cores", None), device.platform
        )
        with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=described)):
            traced = jitted.trace(*here)
            return traced.lower(lowering_platforms=(self.platform,)).compile()


@functools.cache
def _tpu() -> Sequence[Any]:
    if importlib.util.find_spec("libtpu") is None:
        raise Unavailable("libtpu is not installed: pip install libtpu")
    # Without them libtpu asks the network which machine this is, or wants to be alone on it.
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        os.environ.setdefault(name, value)
    return _described("a TPU", platform="tpu", topology_name="v5e:2x4")


@functools.cache
def _gpu() -> Sequence[Any]:
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        raise Unavailable(
            "the CUDA plugin is not installed: pip install jax-cuda12-plugin jax-cuda12-pjrt, of "
            "the version of jax"
        )
    return _described(
        "a GPU", platform="cuda", topology_name="", target_config=_H100_CONFIG, topology="1x1x1"
    )


def _described(what: str, **topology: Any) -> Sequence[Any]:
    try:
        return topologies.get_topology_desc(**topology).devices
    except RuntimeError as failure:
        first_line = str(failure).strip().splitlines()[0]
        raise Unavailable(f"no program can be compiled for {what} here: {first_line}") from None


# What XLA asks of a device, for an H100 SXM.
_H100_CONFIG = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  device_address_bits: 64 pcie_bandwidth: 34359738368 ecc_enabled: true
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  driver_version: "13.0.0" runtime_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
  device_vendor: "NVIDIA Corporation" platform_version: "Compute Capability 9.0a"
  name: "NVIDIA H100 80GB HBM3" model_str: "NVIDIA H100 80GB HBM3"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""

TPU_V5E = Target("TPU v5e", "tpu", _tpu)
H100 = Target("H100", "cuda", _gpu)
