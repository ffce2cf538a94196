"""What the report shows of a run's images: views, reconstructions, the embedding."""

import jax
import numpy as np

from jssl.cli import build


def save(workdir, trained, test: dict, embedding, *, shown: int = 8, mapped: int = 2000) -> None:
    """Writes ``pictures.npz`` and ``embedding.npz`` into the run's folder.

    Args:
      workdir: the run's folder.
      trained: a `jssl.cli.runs.Trained`.
      test: arrays of held-out examples, ``image`` [n h w c] and ``label`` [n].
      embedding: their vectors [n d].
      shown: how many images to show with their views.
      mapped: how many vectors to draw in the map.
    """
    views = build.views(trained.config)
    batch = {name: value[:shown] for name, value in test.items()}
    crops = jax.jit(views.crops)(jax.random.key(0), batch)
    large, *small = (_bytes(views.restore(x)) for x in crops)
    arrays = {
        "originals": _bytes(jax.jit(lambda b: views.restore(views.prepare(b)))(batch)),
        "views": np.concatenate([large, *(_framed(x, large.shape) for x in small)], axis=1),
    }
    method, train = trained.method, trained.train
    if method.reconstruct is not None:
        names = []  # noted while tracing: what leaves a jitted function is sorted by name

        @jax.jit
        def fill(key, batch):
            k_views, k_fill = jax.random.split(key)
            seen = method.views(k_views, batch)
            filled = method.reconstruct(train.params, train.state, seen, k_fill)
            names[:] = filled
            return tuple(filled.values())

        filled = fill(jax.random.key(1), batch)
        arrays["reconstruct_names"] = np.array(names)
        arrays |= {f"reconstruct_{name}": _bytes(x) for name, x in zip(names, filled, strict=True)}
    np.savez_compressed(workdir / "pictures.npz", **arrays)
    np.savez_compressed(
        workdir / "embedding.npz",
        test_x=np.asarray(embedding[:mapped], np.float32),
        test_y=test["label"][:mapped],
        thumbnails=_bytes(test["image"][:mapped]),
        class_names=np.array(trained.facts.get("class_names") or []),
    )


def _framed(small: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Small views [m l p q c] in the middle of white ones as large as those of a shape."""
    around = [
        ((new - old) // 2, -((old - new) // 2))
        for old, new in zip(small.shape[2:4], shape[2:4], strict=True)
    ]
    return np.pad(small, [(0, 0), (0, 0), *around, (0, 0)], constant_values=255)


def _bytes(images) -> np.ndarray:
    """Images as uint8: floats are in [0, 1], 16-bit values lose their lower half."""
    x = np.asarray(images)
    if x.dtype == np.uint8:
        return x
    if x.dtype == np.uint16:
        return (x >> 8).astype(np.uint8)
    return np.rint(np.clip(x.astype(np.float32), 0, 1) * 255).astype(np.uint8)
