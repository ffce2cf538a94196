"""Strict JAX for every test: eight devices, no silent promotion, shapes checked."""

import ctypes
import gc
import importlib.metadata
import os
import tempfile
from pathlib import Path

# Before jax is imported: eight CPU devices, and one compilation cache for the whole suite. Nearly
# all of its time is compiling, which is twice as fast without the backend's optimisations.
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
# Twice as fast again with the older code for fused operations. Later versions have lost it, and
# none starts with a flag that it does not know.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jssl_test_xla_cache")
)

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

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
