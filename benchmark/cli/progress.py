"""Progress of many runs on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from benchmark.engine.execute import Outcome
    from benchmark.runs.spec import RunSpec
from benchmark.cli.output import Talk
from benchmark.core.files import read_json
from benchmark.core.words import duration

PLAIN_SECONDS = 10.0
"""Plain output says something at most this often, failures and the end excepted."""
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What reading a file of a run under way may raise: it has just begun or just ended, or is damaged."""
_LARGEST_BEAT = 1 << 16


def share_done(folder: Path) -> float:
    """Of a run under way, from the heartbeat in its folder: the share of its epochs that is behind it."""
    beat = read_json(folder / "progress.json", _LARGEST_BEAT)
    done = (beat["epoch"] - 1 + beat["step"] / max(1, beat["steps"])) / max(1, beat["epochs"])
    return min(1.0, max(0.0, float(done)))


class Estimate:
    """Time left, from the mean duration of each method's runs so far.

    Methods differ by an order of magnitude, so a plain mean over finished runs would mislead.
    """

    def __init__(self, specs: Sequence[RunSpec], jobs: int) -> None:
        self.jobs = jobs
        self.pending: dict[str, RunSpec] = {spec.identity: spec for spec in specs}
        self.seconds: dict[tuple[str, str, str], list[float]] = {}

    def observe(self, spec: RunSpec, seconds: float) -> None:
        self.pending.pop(spec.identity, None)
        self.seconds.setdefault(_kind(spec), []).append(seconds)

    def left(self, running: dict[str, tuple[float, float]]) -> float | None:
        """Seconds left, None while nothing is known. `running`: identity -> (share done, seconds spent)."""
        known = {kind: sum(values) / len(values) for kind, values in self.seconds.items()}
        for identity, (share, spent) in running.items():
            if identity in self.pending and share > 0.02:
                known.setdefault(_kind(self.pending[identity]), spent / share)
        if not known:
            return None
        total = 0.0
        for identity, spec in self.pending.items():
            same_method = [mean for kind, mean in known.items() if kind[2] == spec.method]
            candidates = same_method or list(known.values())
            mean = known.get(_kind(spec), sum(candidates) / len(candidates))
            total += mean * (1.0 - running.get(identity, (0.0, 0.0))[0])
        return total / min(self.jobs, max(1, len(self.pending)))


def _kind(spec: RunSpec) -> tuple[str, str, str]:
    return spec.dataset, spec.category, spec.model


class RunsProgress:
    """Context manager; call it with each Outcome. `quiet` shows nothing at all."""

    def __init__(self, specs: Sequence[RunSpec], jobs: int, results: Path, quiet: bool = False) -> None:
        self.total = len(specs)
        self.results = results
        self.estimate = Estimate(specs, jobs)
        self.finished = self.failed = 0
        self.started = self.said = time.monotonic()
        self.quiet = quiet or Talk.quiet
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.stop = threading.Event()
        self.watcher: threading.Thread | None = None
        self.names = {spec.identity: spec for spec in specs}

    def __enter__(self) -> RunsProgress:
        if not self.quiet and self.total:
            if sys.stderr.isatty():
                self._start_bar()
            self.watcher = threading.Thread(target=self._watch, daemon=True)
            self.watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        if self.watcher is not None:
            self.watcher.join(timeout=5)
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, outcome: Outcome) -> None:
        self.finished += 1
        self.estimate.observe(outcome.spec, outcome.seconds)
        if not outcome.ok:
            self.failed += 1
            self.say(f"failed: {outcome.spec}: {outcome.reason.splitlines()[0]}")
        if self.bar is not None and self.task is not None:
            self.bar.advance(self.task)
        elif not self.quiet and self.finished == self.total:
            self._plain()

    def say(self, text: str) -> None:
        """One line, above the bar if there is one."""
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            transient=True,  # whatever ends the job, no half bar stays on the screen
        )
        self.task = self.bar.add_task("runs", total=self.total, left="estimating the time left")
        self.bar.start()

    def _watch(self) -> None:
        while not self.stop.wait(1.0):
            if self.bar is not None and self.task is not None:
                running = self._running()
                self.bar.update(self.task, description=self._now(running), left=self._left(running))
            elif time.monotonic() - self.said >= PLAIN_SECONDS:
                self._plain()

    def _plain(self) -> None:
        self.said = time.monotonic()
        running = self._running()
        failed = f", {self.failed} failed" if self.failed else ""
        now = f" [{self._now(running)}]" if running and self.finished < self.total else ""
        elapsed = duration(time.monotonic() - self.started)
        self.say(f"{self.finished}/{self.total} runs{failed}, {elapsed}, {self._left(running)}{now}")

    def _left(self, running: dict[str, tuple[float, float]]) -> str:
        if self.finished >= self.total:
            return "done"
        left = self.estimate.left(running)
        return "estimating the time left" if left is None else f"about {duration(left)} left"

    def _now(self, running: dict[str, tuple[float, float]]) -> str:
        shown = [
            f"{self.names[i].category} {self.names[i].model} {share:.0%}" for i, (share, _) in running.items()
        ]
        return ", ".join(sorted(shown)[:3]) or "runs"

    def _running(self) -> dict[str, tuple[float, float]]:
        """identity -> (share of its epochs done, seconds spent), from the heartbeats of the workers."""
        running: dict[str, tuple[float, float]] = {}
        for folder in (self.results / ".partial").glob("*"):
            identity = folder.name.partition("-")[0]
            try:
                share = share_done(folder)
                spent = time.time() - (folder / "config.json").stat().st_mtime
            except UNREADABLE:
                continue
            if identity in self.names:
                running[identity] = (share, spent)
        return running


@contextmanager
def counted(quiet: bool = False) -> Iterator[Any]:
    """A `progress(done, total, what)` callback for preparing data, with an estimate of the time left."""
    state: dict[str, Any] = {"what": None, "started": 0.0, "said": 0.0}
    live = sys.stderr.isatty()
    quiet = quiet or Talk.quiet

    def report(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if what != state["what"]:
            state.update(what=what, started=now, said=now)
        if quiet or (now - state["said"] < (0.2 if live else PLAIN_SECONDS)):
            return
        state["said"] = now
        spent = now - state["started"]
        left = f", about {duration(spent / done * (total - done))} left" if done else ""
        line = f"{what}: {done:,}/{total:,}{left}"
        print(f"\r\033[K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)

    try:
        yield report
    finally:
        if live and not quiet and state["what"] is not None:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
