"""The row of an optimiser step: the U-Net of the experiments, in Flax and in PyTorch."""

# The peer need not be installed.
# pyright: reportMissingImports=false
from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util

import dice_jax as dj
from benchmarks.contenders.jax_programs import figures
from benchmarks.harness import environment
from benchmarks.harness.case import Case, Contender, Family, Result, Settings, Unavailable
from experiments.learning.arms import SMOOTH, parse_arm
from experiments.learning.batches import Pool
from experiments.learning.models import initialise
from experiments.learning.training import Task, schedule, train

__all__ = ["UNET_STEP", "torch_network"]

_RATE = 1e-3
# Steps of the study's own loop in one call.
_STEPS = 20

Parameters = dict[str, np.ndarray]


@functools.lru_cache(maxsize=1)
def _batch(images: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    masks = generator.random((images, size, size)) < 0.05
    return (masks + generator.normal(size=masks.shape)).astype(np.float32), masks


def _flat(tree: Any) -> Parameters:
    """Name the arrays of a Flax state by their paths."""
    pure = nnx.to_pure_dict(tree) if isinstance(tree, nnx.State) else tree
    return {k: np.asarray(v) for k, v in traverse_util.flatten_dict(pure, sep="/").items()}


def _result(loss: Any, gradient: Parameters) -> Result:
    return float(loss), np.concatenate([gradient[name].ravel() for name in sorted(gradient)])


def _flax(images: int, size: int) -> Contender:
    graph, start = initialise("unet", 0)
    batch = tuple(map(jnp.asarray, _batch(images, size)))
    adam = optax.adam(_RATE)

    def loss_of(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = nnx.merge(graph, parameters)(x)
        return dj.dice_loss(dj.sigmoid_region_sums(logits, y), smooth=SMOOTH)

    def step(parameters: Any, moments: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, Any]:
        loss, gradient = jax.value_and_grad(loss_of)(parameters, x, y)
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = adam.update(gradient, moments, parameters)
        return optax.apply_updates(parameters, updates), moments, loss

    state = [start, adam.init(start)]
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*state, *batch).compile()

    def call() -> None:
        *state[:], loss = compiled(*state, *batch)
        loss.block_until_ready()

    def result() -> Result:
        # The parameters are still the first ones: contenders are checked before they are timed.
        loss, gradient = jax.jit(jax.value_and_grad(loss_of))(state[0], *batch)
        return _result(loss, _flat(gradient))

    return Contender(call=call, result=result, figures=figures(compiled))


def _study(images: int, size: int) -> Contender:
    x, y = map(jnp.asarray, _batch(images, size))
    order = np.tile(np.arange(images, dtype=np.int32), (_STEPS, 1))
    task = Task(Pool(x, y, order), np.float32(_RATE) * schedule(_STEPS), 0)
    arm = parse_arm("dice")
    return Contender(
        call=lambda: train("unet", arm, [task], scanned=False),
        amount=_STEPS,
        notes=("the study's loop also measures the gradient at every pixel, in both spaces",),
    )


def torch_network(torch: Any, parameters: Parameters) -> Any:
    """Build `experiments.learning.models.UNet` in PyTorch layer by layer, with the same parameters.

    Args:
        torch: the module.
        parameters: of the Flax network, by path.

    Returns:
        A ``torch.nn.Module`` that maps [B, 1, H, W] to logits of that shape; its parameters have
        the Flax paths with dots for slashes.
    """
    nn, functional = torch.nn, torch.nn.functional

    def convolution(name: str) -> Any:
        height, width, inputs, outputs = parameters[f"{name}/kernel"].shape
        layer = nn.Conv2d(inputs, outputs, (height, width), padding=height // 2)
        with torch.no_grad():
            layer.weight.copy_(_to_torch(torch, parameters[f"{name}/kernel"]))
            layer.bias.copy_(_to_torch(torch, parameters[f"{name}/bias"]))
        return layer

    class Block(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.conv = convolution(f"{name}/conv")
            scale = parameters[f"{name}/norm/scale"]
            self.norm = nn.GroupNorm(1, len(scale), eps=1e-6)
            with torch.no_grad():
                self.norm.weight.copy_(_to_torch(torch, scale))
                self.norm.bias.copy_(_to_torch(torch, parameters[f"{name}/norm/shift"]))

        def forward(self, x: Any) -> Any:
            return functional.silu(self.norm(self.conv(x)))

    def double(x: Any) -> Any:
        return functional.interpolate(x, scale_factor=2, mode="nearest")

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("down_1", "down_2", "down_4", "bottom", "shrink_2", "up_2", "shrink_1"):
                self.add_module(name, Block(name))
            self.up_1, self.head = convolution("up_1"), convolution("head")

        def forward(self, images: Any) -> Any:
            full = self.down_1(images)
            half = self.down_2(functional.avg_pool2d(full, 2))
            quarter = self.bottom(self.down_4(functional.avg_pool2d(half, 2)))
            half = self.up_2(torch.cat([double(self.shrink_2(quarter)), half], 1))
            return self.head(self.up_1(torch.cat([double(self.shrink_1(half)), full], 1)))

    return UNet()


def _to_torch(torch: Any, array: np.ndarray) -> Any:
    """Copy an array to PyTorch, a kernel in its order: outputs, inputs, height, width."""
    moved = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return torch.from_numpy(np.array(moved, order="C"))


def _from_torch(network: Any, of: Callable[[Any], Any]) -> Parameters:
    out = {}
    for name, parameter in network.named_parameters():
        array = of(parameter).detach().cpu().numpy()
        layer, _, kind = name.replace(".", "/").rpartition("/")
        if layer.endswith("norm"):
            kind = {"weight": "scale", "bias": "shift"}[kind]
        elif kind == "weight":
            kind, array = "kernel", array.transpose(2, 3, 1, 0)
        out[f"{layer}/{kind}"] = array
    return out


def _torch_here() -> tuple[Any, Any]:
    """Import PyTorch, with the cores and the kind of device that JAX has."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as missing:
        raise Unavailable(f"{missing} (pip install 'dice_jax[benchmarks]')") from None
    torch.set_num_threads(environment.cores())
    if jax.default_backend() == "cpu":
        return torch, torch.device("cpu")
    if not torch.cuda.is_available():
        raise Unavailable(f"this PyTorch has no CUDA, and JAX runs on {jax.default_backend()}")
    return torch, torch.device("cuda")


def _torch(images: int, size: int, *, compiled: bool = False) -> Contender:
    torch, device = _torch_here()
    network = torch_network(torch, _flat(initialise("unet", 0)[1])).to(device)
    x, y = _batch(images, size)
    batch = torch.from_numpy(x)[:, None].to(device)
    truth = torch.from_numpy(y)[:, None].to(device).float()
    adam = torch.optim.Adam(network.parameters(), _RATE)
    forward = torch.compile(network) if compiled else network

    def loss_of() -> Any:
        p = torch.sigmoid(forward(batch))
        overlap, total = (p * truth).sum(), p.sum() + truth.sum()
        return 1 - (2 * overlap + SMOOTH) / (total + SMOOTH)

    def backward() -> Any:
        adam.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    def call() -> None:
        backward()
        adam.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def result() -> Result:
        loss = backward()
        return _result(loss.item(), _from_torch(network, lambda p: p.grad))

    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return Contender(call=call, result=result, notes=(f"PyTorch {torch.__version__}{threads}",))


def _case(images: int, size: int, *, compiled: bool) -> Case:
    count = sum(array.size for array in _flat(initialise("unet", 0)[1]).values())
    builders = {
        "Flax": functools.partial(_flax, images, size),
        "Flax, the study's": functools.partial(_study, images, size),
        "PyTorch eager": functools.partial(_torch, images, size),
    }
    if compiled:
        builders["PyTorch compile"] = functools.partial(_torch, images, size, compiled=True)
    return Case(
        name=f"unet-step-{images}x{size}",
        work=f"U-Net of {count:,} parameters, Dice, Adam, {images}×{size}²",
        builders=builders,
        # The sums over all pixels and eight layers are taken in another order.
        tolerance=2e-3,
        ours=("Flax",),
        notes=("one optimiser step; checked by the gradient of every parameter",),
    )


def _cases(settings: Settings) -> Sequence[Case]:
    return [_case(4 if settings.quick else 16, 64, compiled=not settings.quick)]


UNET_STEP = Family("unet", "A U-Net's optimiser step", _cases)
