"""Losses of time series, transcribed into numpy from the authors' released code."""

import numpy as np
from scipy.special import log_softmax


def hierarchical(z1, z2, alpha=0.5):
    """zhihanyue/ts2vec models/losses.py hierarchical_contrastive_loss, temporal_unit=0."""
    loss, d = 0.0, 0
    while z1.shape[1] > 1:
        loss += alpha * contrast(z1.swapaxes(0, 1), z2.swapaxes(0, 1))
        loss += (1 - alpha) * contrast(z1, z2)
        d += 1
        z1, z2 = pooled(z1), pooled(z2)
    loss += alpha * contrast(z1.swapaxes(0, 1), z2.swapaxes(0, 1))
    return loss / (d + 1)


def contrast(z1, z2):
    """Both of its losses: along the second axis, for each of the first."""
    b = z1.shape[1]
    z = np.concatenate([z1, z2], axis=1)
    logits = z @ z.swapaxes(1, 2)
    # Its two triangles leave out the diagonal.
    logits = logits[:, ~np.eye(2 * b, dtype=bool)].reshape(len(z), 2 * b, 2 * b - 1)
    logits, i = -log_softmax(logits, axis=-1), np.arange(b)
    return (logits[:, i, b + i - 1].mean() + logits[:, b + i, i].mean()) / 2


def pooled(z):
    t = z.shape[1] // 2
    return z[:, : 2 * t].reshape(len(z), t, 2, -1).max(axis=2)
