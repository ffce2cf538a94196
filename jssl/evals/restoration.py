"""How well hidden or distorted images are restored: PSNR, SSIM, and the baselines to beat."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from jssl import require
from jssl.evals.features import fixed_size
from jssl.method import Batch, Method, PyTree

COLUMNS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_hidden": "PSNR, hidden",
    "ssim_hidden": "SSIM, hidden",
}
BASELINES = {"mean_fill": "mean fill", "blur": "blur"}
MASKED = "masked"  # what `Method.reconstruct` calls an input of which a part is hidden
WINDOW, SIGMA = 11, 1.5  # of SSIM, in pixels
WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0)  # in pixels, of the blurs of an image distorted all over
# The PSNR of rounding to 8 bits. In a mean over images a better one counts as this: one image that
# is restored exactly would make it infinite.
MOST_PSNR = float(10 * np.log10(12 * 255**2))

Images = Float[Array | np.ndarray, "n h w c"]
Places = Bool[Array | np.ndarray, "n h w"]


@jax.jit
def psnr(x: Images, y: Images, where: Places | None = None) -> Float[Array, " n"]:
    """Peak signal-to-noise ratio of each image in dB: 10 log10(1 / mean squared error).

    Args:
      x, y: images in [0, 1], which are exchangeable.
      where: the pixels that count, in all channels; all of them by default.

    Returns:
      [n] in float32 or wider; infinite where the two are equal, NaN where no pixel counts.
    """
    x, y = _wide(x), _wide(y)
    error = jnp.mean((x - y) ** 2, axis=3)
    weight = jnp.ones_like(error) if where is None else jnp.asarray(where, error.dtype)
    return -10 * jnp.log10(jnp.sum(error * weight, (1, 2)) / jnp.sum(weight, (1, 2)))


@jax.jit
def ssim(x: Images, y: Images, where: Places | None = None) -> Float[Array, " n"]:
    """Structural similarity of each image, in [-1, 1]: 1 is equal.

    The mean over channels and over all windows that lie inside the image: Gaussian, 11 x 11 pixels,
    sigma 1.5, with K1 = 0.01 and K2 = 0.03.

    Args:
      x, y: images in [0, 1], which are exchangeable.
      where: only windows around these pixels count; all by default.

    Returns:
      [n] in float32 or wider; NaN where no window counts.

    Raises:
      ValueError: if a side is smaller than the window, as in the authors' code.

    Source: Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment", equation 13 and
      section III.C.
    """
    x, y = _wide(x), _wide(y)
    h, w = x.shape[1:3]
    if min(h, w) < WINDOW:
        raise ValueError(f"images must be at least {WINDOW} pixels on a side, got {h} x {w}")
    mean = partial(_separable, rows=_windows(h, x.dtype), columns=_windows(w, x.dtype))
    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x**2) - mean_x**2 + mean(y**2) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similar /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    similar = jnp.mean(similar, axis=3)
    edge = WINDOW // 2
    centres = None if where is None else where[:, edge : h - edge, edge : w - edge]
    weight = jnp.ones_like(similar) if centres is None else jnp.asarray(centres, similar.dtype)
    return jnp.sum(similar * weight, (1, 2)) / jnp.sum(weight, (1, 2))


def mean_fill(x: Images, hidden: Places) -> Images:
    """Hidden pixels become the mean of their image's visible ones, a channel at a time.

    Black where nothing is visible.
    """
    seen = ~hidden[..., None]
    count = jnp.maximum(jnp.sum(seen, (1, 2), keepdims=True), 1).astype(x.dtype)
    mean = jnp.sum(jnp.where(seen, x, 0), (1, 2), keepdims=True) / count
    return jnp.where(seen, x, mean)


def blur_fill(x: Images, hidden: Places, sigma: float) -> Images:
    """Hidden pixels become the Gaussian mean, ``sigma`` in pixels, of the visible ones around them.

    That is the blur of the visible pixels over that of the places where they are. What no visible
    pixel reaches is filled as by `mean_fill`.
    """
    seen = jnp.broadcast_to(~hidden[..., None], x.shape)
    total, weight = _gaussian(jnp.where(seen, x, 0), sigma), _gaussian(seen.astype(x.dtype), sigma)
    reached = weight > 1e-12
    near = total / jnp.where(reached, weight, 1)
    return jnp.where(seen, x, jnp.where(reached, near, mean_fill(x, hidden)))


def blur(x: Images, sigma: float) -> Images:
    """A Gaussian blur, ``sigma`` in pixels; at the edges the mean of what is inside the image."""
    return _gaussian(x, sigma) / _gaussian(jnp.ones_like(x), sigma)


def _gaussian(x, sigma):
    def weights(n):
        at = np.arange(n)
        return jnp.asarray(np.exp(-((at[:, None] - at[None]) ** 2) / (2 * sigma**2)), x.dtype)

    return _separable(x, weights(x.shape[1]), weights(x.shape[2]))


def _windows(n, dtype):
    """[n - 10, n]: each row weighs the 11 pixels of one window."""
    taps = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    places = n - WINDOW + 1
    rows = np.zeros((places, n))
    rows[np.arange(places)[:, None], np.arange(places)[:, None] + np.arange(WINDOW)] = taps
    return jnp.asarray(rows / taps.sum(), dtype)


def _separable(x, rows, columns):
    highest = jax.lax.Precision.HIGHEST
    x = jnp.einsum("ph,nhwc->npwc", rows, x, precision=highest)
    return jnp.einsum("qw,npwc->npqc", columns, x, precision=highest)


def _wide(x):
    x = jnp.asarray(x)
    return x.astype(np.promote_types(x.dtype, np.float32))


def restore(
    method: Method,
    params: PyTree,
    state: PyTree,
    examples: Batch,
    *,
    seed: int = 0,
    batch_size: int = 64,
) -> Iterator[dict[str, np.ndarray]]:
    """The pictures of `Method.reconstruct`, batch after batch, in the order of the examples.

    What is drawn for an image (a mask, noise) is a function of the seed and its pixels alone: it
    does not depend on the batch in which the image happens to be.

    Args:
      method: one that fills something in.
      params, state: of its `Vars`.
      examples: arrays with a common leading axis, ``image`` [n h w c] among them.
      seed: of what is drawn.
      batch_size: images at a time.
    """
    names = []  # noted while tracing: what leaves a jitted function is sorted by name

    @jax.jit
    def fill(params, state, digests, batch):
        def one(digest, example):
            key = jax.random.fold_in(jax.random.key(seed), digest)
            k_views, k_fill = jax.random.split(key)
            views = method.views(k_views, jax.tree.map(lambda x: x[None], example))
            pictures = method.reconstruct(params, state, views, k_fill)
            names[:] = pictures
            return tuple(_wide(picture[0]) for picture in pictures.values())

        return jax.vmap(one)(digests, batch)

    require.at_least(1, batch_size=batch_size)
    for batch, count in fixed_size(examples, min(batch_size, len(examples["image"]))):
        pictures = fill(params, state, _digests(batch["image"]), batch)
        yield {name: np.asarray(x)[:count] for name, x in zip(names, pictures, strict=True)}


def _digests(images: Shaped[np.ndarray, "n h w c"]) -> np.ndarray:
    def digest(image):
        return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=4).digest()

    return np.array([int.from_bytes(digest(x), "little") for x in images], np.uint32)


def table(batches: Iterable[Mapping[str, Float[np.ndarray, "_ h w c"]]]) -> dict[str, Any]:
    """How well a method restores, beside the mean, a blur and its own input.

    The pictures of a batch are, in order, the original, what the encoder was given and the
    reconstruction; of two, it was given the original. An input called ``masked`` has a part hidden:
    where it differs from the original by more than half an 8-bit level. The baselines fill that
    part (`mean_fill`, `blur_fill`), and it is measured for itself too. Any other input is distorted
    all over: the baselines are its mean and its `blur`. Of several widths of the blur that of the
    highest PSNR over all images is taken.

    Returns:
      ``given``, the name of the input or None, ``images``, ``hidden``, the share of hidden pixels
      or None, ``rows``: by name a dict of `COLUMNS` (in dB and in [-1, 1]), means over the images
      to which a column applies, None where there are none, and ``notes``, lines to be read with it.
      PSNR counts at most 58.9 dB an image, that of rounding to 8 bits.
    """
    measured, shares, names = {}, [], ()
    for batch in batches:
        names, pictures = tuple(batch), tuple(batch.values())
        masked, side = names[1] == MASKED, max(pictures[0].shape[1:3])
        sigmas = (side / 8, side / 16, side / 32, side / 64) if masked else WIDTHS
        columns, share = _measure(pictures, masked, sigmas)
        shares.append(np.asarray(share))
        for column, values in columns.items():
            measured.setdefault(column, []).append(np.asarray(values, np.float64))
    if not names:
        raise ValueError("there must be at least one image, got none")
    means = {column: _means(column, np.concatenate(v, axis=1)) for column, v in measured.items()}
    # What `_measure` returns begins with the mean and the blurs.
    count, total = 1 + len(sigmas), len(means["psnr"])
    best = max(range(1, count), key=lambda row: means["psnr"][row])
    rows = zip([*BASELINES, *names[1:]], [0, best, *range(count, total)], strict=True)
    given = names[1] if len(names) > 2 else None
    return {
        "given": given,
        "images": sum(map(len, shares)),
        "hidden": float(np.concatenate(shares).mean()) if masked else None,
        "rows": {
            name: {c: means[c][row] if c in means else None for c in COLUMNS} for name, row in rows
        },
        "notes": _notes(given, names[-1], sigmas[best - 1]),
    }


@partial(jax.jit, static_argnames=("masked", "sigmas"))
def _measure(pictures, masked, sigmas):
    """By column [rows n]: the mean, the blurs, then the pictures without the original."""
    original, *others = pictures
    given = others[0] if len(others) > 1 else original
    hidden = jnp.any(jnp.abs(given - original) > 0.5 / 255, axis=3)
    places = {"": None}
    if masked:
        places["_hidden"] = hidden
        fills = [mean_fill(given, hidden), *(blur_fill(given, hidden, s) for s in sigmas)]
    else:
        mean = jnp.broadcast_to(jnp.mean(given, (1, 2), keepdims=True), given.shape)
        fills = [mean, *(blur(given, sigma) for sigma in sigmas)]
    rows = jnp.stack([*fills, *others])
    measures = {"psnr": psnr}
    if min(original.shape[1:3]) >= WINDOW:
        measures["ssim"] = ssim
    found = {
        name + place: jax.vmap(lambda x, m=measure, at=where: m(x, original, at))(rows)
        for name, measure in measures.items()
        for place, where in places.items()
    }
    return found, jnp.mean(hidden, (1, 2), dtype=original.dtype)


def _means(column: str, values: np.ndarray) -> list[float | None]:
    """Of each row of [rows n], over the images to which the column applies."""
    values = values[:, ~np.isnan(values[0])]
    if column.startswith("psnr"):
        values = np.minimum(values, MOST_PSNR)
    return values.mean(axis=1).tolist() if values.size else [None] * len(values)


def _notes(given, reconstruction, sigma):
    blur = f"(sigma {sigma:.3g} pixels, the best of several)"
    if given == MASKED:
        notes = [
            "hidden: the pixels in which the input differs from the original",
            f"mean fill, blur: hidden pixels from the visible ones {blur}",
        ]
    else:
        notes = [f"mean fill, blur: the mean of the {given or 'original'} image, its blur {blur}"]
    if given is None:
        notes.append("nothing is hidden from a blur, while the reconstruction has its code alone")
    _, told, what = reconstruction.rstrip(")").partition(" (")
    if told:
        notes.append(
            f"the reconstruction was told the {what} of what is hidden, which no other row was: "
            "compare it with none of them"
        )
    return notes


def format_table(result: Mapping[str, Any]) -> str:
    """The `table` as lines of text: rows by name, a dash where nothing was measured, its notes."""
    names = [BASELINES.get(name, name) for name in result["rows"]]
    first = max(map(len, names))
    lines = [" " * first + "".join(f"  {title:>12}" for title in COLUMNS.values())]
    for name, row in zip(names, result["rows"].values(), strict=True):
        cells = (f"  {label(column, row[column]):>12}" for column in COLUMNS)
        lines.append(name.ljust(first) + "".join(cells))
    return "\n".join([*lines, *result["notes"]])


def label(column: str, value: float | None) -> str:
    """A measurement as text: PSNR in dB with one decimal, SSIM with three."""
    if value is None:
        return "–"
    return f"{value:.1f} dB" if column.startswith("psnr") else f"{value:.3f}"
