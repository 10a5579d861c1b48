"""What a feature file's pickle may name: inert stand-ins, and the unpickler that knows nothing else.

No class or function of torch, numpy or the standard library is ever within a file's reach. A name that is
in the table `_ADMITTED` stands for one of our own; any other becomes an `Inert`, which can be called, given
a state or appended to, and does nothing. Whether an `Inert` matters is decided by who reads the tree: a
device or a set beside the features does not, in their place it does.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError

Array = npt.NDArray[Any]


class UnsafeFileError(DataError):
    """A file that asks for something a feature file has no need of. Never "no image": it is an error."""


class UnreadableFileError(Exception):
    """A file that is damaged or of another format. The item that it belongs to counts as "no image"."""


class Inert:
    """Something in a file that is not read. Whatever a pickle does with it, nothing happens."""

    refused = ""
    """The name that the file asked for; empty for something admitted in a form that is not known."""
    reason = ""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self

    def __setstate__(*_: Any) -> None:  # `self` is the class where a file sets the state of that
        pass

    def __setitem__(self, *_: Any) -> None:
        pass

    # methods that a pickle's own instructions look up: APPEND, APPENDS, ADDITEMS
    append = extend = add = __setstate__


def _odd(reason: str) -> Inert:
    made = Inert()
    made.reason = reason
    return made


def reject(thing: Inert | type[Inert]) -> None:
    """Raises what an `Inert` means where it was needed."""
    if thing.refused:
        raise UnsafeFileError(
            f"refused, its pickle asks for `{thing.refused}`. Only tensors, numpy arrays and plain containers "
            "are read; write the features anew with torch.save([{'x': tensor}, ...], path)"
        )
    raise UnreadableFileError(thing.reason)


# torch's storage classes and dtypes -> numpy's. bfloat16 has no numpy type: see `Storage.elements`.
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
_OTHER_WIDTHS = {
    **{"ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1},
    **{"QInt32Storage": 4, "QUInt4x2Storage": 1, "QUInt2x4Storage": 1},
}
"""Bytes per element of storages that are skipped."""
_NUMPY_KINDS = frozenset("fiub")

Bytes = bytes | memoryview
Storages = Mapping[str, Bytes]
"""Key of a storage -> its bytes, where the file has them."""


@dataclass(frozen=True, slots=True)
class Storage:
    """One torch storage; `data` is filled in late by the flat format."""

    dtype: str
    size: int
    key: str
    data: Storages

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    def elements(self) -> Array:
        raw = self.data.get(self.key)
        if raw is None or len(raw) < self.size * self.width:
            raise UnreadableFileError(f"storage {self.key} is missing or too short")
        raw = raw[: self.size * self.width]
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        return np.frombuffer(raw, self.dtype)


@dataclass(frozen=True, slots=True)
class Tensor:
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def build(self) -> Array:
        flat = self.storage.elements()
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        count = math.prod(self.shape)
        # before the bounds: of an empty tensor `last` means nothing
        if count == 0:
            return np.zeros(self.shape, flat.dtype)
        # strides are not negative (`_tensor`), so `last` is the highest index; as_strided checks none
        if self.offset < 0 or last >= len(flat):
            raise UnreadableFileError("a tensor reaches outside of its storage")
        # a stride of 0 repeats a number: a few bytes could claim terabytes
        if count > len(flat):
            raise UnreadableFileError("a tensor is larger than its storage")
        if self._contiguous():
            return flat[self.offset : self.offset + count].reshape(self.shape)
        steps = [step * flat.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False)

    def _contiguous(self) -> bool:
        expected = 1
        for n, step in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if step != expected:
                return False
            expected *= n
        return True


class _Array:
    """A numpy array on its way: numpy pickles an empty one, then its state."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: tuple[Any, ...] | None = None

    def __setstate__(self, state: Any) -> None:
        self.state = state[1:] if isinstance(state, tuple) and len(state) == 5 else None

    def build(self) -> Array:
        if self.state is None:
            raise UnreadableFileError("a numpy array in an unknown form")
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

    __slots__ = ("code", "order", "plain")

    def __init__(self, code: str) -> None:
        self.code, self.order, self.plain = code, "<", True

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, itemsize, alignment, flags): plain types only
        self.plain = isinstance(state, tuple) and len(state) >= 5 and not any(state[2:5])
        self.order = state[1] if self.plain else "<"

    def build(self) -> np.dtype[Any]:
        if not self.plain:
            raise UnreadableFileError("a numpy array of a structured type")
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
        # the table's entries serve all files: one must not change them for the next
        raise UnreadableFileError("a pickle that sets the state of a function")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor | Inert:
    if isinstance(storage, Inert):
        return storage
    sizes = _are_sizes(shape) and _are_sizes(strides) and len(shape) == len(strides)
    if not isinstance(storage, Storage) or type(offset) is not int or not sizes:
        return _odd("a tensor in an unknown form")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _dict(*items: Any) -> dict[Any, Any] | Inert:
    if not items:
        return {}
    pairs = items[0] if len(items) == 1 and isinstance(items[0], list | tuple) else (None,)
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return _odd("an OrderedDict in an unknown form")
    return dict(pairs)


