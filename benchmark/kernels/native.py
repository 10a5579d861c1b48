"""Sums over arrays that need never exist, in compiled code for the CPU (`_kernels.cpp`).

The code is built when the package is installed, if a C++ compiler with OpenMP is at hand. Without it, on other
devices and in other precisions, callers take their PyTorch path instead, which computes the same to
rounding: `usable` says which. A result does not depend on the number of threads.

`MRHP_BENCH_KERNELS=0` in the environment switches the compiled code off.

N graphs or items, B rows (product, review), T nodes, H hidden width, L product and R review positions, F
features, A product and C review representations, S filters of all sizes together, K values kept of each.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.core.types import rows_of
from benchmark.kernels import compiled

LANES = 16
"""Floats that the compiled code takes at a time."""
DROPOUT_STEPS = 1 << 16
"""Resolution of a dropout rate."""

_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_SIGNATURES: dict[str, list[Any]] = {
    "pair_scores": [_POINTER] * 5 + [_SIZE] * 3 + [_INT],
    "pair_scores_backward": [_POINTER] * 6 + [_SIZE] * 3 + [_INT],
    "strongest": [_POINTER] * 6 + [_SIZE] * 8 + [_INT],
    "strongest_backward": [_POINTER] * 10 + [_SIZE] * 9 + [_INT],
    "dropout": [_POINTER] * 3 + [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_float, _SIZE, _INT, _INT],
    "unit_vectors": [_POINTER] * 3 + [ctypes.c_float, _SIZE, _SIZE, _INT],
    "unit_vectors_backward": [_POINTER] * 4 + [ctypes.c_float, _SIZE, _SIZE, _INT],
    "best_partners": [_POINTER] * 9 + [_SIZE] * 4 + [_INT],
    "best_partners_backward": [_POINTER] * 12 + [_SIZE] * 5 + [_INT],
    "lstm": [_POINTER] * 5 + [_SIZE] * 4 + [_INT],
    "highest_windows": [_POINTER] * 4 + [_SIZE] * 3 + [_INT],
    "highest_windows_backward": [_POINTER] * 6 + [_SIZE] * 5 + [_INT],
    "sum_words": [_POINTER] * 5 + [_SIZE] * 5 + [_INT],
    "kernel_sums": [_POINTER] * 7 + [ctypes.c_float] + [_SIZE] * 4 + [_INT],
    "kernel_sums_backward": [_POINTER] * 8 + [ctypes.c_float] + [_SIZE] * 4 + [_INT],
    "attention": [_POINTER] * 4
    + [ctypes.c_float, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_float]
    + [_SIZE] * 4
    + [_INT],
    "attention_backward": [_POINTER] * 6
    + [ctypes.c_float, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_float]
    + [_SIZE] * 4
    + [_INT],
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
    for name, arguments in _SIGNATURES.items():
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


def usable(*tensors: Tensor) -> bool:
    """Whether the compiled code takes these: all float32 on a CPU, and no autocast, under which what is made
    of them on the way would have another precision."""
    if not all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors):
        return False
    return not torch.is_autocast_enabled("cpu") and available()


def usable_for_scoring(*tensors: Tensor) -> bool:
    """`usable`, and no gradient is asked for: what has no backward pass may be used."""
    return not torch.is_grad_enabled() and usable(*tensors)


def _call(name: str, *arguments: Any) -> None:
    """None is a null pointer; the number of threads is torch's. TypeError for a tensor that the compiled code would
    misread: it takes raw memory."""
    raw = []
    for x in arguments:
        if isinstance(x, Tensor):
            if not x.is_contiguous() or (x.is_floating_point() and x.dtype != torch.float32):
                raise TypeError(f"{name}: a tensor {tuple(x.shape)} of {x.dtype}, strides {x.stride()}")
            x = x.data_ptr()
        raw.append(x)
    getattr(_library(), name)(*raw, torch.get_num_threads())


def pair_scores(a_NTH: Tensor, b_NTH: Tensor, w_H: Tensor, offset_NT: Tensor) -> Tensor:
    """e_ij = Σ_h w_h relu(a_ih + b_jh) + offset_j, `[N, T, T]`."""
    logit_NTT = a_NTH.new_empty(*a_NTH.shape[:2], a_NTH.shape[1])
    _call("pair_scores", *(x.contiguous() for x in (a_NTH, b_NTH, w_H, offset_NT)), logit_NTT, *a_NTH.shape)
    return logit_NTT


def pair_scores_backward(
    a_NTH: Tensor, b_NTH: Tensor, weight_NTT: Tensor, gradient_NTT: Tensor
) -> tuple[Tensor, Tensor]:
    """G^a_ih = Σ_j g_ij [a_ih + b_jh > 0] and G^b_jh = Σ_i g_ij [a_ih + b_jh > 0], `[N, T, H]` each, where g is
    the gradient of the logits of softmax weights y with ∂L/∂y = `gradient_NTT`."""
    hidden = a_NTH.shape[2]
    spare = (0, -hidden % LANES)
    a_NTH, negative_NTH = F.pad(a_NTH, spare).contiguous(), F.pad(-b_NTH, spare)
    own_NTH, other_NTH = torch.empty_like(a_NTH), torch.empty_like(a_NTH)
    arrays = a_NTH, negative_NTH, weight_NTT, gradient_NTT.contiguous(), own_NTH, other_NTH
    _call("pair_scores_backward", *arrays, *a_NTH.shape)
    return own_NTH[..., :hidden], other_NTH[..., :hidden]


def strongest(
    map_BALCR: Tensor,
    weight: Tensor,
    sizes: int,
    keep: int,
    row_mask_BL: Tensor | None,
    column_mask_BR: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The `keep` largest answers of each filter to each pair's map in descending order, of equal ones the
    first: values `[B, S, K]` and their cells (row * R + column, int32); -inf and -1 where there is none.

    `weight` holds, flat and size after size from 1 to `sizes`, filters of `[A * C, size, size]`, equally many of
    each size; a cell's answer covers it and the cells below and to the right, zeros outside. Only cells
    in valid rows and columns can win.
    """
    B, A, L, C, R = map_BALCR.shape
    filters = _filters(weight, sizes, A * C)
    value_BSK = map_BALCR.new_empty(B, sizes * filters, keep)
    cell_BSK = torch.empty_like(value_BSK, dtype=torch.int32)
    masks = [None if mask is None else mask.contiguous() for mask in (row_mask_BL, column_mask_BR)]
    arrays = map_BALCR.contiguous(), weight.contiguous(), *masks, value_BSK, cell_BSK
    _call("strongest", *arrays, B, A, C, L, R, sizes, filters, keep)
    return value_BSK, cell_BSK


