"""Supervised classification and fine-tuning: what a pretrained encoder is compared with and for.

The protocol of fine-tuning from few labels is that of SimCLR (Chen et al. 2020, arXiv 2002.05709,
appendix B.5): all layers train on, a linear layer of zeros is put on the encoder.
"""

from collections.abc import Callable

import flax.linen as nn

from jssl import require
from jssl.losses import classification
from jssl.method import Array, Batch, Method, Out, PyTree, Vars
from jssl.nn.forward import forward, start


class Classifier(nn.Module):
    """An encoder and a linear layer on its pooled features, under ``encoder`` and ``head``."""

    encoder: nn.Module
    num_classes: int

    def setup(self) -> None:
        """A head that starts at zero: the first gradients of the encoder are its labels' alone."""
        dtypes = {"dtype": self.encoder.dtype, "param_dtype": self.encoder.param_dtype}
        self.head = nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, **dtypes)

    def __call__(self, x: PyTree, train: bool = False) -> Array:
        """What the encoder takes, such as images [n h w c], to logits [n k]."""
        return self.head(self.encoder(x, train=train).pooled)

    def encode(self, x: PyTree) -> PyTree:
        """Encode alone: ``apply(variables, x, method="encode")``."""
        return self.encoder(x, train=False)


def supervised(
    encoder: nn.Module,
    view: Callable[[Array, Batch], Array],
    prepare: Callable[[Batch], Array],
    *,
    num_classes: int,
    begin: PyTree | None,
) -> Method:
    """Tell the label of an image, from scratch or from a pretrained encoder.

    Args:
      encoder: a module that returns `Features`.
      view: ``(key, batch) -> [n h w c]``, one random view.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      num_classes: labels are 0 to this less one; an example of label -1 does not count.
      begin: the variables of a pretrained encoder, ``{"params": ..., "batch_stats": ...}``; None
        draws them. All layers train on either way.

    Raises:
      ValueError: if there are fewer than two classes.
    """
    require.at_least(2, num_classes=num_classes)
    net = Classifier(encoder, num_classes)

    def init(key, batch):
        params, stats = start(net, key, prepare(batch))
        if begin is not None:
            params |= {"encoder": begin["params"]}
            stats = {name: {"encoder": begin[name]} for name in stats}
        return Vars(params, stats)

    def views(key, batch):
        return {"image": view(key, batch), "label": batch["label"]}

    def loss(params, state, views, key, step):
        logits, state = forward(net, params, state, views["image"], key)
        value, accuracy = classification.cross_entropy_accuracy(logits, views["label"])
        return value, Out(state, {"loss": value, "accuracy": accuracy})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch), method="encode")

    def predict(params, state, batch):
        return net.apply({"params": params, **state}, prepare(batch))

    return Method(init, views, loss, after, embed, predict=predict)
