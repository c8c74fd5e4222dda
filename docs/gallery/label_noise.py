"""What does each loss learn from noisy labels?

Every pixel is foreground with a probability μ that the network can see. Cross-entropy learns μ.
Dice learns a mask: all pixels with μ above D*/2, which is not ½. Squared Dice learns μ, scaled up
and clipped ([C15](../theory.md#c15)). The dots are free logits, trained on labels that are drawn
again at every step. The lines are the closed forms of `dice_jax.analysis`.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import dice_jax as dj
from dice_jax.analysis import cross_entropy_oracle, dice_oracle, squared_dice_oracle

levels, copies = 40, 200
# Rarely sure: most pixels are background.
mu = jnp.linspace(0.01, 0.95, levels) ** 2
cases = {
    "cross-entropy": (dj.binary_cross_entropy_loss, cross_entropy_oracle, 40.0),
    "Dice": (lambda sums: dj.dice_loss(sums, smooth=1e-5), dice_oracle, 150.0),
    "squared Dice": (
        lambda sums: dj.squared_dice_loss(sums, smooth=1e-5),
        squared_dice_oracle,
        80.0,
    ),
}


def train(loss, rate):
    """Gradient descent on one logit per level of μ, each shared by many pixels."""

    def loss_of(z, key):
        y = jax.random.uniform(key, (copies, levels)) < mu
        return loss(dj.sigmoid_region_sums(jnp.broadcast_to(z, y.shape), y))

    def step(z, key):
        return z - rate * jax.grad(loss_of)(z, key), None

    keys = jax.random.split(jax.random.key(0), 600)
    return jax.jit(lambda z: jax.lax.scan(step, z, keys)[0])(jnp.zeros(levels))


figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", sharey=True)
for ax, (name, (loss, oracle, rate)) in zip(axes, cases.items(), strict=True):
    best = oracle(mu)
    ax.plot(mu, best.prediction, color="#2166ac", label="closed form")
    ax.plot(mu, jax.nn.sigmoid(train(loss, rate)), "o", ms=3, color="#b2182b", label="trained")
    ax.plot([0, 1], [0, 1], color="gray", lw=1, ls=":")
    ax.set(title=f"{name} (expects Dice {best.dice:.2f})", xlabel="μ, the chance of foreground")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("prediction")
axes[0].legend(frameon=False)