def _latin1(text: Any, encoding: Any = "latin1") -> bytes | Inert:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        return _odd("bytes in an unknown encoding")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        return _odd("bytes in an unknown encoding")


def _bytes(value: Any = b"") -> bytes | Inert:
    return value if isinstance(value, bytes) else _odd("bytes in an unknown form")


def _size(sizes: Any = ()) -> tuple[Any, ...] | Inert:
    return tuple(sizes) if isinstance(sizes, list | tuple) else _odd("a size in an unknown form")


def _dtype(code: Any, *_: Any) -> _Dtype | Inert:
    return _Dtype(code) if isinstance(code, str) else _odd("a numpy dtype in an unknown form")


_NUMPY_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "multiarray._reconstruct": lambda *_: _Array(),
    "multiarray.scalar": lambda dtype, raw=b"": _Scalar(dtype, raw),
    "numeric._frombuffer": _Buffer,
}
_ADMITTED: Mapping[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _Call(_tensor),
    "torch._utils._rebuild_tensor": _Call(_tensor),
    "torch._utils._rebuild_parameter": _Call(lambda tensor, *_: tensor),
    "torch.Size": _Call(_size),
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


BUILT = (Tensor, _Array, _Buffer, _Scalar)
"""Placeholders: what becomes an array, or a number, by `build()`."""


class Unpickler(pickle.Unpickler):
    """Python's unpickler with `_ADMITTED` for a namespace."""

    def __init__(self, file: BinaryIO, storages: Storages) -> None:
        # Python 2's strings are bytes; latin1 maps each byte to one character and loses none
        super().__init__(file, encoding="latin1")
        self._storages = storages
        self._refused: dict[str, type[Inert]] = {}
        self.widths: dict[str, int] = {}
        """Key of each storage that was named -> bytes of an element."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _ADMITTED:
            return _ADMITTED[full]
        if full not in self._refused:  # a class, so that a pickle can make instances of it
            self._refused[full] = type("Refused", (Inert,), {"refused": full})
        return self._refused[full]

    def persistent_load(self, pid: Any) -> Storage | Inert:
        # ("storage", class, key, device, number of elements[, view of another storage])
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise UnreadableFileError("a storage in an unknown form")
        # a storage class that is not admitted is an `Inert` type, which still knows its name
        named = isinstance(pid[1], type) and issubclass(pid[1], Inert)
        kind = pid[1].refused.rpartition(".")[2] if named else pid[1]
        whole = type(pid[4]) is int and pid[4] >= 0 and (len(pid) == 5 or pid[5] is None)
        if not whole or not isinstance(kind, str) or kind not in {*_STORAGE_TYPES, *_OTHER_WIDTHS}:
            return _odd("a storage in an unknown form")
        if kind in _OTHER_WIDTHS:
            self.widths[str(pid[2])] = _OTHER_WIDTHS[kind]
            return _odd(f"numbers of torch's {kind}")
        storage = Storage(_STORAGE_TYPES[kind], pid[4], str(pid[2]), self._storages)
        self.widths[storage.key] = storage.width
        return storage
