"""Curves of a run's measurements, as inline SVG that follows the page's colours."""

import html
import math
import statistics
from typing import Any, NamedTuple

from jssl.report.folder import number

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 30
MOST_POINTS = 400  # drawn of one curve


class Curve(NamedTuple):
    """A measurement worth a picture.

    percent: it is a share.
    smooth: it jumps from step to step; a moving mean is drawn over it.
    median: its middle value says more than its last one.
    """

    key: str
    title: str
    caption: str
    percent: bool = False
    smooth: bool = False
    median: bool = False


CURVES = (
    Curve(
        "loss",
        "Loss",
        "What training makes smaller. Low alone proves little: a pretext task can also be solved by"
        " a shortcut, so read it together with kNN.",
        smooth=True,
    ),
    Curve(
        "proxy_accuracy",
        "Proxy accuracy",
        "How often the pretext task is answered right. Near 100 % it has little left to teach."
        " Where there is a dashed line it is chance.",
        percent=True,
        smooth=True,
    ),
    Curve(
        "knn",
        "kNN accuracy",
        "How often the nearest neighbours of an example share its class. Training never sees these"
        " labels, so a rise means that the features really got better.",
        percent=True,
    ),
    Curve(
        "effective_rank",
        "Effective rank",
        "How many directions the embedding really uses. A fall towards 1 is collapse: all examples"
        " become one.",
    ),
    Curve(
        "deviation",
        "Spread of the embedding",
        "Mean deviation of each dimension on the unit sphere. The dashed line is an even spread;"
        " zero is collapse to a point.",
    ),
    Curve(
        "projection_spread",
        "Spread of the projections",
        "The same where the loss looks, as a share of an even spread. It falls to zero before the"
        " embedding does.",
        percent=True,
    ),
    Curve(
        "alignment",
        "Alignment",
        "Mean squared distance between the projections of two views of one image; zero is perfect.",
        smooth=True,
    ),
    Curve(
        "uniformity",
        "Uniformity",
        "How evenly the projections fill the sphere: lower is more even, zero is one point.",
        smooth=True,
    ),
    Curve(
        "learning_rate",
        "Learning rate",
        "The size of a step: usually warmed up from zero, then brought down slowly.",
    ),
    Curve(
        "grad_norm",
        "Gradient norm",
        "How hard the loss pulls. Sudden peaks warn of an unstable run.",
        smooth=True,
    ),
    Curve(
        "examples_per_second",
        "Examples a second",
        "Speed; the number is the median. Dips are evaluations, checkpoints or a slow data source.",
        median=True,
    ),
)
NOT_MEASURED = {"step", "epoch", "time", "chance"}


def figures(metrics: list[dict[str, Any]], ideal_deviation: float | None = None) -> list[str]:
    """A ``<figure>`` for each known measurement that was taken, in a fixed order."""
    chance = [line["chance"] for line in metrics if "chance" in line]
    dashed = {"deviation": ideal_deviation, "proxy_accuracy": chance[-1] if chance else None}
    drawn = (figure(metrics, curve, dashed.get(curve.key)) for curve in CURVES)
    return [text for text in drawn if text]


def others(metrics: list[dict[str, Any]]) -> list[str]:
    """A ``<figure>`` for each measurement that only this method takes."""
    known = NOT_MEASURED | {curve.key for curve in CURVES}
    keys = sorted({key for line in metrics for key in line} - known)
    drawn = (
        figure(metrics, Curve(key, key.replace("_", " ").capitalize(), "", smooth=True))
        for key in keys
    )
    return [text for text in drawn if text]


def figure(metrics: list[dict[str, Any]], curve: Curve, reference: float | None = None) -> str:
    """One curve with title, last value and caption; empty where nothing was measured."""
    axis, points, broken = series(metrics, curve.key)
    if not points and not broken:
        return ""
    title = html.escape(curve.title)
    notes = f'<p class="caption">{html.escape(curve.caption)}</p>' if curve.caption else ""
    if broken:
        notes += (
            f'<p class="caption bad">Not finite in {len(broken)} of'
            f" {len(broken) + len(points)} lines, first at step {broken[0]:.0f}.</p>"
        )
    if not points:
        return f'<figure class="curve"><h3>{title}</h3>{notes}</figure>'
    drawn = thinned(points, MOST_POINTS)
    mean = _smoothed(drawn) if curve.smooth and len(drawn) > 40 else None
    value = (mean or drawn)[-1][1]
    if curve.median:
        value = statistics.median(y for _, y in points)
    return (
        f'<figure class="curve"><h3>{title}'
        f'<span class="now">{label(value, curve.percent)}</span></h3>'
        f"{_svg(drawn, mean, curve, axis, reference)}<figcaption>{notes}</figcaption></figure>"
    )


