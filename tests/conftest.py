"""Strict JAX for every test: eight devices, no silent promotion, shapes checked, warnings raised."""

import os
import tempfile
from pathlib import Path

# Before jax is imported: eight CPU devices, and one compilation cache for the whole suite.
_FLAG = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}".strip()
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jssl_test_xla_cache")
)

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Shapes and types of everything annotated are checked at run time.
install_import_hook("jssl", "typechecking.checked")


@pytest.fixture
def x64():
    """float64 for references: without it rounding hides what is compared."""
    with jax.enable_x64(True):
        yield
