"""Prints the facts of one section, `pixels`, `losses`, `accumulation` or `transformations`."""

import importlib
import json
import sys

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")

if __name__ == "__main__":
    section = importlib.import_module(f"tests.programs.sharding.{sys.argv[1]}")
    json.dump(section.facts(*sys.argv[2:]), sys.stdout)
