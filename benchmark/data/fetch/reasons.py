"""Why an image was not got, in the words of the coverage manifest. Torch-free."""

from __future__ import annotations

BAD_ADDRESS = "not an http address"
PRIVATE = "private address"
UNKNOWN_HOST = "unknown host"
NO_CONNECTION = "no connection"
TIMED_OUT = "timed out"
BROKEN_OFF = "broken off"
REDIRECTS = "too many redirects"
TOO_LARGE = "too many bytes"
TOO_MANY_PIXELS = "too many pixels"
NOT_AN_IMAGE = "not an image"
ENCODING = "unknown encoding"
WAIT = "asked to wait too long"
GIVEN_UP = "host given up"
DISK = "disk limit"

_AGAIN = frozenset(
    {UNKNOWN_HOST, NO_CONNECTION, TIMED_OUT, BROKEN_OFF, WAIT, GIVEN_UP, DISK}
    | {f"http {status}" for status in (408, 425, 429, 500, 502, 503, 504)}
)
ABOUT_THE_HOST = frozenset({UNKNOWN_HOST, NO_CONNECTION, TIMED_OUT})
"""What, time after time, says that the host is not there."""


class RefusedError(Exception):
    """An image that is not to be had, or not now. `reason` is one of the above, or `http STATUS`."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        """Seconds that the host asked for before the next request."""

    @property
    def again(self) -> bool:
        """Whether another time may do better."""
        return may_change(self.reason)


def may_change(reason: str) -> bool:
    return reason in _AGAIN
