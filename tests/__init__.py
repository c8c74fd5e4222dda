"""The tests of dice_jax and of the experiments."""
