"""Made-up runs whose answer is known, as a study would have written them."""

import numpy as np

from experiments.analysis.model_runs import ModelRuns
from experiments.config import StudyConfig

SPREAD = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])


def study(**changes):
    settings = {"losses": ("bce", "dice"), "fractions": (0.05,), "seeds": 7, "model": "unet"}
    return StudyConfig(**(settings | changes))


def made_entry(step, **changes):
    """A logged step with p = ½ everywhere and π = 0.05."""
    entry = {
        "step": step, "loss": 0.5, "dice": 0.4, "soft_dice": 1 / 11,
        "foreground_share_probability": 0.5, "foreground_share_logit": 0.5,
        "gradient_ratio": 21.0, "gradient_ratio_dice": 21.0,
        "mean_probability_foreground": 0.5, "mean_probability_background": 0.5,
        "foreground_fraction": 0.05,
    }  # fmt: skip
    return entry | changes


def made_start():
    """The first step of Dice in probability space and of BCE at the logits, as C5 has it."""
    ratio = 1 + 2 / 19
    return made_entry(
        0, foreground_share_probability=ratio / (1 + ratio), foreground_share_logit=0.05
    )


def made_rest(share=0.5):
    """A run that ends where the gradient is 0."""
    return [made_start(), made_entry(1, foreground_share_logit=share, gradient_norm=1e-9)]


def made_run(
    config, loss, fraction, seed, *, status="finished", history=None, extra=None, **scores
):
    """A run; a score of a run that diverged is null."""
    images = np.random.default_rng(seed).normal(0, 0.02, 12)
    metrics = {
        "dice": 0.8, "dice_tuned": 0.8, "threshold_tuned": 0.4, "average_precision": 0.9,
        "precision": 0.8, "recall": 0.8, "iou": 0.7, "volume_bias": 0.02, "soft_volume_bias": 0.0,
        "mean_probability": fraction, "ece": 0.01, "brier": 0.02,
    } | scores  # fmt: skip
    per_image = {name: list(metrics[name] + images) for name in ("dice", "dice_tuned")}
    if status == "diverged":
        metrics = dict.fromkeys(metrics)
        per_image = {name: [None] * 12 for name in per_image}
    metrics |= {
        "foreground_fraction_train": fraction, "foreground_fraction_test": fraction, "noise": 1.0,
    }  # fmt: skip
    return {
        "loss": loss,
        "model": config.model,
        "foreground_fraction": fraction,
        "seed": seed,
        "learning_rate": config.learning_rates[0],
        "status": status,
        "metrics": metrics,
        "per_image": per_image,
        "history": [made_start(), made_entry(1)] if history is None else history,
        "environment": {
            "python": "3.11", "jax": "1", "flax": "1", "optax": "1", "platform": "cpu",
            "device": "cpu", "devices": 1, "cpu_cores": 2,
        },
        "seconds": 1.0,
        **(extra or {}),
    }  # fmt: skip


def made_model(config, scores, **changes):
    """A study of made-up runs.

    ``scores`` maps a loss to its Dice at 0.5 and at the tuned threshold, each one number per seed.
    """
    results = [
        made_run(
            config, loss, fraction, seed, dice=at_half[seed], dice_tuned=tuned[seed], **changes
        )
        for fraction in config.fractions
        for loss, (at_half, tuned) in scores.items()
        for seed in range(config.seeds)
    ]
    return ModelRuns(config, results, [])
