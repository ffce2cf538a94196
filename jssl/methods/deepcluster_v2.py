"""DeepCluster-v2: clustering offline, made comparable with SwAV in SwAV's paper.

Caron, Misra, Mairal, Goyal, Bojanowski & Joulin 2020, arXiv 2006.09882, whose
appendix describes it; the details are those of facebookresearch/swav, main_deepclusterv2.py.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl import require
from jssl.losses import classification, kmeans, spread
from jssl.losses.geometry import l2_normalize
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward_crops, start
from jssl.nn.heads import MLP, JointEmbedding


def deepcluster_v2(
    encoder: nn.Module,
    crops: Callable[[Array, Batch], list[Array]],
    prepare: Callable[[Batch], Array],
    *,
    steps_per_epoch: int,
    examples: int,
    prototypes: tuple[int, ...] = (3000, 3000, 3000),
    temperature: float = 0.1,
    iterations: int = 10,
    hidden: int = 2048,
    out: int = 128,
    seed: int = 0,
) -> Method:
    """Once an epoch cluster all examples; then tell from each crop its example's cluster.

    What sets it apart from DeepCluster: the projections are kept while training instead of made
    by passes of their own, k-means is spherical, and its centroids are the classifier, so that
    nothing is learned anew after a clustering.

    Args:
      encoder: f of the paper, a module that returns `Features`.
      crops: ``(key, batch) -> [[n 2 ...], [n l ...]]``, two large crops of each example and l
        small ones, or the large ones alone. The large ones' projections are clustered.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the crops are.
      steps_per_epoch: in how many steps training passes once over the data; so often it clusters.
      examples: how many there are; ``batch["index"]`` is in [0, examples).
      prototypes: k of each of several clusterings, each of them at most ``examples``. The first
        is one of the first large crop's projections, the next of the second's, and so on in turn.
      temperature: of the predictions.
      iterations: of k-means.
      hidden: width of the hidden layer of the projector.
      out: width of its output z, which is l2-normalised.
      seed: of the rows with which k-means begins, together with the step.

    In the state, beside ``stats``: ``bank`` [2 examples out] and ``seen`` [examples], the latest z
    of each example and whether there is one; ``centroids``, [k out] of each clustering; and
    ``labels`` [clusterings examples], -1 where an example was not seen before the clustering.

    The first epoch only fills the bank, which the authors do by a pass before training: there is
    no gradient, parameters are held, and loss and accuracy are those of knowing nothing, log k and
    1 / k. Only the batch statistics move.

    Raises:
      ValueError: if an option is out of range.
    """
    prototypes = tuple(prototypes)
    if not prototypes or not all(2 <= k <= examples for k in prototypes):
        raise ValueError(
            f"prototypes must be one or more numbers between 2 and the {examples} examples, "
            f"got {prototypes}"
        )
    require.at_least(1, steps_per_epoch=steps_per_epoch, iterations=iterations)
    require.positive(temperature=temperature)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    net = JointEmbedding(encoder, MLP((hidden, out), bias=True, final_bias=True, **dtypes))
    wide = np.promote_types(encoder.param_dtype, np.float32)

    def init(key, batch):
        params, stats = start(net, key, prepare(batch))
        state = {
            "stats": stats,
            "bank": jnp.zeros((2, examples, out), wide),
            "seen": jnp.zeros(examples, bool),
            "centroids": [jnp.zeros((k, out), wide) for k in prototypes],
            "labels": jnp.full((len(prototypes), examples), kmeans.UNKNOWN, jnp.int32),
        }
        return Vars(params, state)

    def views(key, batch):
        return {"crops": crops(key, batch), "index": batch["index"]}

    def loss(params, state, views, key, step):
        index = views["index"]
        (z, _), stats = forward_crops(net, params, state["stats"], views["crops"], key)
        z = l2_normalize(z)
        n, v, _ = z.shape
        heads = []
        for centroids, labels in zip(state["centroids"], state["labels"], strict=True):
            logits = (z @ centroids.T.astype(z.dtype) / temperature).reshape(n * v, -1)
            heads.append(
                classification.cross_entropy_accuracy(logits, jnp.repeat(labels[index], v))
            )
        value, accuracy = jnp.mean(jnp.asarray(heads), axis=0)
        metrics = {"loss": value, "proxy_accuracy": accuracy} | spread.spread(z[:, 0], z[:, 1])
        high = jax.lax.stop_gradient(jnp.moveaxis(z[:, :2], 1, 0)).astype(wide)
        state = state | {
            "stats": stats,
            "bank": state["bank"].at[:, index].set(high),
            "seen": state["seen"].at[index].set(True),
        }
        return value, Out(state, metrics)

    def adjust(before, params, state, step):
        # Weight decay and momentum move parameters even where there is no gradient.
        filling = step < steps_per_epoch
        return jax.tree.map(lambda old, new: jnp.where(filling, old, new), before, params)

    def cluster(state, step):
        key = jax.random.fold_in(jax.random.key(seed), step)
        centroids, labels = [], []
        for head, k in enumerate(prototypes):
            found = kmeans.spherical_kmeans(
                jax.random.fold_in(key, head), state["bank"][head % 2], k, iterations, state["seen"]
            )
            centroids.append(found[0])
            labels.append(found[1])
        return state | {"centroids": centroids, "labels": jnp.stack(labels)}

    def after(params, state, step):
        last = (step + 1) % steps_per_epoch == 0
        return jax.lax.cond(last, cluster, lambda state, step: state, state, step)

    def embed(params, state, batch):
        return net.apply({"params": params, **state["stats"]}, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed, adjust=adjust)
