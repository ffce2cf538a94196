"""Classic pretext tasks' networks and losses in numpy, float64, to compare ours with."""

import numpy as np


def classifier(x, params):
    """Dense, batch norm of this batch, ReLU for each hidden layer; the last dense with a bias."""
    layers = sum(name.startswith("dense") for name in params)
    for i in range(1, layers):
        x = x @ params[f"dense{i}"]["kernel"]
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        x = np.maximum(x * params[f"norm{i}"]["scale"] + params[f"norm{i}"]["bias"], 0)
    return x @ params[f"dense{layers}"]["kernel"] + params[f"dense{layers}"]["bias"]


def softmax_loss(logits, label):
    """Caffe's SoftmaxWithLoss, the mean over examples."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return -np.log((e / e.sum(1, keepdims=True))[range(len(label)), label]).mean()


def patch_location(first, second, label, params):
    """cdoersch/deepcontext train.py: of features [n d], each pair in both orders.

    Labels there are numbered row by row around the first patch (pos2lbl).
    """
    places = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)]
    opposite = [places.index((-places[i][0], -places[i][1])) for i in label]
    joined = np.concatenate([np.hstack([first, second]), np.hstack([second, first])])
    return softmax_loss(classifier(joined, params), np.concatenate([label, opposite]))


def jigsaw(tiles, label, params):
    """MehdiNoroozi/JigsawPuzzleSolver: features of the tiles [n 9 d] side by side, as shown."""
    return softmax_loss(classifier(tiles.reshape(len(tiles), -1), params), label)
