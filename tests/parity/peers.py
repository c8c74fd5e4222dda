"""The other libraries: how each is imported, takes images, and is asked for a gradient."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from tests.parity.images import HARD, images
from tests.parity.pages import Line

__all__ = ["PEERS", "Missing", "here", "there", "version"]

# What is compared: a value of any shape, and the gradient of its weighted sum.
Result = tuple[np.ndarray, list[np.ndarray]]


class Missing(Exception):
    """A library is not here; the words say why."""


def _cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """Weights that differ, so that a gradient that went to the wrong image shows."""
    size = int(np.prod(shape))
    return (np.arange(1.0, 1 + size) / size).reshape(shape).astype(np.float32)


def _value_and_gradient(function: Callable[[Any], jax.Array], primal: Any) -> Any:
    value, pull = jax.vjp(function, primal)
    return value, pull(jnp.asarray(_cotangent(value.shape), value.dtype))


def _of_jax(value: jax.Array, gradient: Any) -> Result:
    return np.asarray(value), [np.asarray(g) for g in jax.tree.leaves(gradient)]


def here(line: Line) -> Result:
    """Our value and gradient of a line."""
    arrays = jax.tree.map(jnp.asarray, images(line.kind))
    names: dict[str, Any] = {"dj": dj, "jax": jax, "jnp": jnp} | arrays
    if "optax" in line.ours + line.setup:
        names["optax"] = importlib.import_module("optax")
    if line.kind in HARD:
        exec(line.setup, names)
        return np.asarray(eval(line.ours, names)), []

    def function(logits: Any) -> jax.Array:
        inner = names | {"logits": logits}
        exec(line.setup, inner)
        return jnp.asarray(eval(line.ours, inner))

    # Compiled as one: its parts, each compiled on its own, would take several times as long.
    compiled = jax.jit(functools.partial(_value_and_gradient, function))
    return _of_jax(*compiled(names["logits"]))


def there(line: Line) -> Result:
    """The other library's value and gradient of a line.

    Raises:
        Missing: if it is not installed, or not in the version that the line is about.
    """
    peer = PEERS[line.peer]
    found = version(line.peer)
    if line.requires and not _fits(found, line.requires):
        raise Missing(f"needs {line.requires}, found {found}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names = peer.names()
        except ImportError as error:
            raise Missing(f"needs {peer.package}: {error}") from None
        with jax.numpy_dtype_promotion("standard"):
            return peer.run(line, names)


def version(name: str) -> str:
    """The installed version of a library.

    Raises:
        Missing: if there is none.
    """
    peer = PEERS[name]
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        raise Missing(f"needs {peer.package}") from None


def _fits(found: str, requires: str) -> bool:
    packaging = importlib.import_module("packaging.requirements")
    return packaging.Requirement(requires).specifier.contains(found)


# Libraries of PyTorch: classes second.


def _second(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def _run_torch(labels_have_channel: bool) -> Callable[[Line, dict[str, Any]], Result]:
    def run(line: Line, names: dict[str, Any]) -> Result:
        torch = importlib.import_module("torch")
        arrays = images(line.kind)

        def tensor(array: Any) -> Any:
            return torch.from_numpy(np.array(array))

        def labels(array: Any) -> Any:
            y = tensor(array).long()
            return y[:, None] if labels_have_channel else y

        if line.kind == "chances":
            names |= {"x": tensor(arrays["probabilities"]), "y": tensor(arrays["targets"])}
            return np.asarray(eval(line.theirs, names)), []
        if line.kind in HARD:
            names |= {"x": labels(arrays["predicted"]), "y": labels(arrays["labels"])}
            return np.asarray(eval(line.theirs, names)), []
        levels = arrays["logits"] if line.kind == "pyramid" else [arrays["logits"]]
        one_class = line.kind in ("binary", "binary_ignore")
        channels = [a[:, None] if one_class else _second(a) for a in levels]
        xs = [tensor(a).requires_grad_() for a in channels]
        if "targets" in arrays:
            y: Any = arrays["targets"]
            y = tensor(y[:, None] if one_class else _second(y)).float()
        elif line.kind == "pyramid":
            y = [labels(a) for a in arrays["labels"]]
        else:
            y = labels(arrays["labels"])
        names |= {"x": xs if line.kind == "pyramid" else xs[0], "y": y, "torch": torch}
        names |= {n: tensor(arrays[n]) for n in ("weights", "where") if n in arrays}
        if "where" in names:
            names["where"] = names["where"][:, None]
        value = eval(line.theirs, names)
        cotangent = tensor(_cotangent(tuple(value.shape))).to(value.dtype)
        gradients = torch.autograd.grad(value, xs, cotangent, materialize_grads=True)
        back = [g.numpy()[:, 0] if one_class else g.movedim(1, -1) for g in gradients]
        return value.detach().numpy(), [np.asarray(g) for g in back]

    return run


def _monai() -> dict[str, Any]:
    losses = importlib.import_module("monai.losses")
    torch = importlib.import_module("torch")
    return {name: getattr(losses, name) for name in dir(losses)} | {
        "metrics": importlib.import_module("monai.metrics"),
        "torch": torch,
        "softmax": {"softmax": True, "to_onehot_y": True},
        "one_hot": lambda y: importlib.import_module("monai.networks").one_hot(y, 3),
    }


def _nnunet() -> dict[str, Any]:
    loss = "nnunetv2.training.loss"
    wanted = {
        f"{loss}.dice": ("SoftDiceLoss", "MemoryEfficientSoftDiceLoss"),
        f"{loss}.compound_losses": ("DC_and_CE_loss", "DC_and_BCE_loss", "DC_and_topk_loss"),
        f"{loss}.deep_supervision": ("DeepSupervisionWrapper",),
        "nnunetv2.utilities.helpers": ("softmax_helper_dim1",),
    }
    names: dict[str, Any] = {
        name: getattr(importlib.import_module(module), name)
        for module, every in wanted.items()
        for name in every
    }
    names["pooled"] = {"batch_dice": True, "do_bg": False, "smooth": 1e-5, "ddp": False}
    names["apart"] = names["pooled"] | {"batch_dice": False}
    names["memory"] = {"dice_class": names["MemoryEfficientSoftDiceLoss"]}
    return names


def _smp() -> dict[str, Any]:
    """The losses alone: the package itself needs timm and torchvision for its networks."""
    name = "segmentation_models_pytorch"
    try:
        return {"losses": importlib.import_module(f"{name}.losses")}
    except ImportError:
        found = importlib.util.find_spec(name)
        if found is None:
            raise
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        del sys.modules[module]
    package = types.ModuleType(name)
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules[name] = package
    return {"losses": importlib.import_module(f"{name}.losses")}


def _kornia() -> dict[str, Any]:
    return {"losses": importlib.import_module("kornia.losses")}


def _torchmetrics() -> dict[str, Any]:
    segmentation = importlib.import_module("torchmetrics.functional.segmentation")
    return {
        "segmentation": segmentation,
        "classification": importlib.import_module("torchmetrics.functional.classification"),
        "regression": importlib.import_module("torchmetrics.functional.regression"),
        "index": {"num_classes": 3, "input_format": "index"},
        "ignore": {"num_classes": 3, "ignore_index": 255},
        "torch": importlib.import_module("torch"),
    }


# Metrics of masks in NumPy.


def _run_numpy(line: Line, names: dict[str, Any]) -> Result:
    arrays = images(line.kind)
    names |= {"x": arrays["predicted"], "y": arrays["labels"], "np": np}
    return np.asarray(eval(line.theirs, names)), []


def _medpy() -> dict[str, Any]:
    return {"binary": importlib.import_module("medpy.metric.binary")}


def _surface_distance() -> dict[str, Any]:
    module = importlib.import_module("surface_distance.metrics")
    names = {name: getattr(module, name) for name in dir(module) if name.startswith("compute_")}
    measure = names["compute_surface_distances"]
    names["distances"] = lambda x, y, spacing: measure(y > 0, x > 0, spacing)
    return names


def _cellpose() -> dict[str, Any]:
    return {"metrics": importlib.import_module("cellpose.metrics")}


def _stardist() -> dict[str, Any]:
    module = importlib.import_module("stardist.matching")
    return {name: getattr(module, name) for name in ("matching", "matching_dataset")}


def _panoptica() -> dict[str, Any]:
    module = importlib.import_module("panoptica")

    def evaluate(x: np.ndarray, y: np.ndarray, **options: Any) -> Any:
        evaluator = module.Panoptica_Evaluator(
            expected_input=module.InputType.UNMATCHED_INSTANCE,
            instance_matcher=module.NaiveThresholdMatching(**options),
            instance_metrics=[module.Metric.IOU],
            global_metrics=[module.Metric.DSC],
        )
        return evaluator.evaluate(x.astype(np.uint8), y.astype(np.uint8))["ungrouped"]

    return {"evaluate": evaluate}


# Libraries of JAX: classes last.


def _run_jax(line: Line, names: dict[str, Any]) -> Result:
    arrays = jax.tree.map(jnp.asarray, images(line.kind))

    def function(logits: Any) -> jax.Array:
        inner = names | arrays | {"logits": logits, "jax": jax, "jnp": jnp}
        if "labels" in arrays:
            inner["one_hot"] = jax.nn.one_hot(arrays["labels"], logits.shape[-1])
        return jnp.asarray(eval(line.theirs, inner))

    # Not compiled: a library may look at its arguments' values in Python.
    return _of_jax(*_value_and_gradient(function, arrays["logits"]))


def _optax() -> dict[str, Any]:
    return {"optax": importlib.import_module("optax")}


def _keras() -> dict[str, Any]:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = importlib.import_module("keras")
    if keras.backend.backend() != "jax":
        raise ImportError(f"Keras runs on {keras.backend.backend()}, not JAX")
    return {"keras": keras}


@dataclasses.dataclass(frozen=True)
class Peer:
    """A library.

    package: its name on PyPI.
    names: what its expressions are made of, imported when called.
    run: evaluates a line in those names.
    """

    package: str
    names: Callable[[], dict[str, Any]]
    run: Callable[[Line, dict[str, Any]], Result]


PEERS = {
    "monai": Peer("monai", _monai, _run_torch(labels_have_channel=True)),
    "nnunet": Peer("nnunetv2", _nnunet, _run_torch(labels_have_channel=True)),
    "optax": Peer("optax", _optax, _run_jax),
    "smp": Peer("segmentation-models-pytorch", _smp, _run_torch(labels_have_channel=False)),
    "keras": Peer("keras", _keras, _run_jax),
    "kornia": Peer("kornia", _kornia, _run_torch(labels_have_channel=False)),
    "torchmetrics": Peer("torchmetrics", _torchmetrics, _run_torch(labels_have_channel=False)),
    "medpy": Peer("medpy", _medpy, _run_numpy),
    "surface-distance": Peer("surface-distance", _surface_distance, _run_numpy),
    "cellpose": Peer("cellpose", _cellpose, _run_numpy),
    "stardist": Peer("stardist", _stardist, _run_numpy),
    "panoptica": Peer("panoptica", _panoptica, _run_numpy),
}
