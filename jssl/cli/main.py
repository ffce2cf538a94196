"""``jssl VERB``: what runs it, errors and exit codes.

Nothing heavy is imported before the verb is known, so that ``--help`` and ``list`` answer at once.
"""

import argparse
import contextlib
import ctypes
import importlib
import logging
import os
import sys
import warnings
from pathlib import Path

from jssl.cli.parser import make_parser

# Where a verb is that is not in `jssl.cli.verbs`.
ROOMS = {
    "advise": "advise",
    "bits": "text",
    "compare": "compare",
    "evaluate": "evaluation",
    "explain": "explain",
    "fill": "text",
    "generate": "text",
    "inspect": "inspection",
    "retrieve": "words",
    "zeroshot": "words",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns 0, 2 for bad input, 1 where a run failed or a step does not fit."""
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    try:
        arguments.overrides = _overrides(rest, parser, "config" in arguments)
        if arguments.verb is None:
            parser.print_help()
            return 0
        return _run(arguments) or 0
    except KeyboardInterrupt:
        print("jssl: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"jssl: {_one_line(error)}", file=sys.stderr, flush=True)
        code = 2 if isinstance(error, (ValueError, OSError)) else 1
        _leave_others(code)
        return code


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no further word"
    if type(error).__name__ == "JaxRuntimeError" and _of_several():
        return (
            "another process of this run is gone or cannot be reached; give the same command in "
            f"all of them again, and it goes on from the newest checkpoint ({text[:300]})"
        )
    if isinstance(error, (ValueError, OSError, RuntimeError)):
        return text if len(text) < 1000 else f"{text[:1000]} ..."
    return f"{type(error).__name__}: {text[:1000]} (--debug shows where)"


def _of_several() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def _leave_others(code: int) -> None:
    """Ends one of several processes at once: an orderly end would wait for those that are gone."""
    if _of_several():
        sys.stdout.flush()
        os._exit(code)


def _overrides(rest: list[str], parser: argparse.ArgumentParser, allowed: bool) -> dict[str, str]:
    """``--config.a.b=1`` and ``--config.a.b 1`` as ``{"a.b": "1"}``."""
    overrides, rest = {}, list(rest)
    while rest:
        word = rest.pop(0)
        if not allowed or not word.startswith("--config."):
            raise ValueError(f"unknown argument {word}; see {parser.prog} --help")
        key, found, value = word.removeprefix("--config.").partition("=")
        if not found:
            if not rest:
                raise ValueError(f"{word} needs a value")
            value = rest.pop(0)
        overrides[key] = value
    return overrides


def _run(arguments):
    """The verb's function, imported when it is called."""
    if arguments.verb == "list":
        from jssl.cli.listing import listing

        return listing(arguments)
    if arguments.verb == "compile":
        return _compile(arguments)
    if arguments.verb == "tokenizer":
        from jssl.cli import text

        return text.tokenizer(arguments)
    _prepare_jax()
    if not arguments.debug:
        _quiet_libraries()
    if arguments.verb == "pretrain":
        from jssl.train import processes

        processes.join()
    room = ROOMS.get(arguments.verb, "verbs")
    if getattr(arguments, "masks", None) is not None:
        room = "segmentation"
    return getattr(importlib.import_module(f"jssl.cli.{room}"), arguments.verb)(arguments)


def _quiet_libraries() -> None:
    """Leaves it at the one line of an error that is raised: some libraries say more of it."""
    for decoder in ("PIL", "numpy", "tifffile"):
        logging.getLogger(decoder).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=rf"{decoder}\b")
    # What orbax cannot write each thread logs that it passes, and those that come later find no
    # loop to tell.
    for logger in ("absl", "asyncio"):
        logging.getLogger(logger).addFilter(_without_traceback)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unless_closed


def _without_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def _unless_closed(told) -> None:
    if str(told.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(told)


def _compile(arguments):
    # Read when jax starts. The devices compiled for are none that it could start.
    if arguments.topology != "gpu":
        os.environ.update(
            {
                "JAX_PLATFORMS": "cpu",
                # What cannot be loaded here could not be read back either.
                "JAX_ENABLE_COMPILATION_CACHE": "false",
                # libtpu is to ask no metadata server, and to say nothing where there is no TPU.
                "TPU_SKIP_MDS_QUERY": "1",
                "TPU_ACCELERATOR_TYPE": "v5litepod-4",
                "TPU_WORKER_HOSTNAMES": "localhost",
                "TPU_MIN_LOG_LEVEL": "3",
                "TPU_STDERR_LOG_LEVEL": "3",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            }
        )
    from jssl.cli import pod

    return pod.compile(arguments)


def _prepare_jax() -> None:
    """A compilation cache that lasts, so that the second run of a program starts at once."""
    # Read when numpy is imported. Many threads on a small matrix wait for each other: an
    # eigenvalue problem of 512 x 512 is 50 times faster on one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jssl" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Tells glibc to keep what is freed for the next step instead of giving it to the kernel.

    A step frees and takes the same large buffers again and again; having them back from the kernel,
    page by page, costs a fifth to a third of a step on a CPU.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to tell
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_max, arena_max = -1, -4, -8  # of malloc.h
        libc.mallopt(trim_threshold, -1)
        libc.mallopt(mmap_max, 0)
        # The heap of a thread of XLA's own is too small for a step's buffers, and not kept.
        libc.mallopt(arena_max, 1)


if __name__ == "__main__":
    sys.exit(main())
