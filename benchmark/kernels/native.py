"""The compiled code (`_kernels.cpp`), as the other modules of this package call it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmark.kernels import compiled

LANES = 16
"""Floats that the compiled code takes at a time."""
DROPOUT_STEPS = 1 << 16
"""Resolution of a dropout rate."""

_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_DRAWN = [ctypes.c_float, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_float]
SIGNATURES: dict[str, list[Any]] = {
    "strongest": [_POINTER] * 6 + [_SIZE] * 8 + [_INT],
    "strongest_backward": [_POINTER] * 10 + [_SIZE] * 9 + [_INT],
    "strongest_map_backward": [_POINTER] * 6 + [_SIZE] * 7 + [_INT],
    "dropout": [_POINTER] * 3 + [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_float, _SIZE, _INT, _INT],
    "unit_vectors": [_POINTER] * 3 + [ctypes.c_float, _SIZE, _SIZE, _INT],
    "unit_vectors_backward": [_POINTER] * 4 + [ctypes.c_float, _SIZE, _SIZE, _INT],
    "best_partners": [_POINTER] * 9 + [_SIZE] * 4 + [_INT],
    "best_partners_backward": [_POINTER] * 12 + [_SIZE] * 5 + [_INT],
    "lstm": [_POINTER] * 5 + [_SIZE] * 4 + [_INT],
    "weighted_cosines": [_POINTER] * 8 + [ctypes.c_float] + [_SIZE] * 5 + [_INT],
    "weighted_cosines_backward": [_POINTER] * 11 + [ctypes.c_float] + [_SIZE] * 5 + [_INT],
    "lstm_train": [_POINTER] * 7 + [_SIZE] * 3 + [_INT],
    "lstm_train_backward": [_POINTER] * 6 + [_SIZE] * 3 + [_INT],
    "highest_windows": [_POINTER] * 4 + [_SIZE] * 3 + [_INT],
    "highest_windows_backward": [_POINTER] * 6 + [_SIZE] * 5 + [_INT],
    "sum_words": [_POINTER] * 5 + [_SIZE] * 5 + [_INT],
    "kernel_sums": [_POINTER] * 7 + [ctypes.c_float] + [_SIZE] * 4 + [_INT],
    "kernel_sums_backward": [_POINTER] * 8 + [ctypes.c_float] + [_SIZE] * 4 + [_INT],
    "attention": [_POINTER] * 9 + _DRAWN + [_SIZE] * 9 + [_INT, _INT],
    "attention_backward": [_POINTER] * 13 + _DRAWN + [_SIZE] * 9 + [_INT, _INT],
    "add_rows": [_POINTER] * 3 + [_SIZE] * 2 + [_INT],
    "aware_sums": [_POINTER] * 9 + [_SIZE] * 6 + [_INT],
    "aware_sums_backward": [_POINTER] * 12 + [_SIZE] * 6 + [_INT],
    "add_norm": [_POINTER] * 7 + [*_DRAWN[1:], ctypes.c_float] + [_SIZE] * 2 + [_INT],
    "add_norm_backward": [_POINTER] * 9 + _DRAWN[1:] + [_SIZE] * 2 + [_INT],
    "gelu": [_POINTER] * 2 + [_SIZE, _INT],
    "gelu_backward": [_POINTER] * 3 + [_SIZE, _INT],
    "messages": [_POINTER] * 6 + [_SIZE] * 4 + [_INT],
    "messages_backward": [_POINTER] * 8 + [_SIZE] * 4 + [_INT],
    "claim_pool": [_POINTER] * 9 + [_SIZE] * 5 + [_INT],
    "claim_pool_backward": [_POINTER] * 13 + [_SIZE] * 5 + [_INT],
    "part_maxima": [_POINTER] * 5 + [_SIZE] * 4 + [_INT],
    "part_maxima_backward": [_POINTER] * 3 + [_SIZE] * 4 + [_INT],
    "contrast": [_POINTER] * 4 + [ctypes.c_float] * 2 + [_SIZE] * 2 + [_INT],
    "winners_norm": [_POINTER] * 7 + [ctypes.c_float] + [_SIZE] * 4 + [_INT],
    "winners_norm_backward": [_POINTER] * 9 + [_SIZE] * 4 + [_INT],
    "soft_pool": [_POINTER] * 5 + [_SIZE] * 2 + [_INT],
    "soft_pool_backward": [_POINTER] * 7 + [_SIZE] * 2 + [_INT],
    "adam": [_POINTER] * 3 + [ctypes.c_double] * 4 + [_SIZE, _INT],
    "product": [_POINTER] * 4 + [_SIZE] * 7 + [_INT],
    "map_backward": [_POINTER] * 6 + [_SIZE] * 3 + [_INT],
    "products": [_POINTER] * 3 + [_SIZE] * 10 + [_INT],
    "gate": [_POINTER] * 3 + [ctypes.c_float, _SIZE, _INT],
}


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled code; None where there is none that may be used."""
    file = compiled.library()
    if file is None:
        return None
    try:
        library = ctypes.CDLL(
            str(file)
        )  # after torch: both then share one OpenMP library, one set of threads
    except OSError:  # built for another system
        return None
    # undeclared, ctypes passes an int as 32 bits: addresses and sizes would be cut
    for name, arguments in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library


