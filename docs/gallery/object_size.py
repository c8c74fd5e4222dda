"""Does one Dice per image treat small and large objects alike?

Only at the end. While the prediction is still ½ everywhere, the gradient mass on a small object
is far below that on a large one; once the overlap is good, both have ½
([C21](../theory.md#c21)). Cross-entropy's mass on an object, for comparison, is proportional to
its size all the way.
"""

import jax.numpy as jnp
import matplotlib.pyplot as plt

import dice_jax as dj
from dice_jax.analysis import size_curve

sizes = jnp.logspace(0.5, 4, 60)
moments = {"start: ½ everywhere": (0.5, 0.5), "on its way": (0.7, 0.02), "end": (0.99, 1e-6)}

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
