"""Evaluation: metrics of hard sums, of surfaces, of probabilities and of objects.

`dice_jax.dice_index` and the other indices are metrics when their sums are of a hard mask. What is
here stands beside them. One rule says what a function returns:

* A metric returns `Scores`: one value per region, and whether the region had anything to measure.
  A "1 because nothing was there and nothing was found" does not raise a mean unseen.
* What adds up over batches is a dataclass of sums with ``+`` (`Average`, `Calibration`,
  `ConfusionCounts`, `InstanceCounts`) or an array of counts (`confusion_matrix`). Its properties
  are plain numbers or arrays.
* `class_sums` makes the sums that the metrics of several classes take.
* What is not a metric (`best_threshold`, `dice_optimal_mask`, `top_label`,
  `image_diagonal`) returns arrays or numbers.
"""

from typing import Any

from dice_jax.metrics.confusion import ConfusionCounts as ConfusionCounts
from dice_jax.metrics.confusion import accuracy as accuracy
from dice_jax.metrics.confusion import balanced_accuracy as balanced_accuracy
from dice_jax.metrics.confusion import class_sums as class_sums
from dice_jax.metrics.confusion import confusion_counts as confusion_counts
from dice_jax.metrics.confusion import confusion_matrix as confusion_matrix
from dice_jax.metrics.confusion import negative_predictive_value as negative_predictive_value
from dice_jax.metrics.objects import InstanceCounts as InstanceCounts
from dice_jax.metrics.objects import instance_average_precision as instance_average_precision
from dice_jax.metrics.objects import instance_counts as instance_counts
from dice_jax.metrics.objects import instance_f1 as instance_f1
from dice_jax.metrics.objects import panoptic_quality as panoptic_quality
from dice_jax.metrics.overlaps import absolute_volume_difference as absolute_volume_difference
from dice_jax.metrics.overlaps import f_beta as f_beta
from dice_jax.metrics.overlaps import precision as precision
from dice_jax.metrics.overlaps import recall as recall
from dice_jax.metrics.overlaps import specificity as specificity
from dice_jax.metrics.overlaps import volume_bias as volume_bias
from dice_jax.metrics.rankings import average_precision as average_precision
from dice_jax.metrics.rankings import best_threshold as best_threshold
from dice_jax.metrics.rankings import dice_optimal_mask as dice_optimal_mask
from dice_jax.metrics.rankings import roc_auc as roc_auc
from dice_jax.metrics.reliability import Calibration as Calibration
from dice_jax.metrics.reliability import adaptive_calibration_error as adaptive_calibration_error
from dice_jax.metrics.reliability import brier_score as brier_score
from dice_jax.metrics.reliability import calibration as calibration
from dice_jax.metrics.reliability import expected_calibration_error as expected_calibration_error
from dice_jax.metrics.reliability import maximum_calibration_error as maximum_calibration_error
from dice_jax.metrics.reliability import top_label as top_label
from dice_jax.metrics.scores import Average as Average
from dice_jax.metrics.scores import Scores as Scores
from dice_jax.metrics.scores import of_regions as of_regions
from dice_jax.metrics.skeletons import centreline_dice as centreline_dice
from dice_jax.metrics.surface_elements import (
    area_weighted_hausdorff_distance as area_weighted_hausdorff_distance,
)
from dice_jax.metrics.surface_elements import (
    area_weighted_surface_dice as area_weighted_surface_dice,
)
from dice_jax.metrics.surface_elements import (
    area_weighted_surface_distance as area_weighted_surface_distance,
)
from dice_jax.metrics.surfaces import average_surface_distance as average_surface_distance
from dice_jax.metrics.surfaces import directed_hausdorff_distance as directed_hausdorff_distance
from dice_jax.metrics.surfaces import directed_surface_distance as directed_surface_distance
from dice_jax.metrics.surfaces import hausdorff_distance as hausdorff_distance
from dice_jax.metrics.surfaces import image_diagonal as image_diagonal
from dice_jax.metrics.surfaces import medpy_assd as medpy_assd
from dice_jax.metrics.surfaces import medpy_hd95 as medpy_hd95
from dice_jax.metrics.surfaces import surface_dice as surface_dice


def __getattr__(name: str) -> Any:
    from dice_jax._core.hints import missing_name

    raise missing_name(__name__, name, globals())
