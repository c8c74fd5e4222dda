"""Run by test_kills.py: a study that is killed at random moments, and the same one left alone.

Every life of the study is a fork of this process, which has imported JAX but not begun to use it:
importing it twenty times would take longer than all the rest.
"""

import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import jax

from experiments.config import StudyConfig
from experiments.runs.progress import Progress
from experiments.runs.study import run_study

_SMALL = {
    "losses": ("bce", "dice"),
    "fractions": (0.1,),
    "seeds": 1,
    "tuning_seeds": 1,
    "steps": 40,
    "batch_size": 4,
    "image_size": 16,
    "train_images": 12,
    "validation_images": 6,
    "test_images": 6,
}
CONFIGS = (
    StudyConfig(model="bias", learning_rates=(0.2,), **_SMALL),
    StudyConfig(model="linear", learning_rates=(0.01, 0.1), **_SMALL),
)


class Told(Progress):
    def __init__(self, out: Path):
        self._out = out

    def skip(self, steps):
        # A study went on from the middle of a training.
        (self._out.parent / "RESUMED").touch()


def begin(out: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        # A checkpoint after every part of a training.
        run_study(CONFIGS, out, Told(out), checkpoint_seconds=0)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def end(child: int) -> None:
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        sys.exit(f"the study ended with {code}")


def main(out: Path, kills: int, seed: int) -> None:
    jax.config.update("jax_compilation_cache_dir", str(out / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A fork of a process that uses JAX would be unsafe; this one only imported it.
    warnings.filterwarnings("ignore", message=".*fork.*")
    end(begin(out / "unbroken"))
    # Once more, to see how long it takes when nothing is compiled.
    began = time.monotonic()
    end(begin(out / "unbroken_again"))
    took = time.monotonic() - began
    generator = random.Random(seed)
    studies, killed = 1, 0
    # Few kills may all miss the trainings: then some more follow.
    while killed < kills or (killed < 5 * kills and not (out / "RESUMED").exists()):
        child = begin(out / f"killed_{studies}")
        time.sleep(generator.uniform(0, 0.6 * took))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        elif status:
            sys.exit(f"the study ended with {os.waitstatus_to_exitcode(status)}")
        else:
            # It got to its end: the next kills are another one's.
            studies += 1
    for study in range(1, studies + 1):
        end(begin(out / f"killed_{study}"))
    print(f"{killed} kills of {studies} studies, {took:.1f} s each", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
