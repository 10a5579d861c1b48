"""Reads feature files in a process of its own, so that a bomb among them costs that file alone.

A few bytes of pickle can ask for gigabytes, or for hours (a tuple nested forty deep, as a key, is hashed
2^40 times). So a child reads the files, with limits on its memory and on the processor time of each file,
and hands back plain bytes; if it dies, another takes its place and goes on after the file that killed it.
Requests are sent ahead, so that the child reads while its parent writes. Torch-free.

V RoIs of an item, F width of a RoI feature.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.core.files import open_regular
from benchmark.data import pth
from benchmark.data.pickles import UnreadableFileError, UnsafeFileError

ROIS_PER_IMAGE = 32
ROIS_PER_ITEM = 128
"""The field's released limits."""
MEMORY = 2 << 30
"""Bytes that reading a file may take, beside what Python and numpy do."""
SECONDS = 5.0
"""Processor time for a file; a second more for each 100 MB of it. An honest file takes milliseconds."""

Float16 = npt.NDArray[np.float16]

ROIS, EMPTY, MISSING, UNREADABLE, UNSAFE, INVALID, MACHINE = range(7)
"""What a reply says: RoIs; none in it; no such file; damaged; asks for more than arrays; of no use though
intact; the machine could not read it, which says nothing about the file."""

_HEADER = struct.Struct("<BiiiI16s4q")
"""Kind, V, F, first RoI that is not finite (or -1), bytes of the message, digest, the file's `stat`."""
_READY = b"ready"
_AHEAD = 64
_AHEAD_BYTES = 16_384
"""Requests sent ahead, at most; a pipe holds more bytes than this, so that neither side waits for the other."""
_MACHINE_ERRORS = frozenset(
    {errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ESTALE}
)


class Reply(NamedTuple):
    """What became of one file."""

    kind: int
    message: str = ""
    rois_VF: Float16 | None = None
    not_finite: int = -1
    """The first RoI with NaN or infinity in it, also if only as float16; -1 if all are finite."""
    digest: bytes = b""
    """Of the file's content, 16 bytes; empty where it could not be read."""
    status: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Inode, size, mtime and ctime (ns) of what was read."""


# --- The child -------------------------------------------------------------------------------------------


def serve(seconds: float) -> None:
    """Answers requests on standard input (length, path) until it ends: the child's main."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # what a library prints must not end up among the replies
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    _limit()
    replies.write(_READY)
    replies.flush()
    while size := requests.read(4):
        path = os.fsdecode(requests.read(int.from_bytes(size, "little")))
        try:
            reply = _answer(path, seconds)
        except MemoryError:
            reply = Reply(UNREADABLE, "asks for more memory than there is")
        _allow(0)
        _send(replies, reply)


