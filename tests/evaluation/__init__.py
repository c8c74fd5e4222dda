"""Tests of `dice_jax.evaluation`."""
