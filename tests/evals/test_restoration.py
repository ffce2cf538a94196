import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evals import restoration
from jssl.method import Method

RNG = np.random.default_rng(0)


def images(*shape):
    """Gradients with noise: neither constant nor pure noise."""
    ramp = np.linspace(0, 0.6, shape[1])[None, :, None, None]
    return ramp + 0.4 * RNG.random(shape)


def wang(x, y):
    """The map of the SSIM index by the text of section III.C, a window at a time; [h w] float64."""
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = np.zeros((x.shape[0] - 10, x.shape[1] - 10))
    for i, j in np.ndindex(*values.shape):
        a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        variance_a, variance_b = (
            (window * (a - mean_a) ** 2).sum(),
            (window * (b - mean_b) ** 2).sum(),
        )
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        c1, c2 = 0.01**2, 0.03**2
        values[i, j] = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        values[i, j] *= (2 * covariance + c2) / (variance_a + variance_b + c2)
    return values


def test_ssim_is_that_of_its_paper(x64):
    x, y = images(2, 14, 12, 3), images(2, 14, 12, 3)
    y[1] = 0.5 * x[1] + 0.3
    maps = np.array([[wang(x[n, ..., c], y[n, ..., c]) for c in range(3)] for n in range(2)])
    np.testing.assert_allclose(restoration.ssim(x, y), maps.mean((1, 2, 3)), rtol=1e-9)
    where = np.zeros((2, 14, 12), bool)
    where[0, 5:7, 6], where[:, 0] = True, True  # the first row is the centre of no window
    some = restoration.ssim(x, y, where)
    np.testing.assert_allclose(some[0], maps[0, :, 0:2, 1].mean(), rtol=1e-9)
    assert np.isnan(some[1])
    np.testing.assert_allclose(restoration.ssim(x, x), 1)
    narrow = restoration.ssim(x.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(narrow, maps.mean((1, 2, 3)), atol=1e-4)
    with pytest.raises(ValueError, match="at least 11 pixels on a side, got 10 x 12"):
        restoration.ssim(x[:, :10], y[:, :10])


def test_psnr(x64):
    x, y = images(3, 5, 6, 2), images(3, 5, 6, 2)
    y[2] = x[2]
    where = RNG.random((3, 5, 6)) < 0.5
    where[1] = False
    found = restoration.psnr(x, y)
    np.testing.assert_allclose(found[:2], -10 * np.log10(((x - y)[:2] ** 2).mean((1, 2, 3))))
    assert np.isinf(found[2])
    some = restoration.psnr(x, y, where)
    error = ((x - y)[0] ** 2)[where[0]].mean()
    np.testing.assert_allclose(some[0], -10 * np.log10(error))
    assert np.isnan(some[1])
    assert np.isinf(some[2])


def test_fills_are_made_of_what_is_visible_alone(x64):
    x = images(3, 9, 7, 2)
    hidden = RNG.random((3, 9, 7)) < 0.6
    hidden[2] = True
    mean, near = restoration.mean_fill(x, hidden), restoration.blur_fill(x, hidden, 1.3)
    for filled in (mean, near):
        np.testing.assert_array_equal(np.asarray(filled)[~hidden], x[~hidden])
        np.testing.assert_array_equal(filled[2], np.zeros_like(x[2]))
    changed = np.where(hidden[..., None], 7.0, x)
    np.testing.assert_array_equal(restoration.mean_fill(changed, hidden), mean)
    np.testing.assert_array_equal(restoration.blur_fill(changed, hidden, 1.3), near)
    i, j = np.argwhere(hidden[0])[3]
    np.testing.assert_allclose(mean[0, i, j], x[0][~hidden[0]].mean(0))
    rows, columns = np.mgrid[:9, :7]
    weight = np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * 1.3**2)) * ~hidden[0]
    expected = (weight[..., None] * x[0]).sum((0, 1)) / weight.sum()
    np.testing.assert_allclose(near[0, i, j], expected)
    # Far from all that is visible the mean stands in.
    hidden[0], hidden[0, 0, 0] = True, False
    np.testing.assert_allclose(restoration.blur_fill(x, hidden, 0.2)[0, 8, 6], x[0, 0, 0])


def test_blur_is_the_mean_of_what_is_near_and_inside(x64):
    x = images(1, 9, 7, 1)
    rows, columns = np.mgrid[:9, :7]
    weight = np.exp(-((rows - 1) ** 2 + (columns - 6) ** 2) / (2 * 0.8**2))
    expected = (weight * x[0, ..., 0]).sum() / weight.sum()
    np.testing.assert_allclose(restoration.blur(x, 0.8)[0, 1, 6, 0], expected)
    np.testing.assert_allclose(restoration.blur(np.full_like(x, 0.3), 2.0), 0.3)


def hiding(name="reconstruction"):
    """A method that hides random pixels and guesses with random ones."""

    def views(key, batch):
        x = batch["image"].astype(jnp.float32) / 255
        return x, jax.random.bernoulli(key, 0.5, x.shape)

    def reconstruct(params, state, views, key):
        x, mask = views
        guess = jax.random.uniform(key, x.shape) * params
        return {
            "original": x,
            "masked": jnp.where(mask, 0, x),
            name: jnp.where(mask, guess, x),
        }

    return Method(None, views, None, None, None, reconstruct)


