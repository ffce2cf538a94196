"""SimSiam's, DINO's and LeJEPA's released code in numpy, float64, to compare ours with."""

import numpy as np


def simsiam(p1, p2, z1, z2):
    """facebookresearch/simsiam main_simsiam.py train: torch.nn.CosineSimilarity, eps 1e-8."""

    def criterion(p, z):
        lengths = np.linalg.norm(p, axis=1) * np.linalg.norm(z, axis=1)
        return (p * z).sum(1) / np.maximum(lengths, 1e-8)

    return -(criterion(p1, z2).mean() + criterion(p2, z1).mean()) * 0.5


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dino(student_output, teacher_output, center, student_temp, temp):
    """facebookresearch/dino main_dino.py DINOLoss.forward; outputs are [views n k]."""
    total_loss, n_loss_terms = 0, 0
    for iq, q in enumerate(softmax((teacher_output - center) / temp)):
        for v, s in enumerate(student_output / student_temp):
            if v == iq:
                continue
            log_softmax = np.log(softmax(s))
            total_loss += (-q * log_softmax).sum(-1).mean()
            n_loss_terms += 1
    return total_loss / n_loss_terms


def dino_center(center, teacher_output, momentum):
    """facebookresearch/dino main_dino.py DINOLoss.update_center; outputs are [views n k]."""
    rows = teacher_output.reshape(-1, teacher_output.shape[-1])
    return center * momentum + rows.sum(0) / len(rows) * (1 - momentum)


def ibot(student_cls, student_patch, teacher_cls, teacher_patch, mask, centers, temps):
    """bytedance/ibot main_ibot.py iBOTLoss.forward; [views n k], [views n t k], mask [views n t].

    centers and temps: of the class token and of patches; the student's temperature is 0.1.
    """
    total_loss2, n_loss_terms2 = 0, 0
    teacher_patch = softmax((teacher_patch - centers[1]) / temps[1])
    for v in range(len(teacher_patch)):
        loss2 = (-teacher_patch[v] * np.log(softmax(student_patch[v] / 0.1))).sum(-1)
        loss2 = (loss2 * mask[v]).sum(-1) / np.maximum(mask[v].sum(-1), 1.0)
        total_loss2 += loss2.mean()
        n_loss_terms2 += 1
    total_loss1 = dino(student_cls, teacher_cls, centers[0], 0.1, temps[0])
    return total_loss1, total_loss2 / n_loss_terms2


def ibot_patch_center(center, teacher_patch, momentum):
    """bytedance/ibot main_ibot.py iBOTLoss.update_center; outputs are [views n t k]."""
    means = teacher_patch.mean(2).reshape(-1, teacher_patch.shape[-1])
    return center * momentum + means.sum(0) / len(means) * (1 - momentum)


def dino_temperatures(warmup_temp, temp, warmup_epochs, epochs):
    """facebookresearch/dino main_dino.py DINOLoss.__init__: the teacher's, epoch by epoch."""
    return np.concatenate(
        (np.linspace(warmup_temp, temp, warmup_epochs), np.ones(epochs - warmup_epochs) * temp)
    )


def dino_momentum(base, steps):
    """facebookresearch/dino utils.py cosine_scheduler, up to 1 and without warm-up."""
    iters = np.arange(steps)
    return 1 + 0.5 * (base - 1) * (1 + np.cos(np.pi * iters / len(iters)))


def dino_head(x, params, gain):
    """facebookresearch/dino vision_transformer.py DINOHead without norm; weights as [in out]."""
    from scipy.special import erf

    for i in (1, 2, 3):
        x = x @ params["mlp"][f"dense{i}"]["kernel"] + params["mlp"][f"dense{i}"]["bias"]
        if i < 3:
            x = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    v = params["last_layer"]["kernel"]
    return x, x @ (gain * v / np.linalg.norm(v, axis=0, keepdims=True))


def sigreg(x, a):
    """Algorithm 1 of LeJEPA: complex exponentials, 17 points from -5 to 5; a is [d slices]."""
    t = np.linspace(-5, 5, 17)
    exp_f = np.exp(-0.5 * t**2)
    ecf = np.exp(1j * (x @ a)[:, :, None] * t).mean(0)
    err = np.abs(ecf - exp_f) ** 2 * exp_f
    return (np.trapezoid(err, t, axis=1) * len(x)).mean()


def sigreg_minimal(proj, a, knots=17):
    """rbalestr-lab/lejepa MINIMAL.md SIGReg.forward: half of the range, up to 3."""
    t, dt = np.linspace(0, 3, knots), 3 / (knots - 1)
    weights = np.full(knots, 2 * dt)
    weights[[0, -1]] = dt
    window = np.exp(-(t**2) / 2)
    x_t = (proj @ a)[..., None] * t
    err = (np.cos(x_t).mean(-3) - window) ** 2 + np.sin(x_t).mean(-3) ** 2
    return (err @ (weights * window) * proj.shape[-2]).mean()


def lejepa(z, a, global_views, lambd):
    """Algorithm 2 of LeJEPA; embeddings are [views n d]."""
    sim = ((z[:global_views].mean(0) - z) ** 2).mean()
    return (1 - lambd) * sim + lambd * np.mean([sigreg(view, a) for view in z])
