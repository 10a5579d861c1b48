"""A supplement that others can check: run folders, data manifests and tables in one zip, and back.

The archive holds no weights and no review texts. The same runs give the same bytes. A large array lies in it in
planes (`benchmark.runs.planes`), under another name; the index says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import open_regular, written_beside
from benchmark.runs import store
from benchmark.runs.arrays import from_npy
from benchmark.runs.files import PARTS
from benchmark.runs.planes import from_planes, to_planes
from benchmark.runs.store import StoredRun

INDEX = "index.json"
"""The runs and files that an export must hold, each file with its SHA-256."""
EPOCH = (1980, 1, 1, 0, 0, 0)  # zip has no earlier date; a fixed one keeps the bytes the same
MOST_ENTRIES, LARGEST_ENTRY, MOST_BYTES = 1_000_000, 256 << 20, 8 << 30
"""Limits on what is unpacked: a few kilobytes of a zip file can hold gigabytes of zeros."""

_SEAL_BYTES = 64
ARRAYS = ("scores.npy", PARTS)
LARGE_TABLE = 1 << 20
"""Bytes from which on a table is packed by bzip2: a quarter smaller, and some archivers cannot read it."""

_BROKEN = (zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)
"""What zipfile raises for damaged archives, beside its own BadZipFile."""


def export(
    runs: Sequence[StoredRun],
    tables: Mapping[str, str],
    out: Path,
    further: Mapping[str, bytes] | None = None,
) -> int:
    """Write the runs, what is kept of the data that they saw, rendered tables and `further` files (path ->
    content); returns the file count. Runs are read, checked and packed one at a time."""
    if not runs:
        raise UsageError("there are no finished runs to export.")
    out.parent.mkdir(parents=True, exist_ok=True)
    sums: dict[str, str] = {}
    planes: dict[str, Any] = {}
    with written_beside(out) as unfinished:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in _entries(runs, tables, further or {}):
                sums[name] = hashlib.sha256(content).hexdigest()
                made = to_planes(content, from_npy(content, Path(name))) if name.endswith(ARRAYS) else None
                if made is None:
                    _add(archive, name, content)
                else:
                    planes[name] = made[1]
                    _add(archive, plane_name(name), made[0], only_huffman=True)
            index = {"runs": sorted(run.id for run in runs), "files": dict(sorted(sums.items()))}
            index |= {"planes": dict(sorted(planes.items()))} if planes else {}
            _add(archive, INDEX, (json.dumps(index, indent=1) + "\n").encode())
            archive.comment = bytes(_SEAL_BYTES)  # room for the seal
        _seal(unfinished)
    return len(sums) + 1


def _seal(file: Path) -> None:
    """The hash of all bytes before it becomes the last ones, the archive's comment."""
    with file.open("r+b") as opened:
        digest = _digest(opened)
        opened.seek(-_SEAL_BYTES, os.SEEK_END)
        opened.write(digest)


