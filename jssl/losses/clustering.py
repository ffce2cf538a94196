"""Losses that compare assignments to prototypes: one view's is what another is to predict."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl.losses.geometry import at_least_float32

HIGHEST = jax.lax.Precision.HIGHEST


def dino(
    student_logits: Float[Array, "v n k"],
    teacher_logits: Float[Array, "2 n k"],
    center: Float[Array, " k"],
    student_temperature: float = 0.1,
    teacher_temperature: float | Float[Array, ""] = 0.04,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Cross entropy of the student's views with the teacher's assignment of another view.

    Args:
      student_logits: of v >= 2 views; the first two are those that the teacher sees.
      teacher_logits: of the two large views; no gradient flows into them.
      center: subtracted from them, so that no class dominates (`follow_center`).
      student_temperature: > 0.
      teacher_temperature: > 0, lower than the student's: the target is sharpened. May be traced.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      The mean over the batch and over the 2 v - 2 pairs of a teacher's and another student's view,
      as in the released code (the paper writes a sum over pairs).

    Raises:
      ValueError: if a temperature is not positive or there are fewer than 2 views.

    Source: Caron et al. 2021, arXiv 2104.14294, equation 3 and algorithm 1.
    """
    return dino_metrics(
        student_logits,
        teacher_logits,
        center,
        student_temperature,
        teacher_temperature,
        axis_name=axis_name,
    )["loss"]


def dino_metrics(
    student_logits: Float[Array, "v n k"],
    teacher_logits: Float[Array, "2 n k"],
    center: Float[Array, " k"],
    student_temperature: float = 0.1,
    teacher_temperature: float | Float[Array, ""] = 0.04,
    *,
    axis_name: str | None = None,
) -> dict[str, Float[Array, ""]]:
    """`dino` as ``loss``, and what tells a collapse from learning (section 5.3, figure 7).

    ``proxy_accuracy``: share of the pairs whose most probable class is the same, in [0, 1].
    ``teacher_entropy``: of the teacher's assignments in nats, log k where they are uniform, 0 where
    each is one class. ``divergence``: what the loss has above it, Kullback-Leibler's; 0 from the
    start on means collapse of either kind.
    """
    for name, value in (
        ("student_temperature", student_temperature),
        ("teacher_temperature", teacher_temperature),
    ):
        if isinstance(value, float) and value <= 0:
            raise ValueError(f"{name} must be > 0, got {value}")
    v = len(student_logits)
    if v < 2:
        raise ValueError(f"student_logits must hold at least 2 views, got {v}")
    log_p = jax.nn.log_softmax(at_least_float32(student_logits) / student_temperature)
    centered = at_least_float32(teacher_logits) - center[None, None]
    temperature = jnp.asarray(teacher_temperature, centered.dtype)
    log_q = jax.lax.stop_gradient(jax.nn.log_softmax(centered / temperature))
    q = jnp.exp(log_q)
    others = ~np.eye(2, v, dtype=bool)
    cross = -jnp.einsum("gnk,vnk->gvn", q, log_p, precision=HIGHEST)
    loss = jnp.mean(cross[others])
    entropy = -jnp.mean(jnp.sum(q * log_q, axis=-1))
    said, asked = (jax.lax.argmax(x, 2, jnp.int32) for x in (log_p, log_q))
    same = (asked[:, None] == said[None])[others]
    metrics = {
        "loss": loss,
        "proxy_accuracy": jnp.mean(same.astype(loss.dtype)),
        "teacher_entropy": entropy,
        "divergence": loss - entropy,
    }
    return metrics if axis_name is None else jax.lax.pmean(metrics, axis_name)


def follow_center(
    center: Float[Array, " k"],
    teacher_logits: Float[Array, "v n k"],
    momentum: float = 0.9,
    *,
    axis_name: str | None = None,
) -> Float[Array, " k"]:
    """The centre after a batch: a moving average of the teacher's mean output over all its views.

    Source: Caron et al. 2021, arXiv 2104.14294, equation 4.
    """
    mean = jax.lax.stop_gradient(jnp.mean(at_least_float32(teacher_logits), axis=(0, 1)))
    if axis_name is not None:
        mean = jax.lax.pmean(mean, axis_name)
    return momentum * center + (1 - momentum) * mean