def _filters(weight: Tensor, sizes: int, channels: int) -> int:
    """Filters of each size."""
    return weight.numel() // (channels * sum(size * size for size in range(1, sizes + 1)))


class _StrongestCosines(torch.autograd.Function):
    """`strongest` of the maps of dot products. Only the winners carry a gradient, so no map is kept: the cells
    that winners cover are computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        left_NALF: Tensor,
        right_MCRF: Tensor,
        weight: Tensor,
        rows: tuple[Tensor, Tensor],
        masks: tuple[Tensor | None, Tensor | None],
        sizes: int,
        keep: int,
    ) -> Tensor:
        left_B, right_B = rows
        left_BXF = rows_of(left_NALF, left_B).flatten(1, 2)
        right_BYF = rows_of(right_MCRF, right_B).flatten(1, 2)
        map_BXY = torch.bmm(left_BXF, right_BYF.transpose(1, 2))
        shape = (len(left_B), *left_NALF.shape[1:3], *right_MCRF.shape[1:3])
        value_BSK, cell_BSK = strongest(map_BXY.view(shape), weight, sizes, keep, *masks)
        ctx.sizes = sizes
        ctx.save_for_backward(left_NALF, right_MCRF, weight, left_B, right_B, cell_BSK)
        return value_BSK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BSK: Tensor) -> tuple[Tensor | None, ...]:
        left_NALF, right_MCRF, weight, left_B, right_B, cell_BSK = ctx.saved_tensors
        _, A, L, width = left_NALF.shape
        _, C, R, _ = right_MCRF.shape
        left_gradient, right_gradient = torch.zeros_like(left_NALF), torch.zeros_like(right_MCRF)
        tap_gradient = weight.new_zeros(len(left_B), weight.numel())
        filters, keep = _filters(weight, ctx.sizes, A * C), cell_BSK.shape[2]
        arrays = left_NALF, right_MCRF, left_B, right_B, weight, cell_BSK, gradient_BSK.contiguous()
        gradients = left_gradient, right_gradient, tap_gradient
        sizes = len(left_B), A, C, L, R, width, ctx.sizes, filters, keep
        _call("strongest_backward", *arrays, *gradients, *sizes)
        return left_gradient, right_gradient, tap_gradient.sum(0), None, None, None, None


def strongest_cosines(
    left_NALF: Tensor,
    right_MCRF: Tensor,
    weight: Tensor,
    rows: tuple[Tensor, Tensor],
    masks: tuple[Tensor | None, Tensor | None],
    sizes: int,
    keep: int,
) -> Tensor:
    """Values of `strongest` on the maps of the dot products of items, `[B, S, K]`, -inf where there is none.

    Rows point at items (`rows`: left and right indices `[B]`); masks are those of rows, `[B, L]` and `[B, R]`.
    """
    arrays = [x.contiguous() for x in (left_NALF, right_MCRF, weight)]
    indices = rows[0].contiguous(), rows[1].contiguous()
    result: Tensor = _StrongestCosines.apply(*arrays, indices, masks, sizes, keep)  # type: ignore[no-untyped-call]
    return result


class _UnitVectors(torch.autograd.Function):
    """One pass forward, one backward."""

    @staticmethod
    def forward(ctx: Any, x_XF: Tensor, least: float) -> Tensor:
        unit_XF, length_X = torch.empty_like(x_XF), x_XF.new_empty(x_XF.shape[:-1])
        ctx.size = least, length_X.numel(), x_XF.shape[-1]
        _call("unit_vectors", x_XF, unit_XF, length_X, *ctx.size)
        ctx.save_for_backward(unit_XF, length_X)
        return unit_XF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_XF: Tensor) -> tuple[Tensor, None]:
        unit_XF, length_X = ctx.saved_tensors
        result_XF = torch.empty_like(unit_XF)
        _call("unit_vectors_backward", unit_XF, gradient_XF.contiguous(), length_X, result_XF, *ctx.size)
        return result_XF, None


def unit_vectors(x_XF: Tensor, least: float) -> Tensor:
    """x / max(|x|, least) along the last axis."""
    result: Tensor = _UnitVectors.apply(x_XF.contiguous(), least)  # type: ignore[no-untyped-call]
    return result


def _draw(rate: float) -> tuple[int, int, float]:
    """A seed from torch's generator, the threshold below which 16 bits drop an element, what scales the others."""
    if rate == 0:
        return 0, 0, 1.0
    seed = int(torch.empty((), dtype=torch.int64).random_(-(2**63), None).item()) % 2**64
    return seed, round(rate * DROPOUT_STEPS), 1 / (1 - rate)


