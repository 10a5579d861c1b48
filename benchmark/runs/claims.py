"""Claims: several schedulers on one results folder share the runs, and none is done twice.

<results>/.claims/<identity>.<n>: who carries the run out, its modification time the last sign of life. The
highest n counts. A claim is taken by creating the next n exclusively, which one of several can do, on a
shared file system too; nothing is ever replaced, so that two that take over the same abandoned claim cannot
both succeed. A claim is abandoned when its process is known to be dead, or when its heartbeat is old: host
names and process numbers repeat between containers, so a process is only looked up from its own boot and
process namespace. Ages are taken by the file system's clock, not by those of the hosts.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from benchmark.core.files import read_json

HEARTBEAT_SECONDS = 3.0
STALE_SECONDS = 30.0
"""A heartbeat older than this is that of a dead claimant, or of one that must find out that it lost."""

_LARGEST = 1 << 16
"""Bytes of a claim; ours have a few hundred."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from every other on any machine."""

    host: str
    process: int
    started: str
    """When the process started, in the clock ticks of its boot: process numbers are used again."""
    boot: str
    """Boot id of the machine; containers share it."""
    namespace: str
    """Process namespace: the same number in two containers is two processes."""

    @classmethod
    def current(cls) -> Owner:
        process = os.getpid()
        return cls(socket.gethostname(), process, _started(process), *_machine())

    def fate(self) -> Literal["alive", "dead", "unknown"]:
        """`unknown` where this process cannot look: another machine, boot or container."""
        here = (self.host, self.boot, self.namespace) == (socket.gethostname(), *_machine())
        if not here or sys.platform == "win32":  # where signal 0 would be Ctrl-C
            return "unknown"
        if sys.platform == "linux" and not (self.boot and self.namespace):
            return "unknown"
        try:
            # signal 0 is not delivered: it only asks whether the process is there
            os.kill(self.process, 0)
        except (ProcessLookupError, OverflowError):  # no process has such a number
            return "dead"
        except PermissionError:
            pass
        started = _started(self.process)
        # another start time: the number belongs to another process by now
        return "alive" if not (started and self.started) or started == self.started else "dead"


def read_owner(file: Path) -> Owner | None:
    """None where the file is not (yet) a whole one."""
    try:
        record = read_json(file, _LARGEST)["owner"]
        kinds = {name: int if name == "process" else str for name in Owner.__annotations__}
        return Owner(**record) if all(isinstance(record[name], kinds[name]) for name in record) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_owner(file: Path, token: str) -> None:
    """Create the file exclusively. Raises FileExistsError."""
    text = json.dumps({"token": token, "owner": asdict(Owner.current())}) + "\n"
    # created first, filled after: whoever reads in between finds no owner, and goes by the file's age
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)


def abandoned(file: Path) -> bool:
    """True if who wrote this file is dead or has given no sign of life for STALE_SECONDS; a file that is gone
    belongs to nobody."""
    owner = read_owner(file)
    return (owner is not None and owner.fate() == "dead") or silent(file, server_time(file.parent))


def silent(sign: Path, now: float) -> bool:
    """True if this file or folder was last touched more than STALE_SECONDS before `now`, the file system's own
    time, or is gone."""
    try:
        # one from the future is none either: who lives has given a sign since the clock was set back
        return abs(now - _modified(sign)) > STALE_SECONDS
    except FileNotFoundError:
        return True


def server_time(folder: Path) -> float:
    """Now, by the clock of the file system that `folder` is on."""
    probe = folder / f".now-{uuid.uuid4().hex[:12]}"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
    finally:
        probe.unlink(missing_ok=True)


class Claim:
    """A run taken by this process. As a context manager it gives signs of life and is released at the end."""

    def __init__(self, file: Path, token: str, on_loss: Callable[[], None] = lambda: None) -> None:
        self.file = file
        self.token = token
        self.on_loss = on_loss
        self.also: list[Path] = []
        """Other files whose modification time shows that this process lives."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def take(cls, results: Path, identity: str) -> Claim | None:
        """The run's claim, or None while another holds it."""
        folder = claims_folder(results)
        folder.mkdir(parents=True, exist_ok=True)
        held = generations(folder, identity)
        if held and not abandoned(_file(folder, identity, held[-1])):
            return None
        file, token = _file(folder, identity, (held or [0])[-1] + 1), uuid.uuid4().hex
        try:
            write_owner(file, token)
        except FileExistsError:
            return None
        return cls(file, token)

    def held(self) -> bool:
        """False if another has taken over, which it does when this process gave no sign of life for long."""
        identity, _, number = self.file.name.rpartition(".")
        try:
            own = read_json(self.file, _LARGEST)["token"] == self.token
        except (OSError, ValueError, KeyError, TypeError):
            return False
        # its own content is not enough: whoever takes over writes the next number beside it
        return own and generations(self.file.parent, identity)[-1:] == [int(number)]

    def release(self) -> None:
        # a lost claim is the winner's to clear away: removing numbers now could free its run
        if not self.held():
            return
        identity = self.file.name.rpartition(".")[0]
        for number in generations(self.file.parent, identity):  # the highest last: it guards the others
            _file(self.file.parent, identity, number).unlink(missing_ok=True)

    def __enter__(self) -> Claim:
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            self.release()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                for file in (self.file, *self.also):
                    with contextlib.suppress(FileNotFoundError):
                        os.utime(file)  # by the file server's clock
                lost = not self.held()
            except OSError:  # a disk in trouble: the next beat may pass
                continue
            if lost and not self._ended.is_set():
                self.on_loss()
                return


def is_claimed(results: Path, identity: str) -> bool:
    """True while a process that seems alive carries the run out."""
    folder = claims_folder(results)
    held = generations(folder, identity)
    return bool(held) and not abandoned(_file(folder, identity, held[-1]))


def sweep_claims(results: Path) -> None:
    """Remove the claims of dead processes, and what killed ones left beside them."""
    folder = claims_folder(results)
    for file in [*folder.glob("*.*"), *folder.glob(".now-*")] if folder.is_dir() else []:
        if abandoned(file):
            file.unlink(missing_ok=True)


def claims_folder(results: Path) -> Path:
    return results / ".claims"


def generations(folder: Path, identity: str) -> list[int]:
    """The numbers of a run's claims, ascending."""
    return sorted(_numbers(folder, identity))


def _numbers(folder: Path, identity: str) -> Iterator[int]:
    for file in folder.glob(f"{identity}.*"):
        number = file.name.rpartition(".")[2]
        if number.isdecimal():
            yield int(number)


def _file(folder: Path, identity: str, number: int) -> Path:
    return folder / f"{identity}.{number}"


def _modified(file: Path) -> float:
    """Opened for it: a shared file system answers with the server's word, not with a cached one."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except PermissionError:  # a folder, on Windows
        return file.stat().st_mtime
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


@functools.cache
def _machine() -> tuple[str, str]:
    """(boot id, process namespace); empty where the system has none."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return boot, namespace


def _started(process: int) -> str:
    """Start time of a process in ticks since boot; `gone` for one that only waits to be reaped; empty where the
    system does not say."""
    try:
        # the name in parentheses may itself hold spaces and parentheses: count from the last one. the rest
        # begins with field 3 (state), so that its entry 19 is field 22 (starttime)
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "gone" if fields[0] in "ZX" else fields[19]
