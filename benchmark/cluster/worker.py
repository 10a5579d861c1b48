"""A worker process, `python -m benchmark.cluster.worker`: runs, one after another, as lines of JSON ask for them.

Standard input: one line that says what the job's runs share (see `Assignment`), then one line per run, its
RunSpec. Standard output: one line per run that says how it ended; the run itself is in the results folder. What
a run prints goes to standard error. End of input ends the worker, within GRACE_SECONDS if it is at work: that is
how it learns that whoever started it is gone, however that one died.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from benchmark.core.errors import EXIT_STOPPED
from benchmark.data.source import Source
from benchmark.engine.execute import Outcome, RunOptions, execute
from benchmark.engine.stop import SCHEDULER_SIGNALS, Stop
from benchmark.runs.spec import spec_from_json

GRACE_SECONDS = 3.0
"""An orphan has this long to end its step and write a checkpoint."""


@dataclass(frozen=True)
class Assignment:
    """What the runs of a job share."""

    source: Source
    results: Path
    options: RunOptions
    argv: tuple[str, ...]
    """The job's command line, which each run records."""

    def to_json(self) -> str:
        source = {
            name: {"path": str(value)} if isinstance(value, Path) else value
            for name, value in vars(self.source).items()
        }
        record = {
            "source": source,
            "results": str(self.results),
            "options": asdict(self.options),
            "argv": self.argv,
        }
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        record = json.loads(text)
        source: dict[str, Any] = {
            name: Path(value["path"]) if isinstance(value, dict) else value
            for name, value in record["source"].items()
        }
        return cls(
            Source(**source),
            Path(record["results"]),
            RunOptions(**{**record["options"], "log": tuple(record["options"]["log"])}),
            tuple(record["argv"]),
        )


def main() -> None:
    # The answers have standard output to themselves, whatever a library or a method prints.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    faulthandler.enable()
    stop = Stop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the main process decides
    for number in SCHEDULER_SIGNALS:
        signal.signal(number, stop.on_signal)
    if not (given := sys.stdin.readline()):
        return  # whoever started it is gone already
    assignment = Assignment.from_json(given)
    sys.argv[:] = assignment.argv
    assignment.options.prepare_process()
    serve(assignment, sys.stdin, answers, stop)


def forking(number: int) -> None:
    """`python -m benchmark.cluster.worker NUMBER`: workers are forked from this process; see `nursery`."""
    from benchmark.cluster.nursery import nurse

    if nurse(number):
        main()


def serve(assignment: Assignment, requests: TextIO, answers: TextIO, stop: Stop) -> None:
    """Carry out what `requests` ask for until they end, or until a run was stopped."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    # a thread reads, so that the end of input is noticed in the middle of a run too
    threading.Thread(target=_listen, args=(requests, waiting, stop), daemon=True).start()
    while request := waiting.get():
        spec = spec_from_json(json.loads(request))
        outcome = execute(spec, assignment.source, assignment.results, assignment.options, stop)
        with contextlib.suppress(BrokenPipeError):
            answers.write(_answer(outcome))
            answers.flush()
        if stop.reason:
            break


def _answer(outcome: Outcome) -> str:
    record = {"state": outcome.state, "seconds": outcome.seconds, "reason": outcome.reason}
    return json.dumps(record) + "\n"


def _listen(requests: TextIO, waiting: queue.SimpleQueue[str], stop: Stop) -> None:
    for line in requests:
        waiting.put(line)
    # a request is never empty (its line ends in a newline): this ends a `serve` that waits
    waiting.put("")
    stop.request("the end of the process that started it")
    time.sleep(GRACE_SECONDS)
    os._exit(EXIT_STOPPED)  # still here: a step that takes long; the last checkpoint holds


if __name__ == "__main__":
    forking(int(sys.argv[1])) if len(sys.argv) > 1 else main()
