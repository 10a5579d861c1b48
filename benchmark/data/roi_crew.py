"""Several processes that read feature files, and what they say in the order of the files. Torch-free."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from benchmark.data.roi_worker import Reply, RoiWorker

FEW = 32
"""Fewer files are read by one worker: to start another would take longer."""
MOST = 8
"""Workers at most: beyond that their parent, which writes what they read, is the slower side."""


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this operating system
        return os.cpu_count() or 1


class RoiCrew:
    """As one `RoiWorker`, faster: the n-th file goes to the n-th worker in turn, so that what comes back, and in
    which order, does not depend on how many there are. Each holds few files ahead, however many there are."""

    def __init__(self, workers: int | None = None) -> None:
        """`workers`: default: one for each processor."""
        self._workers = [RoiWorker() for _ in range(workers or min(MOST, processors()))]

    def __enter__(self) -> RoiCrew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def read(self, paths: Iterable[Path | str]) -> Iterator[Reply]:
        """What became of each file, in order."""
        rest = iter(paths)
        first = list(islice(rest, FEW))
        if len(first) < FEW:
            yield from self._workers[0].read(first)
            return
        rest = chain(first, rest)
        for worker in self._workers:
            worker.begin()
        dealt: list[deque[Path | str]] = [deque() for _ in self._workers]

        def own(number: int) -> Iterator[Path | str]:
            """The paths of one worker; those that are passed on the way are kept for the others."""
            while True:
                while not dealt[number]:
                    for hand in dealt:
                        path = next(rest, None)
                        if path is None:
                            break
                        hand.append(path)
                    if not dealt[number]:
                        return
                yield dealt[number].popleft()

        replies = [worker.read(own(number)) for number, worker in enumerate(self._workers)]
        while True:
            for one in replies:
                reply = next(one, None)
                if reply is None:
                    return
                yield reply
