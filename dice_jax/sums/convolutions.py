"""Convolutions that stay fast inside a loop on a CPU: the same ones, in the layout XLA asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.core
import numpy as np

from dice_jax._core import checks

if TYPE_CHECKING:
    # At run time it is imported when it is needed: it takes longer than the rest of the library.
    import jax.extend.core as jex

__all__ = ["with_canonical_convolutions"]

R = TypeVar("R")


def with_canonical_convolutions(function: Callable[..., R]) -> Callable[..., R]:
    r"""Make a function whose convolutions run at full speed inside a loop on a CPU.

    XLA:CPU has a fast convolution for one layout only: batch first, features last, kernel axes
    first. It transposes other layouts to that one in the program's entry computation, but not in
    the body of a loop, where they run some twenty times slower. The gradient of a convolution never
    has the fast layout, so a scanned training step runs about nine times slower than an unrolled
    one. This wrapper writes the transpositions out, for CPU only and only where they are needed.
    Other platforms compile the function as it is.

    Args:
        function: takes and returns pytrees of arrays. It may loop, differentiate and branch.

    Returns:
        A function of the same arguments and results. Call it under `jax.jit`: it traces
        ``function`` at every call.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import dice_jax as dj
        >>> def sums_fn(w, microbatch):
        ...     image, target = microbatch
        ...     return dj.sigmoid_region_sums(w * image, target)
        >>> step = dj.accumulated_value_and_grad(sums_fn, dj.dice_loss)
        >>> step = jax.jit(dj.with_canonical_convolutions(step))    # matters with convolutions
        >>> loss, _ = step(jnp.float32(1), (jnp.zeros((2, 4)), jnp.ones((2, 4))))
        >>> print(f"{loss:.4f}")
        0.3077
    """

    def canonical(*args: Any) -> R:
        # JAX would cut 64-bit labels to 32 bits.
        args = jax.tree.map(checks.clipped, args)
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        as_it_is = partial(jax.core.eval_jaxpr, closed.jaxpr, closed.consts)
        rewritten = _rewrite(closed.jaxpr)
        if rewritten is closed.jaxpr:
            outputs = as_it_is(*leaves)
        else:
            # Chosen when the program is lowered: a TPU program may be compiled on a CPU host.
            outputs = jax.lax.platform_dependent(
                *leaves,
                cpu=partial(jax.core.eval_jaxpr, rewritten, closed.consts),
                default=as_it_is,
            )
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return canonical


def _rewrite(jaxpr: jex.Jaxpr) -> jex.Jaxpr:
    """Replace every convolution that is not canonical, in nested programs too.

    Returns the very same object where there is nothing to replace.
    """
    from jax.extend.core.primitives import conv_general_dilated_p

    equations: list[jex.JaxprEqn] = []
    for equation in jaxpr.eqns:
        if equation.primitive is conv_general_dilated_p:
            equations += _canonical(equation)
            continue
        params = {name: _rewrite_param(value) for name, value in equation.params.items()}
        same = all(params[name] is value for name, value in equation.params.items())
        equations.append(equation if same else equation.replace(params=params))
    same = len(equations) == len(jaxpr.eqns) and all(
        new is old for new, old in zip(equations, jaxpr.eqns, strict=True)
    )
    return jaxpr if same else jaxpr.replace(eqns=equations)


def _rewrite_param(value: Any) -> Any:
    """Rewrite a program that a higher-order primitive (scan, cond, jit, checkpoint) carries."""
    import jax.extend.core as jex

    if isinstance(value, jex.Jaxpr):
        return _rewrite(value)
    if isinstance(value, jex.ClosedJaxpr):
        inner = _rewrite(value.jaxpr)
        return value if inner is value.jaxpr else jex.ClosedJaxpr(inner, value.consts)
    if type(value) in (tuple, list):
        entries = [_rewrite_param(entry) for entry in value]
        same = all(new is old for new, old in zip(entries, value, strict=True))
        return value if same else type(value)(entries)
    return value


def _canonical(equation: jex.JaxprEqn) -> list[jex.JaxprEqn]:
    """Write one convolution as transpositions around a canonical one."""
    numbers = equation.params["dimension_numbers"]
    # A spec lists where (batch, feature, *spatial) of an operand are; the kernel's (out, in, *…).
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    lhs_order = (lhs[0], *lhs[2:], lhs[1])
    rhs_order = (*rhs[2:], rhs[1], rhs[0])
    out_order = (out[0], *out[2:], out[1])
    in_order = tuple(range(len(lhs)))
    if lhs_order == rhs_order == out_order == in_order:
        return [equation]
    options = {k: v for k, v in equation.params.items() if k in _CONVOLUTION_OPTIONS}
    rank = len(lhs)
    channels_last = (0, rank - 1, *range(1, rank - 1))
    canonical_numbers = jax.lax.ConvDimensionNumbers(
        channels_last, (rank - 1, rank - 2, *range(rank - 2)), channels_last
    )

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            jax.lax.transpose(x, lhs_order),
            jax.lax.transpose(kernel, rhs_order),
            dimension_numbers=canonical_numbers,
            **options,
        )
        return jax.lax.transpose(y, tuple(int(i) for i in np.argsort(out_order)))

    inner = jax.make_jaxpr(convolve)(*(v.aval for v in equation.invars)).jaxpr
    rename = dict(zip(inner.invars, equation.invars, strict=True))
    rename |= dict(zip(inner.outvars, equation.outvars, strict=True))
    return [
        e.replace(
            invars=[rename.get(v, v) for v in e.invars],
            outvars=[rename.get(v, v) for v in e.outvars],
            source_info=equation.source_info,
            ctx=equation.ctx,
        )
        for e in inner.eqns
    ]


_CONVOLUTION_OPTIONS = (
    "window_strides",
    "padding",
    "lhs_dilation",
    "rhs_dilation",
    "feature_group_count",
    "batch_group_count",
    "precision",
    "preferred_element_type",
)
