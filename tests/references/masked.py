"""SimMIM's, data2vec's and I-JEPA's released code in numpy, float64, to compare ours with."""

import numpy as np


def simmim(x, x_rec, mask):
    """microsoft/SimMIM models/simmim.py SimMIM.forward, without the 1e-5 for an empty mask.

    Images [n h w c], mask [n h w] as 0 and 1.
    """
    loss_recon = np.abs(x - x_rec)
    return (loss_recon * mask[..., None]).sum() / mask.sum() / x.shape[-1]


def norm_targets(targets, patch_size):
    """microsoft/SimMIM models/simmim.py norm_targets: a window at a time, images [n h w c]."""
    out, reach = np.empty_like(targets), patch_size // 2
    _, h, w, _ = targets.shape
    for i in range(h):
        for j in range(w):
            near = np.s_[:, max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1]
            mean, var = targets[near].mean((1, 2)), targets[near].var((1, 2), ddof=1)
            out[:, i, j] = (targets[:, i, j] - mean) / np.sqrt(var + 1e-6)
    return out


def smooth_l1(x, y, beta):
    """torch.nn.functional.smooth_l1_loss, mean over all entries."""
    loss = [0.5 * d**2 / beta if d < beta else d - 0.5 * beta for d in np.abs(x - y).ravel()]
    return np.mean(loss)


def layer_norm(x, eps=1e-5):
    """torch.nn.functional.layer_norm over the last axis, no parameters."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def data2vec_targets(layers, k):
    """facebookresearch/data2vec_vision beit/engine_for_cyclical.py train_one_epoch.

    The last k of the layers' outputs [n t d], with target_layer_norm_last and
    post_target_layer_norm, as in the README's commands.
    """
    layer_vals = [layer_norm(val) for val in layers[-k:]]
    return layer_norm(sum(layer_vals) / len(layer_vals))


def data2vec_decay(step, decay_init, decay, ema_start_at):
    """The same place: cur_decay at a step."""
    return decay_init + step * (decay - decay_init) / ema_start_at if step < ema_start_at else decay


def ijepa(z, h, masks):
    """facebookresearch/ijepa src/train.py: loss of z, for each block, to h [n t d].

    z [n m s d]; masks: for each example and block its own indices, of which the released code has
    as many for all.
    """
    h = layer_norm(h)
    pairs = [
        (z[i, j, : len(block)], h[i, block])
        for i, blocks in enumerate(masks)
        for j, block in enumerate(blocks)
    ]
    x, y = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return smooth_l1(x, y, 1.0)


def ijepa_momentum(step, ema, steps):
    """The same place: momentum_scheduler."""
    return ema[0] + step * (ema[1] - ema[0]) / steps
