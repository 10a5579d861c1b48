"""Files as they should be read and written: regular ones only, and whole or not at all. Torch-free."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LARGEST_JSON = 64 << 20
"""Bytes of the largest JSON file that is read."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path | str) -> io.BufferedReader:
    """The file, opened for reading; OSError if it is a folder, a pipe, a device or a socket.

    A pipe would wait for a writer for ever, and a device may have no end: neither is opened in earnest.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        raise OSError(errno.EINVAL, f"{_KINDS.get(kind, 'something else')} where a file should be", str(path))
    return open(handle, "rb")


def read_regular(path: Path, at_most: int | None = None) -> bytes:
    """The content of a regular file; OSError as `open_regular`, or if it has more than `at_most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if at_most is not None and size > at_most:
            raise OSError(errno.EFBIG, f"{size:,} bytes; at most {at_most:,} are read", str(path))
        return file.read()


def read_json(path: Path, at_most: int = LARGEST_JSON) -> Any:
    """What a JSON file holds. OSError as `read_regular`; ValueError if it is no JSON, or nested too deeply."""
    try:
        return json.loads(read_regular(path, at_most))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _need_file(target: Path) -> None:
    try:
        kind = stat.S_IFMT(os.stat(target).st_mode)
    except OSError:  # not there; or a link that leads nowhere, which is replaced
        return
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if kind != stat.S_IFREG:
        raise OSError(
            errno.EINVAL, f"{_KINDS.get(kind, 'something else')} where a file should be", str(target)
        )


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; renamed to it if the context ends well, removed if not.

    So the final name holds all of the new content or the old one, whatever happens in between. OSError where something
    else than a file is in its place: to rename over a device takes it from everybody (`--out /dev/null`, as root).
    """
    if not target.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    _need_file(target)
    temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(file: Path, content: str | bytes) -> None:
    """All of the content (text in UTF-8) or nothing, also if the process dies in between."""
    with written_beside(file) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
