"""The study's compiled training loop, compiled for a TPU v5e and for an H100 without one.

``pytest -m tpu`` and ``pytest -m gpu_compiled``, in an environment with the compiler.
"""

import re

import jax
import numpy as np
import pytest

from benchmarks.harness.case import Unavailable
from benchmarks.harness.targets import H100, TPU_V5E
from experiments.learning import training
from experiments.learning.arms import parse_arm
from experiments.learning.batches import Stream
from experiments.learning.optimisers import Optimiser
from experiments.learning.placement import one_device

SEEDS, BATCH, SIZE, STEPS = 3, 8, 64, 100


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(TPU_V5E, marks=pytest.mark.tpu, id="TPU"),
        pytest.param(H100, marks=pytest.mark.gpu_compiled, id="GPU"),
    ],
)
def test_the_loop_stays_on_the_device(target):
    """Seeds are mapped over and steps are a loop: nothing goes to the host, buffers are reused."""
    try:
        target.devices()
    except Unavailable as reason:
        # Its compiler needs an environment of its own, which the gate does not have.
        pytest.skip(str(reason))
    arm, optimiser = parse_arm("dice"), Optimiser()
    images = Stream(
        np.int32(0),
        np.float32(0.01),
        np.float32(0.5),
        BATCH,
        (SIZE, SIZE),
        1,
        "ellipse",
        0.0,
        0.0,
        0.0,
    )
    task = training.Task(images, np.zeros(STEPS, np.float32), 0)
    graph, state = training._start("unet", task, optimiser)

    def stacked(x):
        return jax.ShapeDtypeStruct((SEEDS, *np.shape(x)), x.dtype)

    states = jax.tree.map(stacked, state)
    compiled = target.compile(
        training._steps_together,
        *(graph, arm, optimiser, one_device()),
        states,
        {name: stacked(task.rates) for name in training._measured(arm, task)},
        jax.tree.map(stacked, images),
        stacked(task.rates),
        *(jax.ShapeDtypeStruct((), "int32"),) * 2,
    )
    text, memory = compiled.as_text(), compiled.memory_analysis()
    assert " while(" in text
    assert not re.search(r"callback|infeed|outfeed|\bsend\(|\brecv\(", text)
    assert memory.alias_size_in_bytes >= sum(x.size * 4 for x in jax.tree.leaves(states))
    assert memory.temp_size_in_bytes <= 400e6
