"""DeepCluster: deep clustering for unsupervised learning of visual features.

Caron, Bojanowski, Joulin & Douze 2018, arXiv 1807.05520.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl import require
from jssl.losses import classification, kmeans
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn.forward import forward, start


def deepcluster(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    steps_per_epoch: int,
    examples: int,
    clusters: int = 10_000,
    pca: int = 256,
    iterations: int = 20,
    seed: int = 0,
) -> Method:
    """Once an epoch cluster the features of all examples; then learn to tell the clusters.

    Args:
      encoder: the convnet of the paper, a module that returns `Features`.
      view: ``(key, batch) -> [n h w c]``, one random view.
      prepare: ``batch -> [n ...]``, the unaugmented examples, normalised as the view is.
      steps_per_epoch: in how many steps training passes once over the data; so often it clusters.
      examples: how many there are; ``batch["index"]`` is in [0, examples).
      clusters: k, at most ``examples``.
      pca: to how many principal components the features are reduced before they are clustered;
        all where there are no more.
      iterations: of k-means.
      seed: of the rows with which k-means begins and of new classifiers, together with the step.

    Parameters stand under ``encoder`` and ``classifier``. In the state, beside ``stats``: ``bank``
    [examples d] and ``seen`` [examples], the latest features of each example and whether there are
    any; ``labels`` [examples], its cluster, -1 if it was not seen before the clustering; ``sizes``
    [k] of the clusters.

    What differs from the released code:
      - It makes the features by a pass of their own over the unaugmented images before each epoch;
        here they are kept while training, as in DeepCluster-v2. So the first epoch only fills the
        bank: there is no gradient, parameters are held, and loss and accuracy are those of knowing
        nothing, log k and 1 / k. Only the batch statistics move.
      - It draws examples evenly over the clusters; here the loss is weighted by the inverse size
        of the cluster, which the paper states to be the same (section 3.3, "Trivial
        parametrization"), over the batch's sum of weights.
      - It makes an optimizer without momentum for each new classifier; here the optimizer's
        momentum of the classifier lives on when it is drawn anew.
      - The Sobel filter before its AlexNet is a preprocessing, and left out, as is the ReLU between
        features and classifier: the encoders' features are what other methods project too.

    Raises:
      ValueError: if an option is out of range.
    """
    if not 2 <= clusters <= examples:
        raise ValueError(f"clusters must be between 2 and the {examples} examples, got {clusters}")
    require.at_least(1, steps_per_epoch=steps_per_epoch, pca=pca, iterations=iterations)
    wide = np.promote_types(encoder.param_dtype, np.float32)

    def draw(key, d):
        kernel = 0.01 * jax.random.normal(key, (d, clusters), encoder.param_dtype)
        return {"kernel": kernel, "bias": jnp.zeros(clusters, encoder.param_dtype)}

    def keys(step):
        return jax.random.split(jax.random.fold_in(jax.random.key(seed), step))

    def is_last(step):
        return (step + 1) % steps_per_epoch == 0

    def init(key, batch):
        k_encoder, k_classifier = jax.random.split(key)
        images = prepare(batch)
        params, stats = start(encoder, k_encoder, images)
        variables = {"params": params, **stats}
        d = jax.eval_shape(lambda: encoder.apply(variables, images, train=False)).pooled.shape[1]
        state = {
            "stats": stats,
            "bank": jnp.zeros((examples, d), wide),
            "seen": jnp.zeros(examples, bool),
            "labels": jnp.full(examples, kmeans.UNKNOWN, jnp.int32),
            "sizes": jnp.zeros(clusters, jnp.int32),
        }
        return Vars({"encoder": params, "classifier": draw(k_classifier, d)}, state)

    def views(key, batch):
        return {"image": view(key, batch), "index": batch["index"]}

    def loss(params, state, views, key, step):
        index, classifier = views["index"], params["classifier"]
        out, stats = forward(encoder, params["encoder"], state["stats"], views["image"], key)
        x = out.pooled
        logits = x @ classifier["kernel"].astype(x.dtype) + classifier["bias"].astype(x.dtype)[None]
        labels = state["labels"][index]
        # Section 3.3: else a few large clusters would be all that counts.
        weights = 1 / jnp.maximum(state["sizes"][labels], 1).astype(x.dtype)
        value, accuracy = classification.cross_entropy_accuracy(logits, labels, weights)
        state = state | {
            "stats": stats,
            "bank": state["bank"].at[index].set(jax.lax.stop_gradient(x).astype(wide)),
            "seen": state["seen"].at[index].set(True),
        }
        return value, Out(state, {"loss": value, "proxy_accuracy": accuracy})

    def adjust(before, params, state, step):
        # Weight decay and momentum move parameters even where there is no gradient.
        filling = step < steps_per_epoch
        params = jax.tree.map(lambda old, new: jnp.where(filling, old, new), before, params)
        # Clusters have no order that would last: the next ones need a classifier of their own.
        classifier = jax.lax.cond(
            is_last(step),
            lambda old: draw(keys(step)[0], old["kernel"].shape[0]),
            lambda old: old,
            params["classifier"],
        )
        return params | {"classifier": classifier}

    def cluster(state, step):
        white = kmeans.pca_whiten(state["bank"], pca, state["seen"])
        _, labels = kmeans.kmeans(keys(step)[1], white, clusters, iterations, state["seen"])
        sizes = jnp.zeros(clusters, jnp.int32).at[labels].add((labels >= 0).astype(jnp.int32))
        return state | {"labels": labels, "sizes": sizes}

    def after(params, state, step):
        return jax.lax.cond(is_last(step), cluster, lambda state, step: state, state, step)

    def embed(params, state, batch):
        return encoder.apply(
            {"params": params["encoder"], **state["stats"]}, prepare(batch), train=False
        )

    return Method(init, views, loss, after, embed, adjust=adjust)