def _digest(opened: IO[bytes]) -> bytes:
    """Of all but the last `_SEAL_BYTES` of a file, in hexadecimal digits."""
    left, digest = opened.seek(0, os.SEEK_END) - _SEAL_BYTES, hashlib.sha256()
    opened.seek(0)
    while left > 0 and (block := opened.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


def plane_name(name: str) -> str:
    return name.removesuffix(".npy") + ".planes.npy"


def _add(archive: zipfile.ZipFile, name: str, content: bytes, only_huffman: bool = False) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    large = name.endswith(".csv") and len(content) >= LARGE_TABLE and importlib.util.find_spec("_bz2")
    info.compress_type = zipfile.ZIP_BZIP2 if large else zipfile.ZIP_DEFLATED
    info.file_size = len(content)
    with archive.open(info, "w") as entry:
        if only_huffman:
            # in planes of floats no text repeats itself: to look for one costs time, and room
            made = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
            with contextlib.suppress(AttributeError):  # where zipfile keeps it otherwise, as all else
                if entry._compressor is not None:  # type: ignore[attr-defined]
                    entry._compressor = made  # type: ignore[attr-defined]
        entry.write(content)


def _entries(
    runs: Sequence[StoredRun], tables: Mapping[str, str], further: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of all but the index, in a fixed order; data that several runs saw comes once."""
    results = runs[0].results
    written: set[Path] = set()
    yield from sorted(further.items())
    for run in sorted(runs, key=lambda run: run.folder):
        contents = {run.folder / name: content for name, content in run.contents().items()}
        if run.data_folder not in written:
            written.add(run.data_folder)
            contents |= {run.data_folder / name: content for name, content in run.data_contents().items()}
        for file, content in sorted(contents.items()):
            yield file.relative_to(results).as_posix(), content
    for name, text in sorted(tables.items()):
        yield f"tables/{name}", (text.rstrip("\n") + "\n").encode()


@contextmanager
def opened(file: Path) -> Iterator[Path]:
    """A results folder with what an export holds, for as long as the context lasts.

    DataError for an archive that is damaged, names a path outside itself, lacks a run that it lists, or holds a
    file that is not what was exported; and for a run whose values per product are not those of its scores.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file. --from takes what `bench export --out` wrote.")
    with tempfile.TemporaryDirectory(prefix="mrhp-bench-") as folder:
        results = Path(folder)
        try:
            with open_regular(file) as raw, zipfile.ZipFile(raw) as archive:
                runs, more = _unpack(archive, results, file)
                # packed anew by another program, or with an entry of somebody's: what the others hold counts
                if archive.comment and not more and archive.comment != _digest(raw):
                    raise DataError(f"{file}: damaged (its bytes do not have the hash that it ends with).")
        except (zipfile.BadZipFile, *_BROKEN) as error:
            raise DataError(f"{file}: not a zip archive that can be read ({error}).") from error
        found = store.load_runs(results)
        if sorted(run.id for run in found) != runs:
            raise DataError(f"{file}: the runs in it are not those that its {INDEX} lists.")
        for run in found:
            _verify(run, file)
        yield results


def _unpack(archive: zipfile.ZipFile, results: Path, file: Path) -> tuple[list[str], bool]:
    """Extracts what the index lists, nothing else; the identities of its runs, and whether there is more in it."""
    infos = archive.infolist()
    entries = {info.filename: info for info in infos}
    for info in infos:
        _check(info, file)
    if len(entries) != len(infos):
        raise DataError(f"{file}: has an entry twice; refused.")
    if len(infos) > MOST_ENTRIES or sum(info.file_size for info in infos) > MOST_BYTES:
        raise DataError(f"{file}: more than {MOST_ENTRIES:,} entries or {MOST_BYTES:,} bytes; refused.")
    try:
        index = json.loads(_read(archive, entries[INDEX], file))
        runs, sums, planes = index["runs"], index["files"], dict(index.get("planes", {}))
        if not all(isinstance(part, str) for part in (*runs, *sums, *sums.values())):
            raise TypeError("a name is no text")
    except KeyError as error:
        raise DataError(
            f"{file}: no {INDEX} in it, so what it must hold is not known. Export anew."
        ) from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{file}: its {INDEX} is damaged ({error}).") from error
    for name, sha256 in sums.items():
        stored = plane_name(name) if name in planes else name
        if stored not in entries:
            raise DataError(f"{file}: {stored} is missing.")
        content = _read(archive, entries[stored], file)
        if name in planes:
            content = from_planes(content, planes[name], file / stored)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"{file}: {name} was changed after the run or its export.")
        target = results / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return sorted(runs), len(entries) > len(sums) + 1


def _check(info: zipfile.ZipInfo, file: Path) -> None:
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in info.filename or ":" in info.filename:
        raise DataError(f"{file}: its entry {info.filename!r} would be written outside the folder; refused.")
    if info.flag_bits & 1:
        raise DataError(f"{file}: its entry {info.filename!r} is encrypted; refused.")
    if info.file_size > LARGEST_ENTRY:
        raise DataError(
            f"{file}: its entry {info.filename!r} has {info.file_size:,} bytes, more than {LARGEST_ENTRY:,}; refused."
        )


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> bytes:
    """An entry's content; DataError if it is more than the archive says of it."""
    try:
        with archive.open(info) as entry:
            content = entry.read(info.file_size + 1)
    except (OSError, ValueError, OverflowError) as error:  # an offset that leads nowhere
        raise DataError(f"{file}: {info.filename} is damaged ({error}).") from error
    if len(content) != info.file_size:
        raise DataError(f"{file}: {info.filename} is damaged.")
    return content


def _verify(run: StoredRun, file: Path) -> None:
    """What hashes cannot tell: whether the numbers of a run fit each other and its data."""
    if why := run.contradiction():
        raise DataError(f"{file}: run {run.id} ({run.spec}): {why}.")
