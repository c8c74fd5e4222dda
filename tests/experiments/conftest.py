"""One tiny finished study that many tests look at."""

from pathlib import Path

import pytest

from experiments.api import run
from experiments.config import StudyConfig
from experiments.runs.progress import Progress

TINY = StudyConfig(
    losses=("bce", "dice"),
    model="unet",
    fractions=(0.1, 0.05),
    seeds=2,
    steps=8,
    batch_size=4,
    learning_rates=(1e-3, 1e-2),
    image_size=32,
    train_images=12,
    validation_images=6,
    test_images=6,
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study") / "tiny"
    trained = run((TINY,), out, Progress())
    assert trained == 2 * 2 * (2 + 2)
    return out
