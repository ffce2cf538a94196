"""Losses of autoencoders, inpainting and colorization in numpy, plain and float64."""

import numpy as np


def lab(rgb):
    """sRGB [... 3] in [0, 1] to Lab, as scikit-image's rgb2lab does with its rounded constants."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
    t = linear @ np.array(matrix).T / [0.95047, 1.0, 1.08883]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def encode(ab, bins, neighbors=5, sigma=5.0):
    """richzhang/colorization resources/caffe_traininglayers.py NNEncode, on points [n 2]."""
    distance = np.sqrt(((ab[:, None] - bins[None]) ** 2).sum(-1))
    out = np.zeros(distance.shape)
    for i, row in enumerate(distance):
        near = np.argsort(row, kind="stable")[:neighbors]
        weights = np.exp(-(row[near] ** 2) / (2 * sigma**2))
        out[i, near] = weights / weights.sum()
    return out


def prior_factor(prior, gamma):
    """The same file's PriorFactor, with alpha = 1."""
    factor = 1 / ((1 - gamma) * prior + gamma / len(prior))
    return factor / (prior * factor).sum()


def colorization(logits, targets, factor, counts):
    """Equation 2 of arXiv 1603.08511, as a mean over the places [p] that count."""
    total, number = 0.0, 0
    for z_hat, z, count in zip(logits, targets, counts, strict=True):
        if count:
            log_p = z_hat - z_hat.max() - np.log(np.exp(z_hat - z_hat.max()).sum())
            total -= factor[z.argmax()] * (z * log_p).sum()
            number += 1
    return total / number


def emphasized(x, z, corrupted, alpha, beta):
    """Squared loss of Vincent et al. 2010 with emphasis, summed over j in and not in J."""
    error = (x - z) ** 2
    return (alpha * error[corrupted].sum() + beta * error[~corrupted].sum()) / x.size
