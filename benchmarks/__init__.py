"""Speed and memory of dice_jax beside its peers, measured in one run: `python -m benchmarks`."""

import os

# XLA reports at length on every slow constant of Optax's cross-entropy, over the progress display.
# Only before JAX is imported does it listen.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
