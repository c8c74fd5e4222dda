"""Speed and memory of dice_jax beside its peers, measured in one run: `python -m benchmarks`."""
