"""Log-mel against a float64 reference of librosa's documented formulas; augmentations by sense.

The reference sums the discrete Fourier transform as it is defined and builds the triangles one by
one from the formulas that librosa documents for ``filters.mel`` (htk=False, norm="slaney") and
``feature.melspectrogram`` (centred, constant padding, periodic Hann window, power 2). librosa
itself was not run.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.augment import audio

KEY = jax.random.key(0)
SIZES = {"rate": 8000, "window": 64, "hop": 20, "bands": 6}


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(0, 0.1, (3, 500)).astype(np.float32)


def hertz(mel):
    return 200 / 3 * mel if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)


def reference(x, rate, window, hop, bands):
    top = 15 + 27 * np.log(rate / 2 / 1000) / np.log(6.4)
    edges = [hertz(top * i / (bands + 1)) for i in range(bands + 2)]
    hann = np.sin(np.pi * np.arange(window) / window) ** 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (window // 2, window // 2)))
    out = []
    for start in range(0, padded.shape[1] - window + 1, hop):
        frame = padded[:, start : start + window] * hann
        powers = np.zeros((len(x), bands))
        for k in range(window // 2 + 1):
            at = k * rate / window
            wave = np.exp(-2j * np.pi * k * np.arange(window) / window)
            for b, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:])):  # noqa: B905
                inside = min((at - left) / (centre - left), (right - at) / (right - centre))
                powers[:, b] += max(inside, 0) * 2 / (right - left) * np.abs(frame @ wave) ** 2
        out.append(np.log(np.maximum(powers, 1e-10)))
    return np.stack(out, axis=1)


def test_log_mel_is_that_of_the_reference(x):
    mel = audio.log_mel(jnp.asarray(x), **SIZES)
    assert mel.shape == (3, 1 + 500 // 20, 6)
    np.testing.assert_allclose(mel, reference(x, **SIZES), atol=1e-4)
    with jax.enable_x64(True):
        wide = audio.log_mel(jnp.asarray(x, jnp.float64), **SIZES)
    np.testing.assert_allclose(wide, reference(x, **SIZES), atol=1e-9)


def test_the_scale_at_known_points():
    # 60 mel are 1000 * 6.4 ** (45 / 27) Hz; below 1 kHz a mel is 66.67 Hz.
    known = np.array([[0, 0], [500, 7.5], [1000, 15], [6400, 42], [1000 * 6.4 ** (45 / 27), 60]])
    np.testing.assert_allclose(audio.slaney_mel(known[:, 0]), known[:, 1], rtol=1e-12)
    np.testing.assert_allclose(audio.slaney_hertz(known[:, 1]), known[:, 0], rtol=1e-12)


def test_silence_is_the_floor():
    mel = audio.log_mel(jnp.zeros((1, 100), jnp.bfloat16), **SIZES)
    assert mel.dtype == jnp.float32
    np.testing.assert_allclose(mel, np.log(1e-10), rtol=1e-6)


def decibels(x, y):
    return 10 * np.log10(np.mean(np.square(x), axis=1) / np.mean(np.square(y), axis=1))


def test_gain_noise_and_mix_keep_to_their_decibels(x):
    louder = np.asarray(jax.jit(functools.partial(audio.gain, low=-6.0, high=6.0))(KEY, x))
    ratio = louder / x
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-5)
    assert np.ptp(20 * np.log10(ratio[:, 0])) > 0.1
    assert np.all(np.abs(20 * np.log10(ratio)) <= 6.001)
    for change in (audio.add_noise, audio.mix):
        changed = np.asarray(jax.jit(functools.partial(change, low=10.0, high=10.0))(KEY, x))
        np.testing.assert_allclose(decibels(x, changed - x), 10, atol=0.01)
        silent = change(KEY, jnp.zeros((2, 8)), 0.0, 5.0)
        assert not np.any(silent)


def test_mix_adds_another_signal(x):
    added = np.asarray(audio.mix(KEY, jnp.asarray(x), 0.0, 0.0)) - x
    alike = np.abs(np.corrcoef(np.concatenate([added, x]))[:3, 3:])
    assert np.all(np.diag(alike) < 0.5)
    np.testing.assert_allclose(np.max(alike, axis=1), 1, atol=1e-4)


def test_shift_moves_without_wrapping():
    x = jnp.broadcast_to(jnp.arange(1.0, 21.0)[None], (64, 20))
    moved = np.asarray(audio.shift(KEY, x, 0.25))
    for row in moved:
        real = row[row > 0]
        assert np.array_equal(np.diff(real), np.ones(len(real) - 1))
        assert 15 <= len(real) <= 20
    assert {int((row > 0).sum()) for row in moved} == set(range(15, 21))
    assert np.any(moved[:, 0] == 0)
    assert np.any(moved[:, -1] == 0)
    np.testing.assert_array_equal(audio.shift(KEY, x, 0.0), x)


def test_spec_augment_masks_whole_stretches_with_the_mean():
    mel = jnp.asarray(np.random.default_rng(1).normal(3, 1, (200, 30, 12)).astype(np.float32))
    cut = functools.partial(audio.spec_augment, times=1, frames=7, frequencies=1, bands=4)
    hidden = np.asarray(jax.jit(cut)(KEY, mel)) != np.asarray(mel)
    times, bands = hidden.all(axis=2), hidden.all(axis=1)
    np.testing.assert_array_equal(hidden, times[:, :, None] | bands[:, None])
    assert set(times.sum(1)) == set(range(8))
    assert set(bands.sum(1)) == set(range(5))
    assert np.all(np.sum(np.diff(np.pad(times, ((0, 0), (1, 1))).astype(int), axis=1) == 1, 1) <= 1)
    assert times.any(0).all()  # every place is hidden now and then
    assert bands.any(0).all()
    masked = np.asarray(cut(KEY, mel))[hidden]
    means = np.broadcast_to(np.mean(mel, (1, 2), keepdims=True), mel.shape)[hidden]
    np.testing.assert_allclose(masked, means, rtol=1e-5)
    assert np.all(np.asarray(cut(KEY, mel, frames=30, share=0.1) != mel).all(2).sum(1) <= 3)


def test_bad_options(x):
    for f, options, message in (
        (audio.log_mel, SIZES | {"hop": 0}, "hop must be at least 1"),
        (audio.log_mel, SIZES | {"bands": 60}, "bands must leave each a bin"),
        (audio.log_mel, SIZES | {"high": 5000.0}, "low and high must be in order"),
    ):
        with pytest.raises(ValueError, match=message):
            f(jnp.asarray(x), **options)
    for change in (audio.gain, audio.add_noise, audio.mix):
        with pytest.raises(ValueError, match="in order, got 2 and 1"):
            change(KEY, jnp.asarray(x), 2, 1)
    with pytest.raises(ValueError, match="most must be in"):
        audio.shift(KEY, jnp.asarray(x), 2.0)


def test_spectrograms_are_standard_over_what_is_not_padding():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4000)), jnp.float32) * 5 + 2
    samples = jnp.array([4000, 1210], jnp.int32)
    wave = np.asarray(audio.standardize(x, samples))
    assert np.all(wave[1, 1210:] == 0)
    np.testing.assert_allclose([wave[1, :1210].mean(), wave[1, :1210].std()], [0, 1], atol=1e-5)
    mel, real = audio.spectrogram(x, samples, rate=8000, bands=20, multiple=8)
    assert mel.shape == (2, 56, 20)
    assert real.sum(1).tolist() == [51, 16]
    whole = np.asarray(audio.log_mel(x, rate=8000, window=256, hop=80, bands=20))[1, :16]
    expected = (whole - whole.mean()) / whole.std()
    np.testing.assert_allclose(mel[1, :16], expected, atol=1e-4)
    assert np.all(np.asarray(mel[1, 16:]) == 0)
    statistics = np.concatenate([expected.mean(0), expected.std(0)])
    np.testing.assert_allclose(audio.mel_statistics(mel, real)[1], statistics, atol=1e-3)
