"""What the gradient of a loss does: pixel maps, balance, verified statements, a monitor, pictures.

Nothing here imports Matplotlib, Flax or Optax until it is asked for.
"""

from dice_jax.analysis.balance import GradientBalance as GradientBalance
from dice_jax.analysis.balance import gradient_balance as gradient_balance
from dice_jax.analysis.balance import gradient_ratio as gradient_ratio
from dice_jax.analysis.gradient import dice_pixel_gradient as dice_pixel_gradient
from dice_jax.analysis.gradient import pixel_gradient as pixel_gradient
