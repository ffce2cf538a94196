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


def nnclr(nn, p, temperature):
    """vturrisi/solo-learn solo/losses/nnclr.py; the authors released none. One direction."""
    logits = l2_normalize(nn) @ l2_normalize(p).T / temperature
    return softmax_cross_entropy(np.eye(len(p)), logits).mean()


def nearest(z, queue):
    """The pseudocode's NN: neighbours of z in the queue by cosine."""
    return queue[np.argmax(l2_normalize(z) @ l2_normalize(queue).T, 1)]


def clip(a, b, scale):
    """mlfoundations/open_clip src/open_clip/loss.py ClipLoss, on one device."""
    logits = scale * l2_normalize(a) @ l2_normalize(b).T
    labels = np.eye(len(a))
    per_image = softmax_cross_entropy(labels, logits).mean()
    return (per_image + softmax_cross_entropy(labels, logits.T).mean()) / 2


def siglip(a, b, scale, bias):
    """google-research/big_vision trainers/proj/image_text/siglip.py, on one device."""
    logits = l2_normalize(a) @ l2_normalize(b).T * scale + bias
    sign = -np.ones_like(logits) + 2 * np.eye(len(a))
    return np.mean(-np.sum(-np.logaddexp(0, -sign * logits), axis=-1))