_off = False


def available() -> bool:
    """Whether the compiled code is there and not switched off."""
    return not _off and _library() is not None


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Everything in PyTorch, in all threads, for instance to count its operations."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


@functools.cache
def has_wide_products() -> bool:
    """Whether matrix products are faster in the compiled code than in PyTorch, on this processor."""
    library = _library()
    return library is not None and bool(library.wide_products())


def usable(*tensors: Tensor) -> bool:
    """Whether the compiled code takes these: all float32 on a CPU, and no autocast, under which what is made
    of them on the way would have another precision."""
    if not all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors):
        return False
    return not torch.is_autocast_enabled("cpu") and available()


def usable_in_float32(*tensors: Tensor) -> bool:
    """Whether the compiled code takes these once they are float32: single or half precision on a CPU, under autocast
    too. For what is computed in the compiled code alone."""
    taken = (torch.float32, torch.bfloat16)
    return all(x.dtype in taken and x.device.type == "cpu" for x in tensors) and available()


def usable_for_scoring(*tensors: Tensor) -> bool:
    """`usable`, and no gradient is asked for: what has no backward pass may be used."""
    return not torch.is_grad_enabled() and usable(*tensors)


_TAKEN = frozenset((torch.float32, torch.int64, torch.int32, torch.bool))

_watchers: list[Callable[[str, tuple[Any, ...]], None]] = []


@contextlib.contextmanager
def watched(watcher: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    """Tell `watcher` of every call of the compiled code, its name and arguments, for instance to count operations."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def call(name: str, *arguments: Any) -> None:
    """None is a null pointer; the number of threads is torch's. TypeError for a tensor that the compiled code would
    misread: it takes raw memory."""
    for watcher in _watchers:
        watcher(name, arguments)
    raw = []
    for x in arguments:
        if isinstance(x, Tensor):
            if not x.is_contiguous() or x.dtype not in _TAKEN:
                raise TypeError(f"{name}: a tensor {tuple(x.shape)} of {x.dtype}, strides {x.stride()}")
            # `arguments` still holds the tensor, so its memory outlives the call
            x = x.data_ptr()
        raw.append(x)
    getattr(_library(), name)(*raw, torch.get_num_threads())


def draw(rate: float) -> tuple[int, int, float]:
    """A seed from torch's generator, the threshold below which 16 bits drop an element, what scales the others."""
    if rate == 0:
        return 0, 0, 1.0
    # from -2^63 without an upper bound `random_` draws all 64 bits; C wants them unsigned
    seed = int(torch.empty((), dtype=torch.int64).random_(-(2**63), None).item()) % 2**64
    return seed, round(rate * DROPOUT_STEPS), 1 / (1 - rate)
