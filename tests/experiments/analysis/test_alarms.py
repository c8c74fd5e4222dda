"""The table of alarms, of a run that collapses, one that recovers and one that never alarms."""

import pandas as pd

from experiments.analysis.alarms import alarm_table
from tests.experiments.made import made_entry, made_run, study

# Mean p over the foreground and over the background, and soft Dice.
COURSES = {
    "collapses": [(0.9, 0.01, 0.4), (1e-4, 1e-4, 1e-4), (1e-6, 1e-5, 1e-6), (1e-9, 1e-6, 1e-9)],
    "recovers": [(0.9, 0.01, 0.4), (1e-5, 1e-5, 1e-5), (0.5, 0.01, 0.3), (0.9, 0.01, 0.5)],
    "never": [(0.9, 0.01, 0.4)] * 4,
}


def test_the_steps_of_the_alarm_and_of_the_collapse():
    results = [
        made_run(
            study(),
            "dice",
            0.05,
            seed,
            history=[
                made_entry(
                    step,
                    soft_dice=dice,
                    mean_probability_foreground=p,
                    mean_probability_background=q,
                )
                for step, (p, q, dice) in enumerate(course)
            ],
        )
        for seed, course in enumerate(COURSES.values())
    ]
    # At 5 % foreground and p = 1e-4 everywhere, Dice pulls 0.004 times as hard as cross-entropy.
    expected = pd.DataFrame(
        {"seed": [0, 1, 2], "lost": [1, -1, -1], "alarm": [1, 1, -1], "dead": [3, -1, -1]}
    )
    found = alarm_table([*results, made_run(study(), "dice+bce", 0.05, 0)])
    pd.testing.assert_frame_equal(found.drop(columns="loss"), expected)
