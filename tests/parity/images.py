"""The small images on which a line of a page is compared, as dice_jax takes them."""

from __future__ import annotations

import numpy as np

__all__ = ["HARD", "KINDS", "images"]

IMAGES, HEIGHT, WIDTH, CLASSES = 2, 5, 6, 3
PIXELS = (IMAGES, HEIGHT, WIDTH)


def _logits(rng, *trailing):
    return rng.normal(0, 1.5, (*PIXELS, *trailing)).astype(np.float32)


def softmax(rng):
    """Logits and integer labels; every class is in every image."""
    labels = rng.permuted(np.arange(HEIGHT * WIDTH) % CLASSES, axis=0)
    labels = np.stack([labels, rng.permutation(np.minimum(np.arange(30) // 4, 2))])
    return {
        "logits": _logits(rng, CLASSES),
        "labels": labels.reshape(PIXELS).astype(np.int32),
        "weights": np.array([0.5, 1.0, 2.0], np.float32),
    }


def absent(rng):
    """Class 2 is missing in the second image."""
    drawn = softmax(rng)
    drawn["labels"][1] = np.minimum(drawn["labels"][1], 1)
    return drawn


def missing(rng):
    """Class 2 is missing in both images."""
    drawn = softmax(rng)
    drawn["labels"] = np.minimum(drawn["labels"], 1)
    return drawn


def ignore(rng):
    """Some pixels bear the label 255."""
    drawn = softmax(rng)
    drawn["labels"][rng.random(PIXELS) < 0.25] = 255
    return drawn


def two(rng):
    """Two classes."""
    labels = (rng.random(PIXELS) < 0.3).astype(np.int32)
    return {"logits": _logits(rng, 2), "labels": labels}


def soft(rng):
    """Soft labels: the annotators disagreed."""
    targets = rng.dirichlet(np.ones(CLASSES), PIXELS).astype(np.float32)
    return {"logits": _logits(rng, CLASSES), "targets": targets}


def binary(rng):
    """One class, without a class axis."""
    return {"logits": _logits(rng), "targets": (rng.random(PIXELS) < 0.3).astype(np.int32)}


def binary_ignore(rng):
    """One class; some pixels bear the target 255."""
    drawn = binary(rng)
    drawn["targets"][rng.random(PIXELS) < 0.25] = 255
    return drawn


def regions(rng):
    """Three regions that overlap, one in the other; `where` is 0 on some pixels."""
    depth = rng.integers(0, CLASSES + 1, PIXELS)
    targets = (depth[..., None] > np.arange(CLASSES)).astype(np.int32)
    return {
        "logits": _logits(rng, CLASSES),
        "targets": targets,
        "where": rng.random(PIXELS) < 0.75,
    }


def pyramid(rng):
    """Three outputs of a network, each half as large as the one before, and their labels."""
    levels = [(2, 8, 8), (2, 4, 4), (2, 2, 2)]
    return {
        "logits": [rng.normal(0, 1.5, (*n, CLASSES)).astype(np.float32) for n in levels],
        "labels": [rng.integers(0, CLASSES, n).astype(np.int32) for n in levels],
    }


def masks(rng):
    """Predicted and true labels of square images; class 2 is nowhere in the second one."""
    square = (IMAGES, WIDTH, WIDTH)
    labels = rng.integers(0, CLASSES, square).astype(np.int32)
    guess = rng.integers(0, CLASSES, square)
    predicted = np.where(rng.random(square) < 0.6, labels, guess).astype(np.int32)
    predicted[1], labels[1] = np.minimum(predicted[1], 1), np.minimum(labels[1], 1)
    return {"predicted": predicted, "labels": labels}


def unlabelled(rng):
    """The same; some pixels bear the label 255."""
    drawn = masks(rng)
    drawn["labels"][rng.random(drawn["labels"].shape) < 0.25] = 255
    return drawn


def outlines(rng):
    """One predicted and one true object, with ragged outlines, of one image."""
    labels, predicted = np.zeros((2, 14, 17), np.int32)
    labels[3:10, 4:12], predicted[4:12, 5:11] = 1, 1
    for mask in (labels, predicted):
        mask[3:12, 4:13] ^= rng.random((9, 9)) < 0.08
    return {"predicted": predicted, "labels": labels}


def chances(rng):
    """Probabilities and what came of them, in one row; none lies on the edge of a bin."""
    targets = (rng.random(120) < 0.3).astype(np.int32)
    p = np.clip(0.3 * targets + rng.uniform(0, 0.7, 120), 0.003, 0.98)
    return {"probabilities": (np.round(p, 2) + 0.004).astype(np.float32), "targets": targets}


def instances(rng):
    """Numbered objects, predicted and true: found, cut in two, missed and made up."""
    labels, predicted = np.zeros((2, 12, 12), np.int32)
    labels[1:4, 1:4], labels[6:9, 1:4], labels[1:4, 7:11] = 1, 2, 3
    predicted[1:4, 1:4], predicted[6:9, 1:2], predicted[6:9, 2:4] = 1, 2, 3
    predicted[8, 8] = 4
    return {"predicted": predicted, "labels": labels}


# Of metrics: there is nothing to differentiate.
HARD = ("masks", "unlabelled", "outlines", "chances", "instances")

KINDS = {
    kind.__name__: kind
    for kind in (
        softmax,
        absent,
        missing,
        ignore,
        two,
        soft,
        binary,
        binary_ignore,
        regions,
        pyramid,
        masks,
        unlabelled,
        outlines,
        chances,
        instances,
    )
}


def images(kind: str) -> dict[str, object]:
    """The arrays of a kind by name, always the same ones."""
    return KINDS[kind](np.random.default_rng(0))
