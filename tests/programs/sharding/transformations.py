"""Every transformation and debugging flag of JAX on several devices: the error of each row."""

from tests.support.transformations import ROWS, SHAPES, Problem


def facts():
    results = {}
    for size in SHAPES:
        problem = Problem(size)
        for name, row in ROWS.items():
            try:
                results[f"{size} {name}"] = float(row(problem))
            except Exception as error:
                results[f"{size} {name}"] = f"{type(error).__name__}: {error}"
    return results
