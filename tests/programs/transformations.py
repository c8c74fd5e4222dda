"""Run by tests/_pass/test_transformations.py with eight CPU devices: every row, for both sizes."""

import json

import jax

from tests.support.transformations import ROWS, SHAPES, Problem


def main():
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    results = {}
    for size in SHAPES:
        problem = Problem(size)
        for name, row in ROWS.items():
            try:
                results[f"{size} {name}"] = float(row(problem))
            except Exception as error:
                results[f"{size} {name}"] = f"{type(error).__name__}: {error}"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
