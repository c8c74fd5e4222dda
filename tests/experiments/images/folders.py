"""Folders of images for tests, as users have them."""

import numpy as np
import tifffile
from PIL import Image


def arrays(row, size=(16, 24)):
    """An image and its mask, different for every row."""
    generator = np.random.default_rng(row)
    mask = np.zeros(size, bool)
    top, left = generator.integers(1, 8, 2)
    mask[top : top + 5, left : left + 6] = True
    image = np.clip(60 + 100 * mask + 30 * generator.normal(size=size), 0, 255)
    return image.astype(np.uint8), mask


def save(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, array)
    elif file.suffix in (".tif", ".tiff"):
        tifffile.imwrite(file, array)
    else:
        Image.fromarray(array).save(file)


def write(path, names, size=(16, 24), image="images/{}.png", mask="masks/{}.png"):
    """Write an image and a mask for every name."""
    for row, name in enumerate(names):
        pixels, foreground = arrays(row, size)
        save(path / image.format(name), pixels)
        save(path / mask.format(name), np.uint8(255) * foreground)
    return path