def restored(examples, **options):
    batches = restoration.restore(hiding(), jnp.float32(1), {}, examples, **options)
    parts = list(batches)
    assert [*parts[0]] == ["original", "masked", "reconstruction"]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_what_is_drawn_is_a_function_of_seed_and_image_alone():
    x = RNG.integers(1, 255, (7, 6, 6, 1), dtype=np.uint8)
    examples = {"image": x, "index": np.arange(7, dtype=np.int32)}
    one = restored(examples, batch_size=3)
    np.testing.assert_allclose(one["original"], x / 255, atol=1e-6)
    order = np.array([4, 0, 6])
    other = restored({"image": x[order], "index": np.arange(3, dtype=np.int32)})
    for name, pictures in one.items():
        np.testing.assert_array_equal(other[name], pictures[order])
    masks = one["masked"] == 0
    assert len({mask.tobytes() for mask in masks}) == 7
    assert (restored(examples, seed=1)["masked"] != one["masked"]).any((1, 2, 3)).all()


def test_table_of_a_masked_input():
    x = images(5, 16, 16, 2).astype(np.float32)
    hidden = np.zeros((5, 16, 16), bool)
    hidden[:4, 4:9, 5:12] = True
    masked = np.where(hidden[..., None], 0, x)
    answer = (x + np.float32(0.1) * hidden[..., None]).astype(np.float32)
    pictures = {"original": x, "masked": masked, "reconstruction": answer}
    halves = [{k: v[at] for k, v in pictures.items()} for at in (slice(3), slice(3, 5))]
    result = restoration.table(halves)
    assert json.loads(json.dumps(result)) == result
    assert result["images"] == 5
    assert result["hidden"] == pytest.approx(hidden.mean())
    rows = result["rows"]
    assert list(rows) == ["mean_fill", "blur", "masked", "reconstruction"]
    # In the fifth image nothing is hidden: exact, and not a part of the means over hidden pixels.
    assert rows["reconstruction"]["psnr_hidden"] == pytest.approx(20, abs=1e-3)
    whole = restoration.psnr(answer[:4], x[:4])
    expected = (float(np.sum(whole)) + 10 * np.log10(12 * 255**2)) / 5
    assert rows["reconstruction"]["psnr"] == pytest.approx(expected, rel=1e-5)
    filled = restoration.mean_fill(masked, hidden)
    expected = float(np.mean(restoration.ssim(filled, x, hidden)[:4]))
    assert rows["mean_fill"]["ssim_hidden"] == pytest.approx(expected, rel=1e-5)
    blurs = [restoration.blur_fill(masked, hidden, 16 / k) for k in (8, 16, 32, 64)]
    expected = max(float(np.mean(restoration.psnr(b, x, hidden)[:4])) for b in blurs)
    assert rows["blur"]["psnr_hidden"] == pytest.approx(expected, rel=1e-5)
    assert len(result["notes"]) == 2
    text = restoration.format_table(result).splitlines()
    assert text[4].split()[0] == "reconstruction"
    assert "  20.0 dB  " in text[4]
    assert text[1].startswith("mean fill")


def test_table_of_an_input_that_is_distorted_all_over_and_of_none():
    x = images(3, 12, 12, 1).astype(np.float32)
    noisy = (x + 0.1 * RNG.standard_normal(x.shape)).astype(np.float32)
    result = restoration.table([{"original": x, "noisy": noisy, "reconstruction": x}])
    assert result["hidden"] is None
    rows = result["rows"]
    assert rows["reconstruction"]["psnr"] == pytest.approx(restoration.MOST_PSNR)
    assert rows["noisy"]["psnr_hidden"] is None
    mean = np.broadcast_to(noisy.mean((1, 2), keepdims=True), x.shape)
    expected = float(np.mean(restoration.psnr(mean, x)))
    assert rows["mean_fill"]["psnr"] == pytest.approx(expected, rel=1e-5)
    blurs = [restoration.blur(noisy, s) for s in (0.5, 0.75, 1.0, 1.5, 2.0)]
    expected = max(float(np.mean(restoration.psnr(b, x))) for b in blurs)
    assert rows["blur"]["psnr"] == pytest.approx(expected, rel=1e-5)
    result = restoration.table([{"original": x[:, :10], "reconstruction": x[:, :10]}])
    assert list(result["rows"]) == ["mean_fill", "blur", "reconstruction"]
    assert result["given"] is None
    assert result["rows"]["blur"]["ssim"] is None  # smaller than the window
    assert "mean of the original image, its blur (sigma 0.5 pixels" in result["notes"][0]
    assert "code alone" in result["notes"][1]
    with pytest.raises(ValueError, match="at least one image"):
        restoration.table([])


def test_a_reconstruction_that_was_told_part_of_the_answer_says_so():
    x = images(2, 12, 12, 1).astype(np.float32)
    name = "reconstruction (true patch statistics)"
    result = restoration.table([{"original": x, "masked": 0 * x, name: x}])
    assert name in result["rows"]
    assert "told the true patch statistics" in result["notes"][-1]
    assert "told the true patch statistics" in restoration.format_table(result)
