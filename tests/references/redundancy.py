"""Losses against redundancy, transcribed into numpy from the authors' released code.

Each says which file it follows. They are slow, plain and float64.
"""

import numpy as np


def off_diagonal(x):
    return x[~np.eye(len(x), dtype=bool)]


def barlow_twins(z1, z2, lambd):
    """facebookresearch/barlowtwins main.py BarlowTwins.forward, from the projections on."""

    def bn(z):
        return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)

    c = bn(z1).T @ bn(z2) / len(z1)
    return ((np.diagonal(c) - 1) ** 2).sum() + lambd * (off_diagonal(c) ** 2).sum()


def vicreg(x, y, sim_coeff, std_coeff, cov_coeff):
    """facebookresearch/vicreg main_vicreg.py VICReg.forward, from the projections on."""
    n, num_features = x.shape
    repr_loss = ((x - y) ** 2).mean()
    x, y = x - x.mean(0), y - y.mean(0)
    std_x, std_y = np.sqrt(x.var(0, ddof=1) + 0.0001), np.sqrt(y.var(0, ddof=1) + 0.0001)
    std_loss = np.maximum(1 - std_x, 0).mean() / 2 + np.maximum(1 - std_y, 0).mean() / 2
    cov_x, cov_y = x.T @ x / (n - 1), y.T @ y / (n - 1)
    cov_loss = (off_diagonal(cov_x) ** 2).sum() / num_features
    cov_loss += (off_diagonal(cov_y) ** 2).sum() / num_features
    return sim_coeff * repr_loss + std_coeff * std_loss + cov_coeff * cov_loss


def whitening(x, eps):
    """htdt/self-supervised methods/whitening.py Whitening2d.forward in training."""
    xn = x - x.mean(0)
    cov = xn.T @ xn / (len(x) - 1)
    shrunk = (1 - eps) * cov + eps * np.eye(x.shape[1])
    return xn @ np.linalg.inv(np.linalg.cholesky(shrunk)).T


def w_mse(h0, h1, permutations, w_size, eps, norm):
    """htdt/self-supervised methods/w_mse.py WMSE.forward and norm_mse.py, from the head on."""
    loss = 0
    for permutation in permutations:
        z0, z1 = np.empty_like(h0), np.empty_like(h1)
        for idx in permutation.reshape(-1, w_size):
            z0[idx], z1[idx] = whitening(h0[idx], eps), whitening(h1[idx], eps)
        if norm:
            z0, z1 = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z0, z1))
            loss += 2 - 2 * (z0 * z1).sum(-1).mean()
        else:
            loss += ((z0 - z1) ** 2).mean()
    return loss / len(permutations)


def koleo(x):
    """facebookresearch/dinov2 dinov2/loss/koleo_loss.py, on one device."""
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8)
    dots = x @ x.T
    np.fill_diagonal(dots, -1)
    distances = np.linalg.norm(x - x[dots.argmax(1)] + 1e-8, axis=1)
    return -np.log(distances + 1e-8).mean()
