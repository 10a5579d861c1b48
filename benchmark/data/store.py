"""Flat arrays with offsets on disk, and folders that appear complete or not at all. Torch-free.

N items; the flat array holds item i at offset_N1[i] .. offset_N1[i + 1].
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from benchmark.data.seal import damage_of, seal

Int64 = npt.NDArray[np.int64]
_log = logging.getLogger(__name__)


def offsets_of(count_N: npt.ArrayLike) -> Int64:
    """int64 [N + 1], where each item begins, from the items' lengths."""
    counts = np.asarray(count_N, dtype=np.int64)
    offset_N1 = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offset_N1[1:])
    return offset_N1


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths. Opened from disk it is a private memory map: pages are read when touched,
    shared between processes, and nothing written to it reaches the file."""

    flat: npt.NDArray[Any]
    offset_N1: Int64

    @property
    def count_N(self) -> Int64:
        return np.diff(self.offset_N1)

    def __len__(self) -> int:
        return len(self.offset_N1) - 1

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        return self.flat[self.offset_N1[row] : self.offset_N1[row + 1]]

    def save(self, stem: Path) -> None:
        np.save(stem.with_name(stem.name + ".flat.npy"), self.flat)
        np.save(stem.with_name(stem.name + ".offsets.npy"), self.offset_N1)

    @classmethod
    def open(cls, stem: Path) -> Ragged:
        return cls(
            open_array(stem.with_name(stem.name + ".flat.npy")),
            np.load(stem.with_name(stem.name + ".offsets.npy")),
        )


def open_array(path: Path) -> npt.NDArray[Any]:
    """A .npy file as a private memory map (see Ragged)."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="c")
    return array


class Strings(Sequence[str]):
    """Texts in one UTF-8 file, decoded one at a time."""

    def __init__(self, ragged: Ragged) -> None:
        self._bytes = ragged

    def __len__(self) -> int:
        return len(self._bytes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return _decode(self._bytes[index % len(self)].tobytes())

    def __iter__(self) -> Iterator[str]:
        content, offsets = self._bytes.flat.tobytes(), self._bytes.offset_N1.tolist()
        return (_decode(content[start:end]) for start, end in pairwise(offsets))

    @classmethod
    def open(cls, stem: Path) -> Strings:
        return cls(Ragged.open(stem))

    @staticmethod
    def save(texts: Iterable[str], stem: Path) -> None:
        encoded = [_encode(text) for text in texts]
        flat = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        Ragged(flat, offsets_of([len(part) for part in encoded])).save(stem)


def _encode(text: str) -> bytes:
    """UTF-8; lone surrogates, which JSON can carry, survive."""
    return text.encode("utf-8", "surrogatepass")


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


class RowWriter:
    """Appends rows to a .npy file [rows, width] without holding them; `close` completes its header."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._file = path.open("w+b")
        self._dtype = np.dtype(dtype)
        self._width: int | None = None
        self.rows = 0

    def append(self, row_NF: npt.NDArray[Any]) -> None:
        if self._width is None:
            self._start(row_NF.shape[1])
        self._file.write(np.ascontiguousarray(row_NF, dtype=self._dtype).data)
        self.rows += len(row_NF)

    def close(self) -> None:
        """A file without a row is [0, 1]."""
        if self._width is None:
            self._start(1)
        end = self._file.tell()
        self._file.seek(0)
        self._write_header()  # numpy leaves room in it for the final number of rows
        self._file.seek(end)
        self._file.close()

    def _start(self, width: int) -> None:
        self._width = width
        self._write_header()

    def _write_header(self) -> None:
        shape = (self.rows, self._width)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


# --- Folders ---------------------------------------------------------------------------------------------


def cache_root(option: Path | None = None) -> Path:
    """Where packs are kept: the option, else $MRHP_BENCH_CACHE, else the user's cache folder."""
    if option is not None:
        return option
    if os.environ.get("MRHP_BENCH_CACHE"):
        return Path(os.environ["MRHP_BENCH_CACHE"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mrhp-bench"


def build_folder(
    target: Path,
    build: Callable[[Path], None],
    *,
    sealed: bool = True,
    thorough: bool = False,
    deep: bool = False,
) -> Path:
    """`target`, made by `build(folder)` unless it is there. It is built under another name and renamed when
    complete, so a killed process leaves nothing that is taken for done; of two processes one waits for
    the other.

    A folder that is there is checked against the seal that it got when it was complete (see
    `benchmark.data.seal`); a damaged one is named in a warning and built anew.
    """
    if target.is_dir() and not (sealed and damage_of(target, thorough, deep)):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            # once more, now under the lock: another process may have made it meanwhile
            damage = damage_of(target, thorough, deep) if sealed else ""
            if not damage:
                return target
            _log.warning("%s: %s; made anew", target, damage)
            aside = target.with_name(f".{target.name}.tmp-damaged-{uuid.uuid4().hex[:8]}")
            target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        for stale in target.parent.glob(f".{target.name}.tmp-*"):  # of a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        unfinished = target.with_name(f".{target.name}.tmp-{uuid.uuid4().hex[:8]}")
        unfinished.mkdir()
        try:
            build(unfinished)
            if sealed:
                seal(unfinished, deep)
            # atomic within one file system: hence a name beside the target, not a temporary folder
            unfinished.rename(target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return target


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock, which the system releases if the process dies."""
    if sys.platform == "win32":
        import msvcrt

        with path.open("a+b") as file:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            yield
        return
    import fcntl

    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
