"""Networks over time series: dilated convolutions, a Transformer over patches."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jssl.method import Features
from jssl.nn.dtypes import at_least_float32, compute_dtype
from jssl.nn.vit import Transformer


class DilatedConv(nn.Module):
    """One convolution [n t c] -> [n t width], padded with zeros to the same length.

    Taps that reach beyond the series wherever they stand only ever meet zeros, so they are not
    computed: with dilations up to 2^10 and windows of 200 that is half of the work.
    """

    width: int
    kernel: int
    dilation: int
    kernel_init: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve; computed in the dtype of ``x``."""
        shape = (self.kernel, x.shape[2], self.width)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), self.param_dtype)
        middle = self.kernel // 2
        reach = min(middle, (x.shape[1] - 1) // self.dilation)
        y = jax.lax.conv_general_dilated(
            x,
            kernel[middle - reach : middle + reach + 1].astype(x.dtype),
            window_strides=(1,),
            padding=((reach * self.dilation,) * 2,),
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return y + bias.astype(x.dtype)[None, None]


class DilatedConvs(nn.Module):
    """Residual blocks of dilated convolutions over a time series -> `Features`.

    ``tokens`` is [n t dim], a vector a time step; ``pooled`` their maximum over time. Block i has
    two convolutions of dilation 2^i, each behind a GELU, and there are depth + 1 of them, the last
    from ``width`` to ``dim``. A step of which a channel has no value enters as a zero vector.

    Weights are uniform in +-1 / sqrt(fan-in), as in the released code; biases are zero.

    dim: of the features.
    width: of the blocks.
    depth: hidden blocks.
    kernel: odd.
    dropout: of the features, in training.
    dtype: to compute in; None that of input and parameters.

    Raises:
      ValueError: for an even kernel.

    Source: TS2Vec, Yue et al. 2022, arXiv 2106.10466, section 2.3 and appendix.
    """

    dim: int = 320
    width: int = 64
    depth: int = 10
    kernel: int = 3
    dropout: float = 0.1
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: dict[str, Array],
        train: bool = False,
        inside: Bool[Array, "n t"] | None = None,
        keep: Bool[Array, "n t"] | None = None,
    ) -> Features:
        """Encode.

        Args:
          x: ``series`` [n t c]; ``observed`` [n t c], where it has a value.
          train: whether features are dropped; wants an rng called "dropout" then.
          inside: the segment that the series is cut to: the features there are those of that
            segment alone, which the convolutions pad with zeros; None for all of it.
          keep: where the first layer's latents are kept and not set to zero; None for everywhere.
        """
        dtype = compute_dtype(self.dtype, x["series"], self.param_dtype)
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        dense = {"kernel_init": init, "dtype": dtype, "param_dtype": self.param_dtype}

        def cut(y):
            return y if inside is None else jnp.where(inside[:, :, None], y, 0)

        def conv(y, width, dilation, name):
            y = cut(nn.gelu(y, approximate=False))
            return DilatedConv(width, self.kernel, dilation, init, self.param_dtype, name=name)(y)

        seen = jnp.all(x["observed"], axis=-1)
        seen = seen if keep is None else seen & keep
        y = nn.Dense(self.width, name="embed", **dense)(x["series"].astype(dtype))
        y = jnp.where(seen[:, :, None], y, 0)
        for i in range(self.depth + 1):
            last = i == self.depth
            width = self.dim if last else self.width
            skip = nn.Dense(width, name="project", **dense)(y) if last else y
            y = conv(y, width, 2**i, f"block{i}_conv0")
            y = skip + conv(y, width, 2**i, f"block{i}_conv1")
        y = nn.Dropout(self.dropout, deterministic=not train)(at_least_float32(y))
        return Features(jnp.max(y, axis=1), y)


def instance_patches(
    x: dict[str, Array], patch: int, epsilon: float = 1e-5
) -> tuple[Float[Array, "n c p l"], Bool[Array, "n c p l"]]:
    """The patches of each channel, of mean 0 and deviation 1 within its window, and what is known.

    Args:
      x: ``series`` [n t c]; ``observed`` [n t c]. What is not observed is 0 and does not count.
      patch: steps of one; it divides t. They do not overlap.
      epsilon: added to the variance before the root.

    Raises:
      ValueError: for a patch that does not divide the window.

    Source: PatchTST, Nie et al. 2022, arXiv 2211.14730, section 3.1 ("Patching", "Instance
    Normalization"), and its released code, without a learned scale.
    """
    n, t, c = x["series"].shape
    if t % patch:
        raise ValueError(f"patch must divide the windows of {t} steps, got {patch}")
    known = x["observed"]
    series = at_least_float32(x["series"])
    count = jnp.maximum(jnp.sum(known, axis=1, keepdims=True), 1).astype(series.dtype)

    def mean(values):
        return jnp.sum(jnp.where(known, values, 0), axis=1, keepdims=True) / count

    centered = series - mean(series)
    scaled = jnp.where(known, centered / jnp.sqrt(mean(centered**2) + epsilon), 0)
    cut = [y.swapaxes(1, 2).reshape(n, c, t // patch, patch) for y in (scaled, known)]
    return cut[0], cut[1]


class PatchTransformer(nn.Module):
    """A Transformer over the patches of each channel by itself -> `Features`.

    All channels share the weights. ``tokens`` is [n p c * dim], the channels of a patch side by
    side, and ``pooled`` their mean over patches. Series are scaled as in `instance_patches`.

    Norms are layer norms after each sum; the released code has batch norms there, and ReLU for
    GELU.

    patch: steps of one.
    dropout: of the blocks, in training.
    dtype: to compute in; None that of input and parameters.

    Source: PatchTST, Nie et al. 2022, arXiv 2211.14730, section 3.1; sizes of its released code.
    """

    dim: int = 128
    depth: int = 3
    heads: int = 16
    patch: int = 12
    mlp_ratio: float = 4.0
    dropout: float = 0.2
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.patch < 1:
            raise ValueError(f"patch must be at least 1, got {self.patch}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: dict[str, Array],
        train: bool = False,
        mask: Bool[Array, "n c p"] | None = None,
    ) -> Features:
        """Encode; patches where the mask is True are zeros. ``train`` wants an rng "dropout"."""
        patches, _ = instance_patches(x, self.patch)
        n, c, p, _ = patches.shape
        if mask is not None:
            patches = jnp.where(mask[:, :, :, None], 0, patches)
        dtype = compute_dtype(self.dtype, x["series"], self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        y = nn.Dense(self.dim, name="embed", **dtypes)(patches.astype(dtype))
        init = nn.initializers.normal(0.02)
        table = self.param("positions", init, (p, self.dim), self.param_dtype)
        if len(table) != p:
            raise ValueError(f"the encoder is of {len(table)} patches, the windows have {p}")
        y = (y + table.astype(dtype)[None, None]).reshape(n * c, p, self.dim)
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        options = {"mlp_ratio": self.mlp_ratio, "post_norm": True, "dropout": self.dropout}
        y = Transformer(self.depth, self.heads, name="blocks", **options, **dtypes)(y, train)
        y = at_least_float32(y).reshape(n, c, p, self.dim).swapaxes(1, 2)
        y = y.reshape(n, p, c * self.dim)
        return Features(jnp.mean(y, axis=1), y)
