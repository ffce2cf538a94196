"""Supervised learning and fine-tuning: what a pretrained encoder is compared with and for.

The protocol of fine-tuning from few labels is that of SimCLR (Chen et al. 2020, arXiv 2002.05709,
appendix B.5): all layers train on, a linear layer of zeros is put on the encoder. What is frozen
(`jssl.train.freeze`) and how the learning rate falls from layer to layer (`jssl.nn.layers`) is said
beside the method.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from jssl import require
from jssl.augment import mix
from jssl.losses import classification, regression
from jssl.method import Array, Batch, Method, Out, PyTree, Vars
from jssl.nn.forward import forward, start

TASKS = ("classification", "multi_label", "regression")


class Classifier(nn.Module):
    """An encoder and a linear layer on its pooled features, under ``encoder`` and ``head``."""

    encoder: nn.Module
    out: int

    def setup(self) -> None:
        """A head that starts at zero: the first gradients of the encoder are its labels' alone."""
        dtypes = {"dtype": self.encoder.dtype, "param_dtype": self.encoder.param_dtype}
        self.head = nn.Dense(self.out, kernel_init=nn.initializers.zeros, **dtypes)

    def __call__(self, x: PyTree, train: bool = False, hold: bool = False) -> Array:
        """What the encoder takes, such as images [n h w c], to logits, or values, [n k].

        With ``hold`` the encoder is as in evaluation: batch norms neither use the batch nor learn
        of it.
        """
        return self.head(self.encoder(x, train=train and not hold).pooled)

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
    task: str = "classification",
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    freeze_stats: bool = False,
) -> Method:
    """Tell what people said of an image, from scratch or from a pretrained encoder.

    Args:
      encoder: a module that returns `Features`.
      view: ``(key, batch) -> [n h w c]``, one random view.
      prepare: ``batch -> [n h w c]``, the unaugmented images, normalised as the view is.
      num_classes: labels are 0 to this less one; an example of label -1 does not count. Of no
        meaning for the other tasks.
      begin: the variables of a pretrained encoder, ``{"params": ..., "batch_stats": ...}``; None
        draws them. All layers train on either way.
      task: "classification" of ``batch["label"]`` [n]; or of ``batch["target"]`` [n k], in which
        NaN is what is not known, "multi_label" (0 or 1 each) or "regression" (any values).
      label_smoothing: the part of each label that is spread evenly over the classes, in [0, 1].
      mixup: alpha of `jssl.augment.mix.mixup`, 0 for none.
      cutmix: alpha of `jssl.augment.mix.cutmix`, 0 for none. Of both, each image has either.
      freeze_stats: batch norms of the encoder normalise by the statistics that they began with.

    ``accuracy`` is that of the images as they are seen in training, mixed ones included.

    Raises:
      ValueError: if there are fewer than two classes, or an option is out of range.
    """
    require.one_of(TASKS, task=task)
    if task == "classification":
        require.at_least(2, num_classes=num_classes)
    elif task == "regression" and (cutmix or label_smoothing):
        raise ValueError("cutmix and label_smoothing must be 0 where task=regression")
    require.fraction(label_smoothing=label_smoothing)
    require.at_least(0, mixup=mixup, cutmix=cutmix)

    def target(batch):
        if task == "classification":
            # Where there is no label, -1, there is no share of any class either.
            return jax.nn.one_hot(batch["label"], num_classes, dtype=encoder.param_dtype)
        if "target" not in batch:
            raise ValueError(f"task={task} needs data with an array `target` [n k], there is none")
        return batch["target"].astype(encoder.param_dtype)

    def init(key, batch):
        net = Classifier(encoder, target(batch).shape[1])
        params, stats = start(net, key, prepare(batch))
        if begin is not None:
            params |= {"encoder": begin["params"]}
            stats = {name: {"encoder": begin[name]} for name in stats}
        return Vars(params, stats)

    def views(key, batch):
        k_view, k_mix = jax.random.split(key)
        images, targets = view(k_view, batch), target(batch)
        if mixup or cutmix:
            images, targets = mix.mixup_or_cutmix(k_mix, images, targets, mixup, cutmix)
        return {"image": images, "target": targets}

    def loss(params, state, views, key, step):
        hold = freeze_stats and bool(state)  # without statistics there is but stochastic depth
        targets = views["target"]
        net = Classifier(encoder, targets.shape[1])
        out, state = forward(net, params, state, views["image"], key, hold=hold)
        if task == "regression":
            value, error = regression.errors(out, targets)
            return value, Out(state, {"loss": value, "absolute_error": error})
        entropy = classification.shared_cross_entropy_accuracy
        if task == "multi_label":
            entropy = classification.binary_cross_entropy_accuracy
        value, accuracy = entropy(out, targets, label_smoothing)
        return value, Out(state, {"loss": value, "accuracy": accuracy})

    def after(params, state, step):
        return state

    def embed(params, state, batch):
        return apply(params, state, batch, method="encode")

    def predict(params, state, batch):
        return apply(params, state, batch)

    def apply(params, state, batch, **options):
        net = Classifier(encoder, params["head"]["bias"].shape[0])
        return net.apply({"params": params, **state}, prepare(batch), **options)

    return Method(init, views, loss, after, embed, predict=predict)
