"""Random masks that look like objects, the same in every process: what folders are made of."""

import numpy as np
from scipy import ndimage

# By name: the shape, the spacing and how many cases.
SETS = {"planes": ((24, 32), (1.0, 1.0), 6), "volumes": ((10, 12, 14), (2.5, 1.0, 0.7), 3)}
TOLERANCE = 1.5


def masks(shape, seed):
    """A prediction and its truth: smooth blobs that mostly overlap."""
    rng = np.random.default_rng(seed)
    common, noise = (ndimage.gaussian_filter(rng.normal(size=shape), 2.0) for _ in range(2))
    truth = common > np.quantile(common, 0.75)
    blurred = common + 0.6 * noise
    return blurred > np.quantile(blurred, 0.7), truth


def cases(name):
    """All cases of a set: their names, predictions and truths."""
    shape, _, count = SETS[name]
    return {f"{name}_{k}": masks(shape, k) for k in range(count)}
