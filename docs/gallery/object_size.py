"""Does one Dice per image treat small and large objects alike?

Only at the end. The gradient mass on an object is the sum of |gradient| over its pixels. While the
prediction is ½ everywhere, it is far smaller for a small object than for a large one. Once the
overlap is good, it is ½ for both ([C21](../theory.md#c21)). For comparison: under cross-entropy the
mass on an object is proportional to its size throughout training.
"""

import jax.numpy as jnp
import matplotlib.pyplot as plt

import dice_jax as dj
from dice_jax.analysis import size_curve

sizes = jnp.logspace(0.5, 4, 60)
moments = {"start: ½ everywhere": (0.5, 0.5), "midway": (0.7, 0.02), "end": (0.99, 1e-6)}

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharex=True)
losses = {
    "Dice": lambda sums: dj.dice_loss(sums, smooth=1e-5),
    "cross-entropy": dj.binary_cross_entropy_loss,
}
for ax, (name, loss) in zip(axes, losses.items(), strict=True):
    for moment, (foreground, background) in moments.items():
        curve = size_curve(loss, sizes, foreground=foreground, background=background)
        ax.loglog(curve.size, curve.foreground_mass, label=moment)
    ax.set(title=name, xlabel="object size in 256², pixels", ylabel="gradient mass on the object")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False)
