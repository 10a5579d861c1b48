"""Reads RoI feature files (`.pth`) from strangers: nothing in them can execute. Torch-free.

A `.pth` file is a pickle, and a pickle is a program: it names functions and has them called. The reader
here runs that program with Python's own unpickler, but every name it asks for is looked up in the table
`_ADMITTED` below, which holds our own inert stand-ins only: no class or function of torch, numpy or
the standard library is ever within a file's reach. Any other name is refused, and the error says which.
What a stand-in returns is a placeholder without attributes or methods; placeholders become numpy arrays
after the unpickler is done, with every size checked against the bytes that are there.

Three containers are read: torch's zip format (torch >= 1.6), its older flat format, and a bare pickle.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError

Array = npt.NDArray[Any]


class UnsafeFileError(DataError):
    """A file that asks for something a feature file has no need of. Never "no image": it is an error."""


class UnreadableFileError(Exception):
    """A file that is damaged or of another format. The item that it belongs to counts as "no image"."""


_MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of torch's flat format."""
_MAX_DEPTH = 32

# torch's storage classes and dtypes -> numpy's. bfloat16 has no numpy type: see `_Storage.elements`.
_STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
_NUMPY_KINDS = frozenset("fiub")


@dataclass(frozen=True, slots=True)
class _Storage:
    """One torch storage; `data` is filled in late by the flat format."""

    dtype: str
    size: int
    key: str
    data: dict[str, bytes]

    def elements(self) -> Array:
        raw = self.data.get(self.key)
        width = 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize
        if raw is None or len(raw) < self.size * width:
            raise UnreadableFileError(f"storage {self.key} is missing or too short")
        raw = raw[: self.size * width]
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        return np.frombuffer(raw, self.dtype)


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def build(self) -> Array:
        flat = self.storage.elements()
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        count = math.prod(self.shape)
        if count == 0:
            return np.zeros(self.shape, flat.dtype)
        if self.offset < 0 or last >= len(flat):
            raise UnreadableFileError("a tensor reaches outside of its storage")
        if count > len(flat):
            raise UnreadableFileError("a tensor is larger than its storage")
        steps = [step * flat.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False)


class _Array:
    """A numpy array on its way: numpy pickles an empty one, then its state."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: tuple[Any, ...] | None = None

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise UnreadableFileError("a numpy array in an unknown form")
        self.state = state[1:]

    def build(self) -> Array:
        if self.state is None:
            raise UnreadableFileError("a numpy array without content")
        shape, dtype, fortran, raw = self.state
        return _array_of_bytes(raw, dtype, shape, "F" if fortran else "C")


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A numpy array as pickle protocol 5 has it."""

    raw: Any
    dtype: Any
    shape: Any
    order: Any

    def build(self) -> Array:
        return _array_of_bytes(self.raw, self.dtype, self.shape, self.order)


@dataclass(frozen=True, slots=True)
class _Scalar:
    dtype: Any
    raw: Any

    def build(self) -> Any:
        return _array_of_bytes(self.raw, self.dtype, (), "C")[()]


class _Dtype:
    """A numpy dtype: its code, then (as state) its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, itemsize, alignment, flags): plain types only
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise UnreadableFileError("a numpy array of a structured type")
        self.order = state[1]

    def build(self) -> np.dtype[Any]:
        try:
            dtype = np.dtype(self.code)
        except (TypeError, ValueError) as error:
            raise UnreadableFileError(f"numpy dtype {self.code!r}") from error
        if dtype.kind not in _NUMPY_KINDS or dtype.fields or dtype.subdtype:
            raise UnreadableFileError(f"a numpy array of {self.code!r}; only numbers are read")
        return dtype.newbyteorder(">" if self.order == ">" else "<")


def _array_of_bytes(raw: Any, dtype: Any, shape: Any, order: Any) -> Array:
    known = isinstance(dtype, _Dtype) and isinstance(raw, bytes | bytearray)
    if not known or not _are_sizes(shape) or order not in ("C", "F"):
        raise UnreadableFileError("a numpy array in an unknown form")
    built = dtype.build()
    if math.prod(shape) * built.itemsize != len(raw):
        raise UnreadableFileError("a numpy array whose size is not that of its bytes")
    return np.frombuffer(raw, built).reshape(shape, order=order)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(type(n) is int and n >= 0 for n in value)


# --- What a file may name ------------------------------------------------------------------------------


class _Call:
    """An inert stand-in for a named function: it can be called, and nothing else can be done with it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise UnreadableFileError("a pickle that sets the state of a function")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    sizes = _are_sizes(shape) and _are_sizes(strides) and len(shape) == len(strides)
    if not isinstance(storage, _Storage) or type(offset) is not int or not sizes:
        raise UnreadableFileError("a tensor in an unknown form")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _dict(*items: Any) -> dict[Any, Any]:
    if len(items) > 1:
        raise UnreadableFileError("an OrderedDict in an unknown form")
    return dict(items[0]) if items else {}


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnreadableFileError("bytes in an unknown encoding")
    return text.encode("latin1")


def _bytes(value: Any = b"") -> bytes:
    if not isinstance(value, bytes):
        raise UnreadableFileError("bytes in an unknown form")
    return value


def _dtype(code: Any, *_: Any) -> _Dtype:
    if not isinstance(code, str):
        raise UnreadableFileError("a numpy dtype in an unknown form")
    return _Dtype(code)


