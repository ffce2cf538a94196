"""Losses transcribed into numpy from the authors' released code, to compare ours with.

Each says which file it follows. They are slow, plain and float64.
"""

import numpy as np


def l2_normalize(x):
    return x / np.sqrt(np.maximum((x**2).sum(-1, keepdims=True), 1e-12))


def softmax_cross_entropy(labels, logits):
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -(labels * log_p).sum(-1)


def simclr(hidden1, hidden2, temperature):
    """google-research/simclr tf2/objective.py add_contrastive_loss: the sum of both directions."""
    hidden1, hidden2 = l2_normalize(hidden1), l2_normalize(hidden2)
    n = len(hidden1)
    labels, masks = np.eye(n, 2 * n), np.eye(n)
    logits_aa = hidden1 @ hidden1.T / temperature - masks * 1e9
    logits_bb = hidden2 @ hidden2.T / temperature - masks * 1e9
    logits_ab = hidden1 @ hidden2.T / temperature
    logits_ba = hidden2 @ hidden1.T / temperature
    loss_a = softmax_cross_entropy(labels, np.concatenate([logits_ab, logits_aa], 1))
    loss_b = softmax_cross_entropy(labels, np.concatenate([logits_ba, logits_bb], 1))
    return np.mean(loss_a + loss_b)


def byol(prediction1, prediction2, projection1, projection2):
    """google-deepmind/deepmind-research byol/byol_experiment.py loss_fn, without the classifier."""

    def regression_loss(x, y):
        return ((l2_normalize(x) - l2_normalize(y)) ** 2).sum(-1)

    loss = regression_loss(prediction1, projection2) + regression_loss(prediction2, projection1)
    return loss.mean()


def mae(target, pred, mask, norm_pix):
    """facebookresearch/mae models_mae.py forward_loss; mask is 1 where hidden."""
    if norm_pix:
        mean = target.mean(-1, keepdims=True)
        var = target.var(-1, ddof=1, keepdims=True)
        target = (target - mean) / (var + 1e-6) ** 0.5
    loss = ((pred - target) ** 2).mean(-1)
    return (loss * mask).sum() / mask.sum()


def beit(logits, labels, mask):
    """microsoft/unilm beit/engine_for_pretraining.py: of the masked tokens alone, and mlm_acc."""
    logits, labels = logits[mask], labels[mask]
    loss = softmax_cross_entropy(np.eye(logits.shape[-1])[labels], logits).mean()
    return loss, (logits.argmax(-1) == labels).mean()
