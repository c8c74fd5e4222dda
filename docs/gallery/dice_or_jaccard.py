"""Dice or Jaccard?

Within one region, all functions of the Dice index have gradients of the same direction, at the
logits and at the parameters ([C3](../theory.md#c3)). So Jaccard (with half the smoothing), log-Dice
and powers of the Dice loss differ from Dice only in the step size. Squared Dice, Tversky and
cross-entropy have gradients of other directions.
"""

from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import dice_jax as dj
from dice_jax.analysis import compare_gradients, pixel_gradient

losses = {
    "Dice": dj.dice_loss,
    "Jaccard, s/2": partial(dj.jaccard_loss, smooth=0.5),
    "log-Dice": dj.log_dice_loss,
    "log-cosh Dice": dj.log_cosh_dice_loss,
    "squared Dice": dj.squared_dice_loss,
    "Tversky 0.3/0.7": partial(dj.tversky_loss, alpha=0.3, beta=0.7),
    "cross-entropy": dj.binary_cross_entropy_loss,
}
key_y, key_z = jax.random.split(jax.random.key(0))
y = jax.random.uniform(key_y, (64, 64)) < 0.1
z = 2 * jax.random.normal(key_z, y.shape) + jnp.where(y, 1.0, -2.0)

at_logits = {"sums": dj.sigmoid_region_sums}
pulls = [pixel_gradient(loss, z, y, **at_logits) for loss in losses.values()]
cosines = jnp.array([[compare_gradients(a, b).cosine for b in pulls] for a in pulls])

figure, ax = plt.subplots(figsize=(6.2, 5), layout="constrained")
image = ax.imshow(cosines, cmap="viridis", vmin=min(0.5, float(cosines.min())), vmax=1)
for row in range(len(losses)):
    for column in range(len(losses)):
        value = float(cosines[row, column])
        ax.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="black" if value > 0.8 else "white",
        )
ax.set_xticks(range(len(losses)), list(losses), rotation=40, ha="right")
ax.set_yticks(range(len(losses)), list(losses))
figure.colorbar(image, ax=ax, label="cosine of the gradients at the logits", shrink=0.8)
