"""Test settings: strict dtype promotion for the doctests and the tests alike."""

import os

# The tests must not depend on whether this machine has an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