class _Dropout(torch.autograd.Function):
    """x keep / (1 - rate), or base + that, with relu(x) for x if asked. What is kept is a function of a seed and
    the position, so that the backward pass draws it again instead of storing it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Tensor | None, rate: float, relu: bool) -> Tensor:
        ctx.draw = _draw(rate)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        _call("dropout", x, base, result, *ctx.draw, x.numel(), relu)
        if relu:
            ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradient.contiguous()
        below = torch.empty_like(gradient)
        if ctx.saved_tensors:  # positive exactly where x was and was kept
            _call("gate", *ctx.saved_tensors, gradient, below, ctx.draw[2], gradient.numel())
            return below, None, None, None
        _call("dropout", gradient, None, below, *ctx.draw, gradient.numel(), False)
        return below, gradient if ctx.needs_input_grad[1] else None, None, None


def dropout(x: Tensor, rate: float, *, base: Tensor | None = None, relu: bool = False) -> Tensor:
    """`base` + dropout(x), `relu` first if asked; the seed comes from torch's generator."""
    given = None if base is None else base.contiguous()
    result: Tensor = _Dropout.apply(x.contiguous(), given, rate, relu)  # type: ignore[no-untyped-call]
    return result


class _Attention(torch.autograd.Function):
    """Head by head in the cache: logits and weights are computed again in the backward pass, never stored."""

    @staticmethod
    def forward(ctx: Any, state_NVX: Tensor, offset_NV: Tensor, heads: int, rate: float) -> Tensor:
        N, V, X = state_NVX.shape
        width = X // (3 * heads)
        ctx.settings = width**-0.5, *_draw(rate), N, V, heads, width
        attended_NVD, log_NHV = state_NVX.new_empty(N, V, X // 3), state_NVX.new_empty(N, heads, V)
        _call("attention", state_NVX, offset_NV, attended_NVD, log_NHV, *ctx.settings)
        ctx.save_for_backward(state_NVX, offset_NV, attended_NVD, log_NHV)
        return attended_NVD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NVD: Tensor) -> tuple[Tensor | None, ...]:
        result_NVX = torch.empty_like(ctx.saved_tensors[0])
        _call("attention_backward", *ctx.saved_tensors, gradient_NVD.contiguous(), result_NVX, *ctx.settings)
        return result_NVX, None, None, None