_NUMPY_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "multiarray._reconstruct": lambda *_: _Array(),
    "multiarray.scalar": lambda dtype, raw=b"": _Scalar(dtype, raw),
    "numeric._frombuffer": _Buffer,
}
_ADMITTED: Mapping[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _Call(_tensor),
    "torch._utils._rebuild_tensor": _Call(_tensor),
    "torch._utils._rebuild_parameter": _Call(lambda tensor, *_: tensor),
    "torch.Size": _Call(lambda sizes=(): tuple(sizes)),
    **{f"torch.{name}": name for name in _STORAGE_TYPES},
    **{f"numpy.core.{name}": _Call(function) for name, function in _NUMPY_FUNCTIONS.items()},
    **{f"numpy._core.{name}": _Call(function) for name, function in _NUMPY_FUNCTIONS.items()},  # numpy >= 2
    "numpy.ndarray": "ndarray",  # an argument of _reconstruct, never called
    "numpy.dtype": _Call(_dtype),
    "collections.OrderedDict": _Call(_dict),
    "_codecs.encode": _Call(_latin1),
    "builtins.bytes": _Call(_bytes),
    "__builtin__.bytes": _Call(_bytes),
    "builtins.bytearray": _Call(_bytes),
}


class _Unpickler(pickle.Unpickler):
    """Python's unpickler with `_ADMITTED` for a namespace."""

    def __init__(self, file: BinaryIO, name: str, storages: dict[str, bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self._name = name
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _ADMITTED:
            raise UnsafeFileError(
                f"{self._name}: refused, its pickle asks for `{full}`. Only tensors, numpy arrays and plain "
                "containers are read; write the features anew with torch.save([{'x': tensor}, ...], path)"
            )
        return _ADMITTED[full]

    def persistent_load(self, pid: Any) -> _Storage:
        # ("storage", class, key, device, number of elements[, view of another storage])
        if not (
            isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and pid[1] in _STORAGE_TYPES
        ):
            raise UnreadableFileError("a storage in an unknown form")
        if type(pid[4]) is not int or pid[4] < 0 or (len(pid) > 5 and pid[5] is not None):
            raise UnreadableFileError("a storage in an unknown form")
        return _Storage(_STORAGE_TYPES[pid[1]], pid[4], str(pid[2]), self._storages)


# --- Containers ----------------------------------------------------------------------------------------


def load(path: Path) -> Any:
    """What the file holds: dicts, lists, tuples, strings, bytes, numbers, None, and numpy arrays in place of
    tensors and arrays (read-only; bfloat16 becomes float32; a device that a tensor was on is forgotten).

    Raises UnsafeFileError, naming it, if the file asks for anything else, and UnreadableFileError if it is
    damaged or of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(error.strerror or "cannot be read") from error
    try:
        tree = _read_zip(content, path) if content[:4] == b"PK\x03\x04" else _read_flat(content, path)
        return _finish(tree, {})
    except (UnsafeFileError, UnreadableFileError):
        raise
    except MemoryError as error:
        raise UnreadableFileError("asks for more memory than there is") from error
    except Exception as error:  # a damaged pickle can fail in any way; it cannot do anything
        raise UnreadableFileError(f"damaged ({type(error).__name__}: {error})") from error


def _read_zip(content: bytes, path: Path) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in infos if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UnreadableFileError("a zip file without torch's data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos.values()):
            raise UnreadableFileError("a compressed zip file; torch.save does not compress")
        order = f"{folder}byteorder"
        if order in infos and archive.read(order) != b"little":
            raise UnreadableFileError("tensors in big-endian byte order")
        prefix = f"{folder}data/"
        storages = {n.removeprefix(prefix): archive.read(n) for n in infos if n.startswith(prefix)}
        return _unpickle(io.BytesIO(archive.read(pickles[0])), path, storages)


def _read_flat(content: bytes, path: Path) -> Any:
    file = io.BytesIO(content)
    storages: dict[str, bytes] = {}
    first = _unpickle(file, path, storages)
    if first != _MAGIC:
        return first  # a bare pickle
    _version, system = _unpickle(file, path, storages), _unpickle(file, path, storages)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise UnreadableFileError("tensors in big-endian byte order")
    tree = _unpickle(file, path, storages)
    keys = _unpickle(file, path, storages)
    widths = {storage.key: storage for storage in _storages_of(tree, set())}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        dtype = widths[key].dtype if key in widths else "<u1"
        storages[key] = file.read(count * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize))
    return tree


def _unpickle(file: BinaryIO, path: Path, storages: dict[str, bytes]) -> Any:
    return _Unpickler(file, str(path), storages).load()


def _storages_of(tree: Any, seen: set[int], depth: int = 0) -> list[_Storage]:
    """The storages that a tree's tensors lie in."""
    if id(tree) in seen:
        return []
    seen.add(id(tree))
    if depth > _MAX_DEPTH:
        raise UnreadableFileError("containers nested too deeply")
    if isinstance(tree, _Tensor):
        return [tree.storage]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [storage for part in parts for storage in _storages_of(part, seen, depth + 1)]


def _finish(tree: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """The tree with arrays in place of placeholders. `done` keeps a container that is listed many times
    from being built as often."""
    if id(tree) in done:
        return done[id(tree)]
    if depth > _MAX_DEPTH:
        raise UnreadableFileError("containers nested too deeply")
    if isinstance(tree, dict):
        done[id(tree)] = {key: _finish(value, done, depth + 1) for key, value in tree.items()}
    elif isinstance(tree, list | tuple):
        done[id(tree)] = type(tree)(_finish(part, done, depth + 1) for part in tree)
    elif isinstance(tree, _Tensor | _Array | _Buffer | _Scalar):
        done[id(tree)] = tree.build()
    elif tree is None or isinstance(tree, str | bytes | int | float):
        return tree
    else:
        raise UnreadableFileError("something that is neither an array nor a plain container")
    return done[id(tree)]
