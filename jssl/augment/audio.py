"""Log-mel spectrograms of signals [n t], and augmentations of both; pure, on the device.

Signals are floats in [-1, 1]; `gain`, `add_noise` and `mix` may lead out of that range. Every
example draws for itself. A signal that is silent throughout stays so. Draws are in float32.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jssl import require

Signal = Float[Array, "n t"]
Mel = Float[Array, "n frames bands"]


def slaney_mel(hertz: np.ndarray) -> np.ndarray:
    """Hertz on the mel scale of Slaney's Auditory Toolbox (1998): linear to 1 kHz, then log.

    15 mel are 1 kHz; beyond it 27 mel are a factor of 6.4. It is librosa's scale by default.
    """
    hertz = np.asarray(hertz, np.float64)
    upper = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, upper)


def slaney_hertz(mel: np.ndarray) -> np.ndarray:
    """The inverse of `slaney_mel`."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


@functools.cache
def mel_filters(
    rate: int, window: int, bands: int, low: float = 0.0, high: float | None = None
) -> Float[np.ndarray, "bins bands"]:
    """Triangles evenly spaced on `slaney_mel`, each of area 1 over hertz, in float64.

    Args:
        rate: samples a second.
        window: of the Fourier transform, in samples; bins are window // 2 + 1.
        bands: how many triangles.
        low, high: hertz where the first begins and the last ends; None for half the rate.

    Raises:
        ValueError: if low and high are not in order within [0, rate / 2], or a triangle lies
            between two bins.
    """
    high = rate / 2 if high is None else high
    require.at_least(1, bands=bands, window=window)
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"low and high must be in order in [0, {rate / 2}], got {low} and {high}")
    edges = slaney_hertz(np.linspace(*slaney_mel(np.array([low, high])), bands + 2))
    bins = np.arange(window // 2 + 1)[:, None] * rate / window
    rising = (bins - edges[None, :-2]) / (edges[1:-1] - edges[:-2])[None]
    falling = (edges[None, 2:] - bins) / (edges[2:] - edges[1:-1])[None]
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])[None]
    if not filters.any(axis=0).all():
        raise ValueError(f"bands must leave each a bin of the window of {window}, got {bands}")
    return filters


