"""Which labelled examples go where: checks, stratified hold-outs, class-balanced draws."""

import math

import numpy as np

from jssl import require


def check(train_x, train_y, test_x, test_y, num_classes: int) -> None:
    """Raise a ``ValueError`` unless features [n d] and labels [n] in [0, num_classes) match.

    An unlabelled example (label -1) has no place in an evaluation and is refused, not dropped.
    """
    require.at_least(2, num_classes=num_classes)
    for name, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if x.ndim != 2 or y.shape != x.shape[:1] or not len(y):
            raise ValueError(
                f"{name}_x must be [n d] and {name}_y [n] with n > 0, got {x.shape} and {y.shape}"
            )
        labels = np.asarray(y)
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(
                f"{name}_y must lie in [0, {num_classes}), got {labels.min()} to {labels.max()};"
                " leave unlabelled examples out"
            )
        broken = int((~np.isfinite(np.asarray(x, np.float32)).all(axis=1)).sum())
        if broken:
            raise ValueError(f"{name}_x must be finite, got nan or inf in {broken} rows")
    if train_x.shape[1] != test_x.shape[1]:
        raise ValueError(
            f"train_x and test_x must be equally wide, got {train_x.shape[1]} and {test_x.shape[1]}"
        )


def stratified(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (fit, validation): ``share`` of every class, rounded, is held out, by seed.

    A class keeps at least one example on each side; a class of one example stays in the fit part.
    """
    if not 0 < share < 1:
        raise ValueError(f"holdout must lie strictly between 0 and 1, got {share}")
    rng = np.random.default_rng(seed)
    fit, validation = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held = min(max(round(share * len(members)), 1), len(members) - 1)
        validation.append(members[:held])
        fit.append(members[held:])
    fit, validation = np.sort(np.concatenate(fit)), np.sort(np.concatenate(validation))
    if not len(validation):
        raise ValueError("nothing to validate on: every class has a single example")
    return fit, validation


def balanced(labels: np.ndarray, per_class: int, draws: int, seed: int) -> np.ndarray:
    """Indices [draws, classes * per_class], class after class, drawn without replacement.

    Draw ``i`` depends on ``(seed, i)`` alone, so more draws leave the first ones as they were.
    """
    classes, counts = np.unique(labels, return_counts=True)
    require.at_least(1, per_class=per_class, draws=draws)
    if counts.min() < per_class:
        raise ValueError(
            f"per_class must be at most {counts.min()}, the size of class"
            f" {classes[counts.argmin()]}, got {per_class}"
        )
    members = [np.flatnonzero(labels == label) for label in classes]

    def draw(i):
        rng = np.random.default_rng((seed, i))
        return np.concatenate([rng.choice(m, per_class, replace=False) for m in members])

    return np.stack([draw(i) for i in range(draws)])


def folds(classes: int, per_class: int, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Positions (fit [f a], validation [f b]) of a stratified cross-validation.

    They point into a class-after-class list such as a row of `balanced`. A fold holds out
    ``round(per_class / count)`` examples of every class, at least one; where that does not divide
    ``per_class``, the last fold wraps round, so that all folds have the same shape.
    """
    if per_class < 2:
        raise ValueError(f"cross-validation needs per_class >= 2, got {per_class}")
    held = max(1, round(per_class / count))
    within = np.arange(per_class)
    fits, validations = [], []
    for fold in range(math.ceil(per_class / held)):
        out = np.isin(within, (fold * held + np.arange(held)) % per_class)
        every_class = np.tile(out, classes)
        fits.append(np.flatnonzero(~every_class))
        validations.append(np.flatnonzero(every_class))
    return np.stack(fits), np.stack(validations)
