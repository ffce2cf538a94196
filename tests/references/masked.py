"""SimMIM's, data2vec's and I-JEPA's released code in numpy, float64, to compare ours with."""

import math

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


def data2vec2_targets(layers, k):
    """facebookresearch/fairseq examples/data2vec/models/data2vec2.py make_targets.

    The last k of the layers' outputs [l n t d], with instance_norm_target_layer and
    layer_norm_targets, as in config/v2/base_images_only_task.yaml.
    """
    y = [
        (tl - tl.mean(1, keepdims=True)) / np.sqrt(tl.var(1, keepdims=True) + 1e-5)
        for tl in layers[-k:]
    ]
    return layer_norm(sum(y) / k)


def data2vec2_decoder(x, weights, groups):
    """The same place, models/modalities/modules.py Decoder2d: [n h w d], pixel by pixel."""
    n, h, w, _ = x.shape
    for name in sorted(name for name in weights if name.startswith("conv")):
        kernel, bias = weights[name]["kernel"], weights[name]["bias"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = np.zeros((n, h, w, len(bias)))
        given, made = x.shape[-1] // groups, len(bias) // groups
        for g in range(groups):
            taken, filled = slice(g * given, (g + 1) * given), slice(g * made, (g + 1) * made)
            for i in range(h):
                for j in range(w):
                    window = padded[:, i : i + 3, j : j + 3, taken]
                    y[:, i, j, filled] = np.einsum("nabc,abco->no", window, kernel[..., filled])
        y = layer_norm(y + bias)
        y = y * 0.5 * (1 + np.vectorize(math.erf)(y / 2**0.5))
        x = x + y if x.shape == y.shape else y
    return x @ weights["out"]["kernel"] + weights["out"]["bias"]


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
