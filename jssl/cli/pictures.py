"""Pictures of a run's images: what its report shows, and what it fills in, as files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jssl.cli import build
from jssl.evals import restoration

LEAST_SIDE = 128  # of a picture in a file; smaller ones are enlarged by whole pixels
GAP = 4
HEAT = ((10, 10, 35), (90, 20, 110), (190, 55, 80), (250, 145, 10), (255, 250, 170))


def save(workdir, trained, test: dict, *, shown: int = 8) -> None:
    """Writes ``pictures.npz`` into the run's folder: views, and what the method fills in.

    Args:
      workdir: the run's folder.
      trained: a `jssl.cli.runs.Trained`.
      test: arrays of held-out examples, ``image`` [n h w c] and ``label`` [n].
      shown: how many images to show.
    """
    views = build.views(trained.config)
    batch = {name: value[:shown] for name, value in test.items()}
    crops = jax.jit(views.crops)(jax.random.key(0), batch)
    restore = jax.vmap(views.restore, in_axes=1, out_axes=1)
    large, *small = (as_bytes(restore(x)) for x in crops)
    arrays = {
        "originals": as_bytes(jax.jit(lambda b: views.restore(views.prepare(b)))(batch)),
        "views": np.concatenate([large, *(_framed(x, large.shape) for x in small)], axis=1),
    }
    if trained.method.reconstruct is not None:
        (filled,) = fill(trained, batch)
        arrays["reconstruct_names"] = np.array(list(filled))
        arrays |= {f"reconstruct_{name}": as_bytes(x) for name, x in filled.items()}
    np.savez_compressed(workdir / "pictures.npz", **arrays)


def fill(trained, examples: dict, seed: int = 0):
    """What a run fills in, of the images themselves and not of crops: `restoration.restore`."""
    method = build.method(build.unaugmented(trained.config), trained.facts)
    return restoration.restore(
        method, trained.train.params, trained.train.state, examples, seed=seed
    )


def save_map(workdir, trained, test: dict, embedding, *, mapped: int = 2000) -> None:
    """Writes ``embedding.npz``: the vectors [n d] of held-out examples, with thumbnails.

    ``mapped`` is how many of them are drawn.
    """
    np.savez_compressed(
        workdir / "embedding.npz",
        test_x=np.asarray(embedding[:mapped], np.float32),
        test_y=test["label"][:mapped],
        thumbnails=as_bytes(test["image"][:mapped]),
        class_names=np.array(trained.facts.get("class_names") or []),
    )


def _framed(small: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Small views [m l p q c] in the middle of white ones as large as those of a shape."""
    around = [
        ((new - old) // 2, -((old - new) // 2))
        for old, new in zip(small.shape[2:4], shape[2:4], strict=True)
    ]
    return np.pad(small, [(0, 0), (0, 0), *around, (0, 0)], constant_values=255)


def as_bytes(images) -> np.ndarray:
    """Images as uint8: floats are in [0, 1], 16-bit values lose their lower half."""
    x = np.asarray(images)
    if x.dtype == np.uint8:
        return x
    if x.dtype == np.uint16:
        return (x >> 8).astype(np.uint8)
    return np.rint(np.clip(x.astype(np.float32), 0, 1) * 255).astype(np.uint8)


def colour(images: np.ndarray) -> np.ndarray:
    """Images [n h w c] as uint8 of three channels: of one or two the first, of more three."""
    x = as_bytes(images)
    return x[..., :3] if x.shape[-1] >= 3 else x[..., :1].repeat(3, axis=-1)


def heat(images: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [n h w] as colours, from dark to bright, over gray images: uint8 [n h w 3].

    Of each image from its least value to that which one pixel in a hundred exceeds.
    """
    low = values.min(axis=(1, 2), keepdims=True)
    high = np.quantile(values, 0.99, axis=(1, 2), keepdims=True)
    share = np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)
    at = np.linspace(0, 1, len(HEAT))
    glow = np.stack([np.interp(share, at, channel) for channel in np.transpose(HEAT)], axis=-1)
    gray = colour(images).mean(axis=-1, keepdims=True)
    return np.rint(0.35 * gray + 0.65 * glow).astype(np.uint8)


def targets(folder: Path, names: Sequence[str]) -> list[Path]:
    """Where the pictures of files go: below the folder under their own names, as PNG.

    Of two that differ in their extension alone, each keeps it: ``a.jpg.png``.

    Raises:
      ValueError: if two would still share one.
    """
    plain = [str(Path(name).with_suffix(".png")) for name in names]
    count = Counter(plain)
    chosen = [p if count[p] == 1 else f"{n}.png" for p, n in zip(plain, names, strict=True)]
    first = {}
    for name, target in zip(names, chosen, strict=True):
        if target in first:
            raise ValueError(
                f"{first[target]} and {name} would both be written to {target}: rename one"
            )
        first[target] = name
    return [folder / target for target in chosen]


def write_panel(path: Path, images: Sequence[np.ndarray]) -> None:
    """Writes pictures [h w c], floats in [0, 1], side by side with a white gap, as one PNG.

    Small ones are enlarged by whole pixels. Of one or two channels the first is drawn, of more the
    first three.
    """
    from PIL import Image

    h, w, c = images[0].shape
    scale = -(-LEAST_SIDE // max(h, w))
    channels = 3 if c >= 3 else 1
    parts = [as_bytes(x)[..., :channels].repeat(scale, 0).repeat(scale, 1) for x in images]
    gap = np.full((h * scale, GAP, channels), 255, np.uint8)
    row = np.concatenate([part for x in parts for part in (gap, x)][1:], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(row if channels == 3 else row[..., 0]).save(path)
