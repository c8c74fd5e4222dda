"""The README's Python runs as it stands, and its commands name things that exist."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import WITHOUT_EXTRA

README = Path(__file__).parents[2] / "README.md"


def test_the_training_step_runs_and_learns():
    pytest.importorskip("flax", reason=WITHOUT_EXTRA)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(block, str(README), "exec"), names)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (2, 16, 16))
    images = jnp.asarray(np.eye(4)[labels][..., :3], jnp.float32)
    labels[:, :2] = 255
    step = names["train_step"]
    # Adam itself promotes a step count to floating, which strict promotion does not allow.
    with jax.numpy_dtype_promotion("standard"):
        losses = [
            float(step(names["model"], names["optimizer"], images, jnp.asarray(labels)))
            for _ in range(30)
        ]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] - 0.05


def test_every_local_link_and_picture_exists():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text(encoding="utf-8"))
    assert targets
    missing = [t for t in targets if not (README.parent / t).exists()]
    assert not missing
