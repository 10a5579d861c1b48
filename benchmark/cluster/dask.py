"""Runs on several machines: Dask hands them to its workers, each of which has a child process carry one out.

As many runs are handed out as workers can carry out at once, so that a worker which dies takes none with it that
only waited. Its runs are tried again and go on from their checkpoints.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.cluster import task
from benchmark.cluster.places import Workers, started
from benchmark.cluster.rounds import END_SECONDS, rounds
from benchmark.cluster.settings import Place
from benchmark.cluster.task import Request
from benchmark.cluster.worker import Assignment
from benchmark.core.errors import DataError
from benchmark.data.source import Source
from benchmark.engine.checkpoint import checkpoint_folder
from benchmark.engine.execute import Outcome, RunOptions
from benchmark.engine.stop import Stop
from benchmark.runs.claims import HEARTBEAT_SECONDS, claims_folder, server_time, write_owner
from benchmark.runs.spec import RunSpec

POLL_SECONDS = 1.0
"""How often to look which workers there are."""
MOST_LOSSES = 7
"""A run is tried again after so many lost workers in a row between which it saved nothing new. It is hardly ever its
own fault, for what it does it does in a process of its own: a short one loses as often as machines are taken."""


def run_all(
    specs: Sequence[RunSpec],
    source: Source,
    results: Path,
    *,
    place: Place,
    options: RunOptions = RunOptions(),  # noqa: B008  (frozen)
    timeout: float | None = None,
    stop: Stop | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Generator[Outcome, None, None]:
    """Carry out the runs at `place` and yield each as it ends; see `rounds`.

    Raises UsageError where no worker has what a run asks for (a GPU, say), DataError where none has the data.
    """
    if not specs:
        return
    stop = stop or Stop()
    results = results.absolute()
    results.mkdir(parents=True, exist_ok=True)
    options = replace(options, since=server_time(results))
    assignment = Assignment(_absolute(source), results, options, tuple(sys.argv))
    device = "cuda" if any(spec.device == "cuda" for spec in specs) else "cpu"
    threads = max(int(spec.config["training"]["threads"]) for spec in specs)
    with started(place, device, threads, len(specs), results) as workers:
        crew = _Crew(workers, assignment, timeout, stop, say)
        workers.check(place.needs(device), stop)
        yield from rounds(crew, specs, results, options, stop)


def _absolute(source: Source) -> Source:
    """The same places, whatever folder a worker is in."""
    cache, vectors = (None if path is None else path.absolute() for path in (source.cache, source.vectors))
    return replace(source, root=source.root.absolute(), cache=cache, vectors=vectors)


class _Crew:
    """The workers of a Dask cluster, seen from the job."""

    def __init__(
        self,
        workers: Workers,
        assignment: Assignment,
        timeout: float | None,
        stop: Stop,
        say: Callable[[str], None],
    ) -> None:
        self.workers = workers
        self.assignment = assignment
        self.timeout = timeout
        self.stop = stop
        self.say = say
        self._job = _JobFile(assignment.results)
        self._running: dict[str, tuple[RunSpec, Any]] = {}
        """Key of a task -> its run and its future."""
        self._unfit: dict[str, str] = {}
        """Address of a worker -> what it lacks."""
        self._losses: Counter[str] = Counter()
        self._saved: dict[str, float] = {}
        stop.listeners.append(self._job.remove)

    def carry_out_all(self, specs: Sequence[RunSpec]) -> Iterator[Outcome]:
        waiting = deque(specs)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        deadline = 0.0
        while waiting or self._running:
            if self.stop.reason:
                yield from (self._stopped(spec) for spec in waiting)
                waiting.clear()
                # set once, at the first look after the stop
                deadline = deadline or time.monotonic() + END_SECONDS + 2 * task.LOOK_SECONDS
                if time.monotonic() > deadline:
                    yield from self._give_up()
                    break
            else:
                self._hand_out(waiting, ended)
            try:
                future = ended.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            outcome = self._outcome(future)
            if outcome is not None:
                yield outcome

    def _hand_out(self, waiting: deque[RunSpec], ended: queue.SimpleQueue[Any]) -> None:
        """As many runs as the workers that are fit can carry out at once."""
        while waiting:
            needs = self.workers.place.needs(waiting[0].device)
            slots = {a: n for a, n in self.workers.slots(needs).items() if a not in self._unfit}
            if self._unfit and not slots and not self.workers.expected():
                raise DataError("no worker can carry out the runs:", sorted(set(self._unfit.values())))
            if sum(slots.values()) <= len(self._running):
                return
            spec = waiting.popleft()
            request = Request(self.assignment, spec, self._job.name, self.timeout)
            only = sorted(slots) if self._unfit else None
            future = self.workers.submit(task.carry_out, request.to_json(), needs, only)
            self._running[future.key] = (spec, future)
            # called in a thread of Dask's: the queue brings it to this one
            future.add_done_callback(ended.put)

    def _outcome(self, future: Any) -> Outcome | None:
        """How a task ended; None for one that was given up."""
        spec, _ = self._running.pop(future.key, (None, None))
        if spec is None:
            return None
        if future.status != "finished":
            return self._stopped(spec) if self.stop.reason else self._lost(spec, future)
        worker, record = self.workers.answer(future)
        if record["state"] == task.UNFIT:
            self._unfit[worker] = record["reason"]
            self.say(f"worker {worker} carries out no runs: {record['reason']}")
            return Outcome(spec, 0.0, record["reason"], "claimed")
        outcome = Outcome(spec, record["seconds"], record["reason"], record["state"])
        if outcome.state in ("stopped", "died") and self.stop.reason:
            return self._stopped(spec)
        # stopped although nobody stopped the job: its machine was taken; it goes on from what it saved
        return replace(outcome, state="claimed") if outcome.state == "stopped" else outcome

    def _lost(self, spec: RunSpec, future: Any) -> Outcome:
        """The worker of a run is gone: again, unless that is all that ever comes of it."""
        saved = _last_saved(self.assignment.results, spec)
        if saved != self._saved.get(spec.identity, 0.0):
            self._losses[spec.identity] = 0
        self._saved[spec.identity] = saved
        self._losses[spec.identity] += 1
        if self._losses[spec.identity] > MOST_LOSSES:
            return Outcome(spec, 0.0, f"its worker was lost {MOST_LOSSES + 1} times: {_why(future)}", "died")
        self.say(f"the worker of {spec} was lost; it is tried again")
        return Outcome(spec, 0.0, "its worker was lost", "claimed")

    def _give_up(self) -> Iterator[Outcome]:
        # emptied before the cancel: a future that ends by it is then known as given up
        running, self._running = self._running, {}
        self.workers.cancel([future for _, future in running.values()])
        yield from (self._stopped(spec) for spec, _ in running.values())

    def _stopped(self, spec: RunSpec) -> Outcome:
        return Outcome(spec, 0.0, f"stopped by {self.stop.reason or 'the end of the job'}", "stopped")

    def close(self, patience: float = END_SECONDS) -> None:
        """End the tasks: their workers see that the job is over; those that do not in time are given up."""
        self._job.remove()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not all(future.done() for _, future in self._running.values()):
            time.sleep(0.1)
        for _ in self._give_up():
            pass


def _why(future: Any) -> str:
    try:
        error = future.exception(timeout=5)
    except Exception as failed:
        error = failed
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _last_saved(results: Path, spec: RunSpec) -> float:
    """When the run's checkpoint was written; 0 without one."""
    try:
        return (checkpoint_folder(results, spec.identity) / "state.json").stat().st_mtime
    except OSError:
        return 0.0


class _JobFile:
    """Shows workers that the job goes on; it stands beside the claims, and its modification time is renewed."""

    def __init__(self, results: Path) -> None:
        folder = claims_folder(results)
        folder.mkdir(parents=True, exist_ok=True)
        token = uuid.uuid4().hex
        self.file = folder / f"job.{token}"
        self.name = str(self.file.relative_to(results))
        self._ended = threading.Event()
        write_owner(self.file, token)
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.file)

    def remove(self) -> None:
        """Called from a signal handler too."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)
