"""Runs the README's training step with whatever dice_jax is installed, and prints its losses.

    python tests/programs/readme_step.py README.md

The last line is JSON: where dice_jax was found, its version, and five losses.
"""

import json
import re
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import dice_jax


def main(readme):
    text = Path(readme).read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    labels = np.random.default_rng(0).integers(0, 4, (2, 16, 16))
    images = jnp.asarray(np.eye(4)[labels][..., :3], jnp.float32)
    step = [names["model"], names["optimizer"], images, jnp.asarray(labels)]
    losses = [float(names["train_step"](*step)) for _ in range(5)]
    print(json.dumps([dice_jax.__file__, dice_jax.__version__, losses]))


if __name__ == "__main__":
    main(sys.argv[1])
