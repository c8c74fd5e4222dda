"""Masks and predictions, from arrays or files, checked, with errors that say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dice_jax.images.files import read_image

__all__ = ["as_mask", "as_probabilities", "read_mask", "read_prediction"]

Array = np.ndarray[Any, Any]


def _plane(x: Array, what: str) -> Array:
    """One channel of numbers [H, W]."""
    if x.dtype.kind not in "buif":
        raise ValueError(f"{what} must hold numbers, got {x.dtype}")
    if x.ndim == 3 and x.shape[-1] in (2, 3, 4):
        # Grey saved as colour: the channels agree, and the last may be an alpha.
        colours = x[..., : 3 if x.shape[-1] > 2 else 1]
        if (colours != colours[..., :1]).any():
            raise ValueError(f"{what} must have one channel, got a colour image {x.shape}")
        x = x[..., 0]
    if x.ndim > 2:
        x = x.squeeze()
    if x.ndim != 2 or not x.size:
        raise ValueError(
            f"{what} must be a picture with two axes, got shape {x.shape}; of a volume, save "
            "one slice"
        )
    return x


def _where(bad: Array) -> str:
    row, column = (int(i) for i in np.argwhere(bad)[0])
    return f"at row {row}, column {column}"


def as_mask(x: Any, what: str = "mask") -> Array:
    """Turn a two-valued picture into a boolean mask, or say what is wrong with it.

    Args:
        x: [H, W] (or grey saved as colour): booleans, or numbers of which there are two; the larger
            is foreground. All zeros are an empty mask, all the same non-zero a full one.
        what: what to call it in an error.

    Returns:
        [H, W] booleans.

    Raises:
        ValueError: if it is no picture, holds NaN, or has more than two values: the error names the
            offending one and where it is.

    Example:
        >>> from dice_jax.analysis import as_mask
        >>> print(as_mask([[0, 255], [0, 0]]))
        [[False  True]
         [False False]]
    """
    x = _plane(np.asarray(x), what)
    if x.dtype.kind == "b":
        return x
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = ~np.isfinite(x)
        raise ValueError(f"{what} holds {x[bad][0]} {_where(bad)}; two values expected")
    low, high = x.min(), x.max()
    between = (x != low) & (x != high)
    if between.any():
        raise ValueError(
            f"{what} must have two values, got {np.unique(x).size}: beside {low:g} and {high:g}, "
            f"{x[between][0]:g} {_where(between)}; write mask > threshold"
        )
    return np.full(x.shape, bool(high != 0)) if low == high else x == high


def as_probabilities(x: Any, what: str = "prediction") -> Array:
    """Turn a picture into probabilities, or say what is wrong with it.

    Args:
        x: [H, W]: booleans, floating in [0, 1], integers 0 and 1, or 8 or 16 bit (scaled by 255 or
            65,535).
        what: what to call it in an error.

    Returns:
        [H, W] float64 in [0, 1].

    Raises:
        ValueError: if it is no picture, or holds NaN or a value outside [0, 1]: the error names it
            and where it is.

    Example:
        >>> import numpy as np
        >>> from dice_jax.analysis import as_probabilities
        >>> print(as_probabilities(np.array([[0, 51]], np.uint8)))
        [[0.  0.2]]
    """
    x = _plane(np.asarray(x), what)
    scale = 1.0
    if x.dtype in (np.uint8, np.uint16) and x.max() > 1:
        scale = float(np.iinfo(x.dtype).max)
    p = x.astype(np.float64) / scale
    bad = ~((p >= 0) & (p <= 1))
    if bad.any():
        raise ValueError(
            f"{what} must hold probabilities in [0, 1], got {p[bad][0]:g} {_where(bad)}"
        )
    return p


def read_mask(path: str | Path) -> Array:
    """Read a two-valued mask from an image file; see `read_image`.

    Args:
        path: the file.

    Returns:
        [H, W] booleans; see `as_mask`.

    Raises:
        ValueError: if the file is not there, is not an image, or is no mask.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from dice_jax.analysis import read_mask
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "mask.npy")
        ...     np.save(path, np.array([[0, 255]], np.uint8))
        ...     print(read_mask(path))
        [[False  True]]
    """
    return as_mask(read_image(path, labels=True).pixels, f"{path}: mask")


def read_prediction(path: str | Path) -> Array:
    """Read probabilities from an image file; see `read_image`.

    Args:
        path: the file.

    Returns:
        [H, W] float64 in [0, 1]; see `as_probabilities`.

    Raises:
        ValueError: if the file is not there, is not an image, or holds no probabilities.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from dice_jax.analysis import read_prediction
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "prediction.npy")
        ...     np.save(path, np.array([[0, 51]], np.uint8))
        ...     print(read_prediction(path))
        [[0.  0.2]]
    """
    return as_probabilities(read_image(path).pixels, f"{path}: prediction")
