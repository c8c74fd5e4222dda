"""Which implementation of the pass is used: a choice of the user, which every trace depends on."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import jax

__all__ = ["implementation_in_use", "pass_implementation"]

_NAMES = ("auto", "fused", "kernel")
_VARIABLE = "DICE_JAX_PASS"


def _checked(source: str, name: str) -> str:
    if name not in _NAMES:
        raise ValueError(f'{source} must be "auto", "fused" or "kernel", got {name!r}')
    return name


# A part of the key of JAX's caches: another choice traces anew.
_choice = jax.make_user_context(_checked(_VARIABLE, os.environ.get(_VARIABLE, "auto")))


def implementation_in_use() -> str:
    """Get the choice: ``"auto"``, ``"fused"`` or ``"kernel"``."""
    return str(_choice.value)


def pass_implementation(name: str) -> AbstractContextManager[None]:
    """Choose how losses go over the pixels, inside a ``with`` block.

    The values are the same up to rounding. Functions that were compiled with another choice are
    traced and compiled again. The environment variable ``DICE_JAX_PASS`` chooses for a whole
    program.

    Args:
        name: ``"auto"``: what is fastest on the platform, as far as it was measured; the default.
            ``"fused"``: one expression, which XLA compiles as it likes. ``"kernel"``: on a TPU,
            one Pallas kernel each way, on one chip and inside `jax.shard_map`; what the kernel
            cannot do, and other platforms, go as with ``"auto"``. **Nobody has run the kernel on a
            TPU yet**: it was compiled for a TPU v5e, and interpreted on a CPU. Check it against
            ``"fused"`` before you train with it.

    Returns:
        A context manager.

    Raises:
        ValueError: if there is no implementation of that name.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> logits, labels = jnp.zeros((80, 80, 2)), jnp.zeros((80, 80), jnp.int32)
        >>> with dj.pass_implementation("fused"):
        ...     sums = dj.softmax_region_sums(logits, labels)
        >>> print(sums.prediction)
        [3200. 3200.]
    """
    return _choice(_checked("name", name))
