"""Which gradient does each pixel get?

With respect to the probabilities, the gradient of Dice has only two values in the whole image: one
at all foreground pixels and one at all background pixels ([C1](../theory.md#c1)). At the logits it
is multiplied by p(1 − p). So a pixel of which the network is sure gets almost no gradient, whether
the network is right there or wrong. The gradient of cross-entropy at the logits is p − y: it is
largest where the network is most wrong.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import dice_jax as dj
from dice_jax.analysis import pixel_gradient, plots

rows, columns = jnp.mgrid[:48, :48]
mask = (rows - 20) ** 2 + (columns - 28) ** 2 < 120
# A network that has found half of the object and sees something else in a corner.
logits = 3 - 0.25 * jnp.hypot(rows - 26.0, columns - 32.0)
logits = jnp.where((rows > 38) & (columns < 10), 3.0, logits)
p = jax.nn.sigmoid(logits)

figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
plots.matrix(p, ax=axes[0], title="prediction (outline: label)")
axes[0].contour(mask, [0.5], colors="white")
at_logits = {"sums": dj.sigmoid_region_sums}
plots.gradient_map(
    pixel_gradient(dj.dice_loss, p, mask), ax=axes[1], title="Dice, with respect to p"
)
plots.gradient_map(
    pixel_gradient(dj.dice_loss, logits, mask, **at_logits), ax=axes[2], title="Dice, at the logits"
)
bce = pixel_gradient(dj.binary_cross_entropy_loss, logits, mask, **at_logits)
plots.gradient_map(bce, ax=axes[3], title="cross-entropy, at the logits")
