"""SimSiam, DINO and LeJEPA: losses against the authors' code, and what the papers promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import distillation as reference
from references.agreement import agree, agree_when_split

from jssl.losses import clustering, regression
from jssl.losses.sigreg import epps_pulley, sigreg, unit_directions

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(4, 3, 5)) / 3, RNG.normal(size=(2, 3, 5)) / 3
CENTER = RNG.normal(size=5) / 3
KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
class TestReferences:
    def test_negative_cosine_both_ways_is_simsiam(self):
        p1, p2, z1, z2 = RNG.normal(size=(4, 6, 5))
        agree(
            lambda p1, p2: (
                regression.negative_cosine(p1, jnp.asarray(z2)) / 2
                + regression.negative_cosine(p2, jnp.asarray(z1)) / 2
            ),
            lambda p1, p2: reference.simsiam(p1, p2, z1, z2),
            p1,
            p2,
        )

    @pytest.mark.parametrize("views", [2, 4])
    @pytest.mark.parametrize("temperatures", [(0.1, 0.04), (0.2, 0.07)])
    def test_dino(self, views, temperatures):
        agree(
            lambda s: clustering.dino(s, jnp.asarray(TEACHER), jnp.asarray(CENTER), *temperatures),
            lambda s: reference.dino(s, TEACHER, CENTER, *temperatures),
            STUDENT[:views],
        )

    def test_follow_center(self):
        center, ours = np.zeros(5), jnp.zeros(5)
        for _ in range(3):
            out = RNG.normal(size=(2, 4, 5))
            center = reference.dino_center(center, out, 0.9)
            ours = clustering.follow_center(ours, jnp.asarray(out), 0.9)
        np.testing.assert_allclose(ours, center, rtol=1e-12)

    def test_sigreg(self):
        a = np.asarray(unit_directions(KEY, 5, 7, np.float64))
        x = RNG.normal(size=(6, 5)) * 2 + 0.3
        agree(lambda z: sigreg(z, KEY, 7), lambda z: reference.sigreg(z, a), x)
        agree(
            lambda z: sigreg(z, KEY, 7, t_max=3.0, points=33),
            lambda z: reference.sigreg_minimal(z, a),
            x,
        )

    def test_lejepa(self):
        a = np.asarray(unit_directions(KEY, 5, 7, np.float64))
        agree(
            lambda z: (
                0.9 * regression.center_mse(z, 2)
                + 0.1 * jnp.mean(jax.vmap(lambda view: sigreg(view, KEY, 7))(z))
            ),
            lambda z: reference.lejepa(z, a, 2, 0.1),
            RNG.normal(size=(4, 3, 5)),
        )


@pytest.mark.usefixtures("x64")
class TestDINO:
    def loss(self, student, teacher=TEACHER, center=CENTER):
        return clustering.dino_metrics(*map(jnp.asarray, (student, teacher, center)), 0.1, 0.04)

    def test_the_order_of_batch_classes_and_small_views_does_not_matter(self):
        value = self.loss(STUDENT)["loss"]
        n, k = RNG.permutation(3), RNG.permutation(5)
        for got in (
            self.loss(STUDENT[:, n], TEACHER[:, n]),
            self.loss(STUDENT[:, :, k], TEACHER[:, :, k], CENTER[k]),
            self.loss(STUDENT[[0, 1, 3, 2]]),
            self.loss(STUDENT[[1, 0, 2, 3]], TEACHER[::-1]),
            self.loss(STUDENT + 3.0, TEACHER - 2.0),
        ):
            np.testing.assert_allclose(got["loss"], value, rtol=1e-12)

    def test_no_view_is_compared_with_itself(self):
        """Of two views the first student's does not meet the first teacher's."""
        student, moved = STUDENT[:2], TEACHER.copy()
        moved[0] += RNG.normal(size=moved[0].shape)

        def slope(teacher):
            return jax.grad(lambda s: self.loss(s, teacher)["loss"])(jnp.asarray(student))

        np.testing.assert_array_equal(slope(TEACHER)[0], slope(moved)[0])
        assert np.abs(slope(TEACHER)[1] - slope(moved)[1]).max() > 1e-3

    def test_no_gradient_flows_into_teacher_or_center(self):
        slopes = jax.grad(lambda t, c: self.loss(STUDENT, t, c)["loss"], argnums=(0, 1))(
            jnp.asarray(TEACHER), jnp.asarray(CENTER)
        )
        assert all((x == 0).all() for x in slopes)

    def test_metrics_tell_the_two_collapses_from_learning(self):
        uniform = self.loss(np.zeros_like(STUDENT), np.zeros_like(TEACHER), np.zeros(5))
        np.testing.assert_allclose(uniform["teacher_entropy"], np.log(5), rtol=1e-12)
        np.testing.assert_allclose(uniform["divergence"], 0, atol=1e-12)
        one = np.eye(5)[0] * 9
        point = self.loss(0 * STUDENT + one, 0 * TEACHER + one, np.zeros(5))
        assert point["teacher_entropy"] < 1e-12
        assert point["divergence"] < 1e-12
        assert point["proxy_accuracy"] == 1
        other = self.loss(0 * STUDENT + np.eye(5)[1], 0 * TEACHER + one, np.zeros(5))
        assert other["proxy_accuracy"] == 0
        assert other["divergence"] > 1

    def test_a_teacher_at_its_center_is_uniform(self):
        center = np.tile(CENTER, (2, 3, 1))
        np.testing.assert_allclose(self.loss(STUDENT, center)["teacher_entropy"], np.log(5))


PATCHES = RNG.normal(size=(2, 4, 6, 5)) / 3
MASK = RNG.random((4, 6)) < 0.4
MASK[1] = False


@pytest.mark.usefixtures("x64")
class TestMaskedDINO:
    def loss(self, student, teacher=PATCHES[1], mask=MASK, center=CENTER):
        return clustering.masked_dino(
            *map(jnp.asarray, (student, teacher, mask, center)), 0.1, 0.07
        )

    def test_is_the_released_code_s(self):
        agree(
            lambda s: self.loss(s)["loss"],
            lambda s: reference.ibot(
                STUDENT, s[None], TEACHER, PATCHES[1:], MASK[None], (CENTER, CENTER), (0.04, 0.07)
            )[1],
            PATCHES[0],
        )

    def test_what_is_seen_does_not_count(self):
        moved = PATCHES + RNG.normal(size=PATCHES.shape) * ~MASK[None, :, :, None]
        assert np.abs(moved - PATCHES).max() > 1
        jax.tree.map(np.testing.assert_array_equal, self.loss(*moved), self.loss(*PATCHES))
        slope = jax.grad(lambda s: self.loss(s)["loss"])(jnp.asarray(PATCHES[0]))
        np.testing.assert_array_equal((np.asarray(slope) != 0).any(-1), MASK)

    def test_no_gradient_flows_into_teacher_or_center(self):
        slopes = jax.grad(lambda t, c: self.loss(PATCHES[0], t, center=c)["loss"], argnums=(0, 1))(
            jnp.asarray(PATCHES[1]), jnp.asarray(CENTER)
        )
        assert all((x == 0).all() for x in slopes)

    def test_accuracy_and_what_guessing_the_commonest_class_scores(self):
        teacher, mask = np.eye(5)[[[2, 2, 0, 1], [2, 3, 4, 4]]] * 9, np.ones((2, 4), bool)
        mask[1, 2:] = False  # 2, 2, 0, 1, 2, 3 are hidden
        said = np.eye(5)[[[2, 1, 0, 0], [2, 2, 4, 4]]]
        got = self.loss(said, teacher, mask, np.zeros(5))
        np.testing.assert_allclose(got["proxy_accuracy"], 3 / 6)
        np.testing.assert_allclose(got["chance"], 3 / 6)
        np.testing.assert_allclose(got["teacher_entropy"], 0, atol=1e-9)

    def test_nothing_hidden(self):
        got = self.loss(PATCHES[0], mask=np.zeros((4, 6), bool))
        assert all(value == 0 for value in got.values())


@pytest.mark.usefixtures("x64")
class TestSIGReg:
    def test_it_tells_a_gaussian_from_anything_else(self):
        n = 2000
        gaussian = RNG.normal(size=(n, 4))
        value = {
            "gaussian": gaussian,
            "point": np.zeros((n, 4)),
            "wide": 2 * gaussian,
            "shifted": gaussian + 0.5,
            "line": gaussian[:, :1] * np.ones(4),
            # Mean and covariance of the normal, hence invisible to a loss of two moments.
            "signs": np.sign(gaussian),
        }
        value = {k: float(sigreg(jnp.asarray(z), KEY, 64)) for k, z in value.items()}
        assert value.pop("gaussian") < 3
        assert all(v > 5 for v in value.values()), value
        assert value["point"] > 100

    def test_a_gaussian_gives_the_same_however_many_samples(self):
        """The expectation is the integral of (1 - exp(-t^2)) exp(-t^2 / 2)."""
        expected = np.sqrt(2 * np.pi) - np.sqrt(2 * np.pi / 3)
        for n in (50, 500):
            x = jnp.asarray(RNG.normal(size=(n, 2000)))
            np.testing.assert_allclose(jnp.mean(epps_pulley(x)), expected, rtol=0.05)

    def test_the_order_of_the_batch_and_the_sign_do_not_matter(self):
        z = RNG.normal(size=(30, 4))
        value = sigreg(jnp.asarray(z), KEY, 16)
        for other in (z[::-1], -z):
            np.testing.assert_allclose(sigreg(jnp.asarray(other), KEY, 16), value, rtol=1e-12)

    def test_directions_are_uniform_and_of_length_one(self):
        a = np.asarray(unit_directions(KEY, 3, 20000))
        np.testing.assert_allclose(np.linalg.norm(a, axis=0), 1, rtol=1e-5)
        np.testing.assert_allclose(a @ a.T / 20000, np.eye(3) / 3, atol=0.01)

    def test_descent_spreads_a_collapsed_batch(self):
        """From a small heap it comes close to zero mean and unit covariance."""
        z = jnp.asarray(RNG.normal(size=(64, 3)) * 0.05 + 1.0)

        @jax.jit
        def step(z, i):
            slope = jax.grad(lambda z: sigreg(z, jax.random.fold_in(KEY, i), 64))(z)
            return z - 0.5 * slope, None

        z, _ = jax.lax.scan(step, z, jnp.arange(400))
        assert np.abs(z.mean(0)).max() < 0.1
        np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(z.T)), 1, atol=0.3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b, **kw: clustering.dino(
            jnp.stack([a, b, a + b]) / 9, jnp.stack([b, a]) / 9, jnp.ones(5), **kw
        ),
        lambda a, b, **kw: sigreg(a + b, jax.random.key(1), 9, **kw),
        lambda a, b, **kw: regression.center_mse(jnp.stack([a, b, a * b]), 2, **kw),
        lambda a, b, **kw: sum(
            clustering.masked_dino(
                a[:, None], b[:, None], b[:, :1] > -0.5, jnp.zeros(5), **kw
            ).values()
        ),
        lambda a, b, **kw: jnp.sum(
            clustering.follow_center(jnp.ones(5), jnp.stack([a, b]), **kw) ** 2
        ),
    ],
    ids=["dino", "sigreg", "center_mse", "masked_dino", "follow_center"],
)
@pytest.mark.usefixtures("x64")
def test_axis_name_gives_the_loss_of_the_whole_batch(loss):
    agree_when_split(loss, *RNG.normal(size=(2, 8, 5)))


def test_bfloat16_gives_a_float32_loss():
    s, t = jnp.asarray(STUDENT, jnp.bfloat16), jnp.asarray(TEACHER, jnp.bfloat16)
    assert clustering.dino(s, t, jnp.zeros(5)).dtype == jnp.float32
    assert regression.center_mse(s, 2).dtype == jnp.float32
    assert sigreg(s[0], KEY, 4).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s, t: clustering.dino(s, t, jnp.zeros(5), 0.0),
            "student_temperature must be > 0, got 0.0",
        ),
        (
            lambda s, t: clustering.dino(s, t, jnp.zeros(5), 0.1, -1.0),
            "teacher_temperature must be > 0, got -1.0",
        ),
        (
            lambda s, t: clustering.dino(s[:1], t, jnp.zeros(5)),
            "student_logits must hold at least 2 views, got 1",
        ),
        (lambda s, t: sigreg(s[0], KEY, 0), "directions must be at least 1, got 0"),
        (lambda s, t: sigreg(s[0], KEY, points=4), "points must be odd and at least 3, got 4"),
        (lambda s, t: sigreg(s[0], KEY, t_max=0.0), "t_max must be > 0, got 0.0"),
        (lambda s, t: regression.center_mse(s, 5), "global_views must be from 1 to 4, got 5"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.asarray(STUDENT, jnp.float32), jnp.asarray(TEACHER, jnp.float32))
