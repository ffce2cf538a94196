"""Transcribed: FixMatch and its relatives (google-research/fixmatch), FlexMatch (TorchSSL)."""

from collections import Counter

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits, labels):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def fixmatch(labeled, labels, weak, strong, confidence, weight):
    pseudo = softmax(weak)
    mask = pseudo.max(1) >= confidence
    unlabeled = (cross_entropy(strong, pseudo.argmax(1)) * mask).mean()
    return cross_entropy(labeled, labels).mean() + weight * unlabeled, mask.mean()


def classwise_thresholds(selected, k, cutoff):
    counter = Counter(selected.tolist())
    accuracy = np.array([counter[i] / max(counter.values()) for i in range(k)])
    return cutoff * (accuracy / (2.0 - accuracy))


def squared(student, teacher):
    return ((softmax(teacher) - softmax(student)) ** 2).mean(-1).mean()


def pseudo_label(logits, threshold):
    sure = (softmax(logits) > threshold).any(1)
    return (cross_entropy(logits, logits.argmax(1)) * sure).mean()
