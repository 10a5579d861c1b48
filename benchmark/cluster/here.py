"""Runs side by side on this machine, each in a worker process that may die.

joblib deals out the runs to threads, and each thread has a worker process of ours carry its run out. joblib's
own processes would do both, but when one of them is killed (out of memory), its executor is broken: the runs
beside it are killed too, nobody says which one was at fault, and no run can be ended on its own.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.cluster.child import Child
from benchmark.cluster.worker import Assignment
from benchmark.data.source import Source
from benchmark.engine.execute import Outcome, RunOptions, record_failure, settled_by_another
from benchmark.engine.machine import default_jobs
from benchmark.engine.stop import Stop
from benchmark.runs.claims import Claim, is_claimed, server_time
from benchmark.runs.spec import RunSpec
from benchmark.runs.writer import sweep_partial

POLL_SECONDS = 0.5
"""How often to look whether a run that another scheduler has is done, or free again."""
END_SECONDS = 20.0
"""What a worker gets to end its step and write a checkpoint."""


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
    """Carry out the runs, `jobs` at a time, and yield each as it ends (in no fixed order).

    A failure is recorded and yielded like a success. A run whose process dies, or that takes more than
    `timeout` seconds, is tried once more when no other runs beside it, and is a failure if that dies too. Runs
    that another scheduler has are waited for last, and taken over if it dies. When `stop` is requested, runs
    under way are saved and every run that is not done is yielded as `stopped`.
    """
    if not specs:
        return
    stop = stop or Stop()
    results.mkdir(parents=True, exist_ok=True)
    options = replace(options, since=server_time(results))
    crew = _Crew(Assignment(source, results, options, tuple(sys.argv)), jobs, timeout, stop)
    ahead, suspects = list(specs), list[RunSpec]()
    try:
        while ahead:
            elsewhere = []
            for outcome in crew.carry_out_all(ahead, jobs):
                if outcome.state == "died":
                    suspects.append(outcome.spec)
                elif outcome.state == "claimed":
                    elsewhere.append(outcome.spec)
                else:
                    yield outcome
            for spec in suspects:
                yield _last_try(crew, spec, results)
            suspects.clear()
            ahead = []
            while elsewhere and not ahead:
                settled = [settled_by_another(spec, results, options) for spec in elsewhere]
                yield from (outcome for outcome in settled if outcome is not None)
                elsewhere = [s for s, outcome in zip(elsewhere, settled, strict=True) if outcome is None]
                ahead = [spec for spec in elsewhere if stop.reason or not is_claimed(results, spec.identity)]
                if elsewhere and not ahead:
                    time.sleep(POLL_SECONDS)
            ahead += [spec for spec in elsewhere if spec not in ahead]
    except KeyboardInterrupt:  # asked twice
        crew.close(patience=0.0)
        raise
    finally:
        crew.close()


def _last_try(crew: _Crew, spec: RunSpec, results: Path) -> Outcome:
    """The run alone; a second death is recorded as its failure."""
    outcome = crew.carry_out(spec)
    if outcome.state != "died":
        return outcome
    reason = f"{outcome.reason}; it was tried twice, the second time with no other run beside it"
    claim = Claim.take(results, spec.identity)
    if claim is not None:
        with claim:
            reason = record_failure(spec, results, reason, "")
    return replace(outcome, reason=reason, state="failed")


class _Crew:
    """The workers of a job: started when first needed, kept from run to run, replaced when they die."""

    def __init__(self, assignment: Assignment, jobs: int, timeout: float | None, stop: Stop) -> None:
        self.assignment = assignment
        self.threads = max(1, default_jobs(1) // jobs)
        self.timeout = timeout
        self.stop = stop
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = False
        stop.listeners.append(self.terminate)

    def carry_out_all(self, specs: Sequence[RunSpec], jobs: int) -> Generator[Outcome, None, None]:
        from joblib import Parallel, delayed

        # Runs are long next to the cost of handing one over: no batching, nothing dispatched far ahead.
        outcomes = Parallel(
            n_jobs=jobs,
            backend="threading",
            batch_size=1,
            pre_dispatch=jobs,
            return_as="generator_unordered",
        )(delayed(self.carry_out)(spec) for spec in specs)
        yield from outcomes

    def carry_out(self, spec: RunSpec) -> Outcome:
        """One run in a worker; called from several threads."""
        if self.stop.reason or self._closed:
            return self._stopped(spec)
        with self._lock:
            child = self._idle.pop() if self._idle else Child(self.assignment, self.threads)
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
        if outcome.state in ("stopped", "died") and (self.stop.reason or self._closed):
            return self._stopped(spec)
        if outcome.state == "died":
            sweep_partial(self.assignment.results)
        # stopped although nobody stopped the job: the worker was, or another scheduler has the run
        return replace(outcome, state="claimed") if outcome.state == "stopped" else outcome

    def _stopped(self, spec: RunSpec) -> Outcome:
        return Outcome(spec, 0.0, f"stopped by {self.stop.reason or 'the end of the job'}", "stopped")

    def terminate(self) -> None:
        """Ask all that are at work to save and end. Called from a signal handler: takes no lock."""
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
