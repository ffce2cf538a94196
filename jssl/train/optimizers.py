"""Optimizers by name, from optax."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from jssl import require
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
    weight_decay: optax.ScalarOrSchedule = 0.0,
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
    weight_decay: optax.ScalarOrSchedule = 0.05,
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101); decay is decoupled, times the learning rate, for weights alone."""
    return optax.adamw(lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=is_weight)


def lars(
    lr: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    weight_decay: optax.ScalarOrSchedule = 1e-6,
    trust_coefficient: float = 0.001,
) -> optax.GradientTransformation:
    """LARS (arXiv 1708.03888); biases and norms have neither decay nor adaptation.

    As in the released SimCLR code, the learning rate multiplies what momentum gathers. In that of
    BYOL, Barlow Twins and VICReg it multiplies the result, which differs while the rate changes.
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


def _clip_each(bound: float) -> optax.GradientTransformation:
    """Bounds the norm of each array's gradient by itself, as DINO's released code does."""

    def clipped(g):
        return g * jnp.minimum(1, bound / (jnp.linalg.norm(g.ravel()) + 1e-6)).astype(g.dtype)

    return optax.stateless(lambda updates, params: jax.tree.map(clipped, updates))


def build(
    name: str,
    lr: optax.ScalarOrSchedule,
    *,
    constant: Mapping[str, float] | None = None,
    clip: float | None = None,
    clip_each: float | None = None,
    frozen: Callable[[PyTree], PyTree] | None = None,
    scale: Callable[[PyTree], PyTree] | None = None,
    **options,
) -> optax.GradientTransformation:
    """An optimizer by name.

    Args:
      name: a key of `OPTIMIZERS`.
      lr: learning rate or schedule; the actual one, not scaled by the batch size.
      constant: branches of the parameters, such as ``predictor``, that have a constant learning
        rate of their own (SimSiam, arXiv 2011.10566, section 4.2).
      clip: bound on the global norm of the gradient; None leaves it alone.
      clip_each: bound on the norm of the gradient of each array of the parameters.
      frozen: of the parameters, True for each that does not learn: it has no optimizer state.
      scale: of the parameters, what the learning rate of each is multiplied by.
      **options: of that optimizer.

    Raises:
      ValueError: if the bound is not positive or, at ``init``, if there is no branch of that name.
    """
    bounds = []
    if clip is not None:
        require.positive(**{"optimizer.clip": clip})
        bounds.append(optax.clip_by_global_norm(clip))
    if clip_each is not None:
        require.positive(**{"optimizer.clip_each": clip_each})
        bounds.append(_clip_each(clip_each))
    tx = OPTIMIZERS[name](lr, **options)
    if constant:
        parts = {part: OPTIMIZERS[name](rate, **options) for part, rate in constant.items()}
        tx = optax.partition({"": tx, **parts}, lambda params: _labels(params, parts))
    if frozen is not None:
        tx = optax.partition(
            {"learns": tx, "frozen": optax.set_to_zero()},
            lambda params: jax.tree.map(lambda f: "frozen" if f else "learns", frozen(params)),
        )
    if scale is not None:
        tx = optax.chain(tx, _scaled(scale))
    return optax.chain(*bounds, tx) if bounds else tx


def _scaled(scale: Callable[[PyTree], PyTree]) -> optax.GradientTransformation:
    def scaled(updates, params):
        return jax.tree.map(lambda u, by: u * jnp.asarray(by, u.dtype), updates, scale(params))

    return optax.stateless(scaled)


def _labels(params, parts):
    """For each branch of the parameters the name of its own optimizer, or that of the rest."""
    for part in parts:
        if part not in params:
            raise ValueError(
                f"optimizer.constant names {part!r}, the parameters have {', '.join(params)}"
            )
    return {name: name if name in parts else "" for name in params}
