"""The pictures of a study, each a function of a `Tier`; nothing here trains or writes.

A picture of something that no run holds is ``None``.
"""

from experiments.plots.dice import dice_against_fraction as dice_against_fraction
from experiments.plots.dice import differences as differences
from experiments.plots.gradients import examples as examples
from experiments.plots.gradients import gradient_ratio as gradient_ratio
from experiments.plots.gradients import gradient_share as gradient_share
from experiments.plots.gradients import trajectories as trajectories
from experiments.plots.pixels import reliability as reliability
from experiments.plots.pixels import size_recall as size_recall
from experiments.plots.scores import constants as constants
from experiments.plots.scores import empties as empties
from experiments.plots.scores import surfaces as surfaces
from experiments.plots.scores import volume_bias as volume_bias
from experiments.plots.training import learning_curves as learning_curves
from experiments.plots.training import learning_rates as learning_rates