@functools.partial(
    jax.jit, static_argnames=("rate", "window", "hop", "bands", "low", "high", "floor")
)
def log_mel(
    x: Signal,
    *,
    rate: int,
    window: int,
    hop: int,
    bands: int,
    low: float = 0.0,
    high: float | None = None,
    floor: float = 1e-10,
) -> Mel:
    """Natural logarithm of the power in mel bands, float32 or wider.

    Frames are centred at 0, hop, 2 hop ...: 1 + t // hop of them, with silence before and behind
    the signal, under a periodic Hann window. As librosa's ``feature.melspectrogram`` with
    ``n_fft=window`` and its defaults, limited below by ``floor``, then the logarithm.

    Args:
        x: the signals.
        rate, window, bands, low, high: see `mel_filters`.
        hop: samples from frame to frame.
        floor: the least power.

    Raises:
        ValueError: see `mel_filters`; if hop < 1.
    """
    require.at_least(1, hop=hop)
    require.positive(floor=floor)
    dtype = np.promote_types(x.dtype, np.float32)
    half = window // 2
    padded = jnp.pad(x.astype(dtype), ((0, 0), (half, half)))
    starts = np.arange(1 + (padded.shape[1] - window) // hop) * hop
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = padded[:, starts[:, None] + np.arange(window)[None]]
    spectrum = jnp.fft.rfft(frames * jnp.asarray(hann, dtype)[None, None], axis=-1)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    filters = jnp.asarray(mel_filters(rate, window, bands, low, high), dtype)
    mel = jnp.matmul(power, filters, precision=jax.lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(mel, floor))


def standardize(x: Signal, samples: Int[Array, " n"]) -> Signal:
    """Each signal with mean 0 and deviation 1 over its first ``samples``; 0 behind them.

    As wav2vec 2.0 takes its input (Baevski et al. 2020, arXiv 2006.11477, section 2).
    """
    return _standardize(x, jnp.arange(x.shape[1], dtype=jnp.int32)[None] < samples[:, None], (1,))


def spectrogram(
    x: Signal, samples: Int[Array, " n"], *, rate: int, bands: int, multiple: int = 1
) -> tuple[Mel, Bool[Array, "n frames"]]:
    """`log_mel` of frames of at least 25 ms every 10 ms, and which of them are not padding.

    Each spectrogram has mean 0 and deviation 1 over its first ``samples``, and 0 behind them; so
    many frames are put behind all that their number is a ``multiple``.
    """
    window, hop = 1 << (rate // 40).bit_length(), max(1, rate // 100)
    mel = log_mel(x, rate=rate, window=window, hop=hop, bands=bands)
    mel = jnp.pad(mel, ((0, 0), (0, -mel.shape[1] % multiple), (0, 0)))
    real = jnp.arange(mel.shape[1], dtype=jnp.int32)[None] <= (samples // hop)[:, None]
    return _standardize(mel, real[:, :, None], (1, 2)), real


def _standardize(x, real, axes):
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    real = jnp.broadcast_to(real, x.shape)
    count = jnp.maximum(jnp.sum(real, axis=axes, keepdims=True, dtype=x.dtype), 1)
    x = jnp.where(real, x - jnp.sum(jnp.where(real, x, 0), axes, keepdims=True) / count, 0)
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True) / count + 1e-7)


def mel_statistics(mel: Mel, real: Bool[Array, "n frames"]) -> Float[Array, "n twice_bands"]:
    """Mean and deviation of each band over the frames that are not padding."""
    real, count = real[:, :, None], jnp.maximum(jnp.sum(real, axis=1, dtype=mel.dtype), 1)[:, None]
    mean = jnp.sum(jnp.where(real, mel, 0), axis=1) / count
    spread = jnp.sum(jnp.where(real, jnp.square(mel - mean[:, None]), 0), axis=1) / count
    return jnp.concatenate([mean, jnp.sqrt(spread + 1e-7)], axis=1)


def _uniform(key, n, low, high):
    return jax.random.uniform(key, (n, 1), jnp.float32, low, high)


def gain(key: Key[Array, ""], x: Signal, low: float, high: float) -> Signal:
    """Louder or softer by a uniform number of decibels in [low, high]."""
    _in_order(low, high)
    return x * (10 ** (_uniform(key, len(x), low, high) / 20)).astype(x.dtype)


def add_noise(key: Key[Array, ""], x: Signal, low: float, high: float) -> Signal:
    """White Gaussian noise at a signal-to-noise ratio uniform in [low, high] decibels.

    The ratio holds for this very noise and the power of the whole signal, padding included.
    """
    _in_order(low, high)
    one, two = jax.random.split(key)
    noise = jax.random.normal(one, x.shape, jnp.float32)
    return x + _at_ratio(x, noise, _uniform(two, len(x), low, high))


def mix(key: Key[Array, ""], x: Signal, low: float, high: float) -> Signal:
    """Each signal with another one of the batch added, at a ratio in [low, high] decibels.

    The partner is the same number of places away for all, never the signal itself in a batch of
    two or more; whoever is silent adds nothing.
    """
    _in_order(low, high)
    one, two = jax.random.split(key)
    away = jax.random.randint(one, (), 1, max(len(x), 2))
    return x + _at_ratio(x, jnp.roll(x, away, axis=0), _uniform(two, len(x), low, high))


def _at_ratio(x, other, decibels):
    x32, other = x.astype(jnp.float32), other.astype(jnp.float32)
    power, theirs = (jnp.mean(jnp.square(a), axis=1, keepdims=True) for a in (x32, other))
    wanted = power / 10 ** (decibels / 10)
    scale = jnp.where(theirs > 0, jnp.sqrt(wanted / jnp.where(theirs > 0, theirs, 1)), 0)
    return (scale * other).astype(x.dtype)


def shift(key: Key[Array, ""], x: Signal, most: float) -> Signal:
    """Moved in time by up to a share ``most`` of the length, in [0, 1], either way into silence."""
    require.fraction(most=most)
    t = x.shape[1]
    by = jax.random.randint(key, (len(x), 1), -int(most * t), int(most * t) + 1)
    at = jnp.arange(t)[None] - by
    moved = jnp.take_along_axis(x, jnp.clip(at, 0, t - 1), axis=1)
    return jnp.where((at >= 0) & (at < t), moved, jnp.zeros_like(moved))


def spec_augment(
    key: Key[Array, ""],
    mel: Mel,
    *,
    times: int = 2,
    frames: int = 10,
    frequencies: int = 2,
    bands: int = 8,
    share: float = 1.0,
) -> Mel:
    """Masks stretches of time and of frequency with the mean of the spectrogram.

    Args:
        mel: log-mel spectrograms.
        times, frames: how many stretches of time, each of a uniform 0 to ``frames`` frames.
        frequencies, bands: how many of frequency, each of a uniform 0 to ``bands`` bands.
        share: a stretch of time is no longer than this share of all frames, in [0, 1].

    Source: Park et al. 2019, arXiv 1904.08779, section 2, without its time warping, which the
    paper's section 5 finds to matter least. Its spectrograms have mean zero and are masked with 0.
    """
    require.fraction(share=share)
    require.at_least(0, times=times, frames=frames, frequencies=frequencies, bands=bands)
    one, two = jax.random.split(key)
    n, t, f = mel.shape
    hidden_t = _stretches(one, n, t, times, min(frames, int(share * t)))
    hidden_f = _stretches(two, n, f, frequencies, min(bands, f))
    mean = jnp.mean(
        mel, axis=(1, 2), keepdims=True, dtype=jnp.promote_types(mel.dtype, jnp.float32)
    )
    return jnp.where(hidden_t[:, :, None] | hidden_f[:, None], mean.astype(mel.dtype), mel)


def _stretches(key, n, length, count, longest):
    one, two = jax.random.split(key)
    width = jax.random.randint(one, (n, count, 1), 0, longest + 1)
    # Uniform among the places where it fits: [0, length - width].
    u = jax.random.uniform(two, (n, count, 1), jnp.float32)
    start = jnp.floor(u * (length - width + 1).astype(jnp.float32)).astype(jnp.int32)
    at = jnp.arange(length)[None, None]
    return jnp.any((at >= start) & (at < start + width), axis=1)


def _in_order(low, high):
    if low > high:
        raise ValueError(f"low and high must be in order, got {low} and {high}")
