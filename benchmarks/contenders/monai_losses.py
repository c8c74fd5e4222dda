"""MONAI as a contender, eager and compiled; PyTorch and MONAI are imported when it is built."""

# The peers need not be installed.
# pyright: reportMissingImports=false
from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import warnings
from typing import Any

import jax
import numpy as np

from benchmarks.contenders.objectives import Objective
from benchmarks.harness import environment, memory
from benchmarks.harness.case import Builder, Contender, Result, Unavailable
from benchmarks.harness.problems import Problem
from benchmarks.harness.repetition import repeat, repetitions

__all__ = ["compiled_loss", "eager_loss"]

# MONAI's softmax Dice holds about eight arrays of the size of the logits at once: probabilities,
# one-hot targets, products, and their gradients.
_ARRAYS_AT_ONCE = 8


@functools.cache
def _torch() -> Any:
    """Import PyTorch and MONAI, and give PyTorch the cores that JAX has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch = importlib.import_module("torch")
            importlib.import_module("monai.losses.dice")
    except ImportError as missing:
        raise Unavailable(f"{missing} (pip install 'dice_jax[benchmarks]')") from None
    torch.set_num_threads(environment.cores())
    return torch


def _device(torch: Any) -> Any:
    if jax.default_backend() == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise Unavailable(f"this PyTorch has no CUDA, and JAX runs on {jax.default_backend()}")
    return torch.device("cuda")


@functools.lru_cache(maxsize=1)
def _tensors(problem: Problem) -> tuple[Any, Any]:
    """The same images in MONAI's layout: classes second, labels of the type its losses use."""
    torch = _torch()
    device = _device(torch)
    logits, labels = problem.arrays()
    if problem.classes is None:
        x, y = logits[:, None], labels[:, None].astype(np.float32)
    else:
        x, y = np.moveaxis(logits, -1, 1), labels[:, None].astype(np.int64)
    x, y = (torch.from_numpy(np.array(a, order="C")).to(device) for a in (x, y))
    return x.requires_grad_(), y


@dataclasses.dataclass(frozen=True)
class _ValueAndGradient:
    """A PyTorch loss of the problem, with its gradient."""

    module: Any
    problem: Problem

    def run(self) -> tuple[Any, Any]:
        torch = _torch()
        x, y = _tensors(self.problem)
        loss = self.module(x, y)
        (gradient,) = torch.autograd.grad(loss, x)
        return loss, gradient

    def wait(self, _: Any) -> None:
        if _tensors(self.problem)[0].is_cuda:
            _torch().cuda.synchronize()

    def result(self) -> Result:
        loss, gradient = self.run()
        array = gradient.cpu().numpy()
        binary = self.problem.classes is None
        return float(loss.detach()), array[:, 0] if binary else np.moveaxis(array, 1, -1)

    def contender(self, *notes: str) -> Contender:
        call = repeat(self.run, self.wait)
        return Contender(call=call, result=self.result, notes=notes, amount=repetitions())


def _note(torch: Any) -> str:
    threads = f", {torch.get_num_threads()} threads" if jax.default_backend() == "cpu" else ""
    return (
        f"MONAI: batch=True, smooth_nr=smooth_dr=1, classes second, int64 labels (float32 for a "
        f"sigmoid), as its losses take them{threads}"
    )


def _require_memory(problem: Problem) -> None:
    if jax.default_backend() == "cpu":
        logits = 4 * math.prod(problem.logits_shape)
        memory.require(_ARRAYS_AT_ONCE * logits, f"about {_ARRAYS_AT_ONCE} arrays of logits")


def eager_loss(objective: Objective, problem: Problem) -> Builder:
    """Make the builder of MONAI's loss as it is.

    Args:
        objective: the loss.
        problem: the images.

    Returns:
        The builder.
    """

    def build() -> Contender:
        torch = _torch()
        _device(torch)
        _require_memory(problem)
        return _ValueAndGradient(objective.monai(), problem).contender(_note(torch))

    return build


def compiled_loss(objective: Objective, problem: Problem) -> Builder:
    """Make the builder of MONAI's loss under ``torch.compile``.

    Args:
        objective: the loss.
        problem: the images.

    Returns:
        The builder.
    """

    def build() -> Contender:
        torch = _torch()
        _device(torch)
        _require_memory(problem)
        from torch._dynamo.utils import counters

        # After a few shapes TorchDynamo stops compiling a function and runs it eagerly. A reset
        # makes it compile again.
        torch._dynamo.reset()
        counters.clear()
        module = torch.compile(objective.monai(), dynamic=False)
        loss = _ValueAndGradient(module, problem)
        try:
            loss.run()
        except Exception as failure:
            first_line = str(failure).strip().splitlines()[0]
            raise Unavailable(f"torch.compile failed: {first_line}") from None
        breaks = sum(counters["graph_break"].values())
        note = (
            f"MONAI compiled: torch.compile(dynamic=False), {breaks} graph breaks in MONAI's code"
        )
        return loss.contender(_note(torch), note)

    return build
