"""What does smooth = 1 do to a small object?

An untrained network predicts nearly the same number at every pixel. Under Dice without smoothing
the best such number is 1: everything is foreground. With the usual smoothing of one pixel and an
object of 20 pixels in 64², the best number is 0: everything is background
([C6](../theory.md#c6)). The best number changes where s(1 − 2π) = 2πT. So a smoothing that does no
harm to a large object may decide what is learnt of a tiny one.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import dice_jax as dj

constant = jnp.logspace(-4, 0, 200)
pixels = 64 * 64


@jax.jit
def loss_of_constant(size, smooth):
    """The loss of predicting one number everywhere, for each number."""
    target = jnp.array([True, False])
    weight = jnp.stack([size, pixels - size])  # two pixels that stand for many
    p = jnp.broadcast_to(constant[:, None], (constant.size, 2))
    y = jnp.broadcast_to(target, p.shape)
    sums = dj.region_sums(p, y, axis=-1, where=jnp.broadcast_to(weight, p.shape))
    return dj.dice_loss(sums, smooth=smooth)


figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, size in zip(axes, (20.0, 400.0), strict=True):
    for smooth, style in ((1e-5, "-"), (0.1, "--"), (1.0, ":")):
        loss = loss_of_constant(jnp.float32(size), jnp.float32(smooth))
        best = int(jnp.argmin(loss))
        (line,) = ax.plot(constant, loss, style, label=f"s = {smooth:g}")
        ax.plot(constant[best], loss[best], "o", color=line.get_color())
    ax.set_xscale("log")
    ax.set(title=f"object of {size:g} pixels in 64²", xlabel="constant prediction")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("Dice loss (dot: its minimum)")
axes[1].legend(frameon=False)
