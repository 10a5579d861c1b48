"""What a pack was made of: one `stat` per source file tells whether it is still that. Torch-free.

A file's inode, size, mtime and ctime decide; no one can set a ctime, so an edit that keeps the size and sets the
time back is seen too. Only where they changed is the content compared (a copy restored from a backup, a `touch`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

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


def scan(folder: CategoryFolder) -> dict[str, Stat]:
    """Of every table and feature file that is there, by its path below the category: its `stat`."""
    found: dict[str, Stat] = {}
    for table in folder.tables():
        _add(found, table.name, str(table))
    _add(found, DESCRIPTOR, str(folder.path / "features" / DESCRIPTOR))
    for split in SPLITS:
        try:
            names = os.listdir(folder.features(split))
        except (FileNotFoundError, NotADirectoryError):
            continue
        base = str(folder.features(split))
        for name in names:
            _add(found, _feature(split, name), f"{base}/{name}/{name}.pth")
    return found


def _plain(folder: CategoryFolder) -> list[Path]:
    """The tables, and what says who made the features (which need not be there)."""
    return [*folder.tables(), folder.path / "features" / DESCRIPTOR]


def _feature(split: str, item_id: str) -> str:
    return f"features/{split}/{item_id}"


def _add(found: dict[str, Stat], name: str, path: str) -> None:
    with contextlib.suppress(OSError):  # not there, or not to be reached: whoever reads it will say so
        found[name] = stat_of(os.stat(path))


def state_of(stats: Mapping[str, Stat]) -> str:
    """16 hexadecimal digits that change with any of the files."""
    digest = hashlib.sha256()
    for name in sorted(stats):
        digest.update(f"{name!r} {stats[name]}\n".encode())
    return digest.hexdigest()[:16]


def settle(stats: Mapping[str, Stat]) -> None:
    """Waits until a change from now on would get a later time than the last one that was seen."""
    latest = max((stat[3] for stat in stats.values()), default=0) / 1e9
    if time.time() - _TICK < latest < time.time() + _TICK:
        time.sleep(2 * _TICK)


def write_ledger(
    out: Path, folder: CategoryFolder, before: Mapping[str, Stat], read: Mapping[Path, Reply]
) -> None:
    """Writes what a finished pack was made of, as `read` saw it; DataError if that is not what was there
    `before` the packing."""
    ledger: dict[str, tuple[Stat, str]] = {}
    for path in _plain(folder):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), open_regular(path) as file:
            stat = stat_of(os.fstat(file.fileno()))
            ledger[path.name] = (stat, hashlib.file_digest(file, _blake).hexdigest())
    for path, reply in read.items():
        name = _feature(path.parent.parent.name, path.parent.name)
        # of a file that killed its reader nothing is known but that it was there
        ledger[name] = (reply.status if reply.digest else before.get(name, (0, 0, 0, 0)), reply.digest)
    used = {path.name for path in _plain(folder)} | _items(out)
    for name in used:
        if ledger.get(name, (None, ""))[0] != before.get(name):
            raise DataError(f"{folder.path}: {name} changed while it was read; start the command again.")
    (out / LEDGER).write_text(json.dumps(ledger), encoding="utf-8")


def same_content(pack: Path, folder: CategoryFolder, now: Mapping[str, Stat]) -> bool:
    """Whether a pack was made of what is there now, though some `stat` differs."""
    try:
        ledger = json.loads((pack / LEDGER).read_text(encoding="utf-8"))
        used = {path.name for path in _plain(folder)} | _items(pack)
        return all(_same(name, ledger.get(name), now.get(name), folder) for name in used)
    except (OSError, ValueError, TypeError, AttributeError):  # a damaged pack: not this one
        return False


def _same(name: str, then: list[object] | None, now: Stat | None, folder: CategoryFolder) -> bool:
    if then is None or now is None:
        return then is None and now is None
    stat, digest = then
    if stat == list(now):
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


def _items(pack: Path) -> set[str]:
    """The feature files that a pack's items have, or would have."""
    return {
        _feature(split, item_id)
        for split in SPLITS
        for side in SIDES
        for item_id in Strings.open(pack / f"{split}.{side}.ids")
    }