def attention(state_NVX: Tensor, offset_NV: Tensor, heads: int, rate: float) -> Tensor:
    """Scaled dot-product self-attention, `[N, V, D]`, from queries, keys and values side by side, `[N, V, 3 D]`, heads
    being consecutive blocks of channels; dropout at `rate` on the weights. `offset_NV` is added to the logits
    of position V."""
    arrays = state_NVX.contiguous(), offset_NV.contiguous()
    result: Tensor = _Attention.apply(*arrays, heads, rate)  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True)
class Bells:
    """How to make the bells exp(-(m - μ_k)² / 2σ_k²), `[K]` each: bell k is `scale` times s_k, where s_k is
    2^(sharpness (m - centre)²), or s_(k-1) 2^(m ratio) where `ratio` is not 0."""

    centre: Tensor
    sharpness: Tensor
    ratio: Tensor
    scale: Tensor
    pull: Tensor
    """scale / σ²."""


def kernel_sums(value_BXR: Tensor, mask_BR: Tensor | None, bells: Bells, away: float) -> Tensor:
    """Σ_r bell_k(value_r) over valid r, `[B, X, K]`. `away` takes a value out of every bell's reach."""
    K = len(bells.centre)
    sum_BXK = value_BXR.new_empty(*value_BXR.shape[:2], K)
    arrays = value_BXR, mask_BR, bells.centre, bells.sharpness, bells.ratio, bells.scale
    _call("kernel_sums", *arrays, sum_BXK, away, *value_BXR.shape, K)
    return sum_BXK


def kernel_sums_backward(
    value_BXR: Tensor, mask_BR: Tensor | None, bells: Bells, away: float, gradient_BXK: Tensor
) -> Tensor:
    """∂L/∂value, `[B, X, R]`."""
    result_BXR = torch.empty_like(value_BXR)
    arrays = value_BXR, mask_BR, bells.centre, bells.sharpness, bells.ratio, bells.pull
    gradients = gradient_BXK.contiguous(), result_BXR
    _call("kernel_sums_backward", *arrays, *gradients, away, *value_BXR.shape, len(bells.centre))
    return result_BXR


@dataclass(frozen=True)
class Partners:
    """For each step of one text the best partner among the valid steps of the other."""

    best: Tensor
    """float [B, P, T]: dot product times the partner's scale; -inf where there is no partner."""
    winner: Tensor
    """int64 [B, P, T]."""


def best_partners(
    dot_BPLR: Tensor,
    scales: tuple[Tensor, Tensor],
    masks: tuple[Tensor | None, Tensor | None],
) -> tuple[Partners, Partners]:
    """Best partners of the steps l and of the steps r, by dot_lr scale_r and dot_lr scale_l; scales are
    `[B, P, L]` and `[B, P, R]`, masks `[B, L]` and `[B, R]`."""
    of_l, of_r = (
        Partners(torch.empty_like(scale), torch.empty_like(scale, dtype=torch.int64)) for scale in scales
    )
    arrays = dot_BPLR, *scales, *(None if mask is None else mask.contiguous() for mask in masks)
    _call("best_partners", *arrays, of_l.best, of_l.winner, of_r.best, of_r.winner, *dot_BPLR.shape)
    return of_l, of_r


