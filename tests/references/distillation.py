"""SimSiam's, DINO's and LeJEPA's released code in numpy, float64, to compare ours with."""

import numpy as np


def simsiam(p1, p2, z1, z2):
    """facebookresearch/simsiam main_simsiam.py train: torch.nn.CosineSimilarity, eps 1e-8."""

    def criterion(p, z):
        lengths = np.linalg.norm(p, axis=1) * np.linalg.norm(z, axis=1)
        return (p * z).sum(1) / np.maximum(lengths, 1e-8)

    return -(criterion(p1, z2).mean() + criterion(p2, z1).mean()) * 0.5
