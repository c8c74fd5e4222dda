"""Experiments: Dice against cross-entropy and their kin on imbalanced segmentation.

From a notebook, one call trains (or takes up) a study and returns its summary:

    from experiments import compare
    table = compare(losses=["bce", "dice"], fractions=[0.05, 0.01], out="runs/notebook")

The rooms, each of which knows those before it: images, learning, runs, analysis, reporting.
"""

from experiments.api import compare as compare
from experiments.api import figures as figures
from experiments.api import findings as findings
from experiments.api import predictions as predictions
from experiments.api import summary as summary
