"""Projectors and predictors, and an encoder joined to them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jssl.method import Features, PyTree
from jssl.nn.dtypes import at_least_float32, compute_dtype
from jssl.nn.norm import BatchNorm, LayerNorm

ACTIVATIONS = {"relu": nn.relu, "gelu": lambda x: nn.gelu(x, approximate=False)}
NORMS = ("batch", "layer", None)


class MLP(nn.Module):
    """Dense layers of ``widths``; a norm and an activation after each but the last: [n d] -> [n k].

    The output is at least float32. With the defaults hidden layers are dense without bias, batch
    norm, ReLU, and the last is dense without bias: the projector of BYOL, Barlow Twins and VICReg
    but for the bias that the first and the last of them put before a norm, which takes it off.

    norm: after each hidden layer, "batch", "layer" or None.
    final_norm: the same after the last layer; ``final_scale`` and ``final_offset`` say whether it
      learns them. SimCLR's projector ends in a batch norm with a scale and no offset, MoCo v3's in
      one with neither.
    bias: in hidden layers; None means where no norm follows.
    final_bias: in the last layer; None means where it has no norm and ``norm`` is None too.
    activation: "relu" or "gelu" (exact).
    """

    widths: Sequence[int]
    norm: str | None = "batch"
    final_norm: str | None = None
    bias: bool | None = None
    final_bias: bool | None = None
    final_scale: bool = True
    final_offset: bool = True
    activation: str = "relu"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse what no head can be built from."""
        if not self.widths:
            raise ValueError("widths must name at least one layer, got none")
        for name, value in (("norm", self.norm), ("final_norm", self.final_norm)):
            if value not in NORMS:
                raise ValueError(f"{name} must be 'batch', 'layer' or None, got {value!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool = False) -> Float[Array, "n k"]:
        """Apply; with ``train`` batch norms use the batch and update ``batch_stats``."""
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        dtypes = {"dtype": dtype, "param_dtype": self.param_dtype}
        bias = self.norm is None if self.bias is None else self.bias
        final_bias = self.final_bias
        if final_bias is None:
            final_bias = self.norm is None and self.final_norm is None
        for i, width in enumerate(self.widths, 1):
            last = i == len(self.widths)
            use_bias = final_bias if last else bias
            x = nn.Dense(width, use_bias=use_bias, name=f"dense{i}", **dtypes)(x)
            norm = self.final_norm if last else self.norm
            fields = {"name": f"norm{i}", **dtypes}
            if last:
                fields |= {"use_scale": self.final_scale, "use_bias": self.final_offset}
            if norm == "batch":
                x = BatchNorm(**fields)(x, train)
            elif norm == "layer":
                x = LayerNorm(**fields)(x)
            if not last:
                x = ACTIVATIONS[self.activation](x)
        return at_least_float32(x)


class Projected(NamedTuple):
    """Features, their projection z [n k] and its prediction p [n k]; None without predictor."""

    features: Features
    z: Array
    p: Array | None


class JointEmbedding(nn.Module):
    """An encoder, a projector on its pooled features and, if given, a predictor on the projection.

    Parameters stand under ``encoder``, ``projector`` and ``predictor``.
    """

    encoder: nn.Module
    projector: nn.Module
    predictor: nn.Module | None = None

    def __call__(
        self, x: Float[Array, "n *example"], train: bool = False, **options: Any
    ) -> Projected:
        """Encode, with further ``options`` of the encoder, project and predict."""
        features = self.encoder(x, train=train, **options)
        return Projected(features, *self.project(features.pooled, train))

    def encode(
        self, x: Float[Array, "n *example"], train: bool = False, **options: Any
    ) -> Features:
        """Encode alone: ``apply(variables, x, method="encode")``."""
        return self.encoder(x, train=train, **options)

    def join(self, x: Float[Array, "n t h w c"], train: bool = False) -> Array:
        """Encode the t parts of each example, one by one, and project their features joined: z."""
        n, t = x.shape[:2]
        pooled = self.encode(x.reshape(n * t, *x.shape[2:]), train).pooled
        return self.project(pooled.reshape(n, -1), train)[0]

    def project(
        self, pooled: Float[Array, "n d"], train: bool = False, **options: Any
    ) -> tuple[Any, Any]:
        """Project, with further ``options``, and predict features that are there: (z, p)."""
        z = self.projector(pooled, train, **options)
        return z, None if self.predictor is None else self.predictor(z, train)


class DINOHead(nn.Module):
    """DINO's head: [n d] to the bottleneck [n b] of length one and the logits [n k].

    Three dense layers with GELU, l2 normalisation, and a last layer without bias whose columns are
    normalised (Salimans & Kingma 2016, arXiv 1602.07868), so that a logit is a cosine. Parameters
    stand under ``mlp`` and ``last_layer``. Dense layers start at a deviation of 1 / sqrt(their
    inputs), which at 2048 is the 0.02 of the released code.

    k: number of logits.
    norm: of the hidden layers, None, "batch" or "layer".
    norm_last_layer: False learns a length for each column, 1 at the start.
    patch_layer: patches have a last layer of their own, ``patch_layer``, as in iBOT's released code
      where a head is not shared.
    """

    k: int
    hidden: int = 2048
    bottleneck: int = 256
    norm: str | None = None
    norm_last_layer: bool = True
    patch_layer: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Refuse a norm that there is not."""
        if self.norm not in NORMS:
            raise ValueError(f"norm must be 'batch', 'layer' or None, got {self.norm!r}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "n d"], train: bool = False, patches: bool = False
    ) -> tuple[Float[Array, "n b"], Float[Array, "n k"]]:
        """Apply, to ``patches`` or to whole images; both outputs are at least float32."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        widths = (self.hidden, self.hidden, self.bottleneck)
        options = {"bias": True, "final_bias": True, "activation": "gelu"} | dtypes
        z = _unit(MLP(widths, self.norm, name="mlp", **options)(x, train), axis=-1)
        names = ["last_layer", "patch_layer"] if self.patch_layer else ["last_layer"]
        layers = [_CosineLayer(self.k, not self.norm_last_layer, name=n, **dtypes) for n in names]
        if self.is_initializing():
            layers[-1](z)
        return z, layers[-1 if patches else 0](z)


def freeze_last_layers(params: PyTree, kept: PyTree, frozen: bool | Array) -> PyTree:
    """The parameters of a `JointEmbedding` with a `DINOHead`, whose last layers are frozen or not.

    params: all of them.
    kept: the same at another time, from which the last layers are taken while ``frozen``, which may
      be traced.
    """
    new, old = params["projector"], kept["projector"]
    last = {
        name: jax.tree.map(lambda x, y: jnp.where(frozen, x, y), old[name], new[name])
        for name in ("last_layer", "patch_layer")
        if name in new
    }
    return params | {"projector": new | last}


class _CosineLayer(nn.Module):
    features: int
    gain: bool
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        dtype = compute_dtype(self.dtype, x, self.param_dtype)
        # Uniform within 1 / sqrt(d), as PyTorch's dense layers start.
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        kernel = self.param("kernel", init, (x.shape[-1], self.features), self.param_dtype)
        kernel = _unit(at_least_float32(kernel), axis=0).astype(dtype)
        # Divided by a temperature of some hundredths later on, the sums want their precision.
        wide = np.promote_types(dtype, np.float32)
        y = jnp.dot(x.astype(dtype), kernel, preferred_element_type=wide)
        if not self.gain:
            return y
        ones = nn.initializers.ones
        return y * self.param("gain", ones, (1, self.features), self.param_dtype).astype(y.dtype)


def _unit(x: Array, axis: int) -> Array:
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=axis, keepdims=True), 1e-24))
