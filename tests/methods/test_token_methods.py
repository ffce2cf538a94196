"""Visual tokens: what VQ-VAE makes of an image, and what BEiT is asked about."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import losses as reference
from references.agreement import numerical_gradient

from jssl.augment import image
from jssl.method import Codes
from jssl.methods.vqvae import Decoder
from jssl.nn.positions import patchify
from jssl.train import step as train_step

SGD = optax.sgd(0.1)


def of_brightness(params, state, batch):
    """A tokenizer that can be seen through: how bright the cell's first channel is, in 16 steps."""
    x = batch["image"][..., 0]
    n, h, w = x.shape
    cells = x.reshape(n, h // 4, 4, w // 4, 4).mean((2, 4))
    return (cells * 15.99).astype(jnp.int32)


def beit(encode=of_brightness, dtype=None, **options):
    tokenizer = cases.make("vqvae", cases.resnet_by_4, dtype=dtype)
    tokenizer = tokenizer._replace(codes=tokenizer.codes._replace(encode=encode))
    return cases.make("beit", cases.vit, dtype=dtype, tokenizer=tokenizer, **options)


def begun(*arguments, **options):
    method = cases.make(*arguments, **options)
    return jax.eval_shape(method.init, jax.random.key(0), cases.batch())


class TestVQVAE:
    def test_loss_and_gradient_are_those_of_the_paper(self, x64):
        """Equation 3 without its second term, the codes held; a ViT's pass is always the same."""
        method, batch = cases.make("vqvae", cases.vit, dtype=jnp.float64), cases.batch(n=4)
        train = cases.first(method, SGD, batch)
        views = jax.jit(method.views)(jax.random.key(1), batch)
        loss = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
        (value, out), grad = loss(train.params, train.state, views, jax.random.key(2), 0)

        params, book = train.params, np.asarray(train.state["codebook"].vectors)
        encoder = cases.vit(dtype=jnp.float64, param_dtype=jnp.float64)
        tokens = encoder.apply({"params": params["encoder"]}, views, train=False).tokens
        decode = jax.jit(Decoder(3, 16, 2, jnp.float64, jnp.float64).apply)
        kernel, bias = (np.asarray(params["project"][name]) for name in ("kernel", "bias"))
        z = np.asarray(tokens).reshape(4, 4, 4, -1) @ kernel
        codes = ((z[..., None, :] + bias - book) ** 2).sum(-1).argmin(-1)
        q, held = book[codes], z + bias

        def paper(bias):
            pred = decode({"params": params["decoder"]}, q + (z + bias - held))
            return np.mean((pred - views) ** 2) + 0.25 * np.mean((z + bias - q) ** 2)

        np.testing.assert_allclose(value, paper(bias), rtol=1e-12)
        expected = numerical_gradient(paper, bias)
        np.testing.assert_allclose(grad["project"]["bias"], expected, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(out.metrics["commitment"], np.mean((held - q) ** 2), rtol=1e-12)
        shares = np.unique(codes, return_counts=True)[1] / codes.size
        entropy = -(shares * np.log(shares)).sum()
        np.testing.assert_allclose(out.metrics["perplexity"], np.exp(entropy), rtol=1e-5)

    def test_codes_and_pictures_are_each_others(self):
        method, batch = cases.make("vqvae", cases.resnet_by_4), cases.batch()
        train = cases.first(method, SGD, batch)
        train, _ = jax.jit(train_step.make_step(method, SGD))(train, batch)
        codes = jax.jit(method.codes.encode)(train.params, train.state, batch)
        assert (codes.shape, codes.dtype, method.codes.k) == ((16, 4, 4), jnp.int32, 16)
        assert len(np.unique(codes)) > 4
        pixels = image.normalize(image.as_float(batch["image"]), cases.MEAN, cases.STD)
        shown = jax.jit(method.reconstruct)(train.params, train.state, pixels, jax.random.key(0))
        assert list(shown) == ["original", "reconstruction"]
        np.testing.assert_allclose(shown["original"], np.asarray(batch["image"]) / 255, atol=1e-6)
        decoded = jax.jit(method.codes.decode)(train.params, train.state, codes)
        np.testing.assert_allclose(shown["reconstruction"], decoded, atol=1e-6)
        assert decoded.min() >= 0
        assert decoded.max() <= 1

    @pytest.mark.parametrize(
        ("encoder", "options", "message"),
        [
            (cases.resnet, {}, "4x4 tokens, one for every 4 pixels of 16x16; this one has 8x8"),
            (cases.vit, {"patch": 2}, "8x8 tokens, one for every 2 pixels of 16x16; this one has"),
            (cases.vit, {"patch": 3}, "patch must be 2, 4, 8 or another power of two, got 3"),
            (cases.vit, {"k": 0}, "k must be at least 1, got 0"),
            (cases.vit, {"beta": -1}, "beta must be at least 0, got -1"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, encoder, options, message):
        with pytest.raises(ValueError, match=message):
            begun("vqvae", encoder, options=options)


class TestBEiT:
    def test_it_asks_for_the_codes_of_hidden_patches_of_the_very_view(self, x64):
        """The tokenizer sees pixels in [0, 1], not what the encoder's normalisation makes of them.

        Against the released code's loss and accuracy; all of it in float64.
        """
        method, batch = beit(dtype=jnp.float64), cases.batch()
        train = cases.first(method, SGD, batch)
        views = jax.jit(method.views)(jax.random.key(1), batch)
        np.testing.assert_array_equal(views["mask"].sum(1), int(0.4 * 16))
        params, key = train.params, jax.random.key(2)
        value, out = jax.jit(method.loss)(params, train.state, views, key, 0)

        pixels = np.asarray(views["image"]) * cases.STD + cases.MEAN
        cells = np.asarray(patchify(jnp.asarray(pixels[..., :1]), 4)).mean(-1)
        labels, mask = (cells * 15.99).astype(int), np.asarray(views["mask"])
        encoder = cases.vit(dtype=jnp.float64, param_dtype=jnp.float64)
        variables = {"params": params["encoder"]}
        tokens = jax.jit(encoder.apply)(variables, views["image"], mask=views["mask"]).tokens
        logits = tokens @ params["head"]["kernel"] + params["head"]["bias"][None, None]
        loss, accuracy = reference.beit(np.asarray(logits), labels, mask)
        np.testing.assert_allclose(value, loss, rtol=1e-12)
        np.testing.assert_allclose(out.metrics["proxy_accuracy"], accuracy)
        most = np.bincount(labels[mask]).max() / mask.sum()
        np.testing.assert_allclose(out.metrics["chance"], most)

    def test_the_encoder_does_not_see_what_is_hidden(self):
        method, batch = beit(lambda *_: jnp.ones((16, 4, 4), jnp.int32)), cases.batch()
        train = cases.first(method, SGD, batch)
        views = jax.jit(method.views)(jax.random.key(1), batch)

        @jax.jit
        def gradient(pixels):
            def loss(pixels):
                seen = views | {"image": pixels}
                return method.loss(train.params, train.state, seen, jax.random.key(2), 0)[0]

            return jax.grad(loss)(pixels)

        by_patch = np.abs(patchify(gradient(views["image"]), 4)).max(-1)
        mask = np.asarray(views["mask"])
        np.testing.assert_array_equal(by_patch[mask], 0)
        assert (by_patch[~mask] > 0).all()

    def test_a_collapsed_tokenizer_shows_in_chance(self):
        method, batch = beit(lambda *_: jnp.ones((16, 4, 4), jnp.int32)), cases.batch()
        train = cases.first(method, SGD, batch)
        _, metrics = jax.jit(train_step.make_step(method, SGD))(train, batch)
        assert metrics["chance"] == 1

    def test_the_tokenizer_is_frozen_bit_for_bit_and_has_no_gradient(self):
        method, batch = cases.make("beit", cases.vit), cases.batch()
        tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
        first = cases.first(method, tx, batch)
        assert first.params.keys() == {"encoder", "head"}
        assert first.state.keys() == {"tokenizer"}
        last, step = first, jax.jit(train_step.make_step(method, tx))
        for seed in range(3):
            last, _ = step(last, cases.batch(seed=seed))
        jax.tree.map(np.testing.assert_array_equal, last.state, first.state)
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), last.params, first.params)
        assert all(jax.tree.leaves(moved))

    def test_what_does_not_fit_is_refused(self):
        tokenizer = cases.make("vqvae", cases.resnet_by_4)
        for encoder, given, message in (
            (cases.resnet, tokenizer, "beit needs a ViT encoder, got a ResNet"),
            (cases.vit, cases.make("rotation", cases.vit), "tokenizer must be a run of a method"),
            (cases.vit, tokenizer._replace(codes=Codes(
                16, lambda *_: jnp.zeros((16, 2, 2), jnp.int32), tokenizer.codes.decode)),
             "as there are patches, 4x4; it makes 2x2"),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=message):
                begun("beit", encoder, tokenizer=given)
