"""Conv-KNRM's kernel pooling: sums of Gaussian bells of cosines.

B rows, X positions times pairs of n-gram sizes of the product, R positions of the review, K kernels.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.arrays import in_float32, row_chunks
from benchmark.kernels.native import call

WIDE = 0.5
"""Width from which a kernel's values at all cosines are of about one size."""
OUT_OF_REACH = 1e4
"""A "cosine" so far from every kernel that it adds exactly 0 to each sum: how padding is masked."""

Kernels = list[tuple[float, float]]
"""(μ, σ) of each."""


def kernel_sums(value_BXR: Tensor, centres: Kernels, mask_BR: Tensor | None = None) -> Tensor:
    """Σ_r exp(-(M_r - μ_k)² / 2σ_k²) over valid r for each (μ, σ), `[B, X, K]`."""
    with in_float32(value_BXR) as (value_BXR,):
        result: Tensor
        if native.usable(value_BXR):
            mask = None if mask_BR is None else mask_BR.contiguous()
            result = _CompiledKernelSums.apply(value_BXR.contiguous(), mask, _bells(centres))  # type: ignore[no-untyped-call]
            return result
        if mask_BR is not None:
            # a copy: the caller's cosines stay, and a bell out here underflows to exactly 0
            value_BXR = value_BXR.masked_fill(~mask_BR.unsqueeze(1), OUT_OF_REACH)
        result = _KernelSums.apply(value_BXR, centres)  # type: ignore[no-untyped-call]
        return result


def _recurrences(centres: Kernels) -> Iterator[tuple[float, float]]:
    """For each kernel (r, s): with r = 0 it is exp(-(M - μ)² / 2σ²) itself; else the one before times exp(r M), and s
    times the true value's share: exp(-(M - μ)² / 2σ²) = s e_k, e_k = e_(k-1) exp(r M).

    Kernels of one width, as wide as the range of cosines, differ by exp(M (μ' - μ) / σ²) and a number, so
    that equally spaced ones cost one product each. For narrow ones that would lose all digits.
    """
    scale, previous = 1.0, 0.0
    for (before, width_before), (centre, width) in itertools.pairwise([(0.0, math.nan), *centres]):
        # the width before the first is NaN, equal to none: the first kernel is always made directly
        rate = (centre - before) * width**-2 if width == width_before and width >= WIDE else 0.0
        if rate and math.isclose(rate, previous, rel_tol=1e-9):
            rate = previous  # exactly, so that it is seen to be the same
        previous = rate
        # e^(-(M-μ')²/2σ²) = e^(-(M-μ)²/2σ²) e^(M (μ'-μ)/σ²) e^((μ²-μ'²)/2σ²): this is the last factor
        scale = scale * math.exp((before**2 - centre**2) / (2 * width**2)) if rate else 1.0
        yield rate, scale


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


@functools.cache
def _cached_bells(centres: tuple[tuple[float, float], ...]) -> Bells:
    rate_K, scale_K = np.array(list(_recurrences(list(centres)))).T
    centre_K, width_K = np.array(centres).T
    log2_e = math.log2(math.e)
    # exp(x) = 2^(x log₂ e): the compiled code takes powers of two
    columns = centre_K, -0.5 * log2_e / width_K**2, rate_K * log2_e, scale_K, scale_K / width_K**2
    return Bells(*(torch.tensor(column, dtype=torch.float32) for column in columns))


def _bells(centres: Kernels) -> Bells:
    return _cached_bells(tuple(centres))


