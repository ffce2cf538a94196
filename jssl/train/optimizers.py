"""Optimizers by name, from optax."""

import jax
import optax

from jssl.method import PyTree


def is_weight(params: PyTree) -> PyTree:
    """True for weights, False for biases, norm parameters, tokens and positions.

    By name (``kernel``, ``embedding``), not by rank: stacked blocks give every bias an axis more.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: getattr(path[-1], "key", None) in ("kernel", "embedding"), params
    )


def sgd(
    lr: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """SGD with momentum; decay is added to the gradient, for weights alone."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=is_weight),
        optax.sgd(lr, momentum=momentum or None, nesterov=nesterov),
    )


def adamw(
    lr: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.05,
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101); decay is decoupled, times the learning rate, for weights alone."""
    return optax.adamw(lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=is_weight)


def lars(
    lr: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 1e-6,
    trust_coefficient: float = 0.001,
) -> optax.GradientTransformation:
    """LARS (arXiv 1708.03888); biases and norms have neither decay nor adaptation.

    As in the released SimCLR and BYOL code.
    """
    return optax.lars(
        lr,
        weight_decay=weight_decay,
        weight_decay_mask=is_weight,
        trust_coefficient=trust_coefficient,
        trust_ratio_mask=is_weight,
        momentum=momentum,
    )


OPTIMIZERS = {"sgd": sgd, "adamw": adamw, "lars": lars}


def build(
    name: str, lr: optax.ScalarOrSchedule, *, clip: float | None = None, **options
) -> optax.GradientTransformation:
    """An optimizer by name.

    Args:
      name: a key of `OPTIMIZERS`.
      lr: learning rate or schedule; the actual one, not scaled by the batch size.
      clip: bound on the global norm of the gradient; None leaves it alone.
      **options: of that optimizer.
    """
    if clip is not None and clip <= 0:
        raise ValueError(f"optimizer.clip must be > 0, got {clip}")
    tx = OPTIMIZERS[name](lr, **options)
    return tx if clip is None else optax.chain(optax.clip_by_global_norm(clip), tx)
