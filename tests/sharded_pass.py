"""Run by test_sharding.py in a process with eight CPU devices: the pass over sharded pixels."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dice_jax as dj

jax.config.update("jax_numpy_dtype_promotion", "strict")

MOVES = ("all-gather", "all-to-all", "collective-permute")
SPECS = {"batch": P(("b", "h")), "height": P(None, ("b", "h")), "both": P("b", "h")}


def binary(x, y, combine=lambda sums: sums):
    sums = combine(dj.sigmoid_region_sums(x, y))
    return dj.dice_loss(sums) + dj.binary_cross_entropy_loss(sums)


def categorical(x, y, combine=lambda sums: sums):
    sums = combine(dj.softmax_region_sums(x, y))
    return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)


def report(program, arguments, reference):
    compiled = program.lower(*arguments).compile()
    text, (value, gradient) = compiled.as_text(), compiled(*arguments)
    expected, slope = reference
    return {
        "moves": sum(text.count(f" {move}(") for move in MOVES),
        "all_reduces": text.count(" all-reduce("),
        "loops": text.count(" while("),
        "temporaries": compiled.memory_analysis().temp_size_in_bytes,
        "value_error": float(jnp.abs(value - expected)),
        "gradient_error": float(np.abs(gradient - slope).max() / np.abs(slope).max()),
        "keeps_sharding": bool(
            gradient.sharding.is_equivalent_to(arguments[0].sharding, gradient.ndim)
        ),
    }


def main():
    mesh = jax.make_mesh((4, 2), ("b", "h"), axis_types=(AxisType.Auto,) * 2)
    rng = np.random.default_rng(0)
    results = {}
    for name, loss, trailing in (("sigmoid", binary, ()), ("softmax", categorical, (3,))):
        x = rng.normal(size=(8, 64, 64, *trailing)).astype(np.float32)
        y = rng.integers(0, 2, (8, 64, 64))
        with jax.enable_x64(True):
            value, slope = jax.value_and_grad(loss)(x.astype(np.float64), y)
            reference = np.asarray(value), np.asarray(slope)
        for spec_name, spec in SPECS.items():
            placed = [jax.device_put(a, NamedSharding(mesh, spec)) for a in (x, y)]
            plain = jax.jit(jax.value_and_grad(loss))
            results[f"{name} jit {spec_name}"] = report(plain, placed, reference)
            for check_vma in (True, False):
                mapped = jax.shard_map(
                    lambda x, y, loss=loss: loss(x, y, lambda s: jax.lax.psum(s, ("b", "h"))),
                    mesh=mesh,
                    in_specs=(spec, spec),
                    out_specs=P(),
                    check_vma=check_vma,
                )
                program = jax.jit(jax.value_and_grad(mapped))
                key = f"{name} shard_map {spec_name} check_vma={check_vma}"
                results[key] = report(program, placed, reference)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
