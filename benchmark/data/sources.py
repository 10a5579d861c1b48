"""What a pack was made of: one `stat` per source file tells whether it is still that. Torch-free.

A file's inode, size, mtime and ctime decide; no one can set a ctime, so an edit that keeps the size and sets the
time back is seen too. Only where they changed is the content compared (a copy restored from a backup, a `touch`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError
from benchmark.core.files import open_regular
from benchmark.data.catalog import SIDES, SPLITS
from benchmark.data.features.descriptor import NAME as DESCRIPTOR
from benchmark.data.release import CategoryFolder
from benchmark.data.roi_worker import Reply, stat_of
from benchmark.data.store import Strings

LEDGER = "sources.json"
_TICK = 0.02
"""Seconds within which a file system may give two changes the same time."""

Stat = tuple[int, int, int, int]
"""Inode, size, mtime and ctime (ns)."""


class Sources:
    """Names of files, each with its `stat`: a hundred bytes a file, of which there are hundreds of thousands."""

    def __init__(self, names: Sequence[str], stat_N4: npt.NDArray[np.int64]) -> None:
        order = sorted(range(len(names)), key=names.__getitem__)
        self.names = [names[number] for number in order]
        self.stat_N4 = stat_N4[order]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[str, Stat]]:
        """By name."""
        for start in range(0, len(self.names), 1024):
            rows = map(tuple, self.stat_N4[start : start + 1024].tolist())
            yield from zip(self.names[start : start + 1024], rows, strict=True)

    def index(self, name: str) -> int:
        """Which one it is; -1 if it is not among them."""
        at = bisect_left(self.names, name)
        return at if at < len(self.names) and self.names[at] == name else -1


def scan(folder: CategoryFolder) -> Sources:
    """Every table and feature file that is there, by its path below the category."""
    names: list[str] = []
    stats = array("q")

    def add(name: str, path: str) -> None:
        with contextlib.suppress(OSError):  # not there, or not to be reached: whoever reads it will say so
            stats.extend(stat_of(os.stat(path)))
            names.append(name)

    for plain in _plain(folder):
        add(plain.name, str(plain))
    for split in SPLITS:
        base = str(folder.features(split))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for item in os.listdir(base):
                add(_feature(split, item), f"{base}/{item}/{item}.pth")
    return Sources(names, np.array(stats, dtype=np.int64).reshape(-1, 4))


def _plain(folder: CategoryFolder) -> list[Path]:
    """The tables, and what says who made the features (which need not be there)."""
    return [*folder.tables(), folder.path / "features" / DESCRIPTOR]


def _feature(split: str, item_id: str) -> str:
    return f"features/{split}/{item_id}"


def state_of(sources: Sources) -> str:
    """16 hexadecimal digits that change with any of the files."""
    digest = hashlib.sha256()
    for name, stat in sources:
        digest.update(f"{name!r} {stat}\n".encode())
    return digest.hexdigest()[:16]


def settle(sources: Sources) -> None:
    """Waits until a change from now on would get a later time than the last one that was seen."""
    latest = int(sources.stat_N4[:, 3].max(initial=0)) / 1e9
    if time.time() - _TICK < latest < time.time() + _TICK:
        time.sleep(2 * _TICK)


class Ledger:
    """What a pack was made of, as it was read, beside what was there before."""

    def __init__(self, folder: CategoryFolder, before: Sources) -> None:
        self.folder, self.before = folder, before
        self._stat_N4 = np.full_like(before.stat_N4, -1)
        """-1: not read."""
        self._digest_N = bytearray(16 * len(before))
        """All zeros: not known."""
        self._new: set[str] = set()
        """Read, but not there before."""

    def feature(self, split: str, item_id: str, reply: Reply) -> None:
        """Notes a feature file that was there."""
        self._note(_feature(split, item_id), reply.status if reply.digest else None, reply.digest)

    def _note(self, name: str, stat: Stat | None, digest: bytes) -> None:
        number = self.before.index(name)
        if number < 0:
            self._new.add(name)
            return
        # of a file that killed its reader nothing is known but that it was there
        self._stat_N4[number] = self.before.stat_N4[number] if stat is None else stat
        self._digest_N[16 * number : 16 * number + 16] = digest or bytes(16)

    def write(self, out: Path) -> None:
        """Into a finished pack; DataError if what was read is not what was there before."""
        for path in _plain(self.folder):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), open_regular(path) as file:
                stat = stat_of(os.fstat(file.fileno()))
                self._note(path.name, stat, hashlib.file_digest(file, _blake).digest())
        same_N = (self._stat_N4 == self.before.stat_N4).all(axis=1)
        for name in _used(self.folder, out):
            number = self.before.index(name)
            if name in self._new if number < 0 else not same_N[number]:
                raise DataError(
                    f"{self.folder.path}: {name} changed while it was read; start the command again."
                )
        with (out / LEDGER).open("w", encoding="utf-8") as file:
            file.write("{")
            file.writelines(self._lines())
            file.write("\n}\n")

    def _lines(self) -> Iterator[str]:
        """An entry a line, so that a reader need not hold them all."""
        comma = ""
        for number in np.flatnonzero(self._stat_N4[:, 0] >= 0).tolist():
            digest = bytes(self._digest_N[16 * number : 16 * number + 16])
            value = [self._stat_N4[number].tolist(), digest.hex() if any(digest) else ""]
            yield f"{comma}\n{json.dumps(self.before.names[number])}: {json.dumps(value)}"
            comma = ","


def same_content(pack: Path, folder: CategoryFolder, now: Sources) -> bool:
    """Whether a pack was made of what is there now, though some `stat` differs."""
    try:
        seen = bytearray(len(now))
        for name, then in _entries(pack):
            number = now.index(name)
            if number < 0 or not _same(name, then, now.stat_N4[number].tolist(), folder):
                return False
            seen[number] = True
        # a file that was not there when the pack was made
        found = (now.index(name) for name in _used(folder, pack))
        return all(number < 0 or seen[number] for number in found)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # a damaged pack: not this one
        return False


def _entries(pack: Path) -> Iterator[tuple[str, Any]]:
    with io.TextIOWrapper(open_regular(pack / LEDGER), encoding="utf-8") as file:
        first = file.readline()
        if first != "{\n":  # all on one line, as older packs have it
            yield from json.loads(first + file.read()).items()
            return
        for line in file:
            if line != "}\n":
                yield from json.loads("{" + line.rstrip(",\n") + "}").items()


def _same(name: str, then: Any, now: list[int], folder: CategoryFolder) -> bool:
    stat, digest = then
    if stat == now:
        return True
    item = name.rpartition("/")[2]
    if "/" in name:
        path = folder.path / name / f"{item}.pth"
    else:
        path = next(plain for plain in _plain(folder) if plain.name == name)
    with open_regular(path) as file:
        return bool(digest) and hashlib.file_digest(file, _blake).hexdigest() == digest


def _blake() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def _used(folder: CategoryFolder, pack: Path) -> Iterator[str]:
    """What a pack is made of, or would be: the tables, and the feature files of its items."""
    yield from (path.name for path in _plain(folder))
    for split in SPLITS:
        for side in SIDES:
            for item_id in Strings.open(pack / f"{split}.{side}.ids"):
                yield _feature(split, item_id)
