"""Steps played back: a GPU that has seen a step of some shape does it again from one command of the host.

A step of MM-SS is some 3,000 launches, which the host makes slower than a large GPU works them off. A CUDA graph
holds them all: forward, backward and optimiser, from a static index of rows. What a step leaves behind it must leave on
the device and in place: weights, moments, what a method keeps (see `MMSS._parts`). A step that waits for the device
(reads a number, asks which positions are real) cannot be played back: that is seen before, and such a method goes step
by step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmark.engine.buckets import Shape

EAGER_STEPS = 3
"""Of each shape, before it is captured: libraries choose and allocate what they need in them."""
WATCHED_STEP = 2
"""The step of the run, counted from 1, in which waiting for the device is noticed: after the first, in which much is
set up once."""
SYNCHRONISES = "called a synchronizing CUDA operation"

Run = Callable[[Tensor, Shape, int], Tensor]
"""(index, shape, rows) -> loss: one training step, on the device alone."""


@dataclass
class _Captured:
    graph: Any
    index: Tensor
    """Static: what a step reads its rows from."""
    loss: Tensor
    """Static: where it leaves its loss."""


class Graphs:
    """The training steps of a run, played back where that is possible.

    All steps run on one stream, captured or not: a gradient's accumulation must not look for another one's end.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self._run = run
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None
        self._made: dict[Shape, int] = {}
        """Steps made of each shape before it was captured."""
        self._captured: dict[Shape, _Captured] = {}
        self._steps = 0
        self.refused = ""
        """Why nothing is captured; empty where it is."""

    @property
    def shapes(self) -> int:
        """Shapes that are played back."""
        return len(self._captured)

    def step(self, index: Tensor, shape: Shape, rows: int, *, repeated: bool) -> Tensor:
        """One step; its loss, valid until the next. `repeated`: a shape that others will have too."""
        outer = torch.cuda.current_stream()
        self._stream.wait_stream(outer)
        with torch.cuda.stream(self._stream):
            loss = self._step(index, shape, rows, repeated)
        outer.wait_stream(self._stream)
        return loss

    def release(self) -> None:
        """Forget what was recorded, and with it the memory that it holds."""
        for captured in self._captured.values():
            captured.graph.reset()
        self._captured.clear()
        self._pool = None

    def _step(self, index: Tensor, shape: Shape, rows: int, repeated: bool) -> Tensor:
        self._steps += 1
        known = self._captured.get(shape)
        if known is None and repeated and not self.refused and self._made.get(shape, 0) >= EAGER_STEPS:
            known = self._capture(index, shape, rows)
        if known is not None:
            known.index.copy_(index)
            known.graph.replay()
            return known.loss
        self._made[shape] = self._made.get(shape, 0) + 1
        if self._steps != WATCHED_STEP:
            return self._run(index, shape, rows)
        with synchronisations() as seen:
            loss = self._run(index, shape, rows)
        if seen:
            self.refused = f"a step waits for the device ({seen[0]})"
        return loss

    def _capture(self, index: Tensor, shape: Shape, rows: int) -> _Captured | None:
        """Record a step without doing it; None, and `refused`, where torch cannot."""
        static = index.clone()
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            # one for all: steps never overlap, and of one only its loss is read after it, before the next
            self._pool = torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                loss = self._run(static, shape, rows)
        except RuntimeError as error:
            graph.reset()  # torch's generator would wait for the end of this capture otherwise
            self.refused = f"a step could not be captured ({str(error).splitlines()[0]})"
            warnings.warn(f"CUDA graphs: {self.refused}; it goes step by step", stacklevel=2)
            return None
        self._captured[shape] = captured = _Captured(graph, static, loss)
        return captured


@contextmanager
def synchronisations() -> Iterator[list[str]]:
    """Collects where the host waits for the GPU inside, as torch notices it: `file:line` of the Python code."""
    seen: list[str] = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield seen
        finally:
            torch.cuda.set_sync_debug_mode(before)
            seen += [
                f"{warning.filename.rpartition('/')[2]}:{warning.lineno}"
                for warning in caught
                if SYNCHRONISES in str(warning.message)
            ]
    for warning in caught:
        if SYNCHRONISES not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
