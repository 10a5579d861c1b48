"""Reads RoI feature files (`.pth`) from strangers: nothing in them can execute. Torch-free.

A `.pth` file is a pickle, and a pickle is a program: it names functions and has them called. The reader
here runs that program with Python's own unpickler in a world of inert stand-ins (`benchmark.data.pickles`).
What a stand-in returns is a placeholder without attributes or methods; placeholders become numpy arrays
after the unpickler is done, with every size checked against the bytes that are there.

Three containers are read: torch's zip format (torch >= 1.6), its older flat format, and a bare pickle.

Why not torch's own `weights_only` loader? Tried on the same files (`python -m tests.data.pth_readers FOLDER`;
torch 2.13 with an allow-list for numpy's arrays), neither ran anything, and the same bombs (nested tuples as
a key) stop both, so either needs the child process of `benchmark.data.roi_worker`. But torch's loader
judges all of a file before it hands out any: a numpy string, a path or an object array beside good
features lost the image (10 of 28 legitimate files, and 3 more for pickle protocol 5 and bare pickles), where
this one read all; it runs classes of torch, ours stand-ins only; and it needs torch in the process
that packs. Files per second, one thread: 10,500 here and 5,700 there for small files, 4,600 and 4,800 where
512 KiB of features outweigh the pickle.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from benchmark.core.files import read_regular
from benchmark.data.pickles import (
    BUILT,
    Bytes,
    Inert,
    Storages,
    Unpickler,
    UnreadableFileError,
    UnsafeFileError,
    reject,
)
from benchmark.data.stored_zip import NotPlainError, StoredZip

_MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of torch's flat format."""
_MAX_DEPTH = 32
LARGEST_FILE = 1 << 30
"""Bytes of the largest file that is read."""


def load(path: Path, only: str | None = None) -> Any:
    """What the file holds: see `loads`. Raises UnsafeFileError, naming the file, and UnreadableFileError."""
    try:
        return loads(read_regular(path, LARGEST_FILE), only)
    except OSError as error:
        raise UnreadableFileError(error.strerror or "cannot be read") from error
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: {error}") from None


def loads(content: bytes, only: str | None = None) -> Any:
    """What a file of this content holds: dicts, lists, tuples, strings, bytes, numbers, None, and numpy arrays
    in place of tensors and arrays (read-only; bfloat16 becomes float32; a device is forgotten).

    With `only`, of each dict in a list at the top no more than this key is looked at and returned: what else
    is in there, whatever it asks for, is left alone.

    Raises:
        UnsafeFileError: what is read asks for anything else.
        UnreadableFileError: damaged, or of another kind.
    """
    try:
        if content[:4] != b"PK\x03\x04":
            return _arrays(_read_flat(content), only)
        try:
            return _arrays(_read_zip(StoredZip(content)), only)
        except NotPlainError:
            return _arrays(_read_zip(_OtherZip(content)), only)
    except (UnsafeFileError, UnreadableFileError):
        raise
    except MemoryError as error:
        raise UnreadableFileError("asks for more memory than there is") from error
    except Exception as error:  # a damaged pickle can fail in any way; it cannot do anything
        raise UnreadableFileError(f"damaged ({type(error).__name__}: {str(error)[:200]})") from error


def _arrays(tree: Any, only: str | None) -> Any:
    if only is not None and isinstance(tree, list | tuple):
        tree = [_with_key(part, only) for part in tree]
    return _finish(tree, {})


def _with_key(part: Any, key: str) -> Any:
    return {name: part[name] for name in (key,) if name in part} if isinstance(part, dict) else part


class _OtherZip:
    """A zip file that torch did not write as it does now, or that is damaged."""

    def __init__(self, content: bytes) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        infos = self._archive.infolist()
        self.entries = [info.filename for info in infos]
        # no zip bombs: a stored entry is no longer than the file
        self.compressed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)

    def read(self, name: str) -> bytes:
        return self._archive.read(name)


class _ZipStorages(Mapping[str, Bytes]):
    """The storages of a zip file, each read when it is asked for."""

    def __init__(self, archive: StoredZip | _OtherZip, prefix: str) -> None:
        self._archive, self._prefix = archive, prefix
        self._known: dict[str, Bytes] = {}

    def __getitem__(self, key: str) -> Bytes:
        if key not in self._known:
            if self._prefix + key not in self._archive.entries:
                raise KeyError(key)
            self._known[key] = self._archive.read(self._prefix + key)
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        prefix = self._prefix
        return (name.removeprefix(prefix) for name in self._archive.entries if name.startswith(prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _read_zip(archive: StoredZip | _OtherZip) -> Any:
    pickles = [name for name in archive.entries if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UnreadableFileError("a zip file without torch's data.pkl")
    if archive.compressed:
        raise UnreadableFileError("a compressed zip file; torch.save does not compress")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.entries and archive.read(f"{folder}byteorder") != b"little":
        raise UnreadableFileError("tensors in big-endian byte order")
    storages = _ZipStorages(archive, f"{folder}data/")
    return Unpickler(io.BytesIO(archive.read(pickles[0])), storages).load()


def _read_flat(content: bytes) -> Any:
    file = io.BytesIO(content)
    storages: dict[str, bytes] = {}
    first = _unpickle(file, storages)
    if type(first) is not int or first != _MAGIC:
        return first  # a bare pickle
    _version, system = _unpickle(file, storages), _unpickle(file, storages)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise UnreadableFileError("tensors in big-endian byte order")
    unpickler = Unpickler(file, storages)
    tree = unpickler.load()
    for key in _unpickle(file, storages):
        # after the pickled keys: for each its number of elements, then these, back to back
        count = int.from_bytes(file.read(8), "little")
        if str(key) not in unpickler.widths:
            break  # of unknown width: where the next one begins is not known
        storages[str(key)] = file.read(count * unpickler.widths[str(key)])
    return tree


def _unpickle(file: BinaryIO, storages: Storages) -> Any:
    return Unpickler(file, storages).load()


def _finish(tree: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """The tree with arrays in place of placeholders. `done` keeps a container that is listed many times
    from being built as often."""
    # ids are safe as keys, for the tree keeps all that is in it alive
    if id(tree) in done:
        return done[id(tree)]
    # a list that holds itself ends here too: it is in `done` only when finished
    if depth > _MAX_DEPTH:
        raise UnreadableFileError("containers nested too deeply")
    if isinstance(tree, dict):
        done[id(tree)] = {key: _finish(value, done, depth + 1) for key, value in tree.items()}
    elif isinstance(tree, list | tuple):
        done[id(tree)] = type(tree)(_finish(part, done, depth + 1) for part in tree)
    elif isinstance(tree, BUILT):
        done[id(tree)] = tree.build()
    elif isinstance(tree, Inert) or (isinstance(tree, type) and issubclass(tree, Inert)):
        reject(tree)
    elif tree is None or isinstance(tree, str | bytes | int | float):
        return tree
    else:
        raise UnreadableFileError("something that is neither an array nor a plain container")
    return done[id(tree)]
