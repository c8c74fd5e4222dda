"""The rows that show what the gradient monitor costs beside a U-Net's training step."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from benchmarks.contenders.jax_programs import figures
from benchmarks.harness.case import Builder, Case, Contender, Family, Result, Settings, Unavailable

__all__ = ["MONITOR", "monitor_case"]

# The losses that a training run would watch. The dictionary is made once, as the monitor asks.
_WATCHED = {"dice": dj.dice_loss, "bce": dj.binary_cross_entropy_loss}


def _step(shape: tuple[int, int, int], *, watched: bool) -> Builder:
    def build() -> Contender:
        for library in ("flax", "optax"):
            if importlib.util.find_spec(library) is None:
                raise Unavailable(f"{library} is not installed: pip install 'dice_jax[benchmarks]'")
        import optax
        from flax import nnx

        from experiments.learning.models import initialise

        graph, params = initialise("unet", 0)
        optimizer = optax.adam(1e-3)
        rng = np.random.default_rng(0)
        masks = rng.random(shape) < 0.05
        images = (masks + rng.normal(size=shape)).astype(np.float32)

        def step(params: Any, state: Any, images: jax.Array, masks: jax.Array) -> Any:
            def loss_fn(params: Any) -> tuple[jax.Array, jax.Array]:
                logits = nnx.merge(graph, params)(images)
                sums = dj.sigmoid_region_sums(logits, masks)
                return dj.dice_loss(sums) + dj.binary_cross_entropy_loss(sums), logits

            (loss, logits), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
            if not watched:
                return loss, params, state
            # XLA would remove a report that is not returned.
            return loss, params, state, dj.analysis.gradient_monitor(_WATCHED, logits, masks)

        arguments = (params, optimizer.init(params), jnp.asarray(images), jnp.asarray(masks))
        compiled = jax.jit(step).lower(*arguments).compile()

        def result() -> Result:
            loss, params, *_ = compiled(*arguments)
            leaves = [np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(params)]
            return float(loss), np.concatenate(leaves)

        return Contender(
            call=lambda: jax.block_until_ready(compiled(*arguments)),
            result=result,
            figures=figures(compiled),
        )

    return build


def monitor_case(name: str, shape: tuple[int, int, int]) -> Case:
    """Put a training step beside the same step with a monitor of two losses.

    Args:
        name: of the row.
        shape: of the batch, [B, H, W].

    Returns:
        The row. What is checked is the loss and the parameters after the step.
    """
    builders: dict[str, Builder] = {
        "step": _step(shape, watched=False),
        "step with the monitor": _step(shape, watched=True),
    }
    work = f"a U-Net's step, {'×'.join(map(str, shape))}, Dice and BCE watched"
    return Case(name=name, work=work, builders=builders, ours=("step with the monitor",))


def _cases(settings: Settings) -> Sequence[Case]:
    if settings.quick:
        return [monitor_case("monitor-unet-64", (16, 64, 64))]
    return [
        monitor_case("monitor-unet-64", (16, 64, 64)),
        monitor_case("monitor-unet-256", (4, 256, 256)),
    ]


MONITOR = Family("monitor", "The gradient monitor beside a U-Net's training step", _cases)
