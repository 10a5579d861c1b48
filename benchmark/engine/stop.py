"""Asked to stop: by a scheduler that takes the machine (SIGTERM, SIGUSR1), or by Ctrl-C. Needs no torch."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmark.core.errors import StoppedError

SCHEDULER_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


@dataclass
class Stop:
    """Whether the work was asked to stop; looked at between steps.

    Listeners are called once, when it is.
    """

    reason: str = ""
    """Empty, or what asked: `SIGTERM`."""
    at_once: bool = False
    """While nothing is worth saving (data are opened, libraries loaded), a signal raises right there."""
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def request(self, reason: str) -> None:
        first, self.reason = not self.reason, self.reason or reason
        if first:
            # possibly inside a signal handler: a listener that took a lock could wait for its own thread
            for listener in list(self.listeners):
                listener()

    def check(self) -> None:
        """Raises StoppedError if asked to stop."""
        if self.reason:
            raise StoppedError(f"stopped by {self.reason}; the same command goes on from there")

    @contextlib.contextmanager
    def nothing_to_save(self) -> Iterator[None]:
        self.check()
        self.at_once = True
        try:
            yield
        finally:
            self.at_once = False
        self.check()

    def on_signal(self, number: int, frame: object = None) -> None:
        """A signal handler."""
        self.request(signal.Signals(number).name)
        if self.at_once:
            self.check()
