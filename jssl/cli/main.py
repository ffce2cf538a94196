"""``jssl VERB``: arguments, errors and exit codes.

Nothing heavy is imported before the verb is known, so that ``--help`` and ``list`` answer at once.
"""

import argparse
import contextlib
import ctypes
import os
import sys
from pathlib import Path

CONFIG_HELP = (
    "NAME of a config that ships with jssl, or PATH.py, with typed arguments behind a colon: "
    "simclr:data=bundled,encoder=resnet18"
)


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns 0, 2 for bad input, 1 where a run failed or a step does not fit."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    try:
        arguments.overrides = _overrides(rest, parser, "config" in arguments)
        if not hasattr(arguments, "run"):
            parser.print_help()
            return 0
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        print("jssl: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"jssl: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, (ValueError, OSError)) else 1


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no further word"
    if isinstance(error, (ValueError, OSError, RuntimeError)) and len(text) < 1000:
        return text
    return f"{type(error).__name__}: {text[:1000]} (--debug shows where)"


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


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = argparse.ArgumentParser(
        prog="jssl", description="Self-supervised learning for JAX.", parents=[common]
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")

    def verb(name, text, *, config=False, workdir=True, step=False, as_json=False, more=""):
        p = verbs.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ". " + more,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if config:
            p.add_argument("--config", required=config == "required", help=CONFIG_HELP)
        if workdir:
            p.add_argument(
                "--workdir",
                type=Path,
                required=workdir == "required",
                help="the run's folder: config, metrics, checkpoints, table, report",
            )
        if step:
            p.add_argument(
                "--step", type=int, help="the checkpoint of this step (default: the newest)"
            )
        if as_json:
            p.add_argument("--json", action="store_true", help="print one JSON object, no prose")
        p.set_defaults(run=_later(name))
        return p

    p = verb(
        "quickstart",
        "pretrain SimCLR on the bundled images, evaluate, write a report",
        config=True,
        more="\n\nRun it again and it goes on where it stopped, or shows the finished result.",
    )
    p.set_defaults(config="quickstart", workdir=Path("runs/quickstart"))
    p = verb(
        "pretrain",
        "learn an encoder from images without labels",
        config="required",
        workdir="required",
        more="""

  jssl pretrain --config simclr --workdir runs/simclr
  jssl pretrain --config simclr:data=folder:PHOTOS --workdir runs/photos --config.data.size=64
  jssl pretrain --config configs/mae.py --workdir runs/mae --config.optimizer.lr=0.001

The same command again goes on from the newest checkpoint. Ctrl-C and SIGTERM save and exit.
A key of the config is overridden by --config.KEY=VALUE; `jssl list` names configs and sources.""",
    )
    p.add_argument("--quiet", action="store_true", help="no progress lines")
    p = verb(
        "evaluate",
        "compare the pretrained encoder with raw pixels and a random encoder",
        workdir="required",
        step=True,
        as_json=True,
        more="Writes table.json and what the report shows into the run's folder.",
    )
    p.add_argument(
        "--protocols",
        default="knn,linear,linear_10_per_class",
        help="all, or some of knn,linear,linear_10_per_class (the default) and "
        "fine_tuned_10_percent (trains the encoder on: minutes)",
    )
    p.add_argument(
        "--rows",
        default="all",
        help="all, or some of raw_pixels,random_encoder,pretrained (default: all)",
    )
    p = verb(
        "embed",
        "turn a folder of images into vectors, with their file names",
        workdir="required",
        step=True,
        more="\n\n  jssl embed --workdir runs/simclr --input PHOTOS --output photos.npz",
    )
    p.add_argument("--input", required=True, help="a folder of images, or any source spec")
    p.add_argument("--output", type=Path, required=True, help="FILE.npz or FILE.parquet")
    p.add_argument("--split", default="train", help="of an input that has some (default: train)")
    p = verb(
        "reconstruct",
        "show what a method fills in, or measure how near it comes",
        workdir="required",
        step=True,
        as_json=True,
        more="""

  jssl reconstruct --workdir runs/mae --input PHOTOS --output FILLED
  jssl reconstruct --workdir runs/mae

With --output: a picture of each image as it is, as the encoder is given it and filled in, side by
side, under its own name. Without: PSNR and SSIM beside a mean fill and a blur. Without --input: of
the run's held-out images; the table is then kept as restoration.json, and the report shows it.""",
    )
    p.add_argument("--input", help="a folder of images, or any source spec")
    p.add_argument("--output", type=Path, help="a folder for the pictures")
    p.add_argument("--split", default="train", help="of an input that has some (default: train)")
    p.add_argument("--limit", type=int, help="only the first so many images")
    p.add_argument("--seed", type=int, default=0, help="of masks and noise (default: 0)")
    verb("report", "write the run as one HTML page", workdir="required")
    verb(
        "inspect",
        "show a run's step, parameters and the SHA-256 of all it carries",
        workdir="required",
        step=True,
        as_json=True,
    )
    p = verb(
        "compile",
        "compile the train step for a TPU pod that is not here: memory, traffic, what bounds it",
        config="required",
        workdir=False,
        as_json=True,
        more="""

  jssl compile --config mae:recipe=imagenet --topology v5e:16x16 --config.precision=bfloat16
  jssl compile --config configs/mae.py:encoder=vit_l16 --topology v5p:4x4x8 --batch 4096 --advise

Needs libtpu (pip install 'jssl[pod]') and no TPU. Exit code 0 if the step fits, 1 if not.""",
    )
    p.add_argument(
        "--topology",
        required=True,
        help="v4:AxBxC, v5e:AxB, v5p:AxBxC, v6e:AxB, or gpu for the GPUs of this machine",
    )
    p.add_argument("--batch", type=int, help="the global batch (default: the config's)")
    p.add_argument(
        "--size", type=int, help="side of the images (default: the config's, or else 224)"
    )
    p.add_argument(
        "--advise", action="store_true", help="if it does not fit, compile what would help"
    )
    verb("list", "list methods, encoders, configs and data sources", workdir=False, as_json=True)
    return parser


def _later(name: str):
    """The verb's function, imported when it is called."""

    def run(arguments):
        if name == "list":
            from jssl.cli.listing import listing

            return listing(arguments)
        if name == "compile":
            return _compile(arguments)
        _prepare_jax()
        from jssl.cli import verbs

        return getattr(verbs, name)(arguments)

    return run


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
    page by page, costs about a fifth of a step on a CPU.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to tell
        libc = ctypes.CDLL("libc.so.6")
        most = 2**31 - 1
        trim_threshold, mmap_max = -1, -4  # of malloc.h
        libc.mallopt(trim_threshold, most)
        libc.mallopt(mmap_max, 0)


if __name__ == "__main__":
    sys.exit(main())