class _CompiledKernelSums(torch.autograd.Function):
    """In one pass over the cosines, which alone are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, value_BXR: Tensor, mask_BR: Tensor | None, bells: Bells) -> Tensor:
        ctx.save_for_backward(value_BXR)
        ctx.mask_BR, ctx.bells = mask_BR, bells
        sum_BXK = value_BXR.new_empty(*value_BXR.shape[:2], len(bells.centre))
        arrays = value_BXR, mask_BR, bells.centre, bells.sharpness, bells.ratio, bells.scale, sum_BXK
        call("kernel_sums", *arrays, OUT_OF_REACH, *value_BXR.shape, len(bells.centre))
        return sum_BXK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BXK: Tensor) -> tuple[Tensor, None, None]:
        (value_BXR,), bells = ctx.saved_tensors, ctx.bells
        result_BXR = torch.empty_like(value_BXR)
        arrays = value_BXR, ctx.mask_BR, bells.centre, bells.sharpness, bells.ratio, bells.pull
        gradients = gradient_BXK.contiguous(), result_BXR
        sizes = *value_BXR.shape, len(bells.centre)
        call("kernel_sums_backward", *arrays, *gradients, OUT_OF_REACH, *sizes)
        return result_BXR, None, None


class _KernelSums(torch.autograd.Function):
    """Block by block and kernel by kernel, in buffers that stay in the cache. Keeps the cosines only: the K
    exponentials of each are made again in the backward pass, which costs less than to store them."""

    @staticmethod
    def forward(ctx: Any, value_BXR: Tensor, centres: Kernels) -> Tensor:
        ctx.save_for_backward(value_BXR)
        ctx.centres = centres
        sum_KN = value_BXR.new_empty(len(centres), value_BXR.shape[:2].numel())
        for rows, value, bell, spare in _blocks(value_BXR):
            for k, scale in enumerate(_bells_in_turn(value, centres, bell, spare)):
                torch.sum(bell, -1, out=sum_KN[k, rows])
                if scale != 1:
                    sum_KN[k, rows] *= scale
        # written kernel by kernel, each sum contiguous; callers want K last
        return sum_KN.T.reshape(*value_BXR.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BXK: Tensor) -> tuple[Tensor, None]:
        """dM = Σ_k g_k exp(-(M - μ_k)² / 2σ_k²) (μ_k - M) / σ_k². Of wide kernels, whose `spare` is taken, it is a
        sum with μ_k minus M times one without; narrow ones, whose weight is large, need the difference."""
        (value_BXR,) = ctx.saved_tensors
        gradient_NK = gradient_BXK.flatten(0, 1)
        result_BXR = torch.zeros_like(value_BXR)
        result_NR = result_BXR.flatten(0, 1)
        for rows, value, bell, spare in _blocks(value_BXR):
            result, times_value = result_NR[rows], torch.zeros_like(value)
            for k, scale in enumerate(_bells_in_turn(value, ctx.centres, bell, spare)):
                centre, width = ctx.centres[k]
                pull = gradient_NK[rows, k, None] * (scale * width**-2)
                if width >= WIDE:
                    result.addcmul_(bell, pull, value=centre)
                    times_value.addcmul_(bell, pull)
                else:
                    result.addcmul_(torch.sub(value, centre, out=spare).mul_(bell), pull, value=-1)
            result.addcmul_(times_value, value, value=-1)
        return result_BXR, None


def _blocks(value_BXR: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Blocks of rows of the flattened `[B * X, R]`, each with two buffers of its shape."""
    value_NR = value_BXR.flatten(0, 1)
    # empty at first: the first block, and a shorter last one, find no buffer of their length
    bell = spare = value_NR[:0]
    for rows in row_chunks(len(value_NR), value_NR.shape[1] * value_NR.element_size()):
        value = value_NR[rows]
        if len(bell) != len(value):
            bell, spare = torch.empty_like(value), torch.empty_like(value)
        yield rows, value, bell, spare


def _bells_in_turn(value: Tensor, centres: Kernels, bell: Tensor, spare: Tensor) -> Iterator[float]:
    """For each kernel, puts e into `bell` and yields s, with s e = exp(-(M - μ)² / 2σ²)."""
    previous = 0.0
    for (centre, width), (rate, scale) in zip(centres, _recurrences(centres), strict=True):
        if rate:
            if rate != previous:
                # masked values are 1e4 and their bells 0: unclamped, 0 times infinity would be NaN
                torch.mul(value, rate * math.log2(math.e), out=spare).clamp_(max=126).exp2_()
            bell.mul_(spare)
        else:
            _bell(value, centre, width, bell)
        previous = rate
        yield scale


def _bell(value: Tensor, centre: float, width: float, bell: Tensor) -> None:
    """exp(-(M - μ)² / 2σ²) as a power of two: `exp` is many times slower where its result underflows, which
    is nearly everywhere at the paper's widths, and `exp2` is not."""
    torch.sub(value, centre, out=bell)
    bell.square_().mul_(-0.5 * math.log2(math.e) * width**-2).exp2_()
