"""Which steps are captured and which are not, with a stand-in for torch's CUDA interface: what is recorded is played
back in the right order, on the right rows. (That a card does the same is for `tests/gpu/check.py`.)"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.engine import graphs
from benchmark.engine.buckets import Shape

CPU = torch.device("cpu")
SMALL, LARGE = Shape(1, 2, 3, 4, 5, 6), Shape(2, 4, 6, 8, 10, 12)


class FakeStream:
    def wait_stream(self, other: Any) -> None: ...


class FakeGraph:
    """Holds what was run while it was captured, and runs it again when it is played."""

    recording: FakeGraph | None = None

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def replay(self) -> None:
        for work in self.work:
            work()

    def reset(self) -> None:
        self.work.clear()


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of `torch.cuda` as is used."""

    @contextlib.contextmanager
    def capture(graph: FakeGraph, pool: object, stream: object) -> Iterator[None]:
        FakeGraph.recording = graph
        try:
            yield
        finally:
            FakeGraph.recording = None

    mode = ["default"]
    for name, value in {
        "Stream": lambda device: FakeStream(),
        "current_stream": FakeStream,
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": FakeGraph,
        "graph": capture,
        "graph_pool_handle": object,
        "get_sync_debug_mode": lambda: mode[0],
        "set_sync_debug_mode": lambda new: mode.__setitem__(0, new),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


class Steps:
    """A step that notes the rows that it saw; its loss is their sum."""

    def __init__(self, waits: bool = False, refuses: bool = False) -> None:
        self.seen: list[tuple[str, float]] = []
        self.waits, self.refuses = waits, refuses

    def __call__(self, index: Tensor, shape: Shape, rows: int) -> Tensor:
        loss = torch.zeros(())
        graph = FakeGraph.recording
        if self.waits and torch.cuda.get_sync_debug_mode() == "warn":
            warnings.warn(f"{graphs.SYNCHRONISES} (Triggered internally)", stacklevel=1)
        if graph is None:
            self._do("made", index, loss)
            return loss
        if self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        # addresses are fixed: what is played reads the static index and writes the static loss
        graph.work.append(lambda: self._do("played", index, loss))
        return loss

    def _do(self, how: str, index: Tensor, loss: Tensor) -> None:
        loss.copy_(index.sum())
        self.seen.append((how, float(index.sum())))


def losses(steps: Steps, shapes: list[Shape], repeated: bool = True) -> tuple[graphs.Graphs, list[float]]:
    made = graphs.Graphs(steps, CPU)
    found = [
        float(made.step(torch.tensor([float(n)]), shape, 1, repeated=repeated))
        for n, shape in enumerate(shapes)
    ]
    return made, found


def test_a_shape_is_played_back_after_its_first_steps() -> None:
    steps = Steps()
    made, found = losses(steps, [SMALL] * 6)
    assert found == [0, 1, 2, 3, 4, 5], "each step has its own rows' loss"
    assert [how for how, _ in steps.seen] == ["made"] * graphs.EAGER_STEPS + ["played"] * 3
    assert (made.shapes, made.refused) == (1, "")


def test_each_shape_has_a_recording_of_its_own() -> None:
    steps = Steps()
    made, found = losses(steps, [SMALL, LARGE] * 5)
    assert found == list(range(10))
    assert made.shapes == 2
    assert [how for how, _ in steps.seen] == ["made"] * 6 + ["played"] * 4


def test_a_shape_that_nobody_repeats_is_never_captured() -> None:
    made, _ = losses(Steps(), [SMALL] * 8, repeated=False)
    assert made.shapes == 0


def test_a_step_that_waits_is_noticed_and_never_captured() -> None:
    steps = Steps(waits=True)
    made, found = losses(steps, [SMALL] * 8)
    assert found == list(range(8))
    assert {how for how, _ in steps.seen} == {"made"}
    assert made.refused.startswith("a step waits for the device (test_graphs.py:")
    assert torch.cuda.get_sync_debug_mode() == "default"


def test_what_torch_will_not_capture_goes_step_by_step() -> None:
    steps = Steps(refuses=True)
    with pytest.warns(UserWarning, match="operation not permitted when stream is capturing"):
        made, found = losses(steps, [SMALL] * 8)
    assert found == list(range(8)), "the step that could not be recorded was made all the same"
    assert made.shapes == 0
    assert "more" not in made.refused


def test_what_was_recorded_is_given_back() -> None:
    made, _ = losses(Steps(), [SMALL] * 6)
    (captured,) = made._captured.values()
    made.release()
    assert made.shapes == 0
    assert captured.graph.work == []


def test_other_warnings_of_the_watched_step_are_not_lost() -> None:
    with pytest.warns(UserWarning, match="something else"), graphs.synchronisations() as seen:
        warnings.warn("something else", stacklevel=1)
    assert seen == []
