"""Experiments: Dice, cross-entropy and related losses on imbalanced segmentation.

In a notebook, one call trains or resumes a study and returns its summary:

    from experiments import compare
    table = compare(losses=["bce", "dice"], fractions=[0.05, 0.01], out="runs/notebook")

The rooms are images, learning, runs, analysis and reporting; each may import those before it.
"""

from experiments.api import compare as compare
from experiments.api import contrasts as contrasts
from experiments.api import figures as figures
from experiments.api import findings as findings
from experiments.api import predictions as predictions
from experiments.api import summary as summary
