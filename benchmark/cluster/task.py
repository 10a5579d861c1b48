"""What a Dask worker does: one run in a child process of its own, as a line of JSON asks for it.

The child may die, hang or be killed and the worker lives on, so that Dask blames nobody. It learns from a file in
the results folder, which the job keeps fresh, when there is nobody left to work for. Nothing is pickled but text.
"""

from __future__ import annotations

import functools
import json
import socket
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.cluster.child import Child
from benchmark.cluster.devices import Devices, visible_devices
from benchmark.cluster.rounds import END_SECONDS
from benchmark.cluster.worker import Assignment
from benchmark.runs.claims import abandoned
from benchmark.runs.spec import RunSpec, spec_from_json
from benchmark.runs.writer import sweep_partial

LOOK_SECONDS = 1.0
"""How often a task looks whether its job still goes on."""
UNFIT = "unfit"
"""State of a run that this worker cannot carry out, though another may."""


@dataclass(frozen=True)
class Request:
    """One run, for whoever is asked."""

    assignment: Assignment
    spec: RunSpec
    job: str
    """Name of the job's file beside the claims; see `benchmark.cluster.dask`."""
    timeout: float | None

    def to_json(self) -> str:
        return json.dumps(
            {
                "assignment": self.assignment.to_json(),
                "spec": asdict(self.spec),
                "identity": self.spec.identity,
                "job": self.job,
                "timeout": self.timeout,
            }
        )


def carry_out(request: str) -> str:
    """Carry out the run of a `Request`; returns `{"state", "seconds", "reason"}` as JSON."""
    record = json.loads(request)
    assignment = Assignment.from_json(record["assignment"])
    spec = spec_from_json(record["spec"])
    job = assignment.results / record["job"]
    why_not = _unfit(assignment, spec, record["identity"], job)
    if why_not:
        return json.dumps({"state": UNFIT, "seconds": 0.0, "reason": f"{socket.gethostname()}: {why_not}"})
    timeout = record["timeout"]
    if spec.device != "cuda":
        return json.dumps(_in_child(assignment, spec, timeout, {}, job))
    devices = _devices().take()
    try:
        return json.dumps(_in_child(assignment, spec, timeout, devices, job))
    finally:
        _devices().release(devices)


def _unfit(assignment: Assignment, spec: RunSpec, identity: str, job: Path) -> str:
    """What this machine lacks; empty if nothing."""
    if spec.identity != identity:
        return "another version of mrhp-bench is installed, whose numbers differ"
    if not job.is_file():
        return (
            f"the job's results folder {assignment.results} is not there: it must be on a shared file system"
        )
    source = assignment.source
    for path in (source.root / spec.dataset / spec.category, source.vectors):
        if path is not None and not path.exists():
            return f"the data is not there: no {path}"
    return ""


def _in_child(
    assignment: Assignment, spec: RunSpec, timeout: float | None, devices: dict[str, str], job: Path
) -> dict[str, Any]:
    threads = int(spec.config["training"]["threads"])
    # a Dask worker's own, one, would be inherited
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    child = Child(assignment, threads, limits | devices, own_group=True)
    ended = threading.Event()
    watcher = threading.Thread(target=_end_with_job, args=(child, job, ended), daemon=True)
    watcher.start()
    try:
        outcome = child.carry_out(spec, timeout)
    finally:
        ended.set()
        child.close(END_SECONDS)
    if outcome.state == "died":
        sweep_partial(assignment.results)
    return {"state": outcome.state, "seconds": outcome.seconds, "reason": outcome.reason}


def _end_with_job(child: Child, job: Path, ended: threading.Event) -> None:
    """Ask the child to save and end once the job is over, or whoever ran it dead; then by force."""
    while not ended.wait(LOOK_SECONDS):
        try:
            over = abandoned(job)
        except OSError:  # a file server in trouble: the next look may pass
            continue
        if over:
            child.terminate()
            if not ended.wait(END_SECONDS):
                child.kill()
            return


@functools.cache
def _devices() -> Devices:
    """The GPUs of this Dask worker, shared by its tasks."""
    return Devices(visible_devices())
