"""Records what MONAI gives for the random masks: ``python -m tests.evaluation.record_monai``."""

import json
from pathlib import Path

import numpy as np

from tests.evaluation.random_masks import SETS, TOLERANCE, cases

RECORDED = Path(__file__).parent / "monai.json"


def scores(prediction, truth, spacing):
    """Each measure, by our name for it."""
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_confusion_matrix_metric,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
        compute_surface_dice,
        get_confusion_matrix,
    )

    p, y = (torch.tensor(x[None, None].astype(np.float32)) for x in (prediction, truth))
    counts = get_confusion_matrix(p, y)
    found = {
        "dice": compute_dice(p, y),
        "iou": compute_iou(p, y),
        "precision": compute_confusion_matrix_metric("precision", counts),
        "recall": compute_confusion_matrix_metric("recall", counts),
        "hd95": compute_hausdorff_distance(p, y, percentile=95, spacing=list(spacing)),
        "assd": compute_average_surface_distance(p, y, symmetric=True, spacing=list(spacing)),
        "surface_dice": compute_surface_dice(p, y, [TOLERANCE], spacing=list(spacing)),
    }
    return {name: float(f"{value.item():.8g}") for name, value in found.items()}


if __name__ == "__main__":
    import monai

    recorded = {"version": monai.__version__, "tolerance": TOLERANCE, "cases": {}}
    for name, (_, spacing, _) in SETS.items():
        for case, (prediction, truth) in cases(name).items():
            recorded["cases"][case] = scores(prediction, truth, spacing)
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"{RECORDED}: {len(recorded['cases'])} cases")
