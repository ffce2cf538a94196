"""What a run says: a progress line for people, JSON lines and TensorBoard for programs."""

import json
import sys
import time
from pathlib import Path

from tqdm import tqdm


class Log:
    """Writes ``metrics.jsonl``, TensorBoard events where installed, and the progress line.

    Args:
      folder: of the run; None writes no files.
      steps: of the whole run.
      steps_per_epoch: as the stream counts them.
      start: the step at which this process begins. Lines of later steps, left by a run that was
        killed after its last checkpoint, are dropped: they will be written again.
      quiet: no progress line.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        steps: int,
        steps_per_epoch: int,
        start: int = 0,
        quiet: bool = False,
    ):
        """Opens the files and the progress bar."""
        self._steps, self._per_epoch = steps, steps_per_epoch
        self._file = self._board = None
        self._quiet = quiet
        if folder is not None:
            path = Path(folder) / "metrics.jsonl"
            lines = _lines_until(path, start) if path.exists() else []
            path.write_text("".join(lines))
            self._file = path.open("a", buffering=1)
            self._board = _board(Path(folder))
        self._terminal = not quiet and sys.stderr.isatty()
        self._bar = tqdm(
            total=steps, initial=start, unit="step", disable=not self._terminal, dynamic_ncols=True
        )

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Writes one line of numbers for this step and moves the bar."""
        line = {"step": step, "epoch": step / self._per_epoch, "time": time.time(), **values}
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._terminal:
            self._bar.update(step - self._bar.n)
            self._bar.set_description(self._epoch(step), refresh=False)
            self._bar.set_postfix_str(_readable(values))

    def epoch(self, step: int, values: dict[str, float]) -> None:
        """Says one plain line, such as ``Epoch 3/10  loss 1.982  proxy accuracy 62 %``."""
        self.say(f"{self._epoch(step)}  {_readable(values)}")

    def say(self, text: str) -> None:
        """Prints a line without tearing the bar."""
        if not self._quiet:
            with self._bar.external_write_mode(file=sys.stdout):
                print(text, flush=True)

    def close(self) -> None:
        """Closes the bar and the files."""
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def _epoch(self, step: int) -> str:
        epochs = -(-self._steps // self._per_epoch)
        return f"Epoch {min(-(-step // self._per_epoch), epochs)}/{epochs}"


# Metrics a person wants in the progress line, and how to write them.
_SHOWN = {
    "loss": ("loss", "{:.3f}"),
    "proxy_accuracy": ("proxy accuracy", "{:.0%}"),
    "chance": ("chance", "{:.0%}"),
    "knn": ("kNN", "{:.1%}"),
    "effective_rank": ("effective rank", "{:.1f}"),
    "examples_per_second": ("", "{:,.0f} examples/s"),
    "seconds_left": ("", "{} left"),
}


def _readable(values: dict[str, float]) -> str:
    parts = []
    for key, (name, form) in _SHOWN.items():
        if key in values:
            value = _duration(values[key]) if key == "seconds_left" else values[key]
            parts.append(f"{name} {form.format(value)}".strip().replace("%", " %"))
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _lines_until(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # the line during which the run was killed
    return kept


def _board(folder: Path):
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
