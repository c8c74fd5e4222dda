"""What the worker processes of test_against.py import: quick to import, and without dice_jax."""

import functools
import itertools

import numpy as np

from benchmarks.harness.case import Case, Contender, Unavailable


class Echo:
    """Lives in a worker."""

    def __init__(self, word):
        if word == "absent":
            raise Unavailable("no such word")
        self.word = word

    def say(self, times):
        return self.word * times

    def refuse(self):
        raise Unavailable("not here")

    def end(self):
        raise SystemExit(3)


def _contender(name):
    import dice_jax

    clock = itertools.count(step=getattr(dice_jax, name))
    return Contender(
        call=lambda: None,
        clock=lambda: float(next(clock)),
        result=lambda: (dice_jax.VALUE, np.ones(3, np.float32)),
        figures={"temporary_bytes": dice_jax.TEMPORARIES},
    )


def peer():
    raise AssertionError("a peer is not compared")


def cases(settings):
    builders = {"dice_jax": functools.partial(_contender, "SECONDS")}
    builders["new"] = functools.partial(_contender, "NEW_SECONDS")
    builders["peer"] = peer
    return [Case("row", "nothing", builders, ours=("dice_jax", "new"))]