def best_partners_backward(
    texts: tuple[Tensor, Tensor],
    square_PH: Tensor,
    scales: tuple[Tensor, Tensor],
    winners: tuple[Tensor, Tensor],
    gradients: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the texts `[B, L, H]` and `[B, R, H]` and of the squared weights `[P, H]`, through the dot products
    Σ_d v_d p_d h_d of the winners, whose cosines have the `gradients` `[B, P, L]` and `[B, P, R]`."""
    (B, L, H), R, P = texts[0].shape, texts[1].shape[1], len(square_PH)
    results = *(torch.zeros_like(x) for x in texts), square_PH.new_zeros(B, P, H)
    arrays = *texts, square_PH, *scales, *winners, *(x.contiguous() for x in gradients)
    _call("best_partners_backward", *arrays, *results, B, P, L, R, H)
    return results[0], results[1], results[2].sum(0)


def lstm(inputs_UG: Tensor, slot_NT: Tensor, count_N: Tensor, recurrent_DHG: Tensor, hidden: int) -> Tensor:
    """States of both directions of an LSTM, `[N, T, 2, H]`, zero beyond a sequence's count; no gradient.

    `inputs_UG` holds, for each distinct input u, the four gates (i, f, g, o) of the forward and then of the
    backward direction, each as wide as H in whole vectors, biases included; `slot_NT` says which input a step has.
    `recurrent_DHG` is `[2, H, 4 wide]`.
    """
    (N, T), wide = slot_NT.shape, hidden + -hidden % LANES
    states = inputs_UG.new_empty(N, T, 2, hidden)
    arrays = (x.contiguous() for x in (inputs_UG, slot_NT, count_N, recurrent_DHG))
    _call("lstm", *arrays, states, N, T, hidden, wide)
    return states


def highest(answer_NTC: Tensor, windows_N: Tensor) -> tuple[Tensor, Tensor]:
    """Largest answer over the first `windows_N` (at least 1) windows, and where (int32), `[N, C]`; no gradient."""
    N, T, C = answer_NTC.shape
    best_NC, winner_NC = answer_NTC.new_empty(N, C), torch.empty(N, C, dtype=torch.int32)
    _call("highest_windows", answer_NTC.contiguous(), windows_N.contiguous(), best_NC, winner_NC, N, T, C)
    return best_NC, winner_NC


class _HighestWindows(torch.autograd.Function):
    """One window of each filter wins, and it alone carries a gradient: no convolution in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x_NTE: Tensor, weight_CEK: Tensor, answer_NTC: Tensor, windows_N: Tensor) -> Tensor:
        best_NC, winner_NC = highest(answer_NTC, windows_N)
        ctx.save_for_backward(x_NTE, weight_CEK, winner_NC)
        return best_NC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NC: Tensor) -> tuple[Tensor | None, ...]:
        x_NTE, weight_CEK, winner_NC = ctx.saved_tensors
        weight_CKE = weight_CEK.transpose(1, 2).contiguous()
        x_result, weight_result = torch.zeros_like(x_NTE), torch.zeros_like(weight_CKE)
        sizes = *x_NTE.shape, *weight_CKE.shape[:2]
        arrays = x_NTE, weight_CKE, winner_NC, gradient_NC.contiguous()
        _call("highest_windows_backward", *arrays, x_result, weight_result, *sizes)
        return x_result, weight_result.transpose(1, 2), None, None


def highest_windows(x_NTE: Tensor, weight_CEK: Tensor, answer_NTC: Tensor, windows_N: Tensor) -> Tensor:
    """Largest answer of each filter over the first `windows_N` (at least 1) windows of each text, `[N, C]`.
    `answer_NTC` is the convolution of `x_NTE` with `weight_CEK` (without its bias), computed without a gradient."""
    arrays = x_NTE.contiguous(), weight_CEK, answer_NTC, windows_N
    result: Tensor = _HighestWindows.apply(*arrays)  # type: ignore[no-untyped-call]
    return result


def sum_words(product_UPC: Tensor, slot_NT: Tensor, sizes: Sequence[int], before: Sequence[int]) -> Tensor:
    """Σ_j product[slot[n, t + j - before_a], place a j], `[N, A, T, C]`, zero beyond a text's ends; no gradient.

    `product_UPC` says what each distinct word adds at each place j of each window a, P = Σ_a sizes_a.
    """
    (N, T), (_, P, C), A = slot_NT.shape, product_UPC.shape, len(sizes)
    out_NATC = product_UPC.new_empty(N, A, T, C)
    arrays = product_UPC.contiguous(), slot_NT.contiguous(), torch.tensor(sizes), torch.tensor(before)
    _call("sum_words", *arrays, out_NATC, N, T, A, P, C)
    return out_NATC
