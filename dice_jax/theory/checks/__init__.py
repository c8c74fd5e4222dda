"""How each statement is tested: the library's own gradients against the formulas, in NumPy."""

from __future__ import annotations

from collections.abc import Callable

from dice_jax.theory.checks import dynamics, gradient, optima, pooling, variants
from dice_jax.theory.problems import CheckLog, Problems

__all__ = ["CHECKS"]

# The check of every statement: a new one needs a line here.
CHECKS: dict[str, Callable[[Problems, CheckLog], None]] = {
    "C1": gradient.gradient_values,
    "C2": gradient.article_chain,
    "C3": gradient.one_direction,
    "C4": gradient.smoothing,
    "C5": dynamics.gradient_mass,
    "C6": optima.best_constant,
    "C7": dynamics.share_at_rest,
    "C8": gradient.perfect_prediction,
    "C9": variants.identities,
    "C10": variants.squared_dice,
    "C11": dynamics.saturation,
    "C12": dynamics.late_phase,
    "C13": gradient.curvature,
    "C14": optima.soft_labels,
    "C15": optima.label_noise,
    "C16": optima.empty_mask,
    "C17": variants.absent_class,
    "C18": variants.tversky,
    "C19": variants.outer_functions,
    "C20": variants.self_adjusting_dice,
    "C21": dynamics.object_size,
    "C22": gradient.coupled_pixels,
    "C23": dynamics.adam,
    "C24": pooling.background_class,
    "C25": dynamics.with_cross_entropy,
    "C26": optima.calibration,
    "C27": optima.volume,
    "C28": pooling.pooled_images,
    "C29": pooling.batch_size,
    "C30": optima.per_image_optimum,
}
