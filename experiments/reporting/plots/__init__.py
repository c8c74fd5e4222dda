"""The pictures of a study, each a function of a `ModelRuns`; they neither train nor write.

A function returns ``None`` if no run holds what it shows.
"""

from experiments.reporting.plots.dice import class_scores as class_scores
from experiments.reporting.plots.dice import collapses as collapses
from experiments.reporting.plots.dice import dice_against_fraction as dice_against_fraction
from experiments.reporting.plots.dice import differences as differences
from experiments.reporting.plots.gradients import examples as examples
from experiments.reporting.plots.gradients import gradient_ratio as gradient_ratio
from experiments.reporting.plots.gradients import gradient_share as gradient_share
from experiments.reporting.plots.gradients import trajectories as trajectories
from experiments.reporting.plots.pixels import reliability as reliability
from experiments.reporting.plots.pixels import size_recall as size_recall
from experiments.reporting.plots.scores import constants as constants
from experiments.reporting.plots.scores import empties as empties
from experiments.reporting.plots.scores import surfaces as surfaces
from experiments.reporting.plots.scores import volume_bias as volume_bias
from experiments.reporting.plots.strip import strip as strip
from experiments.reporting.plots.training import learning_curves as learning_curves
from experiments.reporting.plots.training import learning_rates as learning_rates