def _limit() -> None:
    """Memory and no files of its own; on systems that have such limits."""
    if sys.platform == "win32":
        return
    import resource

    with open("/proc/self/statm") if os.path.exists("/proc/self/statm") else open(os.devnull) as file:
        pages = int((file.read().split() or ["0"])[0])
    # the limit is on address space, of which Python and numpy hold much already
    most = pages * resource.getpagesize() + MEMORY
    for limit, value in ((resource.RLIMIT_AS, most), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _allow(seconds: float) -> None:
    """Ends the process after so much processor time, 0 for never: no handler of Python's would be called
    from within a hash."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _answer(path: str, seconds: float) -> Reply:
    try:
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            if found.st_size > pth.LARGEST_FILE:
                raise OSError(errno.EFBIG, f"{found.st_size:,} bytes; at most {pth.LARGEST_FILE:,} are read")
            _allow(seconds + found.st_size / 1e8)
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return Reply(MISSING)
    except OSError as error:
        kind = MACHINE if error.errno in _MACHINE_ERRORS else UNREADABLE
        return Reply(kind, error.strerror or "cannot be read")
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return read_features(content)._replace(digest=digest, status=stat_of(found))


def stat_of(found: os.stat_result) -> tuple[int, int, int, int]:
    """What tells that a file was changed: no one can set its ctime."""
    inode = found.st_ino & 0x7FFF_FFFF_FFFF_FFFF
    return inode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_features(content: bytes) -> Reply:
    """The RoIs of a feature file's content: the first 32 of each image in file order, at most 128."""
    try:
        rois_VF = rois_of(pth.loads(content, only="x"))
    except UnsafeFileError as error:
        return Reply(UNSAFE, str(error))
    except UnreadableFileError as error:
        return Reply(UNREADABLE, str(error))
    except MixedWidthsError as error:
        return Reply(INVALID, str(error))
    if rois_VF is None:
        return Reply(EMPTY)
    # of float16 the exponent's five bits, all set, say infinity or NaN: integers are compared far faster
    exponent_VF = rois_VF.view(np.uint16) & 0x7C00
    if exponent_VF.max(initial=0) < 0x7C00:
        return Reply(ROIS, "", rois_VF)
    return Reply(ROIS, "", rois_VF, int(np.argmax((exponent_VF == 0x7C00).any(axis=1))))


class MixedWidthsError(Exception):
    """Images of one item whose features differ in width."""


def rois_of(images: Any) -> Float16 | None:
    """float16 [V, F] of a feature file's content; None if it has no RoI. UnreadableFileError if it is not a
    list with one dict per image whose `x` is a matrix."""
    if not isinstance(images, list | tuple):
        raise UnreadableFileError("not a list with one dict per image")
    kept: list[npt.NDArray[Any]] = []
    for number, image in enumerate(images):
        x = image.get("x") if isinstance(image, dict) else None
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
            raise UnreadableFileError(f"image {number} is not a dict with a numeric array `x`")
        if x.size == 0:
            continue
        if x.ndim != 2:
            raise UnreadableFileError(f"`x` of image {number} has shape {x.shape}, not [RoIs, features]")
        kept.append(x[:ROIS_PER_IMAGE])
    if not kept:
        return None
    if len({x.shape[1] for x in kept}) > 1:
        raise MixedWidthsError(f"RoI features of different widths: {sorted({x.shape[1] for x in kept})}")
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which is reported as such
        rois_VF = kept[0] if len(kept) == 1 else np.concatenate(kept)[:ROIS_PER_ITEM]
        return rois_VF.astype(np.float16, order="C")


def _send(pipe: BinaryIO, reply: Reply) -> None:
    message = reply.message.encode("utf-8", "backslashreplace")[:10_000]
    rois = reply.rois_VF
    shape = (0, 0) if rois is None else rois.shape
    header = _HEADER.pack(reply.kind, *shape, reply.not_finite, len(message), reply.digest, *reply.status)
    # in one piece: two would wake the parent twice
    pipe.write(b"".join((header, message, b"" if rois is None else rois.data.cast("B"))))
    pipe.flush()


# --- The parent ------------------------------------------------------------------------------------------


class RoiWorker:
    """The child, from its parent's side: started when first needed, ended by `close`."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False

    def __enter__(self) -> RoiWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._end()

    def _end(self) -> int:
        """Lets go of a child that has died; returns how."""
        child = self._child
        assert child is not None
        for pipe in (child.stdin, child.stdout):
            try:
                assert pipe is not None
                pipe.close()
            except OSError:  # what was still to be sent to it
                pass
        self._child = None
        return child.wait()

    def begin(self) -> None:
        """Start the child, without waiting until it is ready."""
        if self._child is None:
            self._child, self._ready = self._start(), False

    def _started(self) -> subprocess.Popen[bytes]:
        self.begin()
        child = self._child
        assert child is not None
        assert child.stdout is not None
        if not self._ready:
            if child.stdout.read(len(_READY)) != _READY:
                message = f"the process that reads feature files did not start (ended with {self._end()})"
                raise ChildProcessError(errno.ECHILD, message)
            self._ready = True
        return child

    def _start(self) -> subprocess.Popen[bytes]:
        home = str(Path(__file__).resolve().parents[2])
        program = (
            f"import sys; sys.path.insert(0, {home!r})\n"
            f"from benchmark.data import roi_worker\nroi_worker.serve({SECONDS!r})"
        )
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        child = subprocess.Popen(
            # -P: nothing is imported from where the command was typed
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | one,
            bufsize=1 << 16,
        )
        assert child.stdout is not None
        _widen(child.stdout)
        return child

    def read(self, paths: Iterable[Path | str]) -> Iterator[Reply]:
        """What became of each file, in order."""
        ahead: deque[bytes] = deque()
        rest = iter(paths)
        again = False  # whether the first of `ahead` has already cost a child, by no fault of its own
        while True:
            self._ask(ahead, rest)
            if not ahead:
                return
            reply = self._receive()
            if reply is None:
                how = self._end()
                if how == -signal.SIGKILL and not again:
                    again = True  # someone else's doing, such as a lack of memory: once more
                    self._send_all(ahead)
                    continue
                reply = Reply(UNREADABLE, _why(how))
                ahead.popleft()
                self._send_all(ahead)
            else:
                ahead.popleft()
            again = False
            yield reply

    def _ask(self, ahead: deque[bytes], rest: Iterator[Path | str]) -> None:
        """Sends requests until enough of them are on their way."""
        if len(ahead) > _AHEAD // 2:
            return
        fresh: list[bytes] = []
        size = sum(map(len, ahead))
        while len(ahead) < _AHEAD and size < _AHEAD_BYTES and (path := next(rest, None)) is not None:
            raw = os.fsencode(path)
            fresh.append(len(raw).to_bytes(4, "little") + raw)
            ahead.append(fresh[-1])
            size += len(fresh[-1])
        self._send_all(fresh)

    def _send_all(self, requests: Iterable[bytes]) -> None:
        content = b"".join(requests)
        if not content:
            return
        pipe = self._started().stdin
        assert pipe is not None
        try:
            pipe.write(content)
            pipe.flush()
        except BrokenPipeError:
            pass  # it died; what it had answered before is still to be read, then its end is seen

    def _receive(self) -> Reply | None:
        """The next reply; None if the child died before it was complete."""
        pipe = self._started().stdout
        assert pipe is not None
        header = pipe.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        kind, n, width, not_finite, length, digest, *status = _HEADER.unpack(header)
        raw = pipe.read(length + 2 * n * width)
        if len(raw) < length + 2 * n * width:
            return None
        rois_VF = np.frombuffer(raw, np.float16, n * width, length).reshape(n, width) if n else None
        known = b"" if digest == bytes(16) else digest
        first, second, third, fourth = status
        message = raw[:length].decode()
        return Reply(kind, message, rois_VF, not_finite, known, (first, second, third, fourth))


def _widen(pipe: IO[bytes]) -> None:
    """Room for a few replies, so that the child reads on while its parent is busy; where the system lets us."""
    if sys.platform != "win32":
        import fcntl

        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 19)


def _why(how: int) -> str:
    if how == -getattr(signal, "SIGPROF", 27):
        return f"took more than {SECONDS:g} seconds of processor time to read: given up"
    name = f"ended by {signal.Signals(-how).name}" if how < 0 else f"ended with {how}"
    return f"the process that read it {name} (out of memory?)"
