"""Learning-rate schedules."""

import optax


def warmup_cosine(peak: float, steps: int, warmup: int = 0, final: float = 0.0) -> optax.Schedule:
    """From 0 to ``peak`` in ``warmup`` steps along a line, then to ``final`` along half a cosine.

    Args:
      peak: the highest learning rate.
      steps: of the whole run, warm-up included.
      warmup: steps of warm-up; less than ``steps``.
      final: learning rate after the last step.

    Raises:
      ValueError: if the warm-up is as long as the run.

    Source: Loshchilov & Hutter 2016, arXiv 1608.03983; Goyal et al. 2017, arXiv 1706.02677.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"warm-up must be shorter than the {steps} steps of the run, got {warmup}")
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else peak,
        peak_value=peak,
        warmup_steps=warmup,
        decay_steps=steps,
        end_value=final,
    )


def cosine(first: float, final: float, steps: int) -> optax.Schedule:
    """From ``first`` to ``final`` along half a cosine, up or down: DINO's weight decay.

    Source: Caron et al. 2021, arXiv 2104.14294, section 3.2.
    """
    fall = optax.cosine_decay_schedule(1.0, steps)
    return lambda step: final + (first - final) * fall(step)
