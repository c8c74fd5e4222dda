"""One tiny finished study that many tests look at."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

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
    tuning_seeds=2,
    image_size=32,
    train_images=12,
    validation_images=6,
    test_images=6,
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Give each worker its copy of a study that one of them has run."""
    out = tmp_path_factory.mktemp("study") / "tiny"
    ours = tmp_path_factory.getbasetemp()
    several = "PYTEST_XDIST_WORKER" in os.environ
    shared = (ours.parent if several else ours) / "shared_study" / "tiny"
    shared.parent.mkdir(exist_ok=True)
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            assert run((TINY,), out, Progress()) == 2 * 2 * (2 * 2 + 2)
            shutil.copytree(out, shared)
            return out
    shutil.copytree(shared, out)
    return out


@contextlib.contextmanager
def without_rendering():
    """Figures of reports are made, but not rendered: that takes longer than a tiny study."""
    with pytest.MonkeyPatch.context() as patch:
        writer = "experiments.reporting.writer"
        patch.setattr(f"{writer}._pixels", lambda figure: Image.new("RGB", (1, 1)))
        patch.setattr(f"{writer}._svg", lambda figure: b"<svg/>")
        yield


@pytest.fixture
def unrendered():
    with without_rendering():
        yield


def pytest_collection_modifyitems(items):
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
