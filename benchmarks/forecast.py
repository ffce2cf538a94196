"""The README's forecasts of ETTh1: ridge regression on frozen features, beside raw windows.

  python benchmarks/forecast.py --data ETTh1.csv [--steps 600]

Protocol (TS2Vec, arXiv 2106.10466, section 3.2 and released code): 12, 4 and 4 months of 30 days
train, validate and test; channels scaled by the training part; from the features of the last step
of the past, ridge regression gives all values of the next 24, 48, 168, 336 or 720 steps, its weight
of 13 chosen by RMSE + MAE on the validation part; errors of all channels and steps, scaled. Here
the encoder sees as many past steps as it was trained on, and no calendar, which the released code
gives it. The linear model sees the values of the same steps; the last value is repeated.
"""

import argparse
import datetime
import importlib.metadata
import json
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from jssl import data
from jssl.cli import main as command_line
from jssl.cli import runs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "forecast.json"
MONTH = 30 * 24
ENDS = (12 * MONTH, 16 * MONTH, 20 * MONTH)
HORIZONS = (24, 48, 168, 336, 720)
WEIGHTS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def forecast(features: np.ndarray, values: np.ndarray, first: int, horizon: int) -> dict:
    """Errors on the test part.

    features: [t d], those of step ``first`` and after; values: [t c] of all steps, scaled.
    """
    parts, begin = [], first
    for end in ENDS:
        # As released, a part's forecasts end within it.
        at = np.arange(begin, end - horizon)
        ahead = np.lib.stride_tricks.sliding_window_view(values, horizon, axis=0)[at + 1]
        parts.append((features[at - first], ahead.reshape(len(at), -1)))
        begin = end
    (x, y), (valid_x, valid_y), (test_x, test_y) = parts
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    roots, axes = np.linalg.eigh((x.T @ x).astype(np.float64))
    axes = axes.astype(np.float32)
    projected = axes.T @ (x.T @ (y - mean_y))

    def errors(x, y, weight):
        shrunk = projected / np.maximum(roots + weight, weight).astype(np.float32)[:, None]
        off = (x - mean_x) @ axes @ shrunk + mean_y - y
        return float(np.mean(off**2)), float(np.mean(np.abs(off)))

    scores = []
    for weight in WEIGHTS:
        mse, mae = errors(valid_x, valid_y, weight)
        scores.append(mse**0.5 + mae)
    weight = WEIGHTS[int(np.argmin(scores))]
    mse, mae = errors(test_x, test_y, weight)
    return {"mse": mse, "mae": mae, "weight": weight}


def repeated(values: np.ndarray, horizon: int) -> dict:
    """Errors on the test part of the last value before, for all steps ahead."""
    at = np.arange(ENDS[1], ENDS[2] - horizon)
    ahead = np.lib.stride_tricks.sliding_window_view(values, horizon, axis=0)[at + 1]
    off = values[at][:, :, None] - ahead
    return {"mse": float(np.mean(off**2)), "mae": float(np.mean(np.abs(off)))}


def last_features(run, windows: np.ndarray) -> np.ndarray:
    """Features [m d] of the last step of each of the windows [m t c]."""
    params, state = run.train.params, run.train.state

    @jax.jit
    def embed(x):
        batch = {"series": x, "observed": np.ones(x.shape, bool)}
        return run.method.embed(params, state, batch).tokens[:, -1]

    size = 256
    padded = np.concatenate([windows, np.repeat(windows[-1:], -len(windows) % size, axis=0)])
    found = [np.asarray(embed(padded[i : i + size])) for i in range(0, len(padded), size)]
    return np.concatenate(found)[: len(windows)]


def main() -> None:
    """Trains where there is no run yet, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--workdir", type=Path)
    arguments = parser.parse_args()
    workdir = arguments.workdir or Path(tempfile.mkdtemp())
    options = {
        "train.steps": arguments.steps,
        "train.log_every": 20,
        "data.training": ENDS[0],
        "data.stride": 10,
        "eval.every_epochs": 0,
        "checkpoint.every_steps": 40,
    }
    command = ["pretrain", "--config", f"ts2vec:data=series:{arguments.data}"]
    command += ["--workdir", str(workdir)]
    command += [f"--config.{key}={value}" for key, value in options.items()]
    began = time.perf_counter()
    if command_line(command):
        raise SystemExit("the run was stopped: give the same command again")
    trained, random = runs.load(workdir), runs.load(workdir, trained=False)
    config = trained.config
    source = data.open_source(config.data.source, length=ENDS[-1], training=ENDS[-1], missing=False)
    raw, _, _ = source.reader.read(0)
    fitted = trained.facts["series"]
    mean, std = (np.asarray(fitted[name], np.float32) for name in ("mean", "std"))
    values, t = (raw - mean) / std, config.data.length
    windows = np.lib.stride_tricks.sliding_window_view(raw, t, axis=0).swapaxes(1, 2)
    scaled = (windows - mean) / std
    rows = {
        "ts2vec": last_features(trained, windows),
        "random encoder": last_features(random, windows),
        "linear on raw windows": scaled.reshape(len(scaled), -1),
    }
    result = {
        "data": Path(arguments.data).name,
        "steps": int(trained.train.step),
        "batch_size": config.train.batch_size,
        "window": t,
        "measured": datetime.date.today().isoformat(),
        "jax": importlib.metadata.version("jax"),
        "device": jax.devices()[0].device_kind,
        "rows": {},
    }
    for name, features in {**rows, "last value": None}.items():
        found = {
            h: repeated(values, h) if features is None else forecast(features, values, t - 1, h)
            for h in HORIZONS
        }
        result["rows"][name] = found
        line = "  ".join(f"{found[h]['mse']:.3f} / {found[h]['mae']:.3f}" for h in HORIZONS)
        print(f"{name:<24}{line}", flush=True)
    result["seconds"] = round(time.perf_counter() - began)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
