"""Errors for the names and keywords of other libraries: each spells the line to write here."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import ParamSpec, TypeVar

__all__ = ["explains_keywords", "missing_name"]

P = ParamSpec("P")
R = TypeVar("R")

_SUMS = "dj.sigmoid_region_sums(logits, targets)"
_CLASSES = "dj.softmax_region_sums(logits, labels)"

_DICE_CE = f"dj.dice_loss(s)[..., 1:].mean() + dj.cross_entropy_loss(s), with s = {_CLASSES}"

# Names that users of other libraries look for, in small letters and without underscores.
_NAMES: Mapping[str, str] = {
    "diceloss": f"dj.dice_loss({_SUMS})",
    "softdiceloss": f"dj.dice_loss({_SUMS})",
    "dice": f"dj.dice_index({_SUMS})",
    "dicescore": "dj.dice_index(dj.region_sums(mask, targets))",
    "dicecoef": "dj.dice_index(dj.region_sums(mask, targets))",
    "dicecoefficient": "dj.dice_index(dj.region_sums(mask, targets))",
    "f1score": "dj.dice_index(dj.region_sums(mask, targets))",
    "iou": "dj.jaccard_index(dj.region_sums(mask, targets))",
    "iouscore": "dj.jaccard_index(dj.region_sums(mask, targets))",
    "meaniou": "dj.jaccard_index(dj.region_sums(mask, targets)).mean()",
    "iouloss": f"dj.jaccard_loss({_SUMS})",
    "jaccard": f"dj.jaccard_index({_SUMS})",
    "vnetloss": f"dj.squared_dice_loss({_SUMS})",
    "bceloss": f"dj.binary_cross_entropy_loss({_SUMS})",
    "bce": f"dj.binary_cross_entropy_loss({_SUMS})",
    "bcewithlogitsloss": f"dj.binary_cross_entropy_loss({_SUMS})",
    "sigmoidbinarycrossentropy": f"dj.binary_cross_entropy_loss({_SUMS})",
    "celoss": f"dj.cross_entropy_loss({_CLASSES})",
    "ce": f"dj.cross_entropy_loss({_CLASSES})",
    "softmaxcrossentropy": f"dj.cross_entropy_loss({_CLASSES})",
    "diceceloss": _DICE_CE,
    "diceandceloss": _DICE_CE,
    "dcandceloss": _DICE_CE,
    "dicebceloss": f"dj.dice_loss(s) + dj.binary_cross_entropy_loss(s), with s = {_SUMS}",
    "focalloss": "dj.softmax_focal_loss(logits, labels, gamma=2.0).mean()",
    "dicefocalloss": "dj.dice_loss(dj.softmax_region_sums(logits, labels))[..., 1:].mean() + "
    "dj.softmax_focal_loss(logits, labels, gamma=2.0).mean()",
    "lovaszloss": "dj.lovasz_softmax_loss(jax.nn.softmax(logits), labels)",
    "lovaszsoftmax": "dj.lovasz_softmax_loss(jax.nn.softmax(logits), labels)",
    "lovaszhinge": "dj.lovasz_hinge_loss(logits, targets)",
    "mccloss": f"dj.matthews_loss({_SUMS})",
    "hausdorffdtloss": "dj.hausdorff_distance_loss(jax.nn.sigmoid(logits), targets)",
    "hd95": "dj.metrics.hausdorff_distance(mask, targets, percentile=95)",
    "softcldice": "dj.cldice_loss(jax.nn.sigmoid(logits), targets, axis=(1, 2), iterations=3)",
}

# What other libraries give as a keyword is an expression around the call here.
_KEYWORDS: Mapping[str, str] = {
    "reduction": "a loss has one entry per region and class; write loss.mean() or loss.sum()",
    "ignore_index": "write where=labels != 255, or where=(labels != 255)[..., None] beside one-hot "
    "arrays",
    "include_background": "write {name}(…)[..., 1:] to leave the first class out",
    "ignore_background": "write {name}(…)[..., 1:] to leave the first class out",
    "class_weights": "a loss has one entry per class; write (loss * weights).sum()",
    "weight": "a loss has one entry per class; write (loss * weights).sum()",
    "pos_weight": "write sums.foreground_cross_entropy and sums.background_cross_entropy, weighted",
    "softmax": "for sums of logits, write softmax_region_sums(logits, labels); for probabilities, "
    "jax.nn.softmax(logits)",
    "sigmoid": "for sums of logits, write sigmoid_region_sums(logits, targets); for probabilities, "
    "jax.nn.sigmoid(logits)",
    "from_logits": "sigmoid_region_sums and softmax_region_sums take logits; region_sums takes "
    "probabilities",
    "to_onehot_y": "softmax_region_sums takes integer labels as they are",
    "squared_pred": "write squared_dice_loss(…)",
    "jaccard": "write jaccard_loss(…)",
    "batch": "make the sums with axis=None to pool the batch, or with axis=(1, 2) for each image",
    "per_image": "make the sums with the pixel axes: axis=(1, 2) gives one region per image",
    "eps": "write smooth=…, in pixels",
    "epsilon": "write smooth=…, in pixels",
    "smooth_nr": "write smooth=…, in pixels",
    "smooth_dr": "write smooth_denominator=…, in pixels",
    "mask": "write where=mask",
}


def missing_name(module: str, name: str, public: Iterable[str]) -> AttributeError:
    """Make the error for an attribute that a module lacks.

    Args:
        module: the module's name.
        name: what was asked for.
        public: the names that the module has.

    Returns:
        The error; it spells the line to write for a name of another library, or the nearest name.
    """
    text = f"module {module!r} has no attribute {name!r}"
    plain = {_plain(other): other for other in public if not other.startswith("_")}
    if name.startswith("__"):  # Python asks for these itself.
        pass
    elif _plain(name) in _NAMES:
        text += f"; with `import dice_jax as dj`, write {_NAMES[_plain(name)]}"
    elif _plain(name) in plain:
        text += f"; write {module}.{plain[_plain(name)]}"
    elif close := difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.75):
        text += f"; did you mean {' or '.join(plain[c] for c in close)}?"
    return AttributeError(text, name=name)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _unknown_keyword(function: str, keyword: str, known: Iterable[str]) -> TypeError:
    text = f"{function} got an unexpected keyword argument {keyword!r}"
    if keyword in _KEYWORDS:
        text += "; " + _KEYWORDS[keyword].format(name=function)
    elif close := difflib.get_close_matches(keyword, known, n=1):
        text += f"; did you mean {close[0]}?"
    return TypeError(text)


def explains_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse other libraries' keywords with the line to write.

    Args:
        function: any function without ``**kwargs``.

    Returns:
        A decorator's result: the function, with its signature and docstring.
    """
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for keyword in kwargs:
            if keyword not in known:
                raise _unknown_keyword(function.__name__, keyword, known)
        return function(*args, **kwargs)

    return checked
