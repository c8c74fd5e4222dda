"""The pass over pixels that are spread over eight devices: under `jit`, and inside `shard_map`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dice_jax as dj

MOVES = ("all-gather", "all-to-all", "collective-permute")
SPECS = {"batch": P(("b", "h")), "height": P(None, ("b", "h")), "both": P("b", "h")}


def binary(x, y, combine=lambda sums: sums):
    sums = combine(dj.sigmoid_region_sums(x, y))
    return dj.dice_loss(sums) + dj.binary_cross_entropy_loss(sums)


def categorical(x, y, combine=lambda sums: sums):
    sums = combine(dj.softmax_region_sums(x, y))
    return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)


LOSSES = {"sigmoid": (binary, ()), "softmax": (categorical, (3,))}
# Every kind and every spec, with either loss at least once.
CASES = [
    ("sigmoid", "jit", "both"),
    ("sigmoid", "shard_map", "both"),
    ("sigmoid", "shard_map, unchecked", "batch"),
    *(("softmax", kind, spec) for kind in ("jit", "shard_map") for spec in SPECS),
    ("softmax", "shard_map, unchecked", "both"),
]


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


def weighted(x, y, w):
    sums = dj.softmax_region_sums(x, y, where=w)
    return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)


def per_image(x, y, w):
    return dj.dice_loss(dj.softmax_region_sums(x, y, axis=(1, 2), where=w)).mean()


def shared_option(x, y, w):
    # A traced exponent, which every device needs whole.
    return dj.noise_robust_dice_loss(jax.nn.sigmoid(x[..., 0]), y > 0, gamma=1 + w.mean())


def uneven(x, y, w):
    """Inside `jit` a shard need not be as large as its neighbours: the last rows are padding."""
    return weighted(x[:7, :63], y[:7, :63], w[:7])


def curvature(loss):
    def product(x, y, w):
        return jnp.sum(jax.grad(loss)(x, y, w) * jnp.cos(x))

    return product


def mapped(x, y, w):
    return jax.vmap(weighted)(*(jnp.stack([a, a]) for a in (x, y, w))).sum()


FURTHER = {
    "weights along one axis": (weighted, (0, 2)),
    "per image": (per_image, (0,)),
    "a shared option": (shared_option, (0, 2)),
    "uneven": (uneven, (0,)),
    "curvature": (curvature(weighted), (0,)),
    "vmap": (mapped, (0,)),
}


# JAX itself refuses the slice of an explicitly sharded array.
FURTHER_CASES = [
    (name, kind)
    for name in FURTHER
    for kind in ("Auto", "Explicit")
    if (name, kind) != ("uneven", "Explicit")
]


def further():
    """What else reads pixels under `jit`, against the same on one device."""
    rng = np.random.default_rng(1)
    arrays = (
        rng.normal(size=(8, 64, 64, 3)).astype(np.float32),
        rng.integers(0, 3, (8, 64, 64)),
        rng.uniform(0.5, 1, (8, 1, 64)).astype(np.float32),
    )
    programs = {
        name: jax.jit(jax.value_and_grad(loss, argnums=wrt))
        for name, (loss, wrt) in FURTHER.items()
    }
    expected = {name: jax.device_get(program(*arrays)) for name, program in programs.items()}
    results = {}
    for name, kind in FURTHER_CASES:
        mesh = jax.make_mesh((4, 2), ("b", "h"), axis_types=(AxisType[kind],) * 2)
        specs = (P("b", "h"), P("b", "h"), P("b"))
        placed = [
            jax.device_put(a, NamedSharding(mesh, spec))
            for a, spec in zip(arrays, specs, strict=True)
        ]
        try:
            results[f"{name} {kind}"] = compare(programs[name], placed, expected[name])
        except Exception as error:
            # One case that cannot be compiled fails its own test only.
            results[f"{name} {kind}"] = {"problem": f"{type(error).__name__}: {error}"}
    return results


def compare(program, placed, expected):
    compiled = program.lower(*placed).compile()
    text, (value, gradients) = compiled.as_text(), jax.device_get(compiled(*placed))
    errors = [abs(value - expected[0]) / abs(expected[0])] + [
        np.abs(a - b).max() / np.abs(b).max() for a, b in zip(gradients, expected[1], strict=True)
    ]
    return {
        "moves": sum(text.count(f" {move}(") for move in MOVES),
        "error": float(max(errors)),
    }


def head_temporaries():
    """What a device keeps of a head's loss and gradient; its own logits take 3.4 MB."""
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    explicit = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))

    def loss(features, kernel, labels, combine=lambda sums: sums):
        sums = combine(dj.linear_softmax_region_sums(features, kernel, labels))
        return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)

    mapped = jax.shard_map(
        lambda *arrays: loss(*arrays, lambda sums: jax.lax.psum(sums, "d")),
        mesh=mesh,
        in_specs=(P("d"), P(), P("d")),
        out_specs=P(),
    )

    def temporaries(function, mesh):
        arrays = [
            jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
            for shape, dtype, spec in (
                ((2**16, 8), jnp.float32, P("d")),
                ((8, 104), jnp.float32, P()),
                ((2**16,), jnp.int32, P("d")),
            )
        ]
        with jax.set_mesh(mesh):
            lowered = jax.jit(jax.value_and_grad(function, (0, 1))).lower(*arrays)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    return {"shard_map": temporaries(mapped, mesh), "Explicit": temporaries(loss, explicit)}


def program_of(loss, kind, spec, mesh):
    """The program of one of `KINDS`: under `jit`, or inside `shard_map`."""
    if kind == "jit":
        return jax.jit(jax.value_and_grad(loss))
    mapped = jax.shard_map(
        lambda x, y: loss(x, y, lambda s: jax.lax.psum(s, ("b", "h"))),
        mesh=mesh,
        in_specs=(spec, spec),
        out_specs=P(),
        check_vma=kind == "shard_map",
    )
    return jax.jit(jax.value_and_grad(mapped))


def facts():
    mesh = jax.make_mesh((4, 2), ("b", "h"), axis_types=(AxisType.Auto,) * 2)
    rng = np.random.default_rng(0)
    results = further() | {"head": head_temporaries()}
    references = {}
    for name, kind, spec_name in CASES:
        loss, trailing = LOSSES[name]
        if name not in references:
            x = rng.normal(size=(8, 64, 64, *trailing)).astype(np.float32)
            y = rng.integers(0, 2, (8, 64, 64))
            with jax.enable_x64(True):
                value, slope = jax.value_and_grad(loss)(x.astype(np.float64), y)
                references[name] = x, y, (np.asarray(value), np.asarray(slope))
        x, y, reference = references[name]
        spec = SPECS[spec_name]
        placed = [jax.device_put(a, NamedSharding(mesh, spec)) for a in (x, y)]
        program = program_of(loss, kind, spec, mesh)
        results[f"{name} {kind} {spec_name}"] = report(program, placed, reference)
    return results
