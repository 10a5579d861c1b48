"""Loaded by the workers of `--cluster local`: Ctrl-C reaches all processes of a terminal, and the job decides."""

from __future__ import annotations

import contextlib
import signal


def dask_setup(worker: object) -> None:
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
