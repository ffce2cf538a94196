"""Contrastive losses and state updates transcribed into numpy, plain and float64."""

import numpy as np
from references.losses import l2_normalize, softmax_cross_entropy


def logsumexp(x):
    top = x.max(1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(1, keepdims=True)))[:, 0]


def dcl(z1, z2, temperature, sigma=None):
    """raminnakhli/Decoupled-Contrastive-Learning loss/dcl.py: the sum of both directions.

    That code takes normalised vectors. Its weights lack the factor n by which the paper's equation
    6 makes their mean one; here it stands.
    """
    z1, z2 = l2_normalize(z1), l2_normalize(z2)

    def one_way(z1, z2):
        n = len(z1)
        positive = -(z1 * z2).sum(1) / temperature
        if sigma is not None:
            density = np.exp((z1 * z2).sum(1) / sigma)
            positive = positive * (2 - n * (density / density.sum()))
        similarity = np.concatenate([z1 @ z1.T, z1 @ z2.T], 1) / temperature
        mask = np.tile(np.eye(n), (1, 2))
        return (positive + logsumexp(similarity + mask * np.log(1e-45))).mean()

    return one_way(z1, z2) + one_way(z2, z1)


def moco(q, k, queue, temperature):
    """facebookresearch/moco moco/builder.py forward with the cross entropy of main_moco.py."""
    q, k = l2_normalize(q), l2_normalize(k)
    logits = np.concatenate([(q * k).sum(1, keepdims=True), q @ queue.T], 1) / temperature
    return softmax_cross_entropy(np.eye(1, logits.shape[1]), logits).mean()


def moco_v3(q, k, temperature):
    """facebookresearch/moco-v3 moco/builder.py contrastive_loss, one direction, on one device."""
    q, k = l2_normalize(q), l2_normalize(k)
    logits = q @ k.T / temperature
    return softmax_cross_entropy(np.eye(len(q)), logits).mean() * (2 * temperature)
