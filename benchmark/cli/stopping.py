"""Signals that ask a job to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmark.cli.output import say

if TYPE_CHECKING:
    from benchmark.engine.stop import Stop


@contextlib.contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """What schedulers send before they take a machine, and Ctrl-C, end the steps under way and save them; a
    second Ctrl-C ends at once."""
    from benchmark.engine.stop import SCHEDULER_SIGNALS

    def interrupt(number: int, frame: object) -> None:
        if stop.reason == "SIGINT":
            raise KeyboardInterrupt
        say("\nstopping after the steps under way; once more: at once")
        stop.on_signal(number)

    before = {}
    try:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
        for number in SCHEDULER_SIGNALS:
            before[number] = signal.signal(number, stop.on_signal)
    except ValueError:  # not in the main thread (a test)
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
