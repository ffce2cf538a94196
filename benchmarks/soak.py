"""Runs that are killed, filled, damaged and starved: does each end in the bits of one left alone?

  make soak
  python benchmarks/soak.py [--methods simclr byol mae moco_v2 dino] [--kills 10] [--faults ...]

Each method is trained once undisturbed, and its SHA-256 taken (`jssl inspect`: every array of the
train state). Then the same run is killed with SIGKILL again and again, by turns within a step, as
soon as a checkpoint begins to be written, and before the first step; given the same command until
it is done, it must have the same SHA-256. The faults, each in a run of its own:

  sigterm   saved and gone within 30 s
  full      no room for a checkpoint (a limit on the size of files): one line, the one before whole
  cut       the newest checkpoint's largest file is truncated: named, the one before is used
  flip      one bit of it is flipped: the same
  vanish    an image of the data set is gone: refused in one line, until it is back
  nan       an image is not a number: stopped in one line that names its step

after each of which the same command must end in the same SHA-256, too.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "soak.json"
RESNET = {"encoder.name": "resnet", "encoder.blocks": "(1,)", "encoder.width": 8}
VIT = {"encoder.dim": 32, "encoder.depth": 1, "encoder.heads": 2, "encoder.patch": 7}
# Small, as what is tried is not how well they learn.
METHODS = {
    "simclr": RESNET,
    "byol": RESNET | {"method.hidden": 32},
    "mae": VIT,
    "moco_v2": RESNET | {"method.queue": 64},
    "dino": RESNET | {"method.k": 32, "method.hidden": 32, "method.bottleneck": 16},
}
FAULTS = ("sigterm", "full", "cut", "flip", "vanish", "nan")
BATCH, PER_EPOCH, EPOCHS = 16, 8, 6
STEPS = PER_EPOCH * EPOCHS
EXAMPLES = BATCH * PER_EPOCH
# Half of a checkpoint's largest file, and more than any other file of a run.
ROOM = 40_000
WAIT = 600


class Run:
    """One command, given as often as needed."""

    def __init__(self, folder: Path, method: str, data: str):
        """A run of a method on a data source, in a folder."""
        self.folder = folder
        config = METHODS[method] | {
            "data.source": data,
            "train.batch_size": BATCH,
            "train.epochs": EPOCHS,
            "train.log_every": 1,
            "checkpoint.every_steps": 2,
            "eval.every_epochs": 0,
            "augment.mean": "(0.3,)",
            "augment.std": "(0.3,)",
        }
        self.command = [sys.executable, "-m", "jssl", "pretrain", "--config", method]
        self.command += ["--workdir", str(folder)]
        self.command += [f"--config.{key}={value}" for key, value in config.items()]

    def start(self):
        """Gives the command; the process."""
        return subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )

    def finish(self):
        """Gives the command, which must end well; returns what it said."""
        process = self.start()
        said = "".join(process.communicate(timeout=WAIT))
        require(process.returncode == 0, f"exit code {process.returncode}: {said}")
        return said

    def refused(self, process, code: int, *parts: str):
        """The process must end with this code and one line that says all the parts."""
        _, error = process.communicate(timeout=WAIT)
        require(process.returncode == code, f"exit code {process.returncode}: {error}")
        lines = [line for line in error.splitlines() if line.startswith("jssl: ")]
        require(len(lines) == 1 and "Traceback" not in error, f"not one line: {error}")
        for part in parts:
            require(part in lines[0], f"{part!r} is not in: {lines[0]}")
        return lines[0]

    def sha256(self) -> str:
        """Of all that the finished run carries."""
        command = [sys.executable, "-m", "jssl", "inspect", "--json", "--workdir", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=WAIT)
        require(done.returncode == 0, done.stderr)
        found = json.loads(done.stdout)
        require(found["step"] == STEPS, f"it ended at step {found['step']}")
        return found["sha256"]

    def step(self) -> int:
        """The last that was written into the metrics."""
        file = self.folder / "metrics.jsonl"
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return json.loads(lines[-1])["step"] if lines else 0

    def until(self, process, holds):
        """Waits; false if the process ends first."""
        deadline = time.monotonic() + WAIT
        while process.poll() is None:
            if holds():
                return True
            require(time.monotonic() < deadline, "it hangs")
            time.sleep(0.001)
        return False

    def largest(self) -> Path:
        """The largest file of the newest checkpoint."""
        newest = max((self.folder / "checkpoints").glob("[0-9]*[0-9]"), key=lambda p: int(p.name))
        return max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)

    def sealed(self) -> bool:
        """Whether there is a finished checkpoint."""
        return any((self.folder / "checkpoints").glob("*/sha256.json"))

    def saving(self) -> bool:
        """Whether a checkpoint is being written."""
        return any((self.folder / "checkpoints").glob("*tmp*"))


class Failure(Exception):
    """What was promised did not come true."""


def require(holds: bool, message: str) -> None:
    if not holds:
        raise Failure(" ".join(message.split())[-2000:])


def killed(run: Run, kills: int, rng: random.Random) -> dict:
    """Kills a run so many times; returns how many times in which state."""
    counts, done, starts = {"step": 0, "save": 0, "start": 0}, 0, 0
    while done < kills:
        moment = list(counts)[starts % 3]
        starts += 1
        require(starts <= 4 * kills, "it is done before it can be killed")
        # So that the last is not too late, a start goes on by few steps.
        first = run.step()
        process = run.start()
        if moment == "start":
            end = time.monotonic() + rng.uniform(0.5, 8)
            alive = run.until(
                process, lambda first=first, end=end: time.monotonic() > end or run.step() > first
            )
        elif moment == "save":
            alive = run.until(process, lambda first=first: run.step() > first and run.saving())
            time.sleep(rng.uniform(0, 0.02))
        else:
            steps = rng.randint(1, max(1, STEPS // (kills + 2)))
            alive = run.until(
                process, lambda first=first, steps=steps: run.step() >= min(first + steps, STEPS)
            )
            time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
        if alive and process.returncode == -signal.SIGKILL:
            counts[moment] += 1
            done += 1
    run.finish()
    return counts


def sigterm(run: Run, data: Path) -> dict:
    process = run.start()
    require(run.until(process, lambda: run.step() >= 3), "it ended before it was told to")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=WAIT)
    seconds = time.monotonic() - began
    require(process.returncode == 130 and "stopped and saved at step" in out, out + error)
    require(seconds < 30, f"it took {seconds:.0f} s")
    return {"seconds": round(seconds, 2)}


def full(run: Run, data: Path) -> dict:
    process = run.start()
    require(run.until(process, run.sealed), "it ended before its first checkpoint")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
    line = run.refused(process, 1, "checkpoint", "cannot be written")
    said = run.finish()
    require("Going on from the checkpoint of step" in said, said)
    require("damaged" not in said, said)
    return {"line": line}


def cut(run: Run, data: Path) -> dict:
    run.finish()
    file = run.largest()
    os.truncate(file, file.stat().st_size // 2)
    return damaged(run)


def flip(run: Run, data: Path) -> dict:
    run.finish()
    file = run.largest()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return damaged(run)


def damaged(run: Run) -> dict:
    said = run.finish()
    require(f"checkpoint {STEPS} is damaged" in said, said)
    require(f"Going on from the checkpoint of step {STEPS - 2}" in said, said)
    return {}


def vanish(run: Run, data: Path) -> dict:
    process = run.start()
    require(run.until(process, run.sealed), "it ended before its first checkpoint")
    process.kill()
    process.communicate()
    file = data / "images" / "7.png"
    hidden = file.rename(data / "hidden")
    line = run.refused(run.start(), 2, f"examples was {EXAMPLES} and is now {EXAMPLES - 1}")
    hidden.rename(file)
    return {"line": line}


def nan(run: Run, data: Path) -> dict:
    good = (data / "images.npz").read_bytes()
    with np.load(data / "images.npz", allow_pickle=False) as file:
        images = file["image"]
    images[EXAMPLES // 2] = np.nan
    np.savez(data / "images.npz", image=images)
    line = run.refused(run.start(), 1, "is not finite", "last good checkpoint", "batch is saved in")
    (data / "images.npz").write_bytes(good)
    return {"line": line}


def make_data(folder: Path) -> None:
    """The same images as files and as numbers."""
    images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 28, 28, 1)).astype(np.uint8)
    (folder / "images").mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / "images" / f"{i}.png")
    np.savez(folder / "images.npz", image=images.astype(np.float32) / 255)


def soak(method: str, kills: int, faults: list[str], folder: Path, rng: random.Random) -> dict:
    """All that is done to one method; what it came to, by the name of the fault."""
    specs, wanted, found = {}, {}, {}
    data = folder / "data"
    make_data(data)
    for kind in ("files", "numbers"):
        specs[kind] = (
            f"folder:{data / 'images'}" if kind == "files" else f"arrays:{data}/images.npz"
        )
    trials = {"kills": lambda run, data: killed(run, kills, rng)} if kills else {}
    trials |= {name: globals()[name] for name in faults}
    for name, trial in trials.items():
        kind = "numbers" if name == "nan" else "files"
        began = time.monotonic()
        try:
            if kind not in wanted:
                whole = Run(folder / f"whole_{kind}", method, specs[kind])
                whole.finish()
                wanted[kind] = whole.sha256()
            run = Run(folder / name, method, specs[kind])
            result = trial(run, data)
            run.finish()
            digest = run.sha256()
            require(digest == wanted[kind], f"SHA-256 {digest} is not {wanted[kind]}")
            found[name] = {"same": True, "sha256": digest} | result
        except Failure as failure:
            found[name] = {"same": False, "failure": str(failure)}
        seconds = time.monotonic() - began
        print(f"{method:8} {name:8} {seconds:5.0f} s  {json.dumps(found[name])}", flush=True)
    return found


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    rows = {}
    for method in arguments.methods:
        folder = Path(tempfile.mkdtemp(prefix=f"jssl_soak_{method}_"))
        rows[method] = soak(method, arguments.kills, arguments.faults, folder, rng)
        if all(row["same"] for row in rows[method].values()):
            shutil.rmtree(folder)
        else:
            print(f"{method}: its runs are kept in {folder}", flush=True)
    facts = {
        "made": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {p: importlib.metadata.version(p) for p in ("jax", "orbax-checkpoint")},
        "steps": STEPS,
        "methods": rows,
    }
    arguments.out.write_text(json.dumps(facts, indent=1) + "\n")
    return 0 if all(row["same"] for found in rows.values() for row in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
