"""The benchmark of a whole step: both frameworks train the same network."""

import dataclasses

import numpy as np
import pytest

from benchmarks.families import unet_step
from benchmarks.harness.case import Unavailable, measure
from benchmarks.harness.timing import Budget
from experiments.learning.models import initialise


def test_networks_are_equal_layer_by_layer():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    parameters = unet_step._flat(initialise("unet", 3)[1])
    # Away from their start, where scales are one and shifts zero.
    generator = np.random.default_rng(0)
    moved = {
        name: (value + 0.1 * generator.normal(size=value.shape)).astype(np.float32)
        for name, value in parameters.items()
    }
    network = unet_step.torch_network(torch, moved)
    assert sum(p.numel() for p in network.parameters()) == sum(v.size for v in moved.values())
    back = unet_step._from_torch(network, lambda p: p)
    assert back.keys() == moved.keys()
    for name in moved:
        np.testing.assert_array_equal(back[name], moved[name])


def _absent():
    raise Unavailable("No module named 'torch'")


def test_a_row_checks_the_gradients_and_says_who_is_missing(monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    case = unet_step._case(2, 16, compiled=False)
    flax, torch = case.builders["Flax"], case.builders["PyTorch eager"]

    def without():
        with monkeypatch.context() as patch:
            patch.setattr(unet_step, "_torch_here", _absent)
            return torch()

    def other():
        network = unet_step.torch_network

        def changed(torch, parameters):
            head = 1.02 * parameters["head/kernel"]
            return network(torch, parameters | {"head/kernel": head})

        with monkeypatch.context() as patch:
            patch.setattr(unet_step, "torch_network", changed)
            return torch()

    builders = {"Flax": flax, "PyTorch": torch, "another": other, "absent": without}
    case = dataclasses.replace(case, builders=builders)
    row = measure(case, Budget(least=1, most=1, seconds=0.1))
    assert [entry["name"] for entry in row["contenders"]] == ["Flax", "PyTorch"]
    assert any("another is left out, it computes something else" in note for note in row["notes"])
    assert any("absent is skipped: No module named 'torch'" in note for note in row["notes"])


def test_the_studys_own_loop_is_a_contender(monkeypatch):
    monkeypatch.setattr(unet_step, "_STEPS", 1)
    contender = unet_step._study(1, 16)
    (run,) = contender.call()
    assert contender.amount == len(run.history["loss"]) == 1
