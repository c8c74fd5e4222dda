"""Does Dice up-weight the foreground throughout training?

No. The gradient at a foreground pixel is 2/D − 1 times as large as that at a background pixel
([C1](../theory.md#c1)). This ratio is large at the start and falls towards 1 as the overlap grows.
Here a linear model learns a noisy disk with Dice. On the right: the weight b at which b times
cross-entropy has as large a gradient as Dice. It is not constant either ([C12](../theory.md#c12)).
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import dice_jax as dj
from dice_jax.analysis import gradient_ratio, weight_trajectory

rows, columns = jnp.mgrid[:48, :48]
mask = (rows - 20) ** 2 + (columns - 28) ** 2 < 40
image = mask + 0.25 * jax.random.normal(jax.random.key(0), mask.shape)


def logits_of(weights):
    """One slope and one bias for every pixel."""
    return weights[0] * image + weights[1]


def loss_of(weights):
    """The Dice loss of the whole image."""
    return dj.dice_loss(dj.sigmoid_region_sums(logits_of(weights), mask), smooth=1e-5)


def step(weights, _):
    """One step of gradient descent, and the logits before it."""
    return weights - 8 * jax.grad(loss_of)(weights), logits_of(weights)


_, logits = jax.lax.scan(step, jnp.array([0.0, -1.0]), length=300)
sums = jax.vmap(lambda z: dj.sigmoid_region_sums(z, mask))(logits)
weights = weight_trajectory(dj.dice_loss, dj.binary_cross_entropy_loss, logits, mask)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
figure.set_layout_engine("constrained", wspace=0.1)
left.semilogy(gradient_ratio(sums, smooth=1e-5), color="#2166ac", label="|g₊| / |g₋| = 2/D − 1")
left.axhline(1, color="gray", lw=1, ls=":")
left.set(xlabel="step", ylabel="ratio of the gradients")
index = left.twinx()
index.plot(dj.dice_index(sums), color="#b2182b", ls="--", label="soft Dice")
index.set(ylim=(0, 1), ylabel="Dice index")
lines = left.get_lines()[:1] + index.get_lines()
left.legend(lines, [line.get_label() for line in lines], frameon=False, loc="center right")
right.semilogy(weights, color="#2166ac")
right.set(xlabel="step", ylabel="b at which b·CE and Dice are equal")
right.spines[["top", "right"]].set_visible(False)
