"""What the gradient of a loss does: pixel maps, balance, verified statements, a monitor, pictures.

Matplotlib is imported only when `plots` or a picture is first used.
"""

import importlib
from typing import Any

from dice_jax.analysis.direction import GradientComparison as GradientComparison
from dice_jax.analysis.direction import compare_at_parameters as compare_at_parameters
from dice_jax.analysis.direction import compare_gradients as compare_gradients
from dice_jax.analysis.direction import compare_losses as compare_losses
from dice_jax.analysis.direction import suggest_weight as suggest_weight
from dice_jax.analysis.direction import weight_trajectory as weight_trajectory
from dice_jax.analysis.examples import WorkedExample as WorkedExample
from dice_jax.analysis.examples import article_examples as article_examples
from dice_jax.analysis.examples import untrained_prediction as untrained_prediction
from dice_jax.analysis.examples import worked_example as worked_example
from dice_jax.analysis.gradient import dice_pixel_gradient as dice_pixel_gradient
from dice_jax.analysis.gradient import pixel_gradient as pixel_gradient
from dice_jax.analysis.images import as_mask as as_mask
from dice_jax.analysis.images import as_probabilities as as_probabilities
from dice_jax.analysis.images import read_mask as read_mask
from dice_jax.analysis.images import read_prediction as read_prediction
from dice_jax.analysis.landscapes import Landscape as Landscape
from dice_jax.analysis.landscapes import SizeCurve as SizeCurve
from dice_jax.analysis.landscapes import SmoothingCurve as SmoothingCurve
from dice_jax.analysis.landscapes import curvature_spectrum as curvature_spectrum
from dice_jax.analysis.landscapes import hessian_vector_product as hessian_vector_product
from dice_jax.analysis.landscapes import landscape as landscape
from dice_jax.analysis.landscapes import size_curve as size_curve
from dice_jax.analysis.landscapes import smoothing_curve as smoothing_curve
from dice_jax.analysis.monitor import Alarm as Alarm
from dice_jax.analysis.monitor import GradientReport as GradientReport
from dice_jax.analysis.monitor import LossReport as LossReport
from dice_jax.analysis.monitor import gradient_monitor as gradient_monitor
from dice_jax.analysis.monitor import monitor_metrics as monitor_metrics
from dice_jax.images.files import ImageFile as ImageFile
from dice_jax.images.files import image_suffix as image_suffix
from dice_jax.images.files import read_image as read_image
from dice_jax.sums.balance import GradientBalance as GradientBalance
from dice_jax.sums.balance import gradient_balance as gradient_balance
from dice_jax.theory.best_constants import (
    balanced_cross_entropy_best_constant as balanced_cross_entropy_best_constant,
)
from dice_jax.theory.best_constants import (
    cross_entropy_best_constant as cross_entropy_best_constant,
)
from dice_jax.theory.best_constants import dice_best_constant as dice_best_constant
from dice_jax.theory.best_constants import (
    dice_cross_entropy_best_constant as dice_cross_entropy_best_constant,
)
from dice_jax.theory.best_constants import squared_dice_best_constant as squared_dice_best_constant
from dice_jax.theory.best_constants import tversky_best_constant as tversky_best_constant
from dice_jax.theory.closed_forms.escape import (
    cross_entropy_escape_time as cross_entropy_escape_time,
)
from dice_jax.theory.closed_forms.escape import dice_escape_time as dice_escape_time
from dice_jax.theory.closed_forms.escape import escape_crossing as escape_crossing
from dice_jax.theory.closed_forms.gradients import (
    cross_entropy_thresholds as cross_entropy_thresholds,
)
from dice_jax.theory.closed_forms.gradients import dice_gradient_values as dice_gradient_values
from dice_jax.theory.closed_forms.gradients import empty_mask_dice as empty_mask_dice
from dice_jax.theory.closed_forms.gradients import gradient_ratio as gradient_ratio
from dice_jax.theory.closed_forms.gradients import late_phase_factors as late_phase_factors
from dice_jax.theory.closed_forms.gradients import log_cosh_factor as log_cosh_factor
from dice_jax.theory.closed_forms.gradients import power_factor as power_factor
from dice_jax.theory.closed_forms.gradients import (
    squared_dice_gradient_ratio as squared_dice_gradient_ratio,
)
from dice_jax.theory.closed_forms.gradients import (
    squared_dice_gradient_values as squared_dice_gradient_values,
)
from dice_jax.theory.closed_forms.gradients import (
    tversky_gradient_values as tversky_gradient_values,
)
from dice_jax.theory.closed_forms.hessians import dice_curvatures as dice_curvatures
from dice_jax.theory.closed_forms.hessians import dice_hessian as dice_hessian
from dice_jax.theory.closed_forms.masses import cross_entropy_mass_ratio as cross_entropy_mass_ratio
from dice_jax.theory.closed_forms.masses import dice_foreground_mass as dice_foreground_mass
from dice_jax.theory.closed_forms.masses import dice_mass_ratio as dice_mass_ratio
from dice_jax.theory.closed_forms.masses import squared_dice_mass_ratio as squared_dice_mass_ratio
from dice_jax.theory.closed_forms.masses import (
    two_class_dice_mass_ratio as two_class_dice_mass_ratio,
)
from dice_jax.theory.closed_forms.pooling import batch_size_bias as batch_size_bias
from dice_jax.theory.closed_forms.pooling import volume_bounds as volume_bounds
from dice_jax.theory.optima import Oracle as Oracle
from dice_jax.theory.optima import break_even_odds as break_even_odds
from dice_jax.theory.optima import cross_entropy_oracle as cross_entropy_oracle
from dice_jax.theory.optima import dice_calibration_error as dice_calibration_error
from dice_jax.theory.optima import dice_oracle as dice_oracle
from dice_jax.theory.optima import empty_image_oracle as empty_image_oracle
from dice_jax.theory.optima import per_image_dice_oracle as per_image_dice_oracle
from dice_jax.theory.optima import self_adjusting_peak as self_adjusting_peak
from dice_jax.theory.optima import squared_dice_oracle as squared_dice_oracle
from dice_jax.theory.statements import MYTHS as MYTHS
from dice_jax.theory.statements import NOTATION as NOTATION
from dice_jax.theory.statements import STATEMENTS as STATEMENTS
from dice_jax.theory.statements import Myth as Myth
from dice_jax.theory.statements import Statement as Statement
from dice_jax.theory.statements import theory_markdown as theory_markdown
from dice_jax.theory.verify import ClaimResult as ClaimResult
from dice_jax.theory.verify import verify_claims as verify_claims


def __getattr__(name: str) -> Any:
    # The pictures need an extra, so they are imported when they are first asked for.
    if name == "plots":
        return importlib.import_module("dice_jax.analysis.plots")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
