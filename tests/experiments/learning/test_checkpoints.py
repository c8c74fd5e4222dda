"""A training that is cut off goes on from its checkpoint and ends with the same, bit for bit."""

import dataclasses
import errno
import os

import jax
import numpy as np
import pytest

from experiments.learning.arms import parse_arm
from experiments.learning.checkpoints import Checkpoint
from experiments.learning.optimisers import Optimiser
from experiments.learning.training import Task, schedule, train
from experiments.runs.batches import batches_of
from tests.experiments.conftest import TINY

LIKE = (np.int64(0), {"a": np.zeros(3, np.float32), "b": np.zeros((2, 2))})
KEPT = (np.int64(7), {"a": np.array([1, np.nan, -0.0], np.float32), "b": np.eye(2)})


@pytest.fixture
def notes():
    return []


@pytest.fixture
def make(tmp_path, notes):
    def checkpoint(identity=None, seconds=0.0):
        return Checkpoint(tmp_path / "run", identity or {"seed": 1}, seconds, notes.append)

    return checkpoint


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def test_what_was_saved_last_comes_back_bit_for_bit(make, notes, tmp_path):
    assert make().restore(LIKE) is None
    first = make()
    first.save(LIKE)
    first.save(KEPT)
    # Another process, that numbers its checkpoints anew.
    make().save(KEPT)
    assert same(make().restore(LIKE), KEPT)
    assert len(list((tmp_path / "run").iterdir())) == 1
    make().remove()
    assert make().restore(LIKE) is None
    assert notes == []


def test_it_is_due_after_some_seconds(make):
    assert make(seconds=0).due()
    assert not make(seconds=60).due()


def test_another_trainings_checkpoint_is_ignored_with_one_line(make, notes, tmp_path):
    make({"seed": 2}).save(KEPT)
    assert make({"seed": 1}).restore(LIKE) is None
    (line,) = notes
    assert line.startswith("ignored the checkpoint run: it is of another training, version")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["shortened", "lost", "changed", "rubbish"])
def test_a_torn_checkpoint_is_ignored_with_one_line(make, notes, tmp_path, damage):
    make().save(KEPT)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    for data in (path for path in files if path.parent.name == "d"):
        held = bytearray(data.read_bytes())
        if damage == "shortened":
            data.write_bytes(held[:-20])
        elif damage == "lost":
            data.unlink()
        elif damage == "changed":
            held[len(held) // 2] ^= 1
            data.write_bytes(held)
    if damage == "rubbish":
        next(path for path in files if path.parent.name == "about").write_bytes(b"\0")
    assert make().restore(LIKE) is None
    (line,) = notes
    assert line.startswith("ignored the checkpoint run: ")
    assert "\n" not in line
    # And the next one is not disturbed by it.
    make().save(KEPT)
    assert same(make().restore(LIKE), KEPT)


def test_one_that_cannot_be_written_is_done_without(make, notes, monkeypatch):
    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", full)
        make().save(KEPT)
    (line,) = notes
    assert line.startswith("no checkpoint of run this time: ")
    assert "No space left" in line
    make().save(KEPT)
    assert same(make().restore(LIKE), KEPT)


class _Cut(Exception):
    pass


class _CutOff:
    """Stops a training right after some saves."""

    def __init__(self, checkpointer, saves):
        self.checkpointer, self.saves, self.restored = checkpointer, saves, None

    def restore(self, like):
        position = self.checkpointer.restore(like)
        self.restored = None if position is None else int(position.step)
        return position

    def due(self):
        return True

    def save(self, position):
        self.checkpointer.save(position)
        self.saves -= 1
        if self.saves == 0:
            raise _Cut


@pytest.mark.parametrize("optimiser", [Optimiser("adam"), Optimiser("sgd")])
@pytest.mark.parametrize("scanned", [False, True])
def test_a_training_cut_off_twice_ends_as_an_unbroken_one(make, scanned, optimiser):
    batches = batches_of(dataclasses.replace(TINY, steps=32), 0.1, 0)
    tasks = [Task(batches, rate * schedule(32), 0) for rate in (0.01, 0.1)]
    tasks = tasks if scanned else tasks[:1]

    def training(checkpointer=None):
        arm = parse_arm("dice")
        return train(
            "linear", arm, tasks, optimiser=optimiser, scanned=scanned, checkpointer=checkpointer
        )

    unbroken = training()
    steps = []
    for saves in (1, 2, -1):
        checkpointer = _CutOff(make(), saves)
        if saves > 0:
            with pytest.raises(_Cut):
                training(checkpointer)
        else:
            resumed = training(checkpointer)
        steps.append(checkpointer.restored)
    assert steps[0] is None
    assert 0 < steps[1] < steps[2] < 32
    for a, b in zip(unbroken, resumed, strict=True):
        assert same(a.history, b.history)
        assert same(a.parameters, b.parameters)
        assert b.seconds > 0
