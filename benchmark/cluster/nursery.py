"""Workers that are forked from one process, which has loaded what each of them needs.

A worker of its own takes a second and a half of processor time to import torch and what is around it; with short
runs that is what several jobs cost. The process here imports it once, before any thread is started (a fork keeps
the thread that forks, and a lock that another one held would stay locked), and a fork is there at once. Linux only;
where anything is not as it should be, `Nursery.fork` says so and a worker is started in the ordinary way.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import TextIO

PRELOADED = (
    *("torch", "scipy.special", "pandas", "safetensors.torch"),
    *("benchmark.data.collate", "benchmark.data.corpus", "benchmark.data.pack", "benchmark.data.statistics"),
    *("benchmark.engine.adam", "benchmark.engine.checkpoint", "benchmark.engine.evaluate"),
    *("benchmark.engine.execute", "benchmark.engine.resident", "benchmark.engine.train"),
    *("benchmark.kernels.native", "benchmark.runs.writer"),
)
"""What every run imports; no method, for one's own might start threads."""
START_SECONDS = 120.0
"""By then a worker is there, or it is started in the ordinary way."""

_NUMBER = struct.Struct("<i")


class Forked:
    """A forked worker, with what `benchmark.cluster.child` asks of a `subprocess.Popen`."""

    def __init__(self, stdin: TextIO, stdout: TextIO, status: int) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.pid = 0
        self.returncode: int | None = None
        self._status = status
        self._said = b""
        self._lock = threading.RLock()  # a signal handler may interrupt whoever holds it

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._status)

    def poll(self) -> int | None:
        """Its exit status as `subprocess` gives it; None while it lives."""
        with self._lock:
            while self.returncode is None:
                try:
                    part = os.read(self._status, 2 * _NUMBER.size - len(self._said))
                except BlockingIOError:
                    break
                self._said += part
                if len(self._said) == 2 * _NUMBER.size:
                    self.returncode = _NUMBER.unpack_from(self._said, _NUMBER.size)[0]
                elif not part:  # both it and the nursery are gone, which only force does
                    self.returncode = -signal.SIGKILL
                if len(self._said) >= _NUMBER.size:
                    self.pid = _NUMBER.unpack_from(self._said)[0]
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended; subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            self._await(left)
        return code

    def born(self, timeout: float) -> bool:
        """Whether it was forked, once that is known."""
        deadline = time.monotonic() + timeout
        while self.poll() is None and not self.pid and (left := deadline - time.monotonic()) > 0:
            self._await(left)
        return bool(self.pid)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Its pipes: to it this is the end of its input."""
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def _signal(self, number: int) -> None:
        if self.poll() is None and self.pid:
            os.kill(self.pid, number)

    def _await(self, seconds: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            selector.select(seconds)


class Nursery:
    """The process that forks workers, from the side of the job: started when first needed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: of all workers."""
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._broken = not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open")

    def fork(self) -> Forked | None:
        """A worker that waits for its assignment; None if none can be had here."""
        with self._lock:
            if self._broken:
                return None
            worker = None
            with contextlib.suppress(OSError):
                worker = self._ask(self._started())
            if worker is not None and worker.born(START_SECONDS):
                return worker
            if worker is not None:
                worker.close()
            self._broken = True
            return None

    def close(self) -> None:
        """Its workers live on."""
        self._broken = True
        if self._process is not None:
            self._process.kill()  # first: a thread may hold the lock until it knows whether a worker was born
        with self._lock:
            if self._control is not None:
                self._control.close()
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def _started(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "benchmark.cluster.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=self._environment,
                    pass_fds=[theirs.fileno()],
                )
        return self._control

    def _ask(self, control: socket.socket) -> Forked:
        stdin, requests = os.pipe()
        answers, stdout = os.pipe()
        status, said = os.pipe()
        os.set_blocking(status, False)
        worker = Forked(
            os.fdopen(requests, "w", encoding="utf-8"), os.fdopen(answers, encoding="utf-8"), status
        )
        try:
            socket.send_fds(control, [b"w"], [stdin, stdout, said])
        except OSError:
            worker.close()
            raise
        finally:
            for one in (stdin, stdout, said):
                os.close(one)
        return worker


# --- The nursery itself ----------------------------------------------------------------------------------


def nurse(number: int) -> bool:
    """Forks a worker whenever the socket of this number asks for one. Returns twice: True in each worker, whose
    standard input and output are those that came with the request, and False when whoever asked is gone."""
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
    # they are for workers; this process ends when its socket does
    before = {one: signal.signal(one, signal.SIG_IGN) for one in signals}
    control = socket.socket(fileno=number)
    for name in PRELOADED:
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) > 1:
        return False  # a thread beside this one: forks would not be safe
    # workers share these pages as long as none searches them for garbage
    gc.collect()
    gc.freeze()
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    status_of: dict[int, tuple[int, int]] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is not control:
                selector.unregister(key.fd)
                os.close(key.fd)
                _bury(*status_of.pop(key.fd))
                continue
            message, fds, _, _ = socket.recv_fds(control, 1, 3)
            if not message:
                return False
            stdin, stdout, said = fds
            # a signal to a worker that has no handlers yet waits until it has its own, or what was before
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            pid = os.fork()
            if not pid:
                for one in (key.fd for key in selector.get_map().values()):
                    os.close(one)
                for _, other in status_of.values():
                    os.close(other)
                selector.close()
                control.detach()
                os.dup2(stdin, 0)
                os.dup2(stdout, 1)
                os.close(stdin)
                os.close(stdout)
                # `said` stays open: while it is, whoever reads it knows that this process lives
                for one, handler in before.items():
                    signal.signal(one, handler)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                return True
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(stdin)
            os.close(stdout)
            os.write(said, _NUMBER.pack(pid))
            pidfd = os.pidfd_open(pid)
            status_of[pidfd] = (pid, said)
            selector.register(pidfd, selectors.EVENT_READ)


def _bury(pid: int, said: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(said, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os.close(said)
