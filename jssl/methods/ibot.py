"""iBOT: image BERT pre-training with an online tokenizer.

Zhou, Wei, Wang, Shen, Xie, Yuille & Kong 2021, arXiv 2111.07832.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl import require
from jssl.augment.blocks import sometimes_blocks
from jssl.losses import clustering, spread
from jssl.method import Array, Batch, Method, Out, Vars
from jssl.nn import teacher
from jssl.nn.forward import encode_crops, forward_together, project_crops, start
from jssl.nn.heads import DINOHead, JointEmbedding, freeze_last_layers
from jssl.nn.positions import grid_of
from jssl.nn.vit import ViT


def ibot(
    encoder: nn.Module,
    crops: Callable[[Array, Batch], list[Array]],
    prepare: Callable[[Batch], Array],
    *,
    total_steps: int,
    steps_per_epoch: int,
    mask_probability: float = 0.5,
    mask_ratio: float = 0.3,
    mask_variation: float = 0.2,
    momentum: float = 0.996,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.07,
    patch_temperature: float = 0.07,
    warmup_teacher_temperature: float = 0.04,
    warmup_teacher_epochs: int = 30,
    center_momentum: float = 0.9,
    freeze_last_layer_epochs: int = 1,
    k: int = 8192,
    hidden: int = 2048,
    bottleneck: int = 256,
    norm: str | None = None,
    norm_last_layer: bool = True,
    shared_head: bool = True,
) -> Method:
    """DINO on the class token, and on masked patches: the teacher, who sees them, is a tokenizer.

    Args:
      encoder: a `jssl.nn.vit.ViT` that pools by its class token.
      mask_probability: of a large view to be masked at all; only the student sees it so.
      mask_ratio: r, the share of its patches that are then hidden, in blocks.
      mask_variation: by how much the share is above or below in each view, uniformly.
      patch_temperature: of the teacher's softmax of patches, after the warm-up.
      shared_head: False gives patches a last layer of their own.
      The others are those of `jssl.methods.dino`.

    Raises:
      ValueError: if the encoder has no class token to pool by, or an option is out of range.
    """
    if not isinstance(encoder, ViT) or encoder.pool != "cls":
        raise ValueError('ibot needs a ViT encoder with pool="cls", got ' + type(encoder).__name__)
    require.fraction(momentum=momentum, center_momentum=center_momentum)
    require.positive(student_temperature=student_temperature)
    require.positive(teacher_temperature=teacher_temperature, patch_temperature=patch_temperature)
    require.positive(warmup_teacher_temperature=warmup_teacher_temperature)
    require.at_least(1, k=k, hidden=hidden, bottleneck=bottleneck)
    require.at_least(1, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    require.at_least(0, warmup_teacher_epochs=warmup_teacher_epochs)
    require.at_least(0, freeze_last_layer_epochs=freeze_last_layer_epochs)
    dtypes = {"dtype": encoder.dtype, "param_dtype": encoder.param_dtype}
    head = DINOHead(k, hidden, bottleneck, norm, norm_last_layer, not shared_head, **dtypes)
    student = JointEmbedding(encoder, head)
    # The teacher skips no branch of its blocks, though the student may.
    target = JointEmbedding(encoder.clone(drop_path=0.0), head)
    warmup = (warmup_teacher_epochs, steps_per_epoch)
    temperatures = [
        teacher.warming(warmup_teacher_temperature, last, *warmup)
        for last in (teacher_temperature, patch_temperature)
    ]

    def held(params, kept, step):
        """The parameters with these last layers as long as they are frozen."""
        return freeze_last_layers(params, kept, step < freeze_last_layer_epochs * steps_per_epoch)

    def views(key, batch):
        k_crops, k_mask = jax.random.split(key)
        seen = crops(k_crops, batch)
        n, v, *size = seen[0].shape[:4]
        grid = grid_of(tuple(size), encoder.patch)
        # Shares and probability of section 3.3, for each view.
        chosen = {"probability": mask_probability, "ratio": mask_ratio}
        mask = sometimes_blocks(k_mask, n * v, grid, **chosen, variation=mask_variation)
        return {"crops": seen, "mask": mask.reshape(n, v, -1)}

    def init(key, batch):
        x = prepare(batch)
        patches = np.prod(grid_of(x.shape[1:3], encoder.patch))
        params, stats = start(student, key, x, mask=jnp.zeros((len(x), patches), bool))
        center = jnp.zeros(k, np.promote_types(encoder.param_dtype, np.float32))
        centers = {"center": center, "patch_center": jnp.copy(center)}
        return Vars(params, teacher.begin(params, stats) | centers)

    def outputs(net, params, stats, crops, key, kept=None, **large):
        """z [n v b] and logits [v n k] of class tokens; of patches, all or those ``kept``."""
        keys = jax.random.split(key, 3)
        features, stats = encode_crops(net, params, stats, crops, keys[0], **large)
        ((z, whole), _), stats = project_crops(net, params, stats, features, keys[1])
        tokens = features[0].tokens.reshape(-1, *features[0].tokens.shape[2:])
        if kept is not None:
            tokens = jnp.take_along_axis(tokens, kept[:, :, None], axis=1)
        ((_, patches), _), stats = forward_together(
            net, params, stats, tokens, keys[2], method="project", patches=True
        )
        return z, jnp.swapaxes(whole, 0, 1), patches, stats

    def loss(params, state, views, key, step):
        keys, crops, mask = jax.random.split(key), views["crops"], views["mask"]
        mask = mask.reshape(-1, mask.shape[-1])
        # No more patches than this are hidden of any view; the head need not see the others.
        most = max(int((mask_ratio + mask_variation) * mask.shape[1]), 1)
        kept = jnp.argsort(~mask, axis=1)[:, :most].astype(jnp.int32)
        # A frozen layer has no gradient either, so that neither clipping nor momentum sees it.
        params = held(params, jax.lax.stop_gradient(params), step)
        z, said, guessed, stats = outputs(
            student, params, state["stats"], crops, keys[0], kept, mask=mask
        )
        _, asked, tokens, ema_stats = outputs(
            target, state["teacher"], state["teacher_stats"], crops[:1], keys[1]
        )
        # L_[CLS], across views (equation 1).
        center, patch_center = state["center"], state["patch_center"]
        whole = clustering.dino_metrics(
            said, asked, center, student_temperature, temperatures[0](step)
        )
        # L_MIM, within each view (equation 2).
        patch = clustering.masked_dino(
            guessed,
            jnp.take_along_axis(tokens, kept[:, :, None], axis=1),
            jnp.take_along_axis(mask, kept, axis=1),
            patch_center,
            student_temperature,
            temperatures[1](step),
        )
        value = whole["loss"] + patch["loss"]
        metrics = whole | {"class_loss": whole["loss"], "class_accuracy": whole["proxy_accuracy"]}
        metrics |= {"patch_loss": patch["loss"], "patch_entropy": patch["teacher_entropy"]}
        metrics |= {name: patch[name] for name in ("proxy_accuracy", "chance")} | {"loss": value}
        state = state | {
            "stats": stats,
            "teacher_stats": ema_stats,
            "center": clustering.follow_center(center, asked, center_momentum),
            "patch_center": clustering.follow_center(patch_center, tokens, center_momentum),
        }
        return value, Out(state, metrics | spread.spread(z[:, 0], z[:, 1]))

    def adjust(before, params, state, step):
        return held(params, before, step)

    def after(params, state, step):
        rate = teacher.slowing(momentum, step, total_steps)
        return state | {"teacher": teacher.follow(state["teacher"], params, rate)}

    def embed(params, state, batch):
        variables = {"params": state["teacher"], **state["teacher_stats"]}
        return target.apply(variables, prepare(batch), method="encode")

    return Method(init, views, loss, after, embed, adjust=adjust)
