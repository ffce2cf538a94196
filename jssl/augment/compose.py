"""Recipes: augmentations put together into functions `(key, x) -> x` that methods take."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jssl import require
from jssl.augment import color, image
from jssl.augment import rand_augment as strong

Augment = Callable[[Key[Array, ""], Array], Array]

# Channel statistics of ImageNet as torchvision gives them, red, green, blue.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def sequential(*functions: Augment) -> Augment:
    """Runs `functions` one after another, each with a key of its own."""

    def augment(key, x):
        for k, function in zip(jax.random.split(key, len(functions)), functions, strict=True):
            x = function(k, x)
        return x

    return augment


def with_probability(p: float, function: Augment) -> Augment:
    """Applies `function`, which must keep the shape, to each example with probability `p`.

    Raises:
      ValueError: when called, if `p` is not in [0, 1].
    """

    def augment(key, x):
        key_choice, key_function = jax.random.split(key)
        u = image.draws(key_choice, 1, x.shape[0])[0]
        return image.choose(u, p, function(key_function, x), x)

    return augment


def image_view(
    size: image.Size,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    antialias: bool = True,
    flip: float = 0.5,
    brightness: float = 0.8,
    contrast: float = 0.8,
    saturation: float = 0.8,
    hue: float = 0.2,
    jitter_p: float = 0.8,
    grayscale_p: float = 0.2,
    blur_p: float = 0.5,
    blur_sigma: tuple[float, float] = (0.1, 2.0),
    blur_size: int | None = None,
    solarize_p: float = 0.0,
    padding: int = 0,
    rand_augment: int = 0,
    magnitude: float | None = None,
    cutout: float = 0.0,
    mean: float | Sequence[float] = 0.45,
    std: float | Sequence[float] = 0.225,
    dtype: DTypeLike | None = None,
) -> Augment:
    """One view of each image: crop, flip, jitter, grayscale, blur, solarize, RandAugment, cutout
    and normalise.

    The defaults are SimCLR's recipe for ImageNet (arXiv 2002.05709, appendix A) with a bilinear
    crop; solarize is BYOL's addition (arXiv 2006.07733, appendix B). Any number of channels is
    accepted: with other than 1 or 3, saturation, hue and grayscale are left out, since they have no
    meaning there; with 1 they change nothing.

    Args:
      size: height and width of the view; one number means a square.
      scale, ratio, antialias: as in `image.random_resized_crop`.
      flip: probability of a mirrored view.
      brightness, contrast, saturation, hue, jitter_p: as in `color.color_jitter`.
      grayscale_p: probability of a grey view.
      blur_p, blur_sigma, blur_size: as in `image.gaussian_blur`.
      solarize_p: probability of inverting all values >= 0.5.
      padding: pixels by which the image, resized, is mirrored at its edges and shifted, in place of
        the random crop; 0 crops.
      rand_augment, magnitude: how many operations, and how strong: `rand_augment.rand_augment`.
      cutout: side of the grey square, as a share of the image's: `rand_augment.cutout`.
      mean, std: for `image.normalize`, one number or one a channel. The defaults are ImageNet's
        averaged over the channels, so that they fit any number of them.
      dtype: dtype of computation and result; by default that of the images.

    Returns:
      (key, x) -> view, from [n h w c] floats in [0, 1] to [n size size c], normalised.
    """

    def augment(key, x):
        # One generator for the whole view: what each step needs of it, in the order of the steps.
        rows = np.cumsum([22, 1, 6, 1, 2, 1]).tolist()
        u = jnp.split(image.draws(key, rows[-1], x.shape[0]), rows[:-1])
        colored = x.shape[-1] in (1, 3)
        x = x if dtype is None else x.astype(dtype)
        if padding:
            x = image.pad_and_crop(u[0][:2], image.resize(x, size), padding, reflect=True)
        else:
            x = image.random_resized_crop(u[0], x, size, scale, ratio, antialias)
        x = image.random_flip(u[1], x, flip)
        shades = (saturation, hue) if colored else (0.0, 0.0)
        if jitter_p > 0 and max(brightness, contrast, *shades) > 0:
            x = color.color_jitter(u[2], x, brightness, contrast, *shades, p=jitter_p)
        if grayscale_p > 0 and colored:
            x = color.grayscale(u[3], x, grayscale_p)
        if blur_p > 0:
            x = image.gaussian_blur(u[4], x, blur_sigma, blur_size, blur_p)
        if solarize_p > 0:
            x = color.solarize(u[5], x, p=solarize_p)
        # Keys of their own: what is drawn for the steps above stays as it is without them.
        if rand_augment:
            x = strong.rand_augment(jax.random.fold_in(key, 1), x, rand_augment, magnitude)
        if cutout:
            x = strong.cutout(jax.random.fold_in(key, 2), x, cutout)
        return image.normalize(x, mean, std)

    return augment


def two_views(view1: Augment, view2: Augment | None = None) -> Augment:
    """Two views of each image, side by side: (key, x) -> [n 2 h w c].

    They are stacked beside the batch axis, because joining two sharded batches along it would make
    XLA move images between devices.

    Args:
      view1: makes the first view, and the second too, with another key, if `view2` is None.
      view2: makes the second view, of the same size.
    """

    def augment(key, x):
        key1, key2 = jax.random.split(key)
        return jnp.stack([view1(key1, x), (view2 or view1)(key2, x)], axis=1)

    return augment


def multi_crop(
    global_views: Augment, local_view: Augment, n_local: int
) -> Callable[[Key[Array, ""], Float[Array, "n h w c"]], list[Array]]:
    """Some large and many small views of each image (SwAV's multi-crop, arXiv 2006.09882, 3.3).

    Args:
      global_views: makes the large ones, side by side: `two_views`.
      local_view: makes a small one.
      n_local: how many of those, 0 for none.

    Returns:
      (key, x) -> [global [n 2 h w c], local [n n_local p q c]]; the first alone if n_local is 0.

    Raises:
      ValueError: if ``n_local`` is negative.
    """
    require.at_least(0, n_local=n_local)

    def augment(key, x):
        key_global, key_local = jax.random.split(key)
        crops = [global_views(key_global, x)]
        if n_local:
            # All in one program, however many: copies of an image stand beside it.
            n = len(x)
            copies = jnp.broadcast_to(x[:, None], (n, n_local, *x.shape[1:]))
            local = local_view(key_local, copies.reshape(n * n_local, *x.shape[1:]))
            crops.append(local.reshape(n, n_local, *local.shape[1:]))
        return crops

    return augment
