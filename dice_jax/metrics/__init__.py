"""Evaluation: metrics of hard sums, of surfaces, of probabilities and of objects.

`dice_jax.dice_index` and the other indices are metrics when their sums are of a hard mask. What is
here stands beside them. A metric of regions comes with the regions that were there (`Scores`), so
that a "1 for nothing there, nothing claimed" never lifts a mean unseen.
"""

from dice_jax.metrics.objects import InstanceCounts as InstanceCounts
from dice_jax.metrics.objects import instance_counts as instance_counts
from dice_jax.metrics.objects import instance_f1 as instance_f1
from dice_jax.metrics.overlaps import f_beta as f_beta
from dice_jax.metrics.overlaps import precision as precision
from dice_jax.metrics.overlaps import recall as recall
from dice_jax.metrics.overlaps import specificity as specificity
from dice_jax.metrics.overlaps import volume_bias as volume_bias
from dice_jax.metrics.probabilities import Calibration as Calibration
from dice_jax.metrics.probabilities import average_precision as average_precision
from dice_jax.metrics.probabilities import best_threshold as best_threshold
from dice_jax.metrics.probabilities import brier_score as brier_score
from dice_jax.metrics.probabilities import calibration as calibration
from dice_jax.metrics.probabilities import expected_calibration_error as expected_calibration_error
from dice_jax.metrics.scores import Average as Average
from dice_jax.metrics.scores import Scores as Scores
from dice_jax.metrics.scores import of_regions as of_regions
from dice_jax.metrics.surfaces import average_surface_distance as average_surface_distance
from dice_jax.metrics.surfaces import hausdorff_distance as hausdorff_distance
from dice_jax.metrics.surfaces import surface_dice as surface_dice
