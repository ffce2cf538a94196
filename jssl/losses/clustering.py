"""Losses of clustering: an example's prototype or cluster is what is to be predicted."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jssl import require
from jssl.losses.geometry import at_least_float32

HIGHEST = jax.lax.Precision.HIGHEST


def sinkhorn(
    scores: Float[Array, "n k"],
    epsilon: float = 0.05,
    iterations: int = 3,
    *,
    axis_name: str | None = None,
) -> Float[Array, "n k"]:
    """Codes: soft assignments of a batch to prototypes that uses all of these equally.

    ``exp(scores / epsilon)`` is scaled in turn so that every prototype has the same mass, then so
    that every example has. In logarithms, so that no score is too large or too small.

    Args:
      scores: of each example for each prototype.
      epsilon: > 0; the smaller, the closer the codes are to a hard assignment.
      iterations: >= 1, of the Sinkhorn-Knopp algorithm.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      Codes without gradient; each row sums to one.

    Raises:
      ValueError: if epsilon or iterations is out of range.

    Source: Caron et al. 2020, arXiv 2006.09882, equations 3 to 5 and appendix A.1. Rows are
    examples here; the paper's matrix is the transpose, over n.
    """
    require.positive(epsilon=epsilon)
    require.at_least(1, iterations=iterations)
    log_q = jax.lax.stop_gradient(at_least_float32(scores)) / epsilon
    for _ in range(iterations):
        highest = jnp.max(log_q, axis=0, keepdims=True)
        if axis_name is not None:
            highest = jax.lax.pmax(highest, axis_name)
        mass = jnp.sum(jnp.exp(log_q - highest), axis=0, keepdims=True)
        if axis_name is not None:
            mass = jax.lax.psum(mass, axis_name)
        log_q = jax.nn.log_softmax(log_q - highest - jnp.log(mass), axis=1)
    return jnp.exp(log_q)


def swav(
    scores_high: Float[Array, "v n k"],
    scores_low: Float[Array, "l n k"] | None = None,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Swapped prediction: from each crop the codes of the large ones among the others.

    Args:
      scores_high: cosines of the large crops with the prototypes; these have codes.
      scores_low: the same of the small crops, which only predict; None where there are none.
      temperature: > 0, of the predictions.
      epsilon, iterations: of the codes, as in `sinkhorn`.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Raises:
      ValueError: if an option is out of range or there are fewer than two crops.

    Source: Caron et al. 2020, arXiv 2006.09882, equations 1, 2 and 6; the mean over pairs, as in
    the released code.
    """
    codes = jax.vmap(lambda s: sinkhorn(s, epsilon, iterations, axis_name=axis_name))(scores_high)
    scores = scores_high if scores_low is None else jnp.concatenate([scores_high, scores_low])
    return swapped_accuracy(codes, scores, temperature, axis_name=axis_name)[0]


