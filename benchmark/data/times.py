"""The moments that reviews carry, in the many forms that they are written in. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

_TIME_FORMATS = (
    "%m %d, %Y",
    "%B %d, %Y",
    "%b %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
)
_MILLISECONDS_FROM = 1e11
"""A number this large counts milliseconds: in seconds it would be the year 5138."""
_LATEST = 253402300800.0
"""The first second of the year 10000, and (negative) about the year -6000: beyond, a number is no moment."""
_LONGEST = 64
"""Letters of the longest text that can be a date."""


def parse_times(values: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """Seconds since 1970 of each value, NaN where it is not known; None if none can be read."""
    seconds = np.array([parse_time(value) for value in values], dtype=np.float64)
    return None if np.isnan(seconds).all() else seconds


def parse_time(value: Any) -> float:
    """Seconds since 1970 (UTC if no zone is given): of a number of seconds or milliseconds, an ISO date, or
    a date such as `09 4, 2013` or `4 Sep 2013`. NaN for anything else, infinite and absurd numbers too."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST:
            return math.nan
        # `isdigit` admits superscripts, which `int` does not; eight digits are a date, 20130904
        if not (text.isascii() and text.isdigit() and len(text) >= 9):
            return _parse_date(text)
        value = int(text)
    # True is an int to Python and no moment
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    if not abs(value) < _LATEST * 1000:  # NaN, infinities, integers beyond a float
        return math.nan
    return value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)


@lru_cache(maxsize=100_000)
def _parse_date(text: str) -> float:
    for read in (datetime.fromisoformat, *(_reader(pattern) for pattern in _TIME_FORMATS)):
        try:
            moment: datetime = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):  # an offset may leave the years that Python counts
            continue
    return math.nan


def _reader(pattern: str) -> Any:
    return lambda text: datetime.strptime(text, pattern)
