"""The rows of the Lovász losses, which sort every pixel, beside PyTorch's and SMP's."""

# The peers need not be installed.
# pyright: reportMissingImports=false
from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from benchmarks.contenders.jax_programs import compiled_contender
from benchmarks.harness import environment
from benchmarks.harness.case import Builder, Case, Contender, Family, Result, Settings, Unavailable
from benchmarks.harness.problems import Problem

__all__ = ["RANKING", "ranking_case"]


def _softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return dj.lovasz_softmax_loss(jax.nn.softmax(logits), labels).mean()


def _torch() -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError as missing:
        raise Unavailable(f"{missing} (pip install 'dice_jax[benchmarks]')") from None
    torch.set_num_threads(environment.cores())
    return torch


def _increments(torch: Any, ranked: Any) -> Any:
    """What each pixel adds to the Jaccard loss, [..., N] in the order of the errors."""
    total = ranked.sum(-1, keepdim=True)
    hit, false = ranked.cumsum(-1), (1 - ranked).cumsum(-1)
    return torch.diff(1 - (total - hit) / (total + false), dim=-1, prepend=torch.zeros_like(total))


def _eager(torch: Any, errors: Any, foreground: Any) -> Any:
    ranked, order = errors.sort(-1, descending=True)
    return (ranked * _increments(torch, foreground.gather(-1, order))).sum(-1).mean()


def _eager_softmax(torch: Any) -> Callable[[Any, Any], Any]:
    def loss(x: Any, y: Any) -> Any:
        classes = x.shape[1]
        p = x.softmax(1).movedim(1, 0).reshape(classes, -1)
        foreground = (y.reshape(1, -1) == torch.arange(classes)[:, None]).float()
        return _eager(torch, (foreground - p).abs(), foreground)

    return loss


def _eager_hinge(torch: Any) -> Callable[[Any, Any], Any]:
    def loss(x: Any, y: Any) -> Any:
        foreground = y.reshape(-1).float()
        errors = (1 - x.reshape(-1) * (2 * foreground - 1)).relu()
        return _eager(torch, errors, foreground)

    return loss


def _smp(mode: str) -> Callable[[Any], Callable[[Any, Any], Any]]:
    def make(torch: Any) -> Callable[[Any, Any], Any]:
        del torch
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                losses = importlib.import_module("segmentation_models_pytorch.losses")
        except ImportError as missing:
            words = "pip install segmentation-models-pytorch"
            raise Unavailable(f"{missing} ({words})") from None
        return losses.LovaszLoss(mode)

    return make


def _of_torch(make: Callable[[Any], Callable[[Any, Any], Any]], problem: Problem) -> Builder:
    """The builder of a PyTorch loss of logits, classes second, and labels."""

    def build() -> Contender:
        if jax.default_backend() != "cpu":
            raise Unavailable("PyTorch's Lovász losses are timed beside a CPU only")
        torch = _torch()
        loss = make(torch)
        logits, labels = problem.arrays()
        binary = problem.classes is None
        channels = logits[:, None] if binary else np.moveaxis(logits, -1, 1)
        x = torch.from_numpy(np.array(channels, order="C")).requires_grad_()
        y = torch.from_numpy(labels[:, None] if binary else labels.astype(np.int64))

        def run() -> tuple[Any, Any]:
            value = loss(x, y)
            return value, torch.autograd.grad(value, x)[0]

        def result() -> Result:
            value, gradient = run()
            array = gradient.numpy()
            return float(value.detach()), array[:, 0] if binary else np.moveaxis(array, 1, -1)

        note = f"PyTorch: classes second, {torch.get_num_threads()} threads"
        return Contender(call=run, result=result, notes=(note,))

    return build


def ranking_case(name: str, problem: Problem) -> Case:
    """Put the Lovász losses of one problem side by side: the hinge if it is binary.

    Args:
        name: of the row.
        problem: the images.

    Returns:
        The row.
    """
    binary = problem.classes is None
    loss, eager, mode = (
        (dj.lovasz_hinge_loss, _eager_hinge, "binary")
        if binary
        else (_softmax, _eager_softmax, "multiclass")
    )

    def ours() -> Contender:
        logits, labels = problem.arrays()
        arrays = jnp.asarray(logits), jnp.asarray(labels)
        return compiled_contender(jax.value_and_grad(loss), arrays)

    builders: dict[str, Builder] = {
        "dice_jax": ours,
        "PyTorch, eager": _of_torch(eager, problem),
        "SMP": _of_torch(_smp(mode), problem),
    }
    words = "Lovász hinge" if binary else "Lovász-softmax"
    # The usual formula subtracts numbers near 1, which leaves few digits in float32.
    return Case(name=name, work=f"{words}, {problem.words}", builders=builders, tolerance=0.02)


def _cases(settings: Settings) -> Sequence[Case]:
    pixels = (2, 128, 128) if settings.quick else (4, 256, 256)
    sizes = {"hinge": None, "softmax-c4": 4} | ({} if settings.quick else {"softmax-c19": 19})
    return [ranking_case(f"lovasz-{name}", Problem(pixels, c)) for name, c in sizes.items()]


RANKING = Family("ranking", "Lovász losses, float32 logits", _cases)
