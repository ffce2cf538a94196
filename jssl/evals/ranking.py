"""How well do scores put the positives first, or all in order? Ties included."""

import numpy as np
from jaxtyping import Bool, Float


def roc_auc(positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Area under the ROC curve in [0, 1]; ties count half."""
    false, true = _rates(positive, score)
    return float(np.trapezoid(true, false))


def average_precision(positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Sum over thresholds of precision times the gain in recall (AUPR), in [0, 1]."""
    true, false = _counts(positive, score)
    precision = true[1:] / (true[1:] + false[1:])
    return float(np.sum(precision * np.diff(true)) / true[-1])


def false_positive_rate(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], recall: float = 0.95
) -> float:
    """The least false positive rate of a threshold that finds ``recall`` of the positives."""
    false, true = _rates(positive, score)
    return float(false[np.argmax(true >= recall)])


def equal_error_rate(positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Where the ROC curve, linear between thresholds, has as many misses as false alarms."""
    false, true = _rates(positive, score)
    excess = false - (1 - true)
    after = int(np.argmax(excess >= 0))
    share = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(false[after - 1] + share * (false[after] - false[after - 1]))


def spearman(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Rank correlation in [-1, 1], tied values sharing their mean rank; NaN where one is constant.

    Spearman 1904.
    """
    ranks = np.stack([_ranks(x), _ranks(y)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((ranks**2).sum(axis=1))
    return float(ranks[0] @ ranks[1] / norms.prod()) if norms.all() else float("nan")


def _ranks(x):
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _rates(positive, score):
    true, false = _counts(positive, score)
    return false / false[-1], true / true[-1]


def _counts(positive, score):
    """True and false positives at each distinct threshold, from none to all."""
    positive, score = np.asarray(positive, bool), np.asarray(score, np.float64)
    if positive.shape != score.shape or positive.ndim != 1:
        raise ValueError(f"labels and scores must be [n], got {positive.shape}, {score.shape}")
    if positive.all() or not positive.any():
        raise ValueError("positive must hold both kinds, got one")
    if not np.isfinite(score).all():
        raise ValueError("score must be finite, got nan or inf")
    order = np.argsort(-score, kind="stable")
    positive, score = positive[order], score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    true = np.cumsum(positive)[last]
    return np.append(0, true), np.append(0, last + 1 - true)