def series(
    metrics: list[dict[str, Any]], key: str
) -> tuple[str, list[tuple[float, float]], list[float]]:
    """What to draw of a measurement: the name of the axis, points (x, y), steps not finite.

    x is the epoch where every line has one, else the step. Of several lines of one step (a run
    that was resumed) the newest counts.
    """
    lines = {
        line["step"]: line
        for line in metrics
        if isinstance(line.get(key), int | float) and not isinstance(line[key], bool)
    }
    axis = "epoch" if all(number(m.get("epoch")) is not None for m in lines.values()) else "step"
    points = [
        (float(line[axis]), float(line[key]))
        for line in lines.values()
        if number(line[key]) is not None
    ]
    broken = [line["step"] for line in lines.values() if number(line[key]) is None]
    return axis, points, broken


def label(value: float, percent: bool = False) -> str:
    """A number as short as it can be told to a reader."""
    if percent:
        return f"{100 * value:.1f} %"
    size = abs(value)
    if size >= 10000:
        return f"{value:,.0f}".replace(",", " ")
    if size >= 100:
        return f"{value:.0f}"
    if size != 0 and size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.3g}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that span [low, high]."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, end + 1)]


def thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most so many points: the mean of each run of neighbours; the ends stay as they are."""
    if len(points) <= most:
        return points
    bins = most - 2
    inner, size = points[1:-1], len(points) - 2
    groups = [inner[i * size // bins : (i + 1) * size // bins] for i in range(bins)]
    means = [tuple(sum(v) / len(g) for v in zip(*g, strict=True)) for g in groups]
    return [points[0], *means, points[-1]]


def _smoothed(points):
    """A centred moving mean over about a thirtieth of the curve."""
    half = max(1, len(points) // 60)
    means = []
    for i, (x, _) in enumerate(points):
        window = points[max(0, i - half) : i + half + 1]
        means.append((x, sum(y for _, y in window) / len(window)))
    return means


def _svg(points, mean, curve, axis, reference):
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if reference is not None:
        ys = [*ys, reference]
    low, high = _range(ys, curve.percent)
    rows = ticks(low, high)
    low, high = rows[0], rows[-1]
    first, end = min(xs), max(xs)
    if first == end:
        first, end = first - 0.5, end + 0.5

    def at(x, y):
        across = LEFT + (x - first) / (end - first) * (WIDTH - LEFT - RIGHT)
        down = TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return across, down

    def line(points, kind):
        path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in points)
        return f'<polyline class="{kind}" points="{path}"/>'

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(curve.title)}">'
    ]
    for y in rows:
        _, down = at(first, y)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}"/>'
            f'<text class="tick end" x="{LEFT - 7}" y="{down + 3.5:.1f}">'
            f"{_tick(y, rows, curve.percent)}</text>"
        )
    columns = [x for x in ticks(first, end, 5) if first <= x <= end]
    for x in columns:
        across, _ = at(x, low)
        parts.append(
            f'<text class="tick mid" x="{across:.1f}" y="{HEIGHT - BOTTOM + 14}">'
            f"{_tick(x, columns)}</text>"
        )
    parts.append(
        f'<text class="tick end" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}">{html.escape(axis)}</text>'
    )
    if reference is not None:
        parts.append(line([(first, reference), (end, reference)], "reference"))
    if mean:
        parts.append(line(points, "raw"))
    parts.append(line(mean or points, "main"))
    if len(points) <= 30:
        parts += [
            '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.6"/>'.format(*at(*p)) for p in points
        ]
    return "".join(parts) + "</svg>"


def _range(ys, percent):
    """The values to span: from zero where that costs little, and never an empty range."""
    low, high = min(ys), max(ys)
    if 0 <= low < 0.4 * high:
        low = 0.0
    # Less than this is rounding, not a change worth magnifying.
    least = 0.02 if percent else max(abs(high), abs(low)) * 1e-3 or 1.0
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    return low, high


def _tick(value, among, percent=False):
    """A tick's label, with just the digits that tell it from its neighbours."""
    if percent:
        value, among = 100 * value, [100 * other for other in among]
    gap = among[1] - among[0] if len(among) > 1 else abs(value) or 1
    if max(map(abs, among)) < 1e-3 and value:
        return label(value)
    digits = max(0, -math.floor(math.log10(gap) + 1e-9))
    text = f"{value:,.{digits}f}".replace(",", " ")
    return f"{text} %" if percent else text
