"""Batches made ahead of the device: collate in a thread, pin, copy while the device works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable

import torch

from benchmark.core.types import Batch

DEPTH = 3
_END = object()


def prefetched(batches: Iterable[Batch], device: torch.device) -> Generator[Batch, None, None]:
    """The same batches in the same order, on `device`.

    On a CPU there is nothing to overlap with (a run owns its threads), so they are made when asked for.
    On a GPU a thread collates and pins up to DEPTH batches ahead and the copy does not block.
    """
    if device.type == "cpu":
        yield from batches
        return
    ready: queue.Queue[object] = queue.Queue(maxsize=DEPTH)
    stopped = threading.Event()

    def produce() -> None:
        try:
            for batch in batches:
                if stopped.is_set():
                    return
                ready.put(batch.map(lambda tensor: tensor.pin_memory()))
            ready.put(_END)
        except BaseException as error:  # handed to the consumer, which raises it
            ready.put(error)

    worker = threading.Thread(target=produce, daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            assert isinstance(item, Batch)
            # no wait needed: the step is queued behind the copy, pinned memory is not reused before its end
            yield item.to(device, non_blocking=True)
    finally:
        # the thread may hang in `put` on a full queue: emptied until it has seen the flag
        stopped.set()
        while worker.is_alive():
            try:
                ready.get_nowait()
            except queue.Empty:
                worker.join(timeout=0.05)
