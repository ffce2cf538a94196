"""What happens when a record of a data set cannot be decoded."""

import logging
from typing import NamedTuple

log = logging.getLogger(__name__)

_SHOWN = 5


class DataError(ValueError):
    """A data set, or what was asked of it, is wrong; one line that names the mend."""


class Undecodable(DataError):
    """One record cannot be decoded; the rest of the set may be sound."""

    def __init__(self, place: str, reason: str):
        """Keeps the place (a path, or the file and row) and what the decoder said."""
        super().__init__(place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        """One line with both."""
        return f"cannot decode {self.place}: {self.reason}"


class Bad(NamedTuple):
    """One undecodable record as it travels from a worker to the main process."""

    index: int
    place: str
    reason: str


class BadCount:
    """Counts the distinct undecodable records of a set and stops the run when they are too many."""

    def __init__(self, total: int, max_bad: float):
        """Starts at none of ``total`` examples; a share ``max_bad`` in [0, 1] may be bad."""
        if not 0.0 <= max_bad <= 1.0:
            raise ValueError(f"max_bad must be a share in [0, 1], got {max_bad}")
        self._total = total
        self._max_bad = max_bad
        self._places: dict[int, str] = {}

    def __len__(self) -> int:
        """The number of distinct bad records."""
        return len(self._places)

    def note(self, bad: Bad) -> None:
        """Counts a record, and logs it the first time it is seen."""
        if bad.index not in self._places:
            self._places[bad.index] = bad.place
            log.warning("cannot decode %s: %s; left out", bad.place, bad.reason)

    def check(self) -> None:
        """Raises `DataError` when the share of bad records has passed ``max_bad``."""
        count = len(self._places)
        if count <= self._max_bad * self._total:
            return
        first = ", ".join(list(self._places.values())[:_SHOWN])
        more = ", ..." if count > _SHOWN else ""
        raise DataError(
            f"{count} of {self._total} examples cannot be decoded ({count / self._total:.2%}, "
            f"max_bad allows {self._max_bad:.2%}): {first}{more}; mend or remove them, or raise "
            "max_bad"
        )
