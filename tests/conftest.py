"""Strict JAX for every test: eight devices, no silent promotion, shapes checked."""

import ctypes
import gc
import os
import tempfile
from pathlib import Path

from backend import EIGHT_DEVICES

# Before jax is imported: eight CPU devices, and one compilation cache for the whole suite.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {EIGHT_DEVICES}".strip()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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


# Compiled programs are kept while a process lives, and those of so many tests fill a machine.
STATM = Path("/proc/self/statm")
PAGES = 2 * 2**30 // os.sysconf("SC_PAGE_SIZE")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Forgets them once the process has grown too large, and gives the memory back."""
    if STATM.exists() and int(STATM.read_text().split()[1]) > PAGES:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def x64():
    """float64 for references: without it rounding hides what is compared."""
    with jax.enable_x64(True):
        yield
