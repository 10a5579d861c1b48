"""Runs side by side on this machine, each in a worker process that may die.

joblib deals out the runs to threads, and each thread has a worker process of ours carry its run out. joblib's
own processes would do both, but when one of them is killed (out of memory), its executor is broken: the runs
beside it are killed too, nobody says which one was at fault, and no run can be ended on its own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.cluster.child import Child, environment
from benchmark.cluster.devices import Devices, visible_devices
from benchmark.cluster.nursery import Nursery
from benchmark.cluster.rounds import END_SECONDS, rounds
from benchmark.cluster.worker import Assignment
from benchmark.data.source import Source
from benchmark.engine.execute import Outcome, RunOptions
from benchmark.engine.machine import default_jobs
from benchmark.engine.stop import Stop
from benchmark.runs.claims import server_time
from benchmark.runs.spec import RunSpec
from benchmark.runs.writer import sweep_partial


def run_all(
    specs: Sequence[RunSpec],
    source: Source,
    results: Path,
    *,
    jobs: int,
    options: RunOptions = RunOptions(),  # noqa: B008  (frozen)
    timeout: float | None = None,
    stop: Stop | None = None,
) -> Generator[Outcome, None, None]:
    """Carry out the runs, `jobs` at a time, and yield each as it ends; see `rounds`. A run that takes more than
    `timeout` seconds is one whose process died. On GPUs, each worker has one of its own while they last.
    """
    if not specs:
        return
    stop = stop or Stop()
    results.mkdir(parents=True, exist_ok=True)
    options = replace(options, since=server_time(results))
    on_gpu = any(spec.device == "cuda" for spec in specs)
    gpus = visible_devices() if on_gpu else ()
    assignment = Assignment(source, results, options, tuple(sys.argv))
    crew = _Crew(assignment, jobs, timeout, stop, Devices(gpus))
    if jobs > 1 and len(specs) > 1 and not on_gpu:  # which GPU a worker sees is said before torch is loaded
        crew.nursery = Nursery(environment(crew.threads))
    yield from rounds(crew, specs, results, options, stop)


class _Crew:
    """The workers of a job: started when first needed, kept from run to run, replaced when they die."""

    def __init__(
        self, assignment: Assignment, jobs: int, timeout: float | None, stop: Stop, devices: Devices
    ) -> None:
        self.assignment = assignment
        self.jobs = jobs
        self.devices = devices
        self.threads = max(1, default_jobs(1) // jobs)
        self.nursery: Nursery | None = None
        self.timeout = timeout
        self.stop = stop
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = False
        stop.listeners.append(self.terminate)

    def carry_out_all(self, specs: Sequence[RunSpec]) -> Iterator[Outcome]:
        from joblib import Parallel, delayed

        # Runs are long next to the cost of handing one over: no batching, nothing dispatched far ahead.
        outcomes = Parallel(
            n_jobs=self.jobs,
            backend="threading",
            batch_size=1,
            pre_dispatch=self.jobs,
            return_as="generator_unordered",
        )(delayed(self.carry_out)(spec) for spec in specs)
        yield from outcomes

    def carry_out(self, spec: RunSpec) -> Outcome:
        """One run in a worker; called from several threads."""
        if self.stop.reason or self._closed:
            return self._stopped(spec)
        with self._lock:
            known = self._idle.pop() if self._idle else None
        child = known or self._new_child()
        with self._lock:
            self._busy.add(child)
        if self.stop.reason or self._closed:  # asked between the two looks
            child.terminate()
        outcome = child.carry_out(spec, self.timeout)
        with self._lock:
            self._busy.discard(child)
            reusable = child.usable and outcome.state not in ("stopped", "died")
            if reusable:
                self._idle.append(child)
        if not reusable:
            child.close(END_SECONDS)
            self.devices.release(child.devices)
        if outcome.state in ("stopped", "died") and (self.stop.reason or self._closed):
            return self._stopped(spec)
        if outcome.state == "died":
            sweep_partial(self.assignment.results)
        # stopped although nobody stopped the job: the worker was, or another scheduler has the run
        return replace(outcome, state="claimed") if outcome.state == "stopped" else outcome

    def _new_child(self) -> Child:
        forked = self.nursery.fork() if self.nursery is not None else None
        with self._lock:
            devices = self.devices.take()
        return Child(self.assignment, self.threads, devices, forked=forked)

    def _stopped(self, spec: RunSpec) -> Outcome:
        return Outcome(spec, 0.0, f"stopped by {self.stop.reason or 'the end of the job'}", "stopped")

    def terminate(self) -> None:
        """Ask all that are at work to save and end. Called from a signal handler: takes no lock."""
        # a copy: other threads add and remove while this one walks through it
        for child in tuple(self._busy):
            child.terminate()

    def close(self, patience: float = END_SECONDS) -> None:
        """End all workers; those at work save where they stand if they can within `patience` seconds."""
        self._closed = True
        self.terminate()
        with self._lock:
            idle, self._idle, busy = self._idle, [], tuple(self._busy)
        for child in idle:
            child.kill()  # which has nothing to lose
            child.close(patience)
        for child in busy:  # its thread reads the last answer and closes it
            child.end(patience)
        if self.nursery is not None:
            self.nursery.close()
