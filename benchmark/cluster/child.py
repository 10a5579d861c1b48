"""A worker seen from the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

from benchmark.cluster.nursery import Forked
from benchmark.cluster.worker import Assignment
from benchmark.engine.execute import Outcome
from benchmark.runs.spec import RunSpec

SUGGESTIONS = {
    "SIGKILL": "out of memory? The system, a container or a scheduler kills what takes too much",
    "SIGSEGV": "a crash in compiled code",
    "SIGABRT": "compiled code gave up",
    "SIGBUS": "a mapped file became shorter, or the disk is full?",
    "SIGILL": "compiled for another processor?",
}


class Child:
    """One worker process, started when it is made, which carries out one run at a time."""

    def __init__(
        self,
        assignment: Assignment,
        threads: int,
        devices: Mapping[str, str] = MappingProxyType({}),
        *,
        own_group: bool = False,
        forked: Forked | None = None,
    ) -> None:
        """`devices`: environment variables that say which GPU it sees, read when torch is imported.
        `own_group`: it leads a process group, which ends with it, whatever it started itself.
        `forked`: the process, where it is there already; of no devices and no group of its own."""
        self.devices = dict(devices)
        self._own_group = own_group and hasattr(os, "killpg")
        self.process = forked or self._start(environment(threads) | self.devices)
        self._timed_out = False
        self._send(assignment.to_json())

    def _start(self, variables: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # -P: a folder `benchmark` where the command was typed is not this package
            [sys.executable, "-P", "-m", "benchmark.cluster.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
            encoding="utf-8",
            process_group=0 if self._own_group else None,
        )

    def carry_out(self, spec: RunSpec, timeout: float | None = None) -> Outcome:
        """How the run ended; state `died` if the process ended first, or was killed after `timeout` seconds."""
        started = time.perf_counter()
        timer = threading.Timer(timeout or 0.0, self._time_out)
        timer.daemon = True
        if timeout:
            timer.start()
        self._send(json.dumps(asdict(spec)))
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        timer.cancel()
        seconds = time.perf_counter() - started
        # a line without its end is that of a process that died while it wrote
        if answer.endswith("\n"):
            record = json.loads(answer)
            return Outcome(spec, record["seconds"], record["reason"], record["state"])
        code = self.process.wait()
        reason = f"did not end within {timeout:g} s (--timeout)" if self._timed_out else how_it_died(code)
        return Outcome(spec, seconds, reason, "died")

    @property
    def usable(self) -> bool:
        return self.process.poll() is None and not self._timed_out

    def terminate(self) -> None:
        """Ask it to save where it stands and to end."""
        with contextlib.suppress(OSError):
            self.process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            # poll first: once it is reaped, its number may be another group's
            if self._own_group and self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def close(self, patience: float) -> None:
        """End it; by force after `patience` seconds."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            # end of input is what tells a worker to end
            self.process.stdin.close()
        self.end(patience)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self, patience: float) -> None:
        """Wait for its end; by force after `patience` seconds."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it is dead already: reading its answer tells
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()


def environment(threads: int) -> dict[str, str]:
    """Of a worker, which is to use so many threads."""
    # an empty entry means the current folder: named, it stays the same for the child
    path = [entry or os.getcwd() for entry in sys.path]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    # in its environment, as these libraries read them once, when they are loaded
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        variables.setdefault(name, str(threads))
    return variables


def how_it_died(code: int) -> str:
    """`its process was killed by SIGKILL (out of memory? ...)`, from an exit status as `subprocess` gives it."""
    if code >= 0:
        return f"its process ended with exit code {code} in the middle of the run (os._exit?)"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = f" ({SUGGESTIONS[name]})" if name in SUGGESTIONS else ""
    return f"its process was killed by {name}{hint}"
