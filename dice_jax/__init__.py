"""Overlap losses for JAX: a Dice loss is a function of a few sums."""

import importlib
from typing import TYPE_CHECKING, Any

from dice_jax import metrics as metrics
from dice_jax._pass.choice import pass_implementation as pass_implementation
from dice_jax.images.components import label_components as label_components
from dice_jax.images.components import voronoi_regions as voronoi_regions
from dice_jax.images.distance import distance_transform as distance_transform
from dice_jax.images.distance import signed_distance as signed_distance
from dice_jax.images.skeleton import soft_skeleton as soft_skeleton
from dice_jax.losses.boundary import BoundarySums as BoundarySums
from dice_jax.losses.boundary import HausdorffDistanceSums as HausdorffDistanceSums
from dice_jax.losses.boundary import boundary_loss as boundary_loss
from dice_jax.losses.boundary import boundary_sums as boundary_sums
from dice_jax.losses.boundary import hausdorff_distance_loss as hausdorff_distance_loss
from dice_jax.losses.boundary import hausdorff_distance_sums as hausdorff_distance_sums
from dice_jax.losses.cldice import ClDiceSums as ClDiceSums
from dice_jax.losses.cldice import cldice_loss as cldice_loss
from dice_jax.losses.cldice import cldice_sums as cldice_sums
from dice_jax.losses.correlation import matthews_loss as matthews_loss
from dice_jax.losses.indices import dice_index as dice_index
from dice_jax.losses.indices import generalized_dice_index as generalized_dice_index
from dice_jax.losses.indices import jaccard_index as jaccard_index
from dice_jax.losses.indices import squared_dice_index as squared_dice_index
from dice_jax.losses.indices import tversky_index as tversky_index
from dice_jax.losses.lovasz import lovasz_hinge_loss as lovasz_hinge_loss
from dice_jax.losses.lovasz import lovasz_softmax_loss as lovasz_softmax_loss
from dice_jax.losses.means import safe_mean as safe_mean
from dice_jax.losses.overlap import binary_cross_entropy_loss as binary_cross_entropy_loss
from dice_jax.losses.overlap import cross_entropy_loss as cross_entropy_loss
from dice_jax.losses.overlap import dice_loss as dice_loss
from dice_jax.losses.overlap import (
    exponential_logarithmic_dice_loss as exponential_logarithmic_dice_loss,
)
from dice_jax.losses.overlap import focal_tversky_loss as focal_tversky_loss
from dice_jax.losses.overlap import generalized_dice_loss as generalized_dice_loss
from dice_jax.losses.overlap import jaccard_loss as jaccard_loss
from dice_jax.losses.overlap import log_cosh_dice_loss as log_cosh_dice_loss
from dice_jax.losses.overlap import log_dice_loss as log_dice_loss
from dice_jax.losses.overlap import squared_dice_loss as squared_dice_loss
from dice_jax.losses.overlap import tversky_loss as tversky_loss
from dice_jax.losses.pixelwise import UnifiedFocalSums as UnifiedFocalSums
from dice_jax.losses.pixelwise import softmax_focal_loss as softmax_focal_loss
from dice_jax.losses.pixelwise import top_k_cross_entropy_loss as top_k_cross_entropy_loss
from dice_jax.losses.pixelwise import unified_focal_loss as unified_focal_loss
from dice_jax.losses.pixelwise import unified_focal_sums as unified_focal_sums
from dice_jax.losses.powers import DicePlusPlusSums as DicePlusPlusSums
from dice_jax.losses.powers import NoiseRobustDiceSums as NoiseRobustDiceSums
from dice_jax.losses.powers import SelfAdjustingDiceSums as SelfAdjustingDiceSums
from dice_jax.losses.powers import SensitivitySpecificitySums as SensitivitySpecificitySums
from dice_jax.losses.powers import dice_plus_plus_loss as dice_plus_plus_loss
from dice_jax.losses.powers import dice_plus_plus_sums as dice_plus_plus_sums
from dice_jax.losses.powers import noise_robust_dice_loss as noise_robust_dice_loss
from dice_jax.losses.powers import noise_robust_dice_sums as noise_robust_dice_sums
from dice_jax.losses.powers import self_adjusting_dice_loss as self_adjusting_dice_loss
from dice_jax.losses.powers import self_adjusting_dice_sums as self_adjusting_dice_sums
from dice_jax.losses.powers import sensitivity_specificity_loss as sensitivity_specificity_loss
from dice_jax.losses.powers import sensitivity_specificity_sums as sensitivity_specificity_sums
from dice_jax.losses.soft_labels import dice_semimetric_loss as dice_semimetric_loss
from dice_jax.losses.soft_labels import jaccard_metric_loss as jaccard_metric_loss
from dice_jax.losses.supervision import deep_supervision as deep_supervision
from dice_jax.losses.wasserstein import WassersteinDiceSums as WassersteinDiceSums
from dice_jax.losses.wasserstein import (
    balanced_wasserstein_dice_loss as balanced_wasserstein_dice_loss,
)
from dice_jax.losses.wasserstein import (
    generalized_wasserstein_dice_loss as generalized_wasserstein_dice_loss,
)
from dice_jax.losses.wasserstein import (
    generalized_wasserstein_dice_sums as generalized_wasserstein_dice_sums,
)
from dice_jax.sums.accumulation import (
    accumulated_value_and_grad as accumulated_value_and_grad,
)
from dice_jax.sums.additive import AdditiveSums as AdditiveSums
from dice_jax.sums.additive import concatenate_sums as concatenate_sums
from dice_jax.sums.convolutions import (
    with_canonical_convolutions as with_canonical_convolutions,
)
from dice_jax.sums.head import linear_sigmoid_region_sums as linear_sigmoid_region_sums
from dice_jax.sums.head import linear_softmax_region_sums as linear_softmax_region_sums
from dice_jax.sums.instances import instance_region_sums as instance_region_sums
from dice_jax.sums.region import RegionSums as RegionSums
from dice_jax.sums.region import region_sums as region_sums
from dice_jax.sums.region import sigmoid_region_sums as sigmoid_region_sums
from dice_jax.sums.region import softmax_region_sums as softmax_region_sums
from dice_jax.sums.streaming import pad_piece as pad_piece
from dice_jax.sums.streaming import streamed_value_and_grad as streamed_value_and_grad

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dice_jax import analysis as analysis


def __getattr__(name: str) -> Any:
    # No training step needs it to start, and it is half of what importing all would cost.
    if name == "analysis":
        return importlib.import_module("dice_jax.analysis")
    from dice_jax._core.hints import missing_name

    raise missing_name(__name__, name, __dir__())


def __dir__() -> list[str]:
    return sorted({*globals(), "analysis"} - {"Any", "TYPE_CHECKING", "importlib"})