def swapped_accuracy(
    codes: Float[Array, "v n k"],
    scores: Float[Array, "w n k"],
    temperature: float = 0.1,
    *,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The loss of `swav` given codes, and how often the likeliest prototype is the code's.

    Args:
      codes: of the first v of the w crops, as from `sinkhorn`.
      scores: of all w > 1 crops.
      temperature: > 0.
      axis_name: inside ``shard_map`` or ``pmap``: the axis over which the batch is split.

    Returns:
      Mean cross-entropy over examples and the v * (w - 1) pairs of a code and another crop, and
      the share of those in which the highest score stands where the code is highest.
    """
    require.positive(temperature=temperature)
    v, w, n = len(codes), len(scores), scores.shape[1]
    if w < 2:
        raise ValueError(f"swapped prediction needs at least 2 crops, got {w}")
    log_p = jax.nn.log_softmax(at_least_float32(scores) / temperature, axis=-1)
    codes = jax.lax.stop_gradient(codes).astype(log_p.dtype)
    other = ~jnp.eye(v, w, dtype=bool)
    entropy = -jnp.einsum("vnk,wnk->vw", codes, log_p, precision=jax.lax.Precision.HIGHEST) / n
    best, found = (jax.lax.argmax(x, 2, jnp.int32) for x in (codes, log_p))
    right = jnp.mean((best[:, None] == found[None]).astype(log_p.dtype), axis=2)
    both = jnp.sum(jnp.where(other[None], jnp.stack([entropy, right]), 0), axis=(1, 2))
    both = both / (v * (w - 1))
    if axis_name is not None:
        both = jax.lax.pmean(both, axis_name)
    return both[0], both[1]


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
    v = len(student_logits)
    if v < 2:
        raise ValueError(f"student_logits must hold at least 2 views, got {v}")
    log_p, log_q = _distributions(
        student_logits, teacher_logits, center, student_temperature, teacher_temperature
    )
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


def masked_dino(
    student_logits: Float[Array, "n t k"],
    teacher_logits: Float[Array, "n t k"],
    mask: Bool[Array, "n t"],
    center: Float[Array, " k"],
    student_temperature: float = 0.1,
    teacher_temperature: float | Float[Array, ""] = 0.04,
    *,
    axis_name: str | None = None,
) -> dict[str, Float[Array, ""]]:
    """Masked image modelling of iBOT: the teacher, who sees a patch, says which class it is.

    Args:
      student_logits: of the patches of a view of which some are masked.
      teacher_logits: of the same patches of the same view, unmasked; no gradient flows into them.
      mask: True where a patch was hidden from the student and counts.
      center, student_temperature, teacher_temperature, axis_name: as in `dino`.

    Returns:
      ``loss``: cross entropy, the mean over the hidden patches of each image, then over images, of
      which those without a hidden patch count as 0, as in the released code (the paper sums over
      patches). ``proxy_accuracy``: share of all hidden patches whose most probable class is the
      same; ``chance``: the share of the teacher's commonest class among them, what one guess for
      all would score. ``teacher_entropy``: of the teacher's assignments of hidden patches in nats.
      All are 0 where nothing is hidden.

    Raises:
      ValueError: if a temperature is not positive.

    Source: Zhou et al. 2021, arXiv 2111.07832, equation 2.
    """
    log_p, log_q = _distributions(
        student_logits, teacher_logits, center, student_temperature, teacher_temperature
    )
    q, k, hidden = jnp.exp(log_q), log_p.shape[-1], mask.astype(log_p.dtype)
    cross, entropy = -jnp.sum(q * log_p, axis=-1), -jnp.sum(q * log_q, axis=-1)
    each = hidden / jnp.maximum(jnp.sum(hidden, axis=1, keepdims=True), 1)
    loss = jnp.mean(jnp.sum(each * cross, axis=1))
    said, asked = (jax.lax.argmax(x, 2, jnp.int32) for x in (log_p, log_q))
    sums = {
        "proxy_accuracy": jnp.sum(jnp.where(said == asked, hidden, 0)),
        "chance": jnp.zeros(k, log_p.dtype).at[asked.reshape(-1)].add(hidden.reshape(-1)),
        "teacher_entropy": jnp.sum(hidden * entropy),
    }
    count = jnp.sum(hidden)
    if axis_name is not None:
        sums, count = jax.lax.psum((sums, count), axis_name)
        loss = jax.lax.pmean(loss, axis_name)
    shares = jax.tree.map(lambda x: jnp.max(x) / jnp.maximum(count, 1), sums)
    return {"loss": loss, **shares}


def _distributions(
    student_logits, teacher_logits, center, student_temperature, teacher_temperature
):
    """Logarithms of the student's and the teacher's, of [v n k]; the teacher's has no gradient."""
    require.positive(student_temperature=student_temperature)
    if isinstance(teacher_temperature, float):  # and not traced, as one that warms up is
        require.positive(teacher_temperature=teacher_temperature)
    log_p = jax.nn.log_softmax(at_least_float32(student_logits) / student_temperature)
    centered = at_least_float32(teacher_logits) - center[None, None]
    temperature = jnp.asarray(teacher_temperature, centered.dtype)
    return log_p, jax.lax.stop_gradient(jax.nn.log_softmax(centered / temperature))


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
