"""What an option may be: one line that names it, the value and the mend, or nothing.

require.positive(temperature=temperature)
require.at_least(1, total_steps=total_steps, layers=layers)
"""

import contextlib
from collections.abc import Iterable


def positive(**options: float) -> None:
    """Raises ValueError unless every option is > 0."""
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} must be > 0, got {value}")


def at_least(least: float, **options: float) -> None:
    """Raises ValueError unless every option is >= ``least``."""
    for name, value in options.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def fraction(**options: float) -> None:
    """Raises ValueError unless every option is in [0, 1]."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")


def one_of(choices: Iterable[str], **options: str) -> None:
    """Raises ValueError unless every option is one of ``choices``."""
    for name, value in options.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


@contextlib.contextmanager
def options_that_fit(what: str):
    """Turns what goes wrong while something is made of options into a ``ValueError`` of one line.

    Where values have types or sizes that no check foresees, what is said is what Python said.
    """
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        text = (str(error).strip() or "no further word").splitlines()[0]
        raise ValueError(f"{what} cannot be made: {type(error).__name__}: {text[:400]}") from error
