"""Projectors and predictors, and an encoder joined to them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.method import Features
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

    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Projected:
        """Encode, project and predict."""
        features = self.encoder(x, train=train)
        z = self.projector(features.pooled, train)
        return Projected(features, z, None if self.predictor is None else self.predictor(z, train))

    def encode(self, x: Float[Array, "n h w c"], train: bool = False) -> Features:
        """Encode alone: ``apply(variables, x, method="encode")``."""
        return self.encoder(x, train=train)

    def project(self, pooled: Float[Array, "n d"], train: bool = False) -> Array:
        """Project alone, from pooled features."""
        return self.projector(pooled, train)
