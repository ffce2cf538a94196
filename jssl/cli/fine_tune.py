"""Fine-tuning from few labels: what a run's encoder is worth where all of it trains on."""

import dataclasses
from functools import partial

import jax
import ml_collections

from jssl import data, methods
from jssl.cli import build, runs
from jssl.evals import features, split
from jssl.method import Batch, Features
from jssl.nn import forward, layers
from jssl.train import freeze as still
from jssl.train import loop, optimizers, schedules, shard

SHARE = 0.1  # of the labels
EPOCHS, WARMUP_EPOCHS, BATCH = 40, 4, 128
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05
# Crop and flip alone, whatever the run was pretrained with: one protocol for all.
VIEW = {"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "solarize_p": 0.0}


def fine_tune(trained: runs.Trained, source: data.Source, train: Batch, test: Batch) -> float:
    """Accuracy in [0, 1] on the test examples after training on a tenth of the training labels.

    Args:
      trained: the run. Of its first state this is training from scratch.
      source: its training data.
      train: the examples of the source that can be decoded.
      test: those to be told.

    The tenth is stratified and the same for all runs. All layers train, a linear layer on top of
    them from zero, for 40 epochs of AdamW with a cosine, on crops and flips of images. Nothing is
    chosen by the test examples.
    """
    _, part = split.stratified(train["label"], SHARE, seed=0)
    few = dataclasses.replace(source, rows=source.rows[train["index"][part]])
    return accuracy(trained, few, test, num_classes=trained.facts["num_classes"])


def accuracy(
    trained: runs.Trained,
    source: data.Source,
    test: Batch,
    *,
    num_classes: int,
    freeze: str = "none",
    epochs: int = EPOCHS,
) -> float:
    """Accuracy in [0, 1] on the test examples after training on all of a source by that recipe.

    Args:
      freeze: the layers of the encoder that do not learn, as in `jssl.nn.layers.frozen`.
    """
    params, state = trained.train.params, trained.train.state
    config = ml_collections.ConfigDict(trained.config.to_dict())
    with config.ignore_type():
        config.augment.update(VIEW)
    seen, encoder = build.seen(config, trained.facts), build.encoder(config, trained.facts)
    one = runs.example(trained.facts)
    method = methods.supervised(
        encoder,
        seen["view"],
        seen["prepare"],
        num_classes=num_classes,
        begin=forward.variables_within(trained.method.embed, encoder, params, state, one),
    )
    frozen = None
    if freeze != "none":
        frozen = partial(layers.frozen, freeze=freeze)
        method = still.freeze(method, partial(still.never, frozen))
    mesh = shard.make_mesh()
    if len(source) < mesh.size:
        raise ValueError(f"fine-tuning wants a label a device, got {len(source)} for {mesh.size}")
    stream = data.open_stream(
        source,
        min(BATCH, len(source)) // mesh.size * mesh.size,
        seed=config.seed,
        sharding=shard.batch_sharding(mesh),
    )
    steps = epochs * stream.steps_per_epoch
    schedule = schedules.warmup_cosine(
        LEARNING_RATE, steps, WARMUP_EPOCHS * stream.steps_per_epoch, 0.0
    )
    tx = optimizers.build("adamw", schedule, weight_decay=WEIGHT_DECAY, frozen=frozen)
    tuned = loop.fit(method, tx, stream, steps=steps, seed=config.seed, mesh=mesh, quiet=True)
    stream.close()
    predict = jax.tree_util.Partial(
        lambda params, state, batch: Features(method.predict(params, state, batch), None),
        tuned.params,
        tuned.state,
    )
    said = features.extract(predict, test).argmax(axis=1)
    return float((said == test["label"]).mean())
