"""One line that names the option, what it may be and what it was."""

import pytest

from jssl import require


@pytest.mark.parametrize(
    ("check", "good", "bad", "line"),
    [
        (require.positive, 1e-9, 0, "tau must be > 0, got 0"),
        (lambda **options: require.at_least(2, **options), 2, 1, "tau must be at least 2, got 1"),
        (require.fraction, 1, 1.5, r"tau must be in \[0, 1\], got 1.5"),
    ],
)
def test_it_passes_what_is_good_and_names_what_is_not(check, good, bad, line):
    check(tau=good, other=good)
    for value in (bad, float("nan")):
        with pytest.raises(ValueError, match=line if value == bad else "tau must be .*, got nan"):
            check(other=good, tau=value)


def test_one_of_names_the_choices():
    require.one_of(("a", "b"), loss="a")
    with pytest.raises(ValueError, match="loss must be one of a, b, got 'c'"):
        require.one_of(("a", "b"), loss="c")
