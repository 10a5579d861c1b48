"""Products of float32 matrices, in the compiled code where that is the faster.

PyTorch's go to MKL, whose 512-bit code an AMD processor does not get: on a core of a Zen 5 it reaches 100 GFLOP/s
of 245, ours 180 to 230. oneDNN, behind PyTorch's convolutions, would reach as much, but compiles code for every new
number of rows (a millisecond and a megabyte each), and rows that are packed have a new number in every step.

B pairs of matrices, M rows, K terms of a sum, N columns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native

LARGE_PRODUCT = 1 << 20
"""Multiplications from which on the compiled code is asked: below, the way there costs more than it saves."""


def product(
    a_MK: Tensor, b_KN: Tensor, offset_N: Tensor | None = None, *, out: Tensor | None = None
) -> Tensor:
    """A B + offset, `[M, N]`, of float32 matrices on a CPU in any layout, without a gradient; by the compiled code."""
    (M, K), N = a_MK.shape, b_KN.shape[1]
    result_MN = a_MK.new_empty(M, N) if out is None else out
    steps = *a_MK.stride(), *b_KN.stride()
    # addresses: a transposed matrix is read as it lies
    native.call("product", a_MK.data_ptr(), b_KN.data_ptr(), offset_N, result_MN, *steps, M, N, K)
    return result_MN


def is_worth_it(multiplications: int, *factors: Tensor) -> bool:
    """Whether the compiled code is to compute a product of these."""
    return multiplications >= LARGE_PRODUCT and native.has_wide_products() and native.usable(*factors)


def batched_product(a_BMK: Tensor, b_BKN: Tensor) -> Tensor:
    """A B of each pair, `[B, M, N]`."""
    # small matrices fill the tiles less
    if not is_worth_it(a_BMK.numel() * b_BKN.shape[2] // 2, a_BMK, b_BKN):
        return torch.bmm(a_BMK, b_BKN)
    if not torch.is_grad_enabled():
        return _products(a_BMK, b_BKN)
    result: Tensor = _BatchedProduct.apply(a_BMK, b_BKN)  # type: ignore[no-untyped-call]
    return result


class _BatchedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_BMK: Tensor, b_BKN: Tensor) -> Tensor:
        ctx.save_for_backward(a_BMK, b_BKN)
        return _products(a_BMK, b_BKN)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a_BMK, b_BKN = ctx.saved_tensors
        of_a = _products(gradient, b_BKN.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        of_b = _products(a_BMK.transpose(1, 2), gradient) if ctx.needs_input_grad[1] else None
        return of_a, of_b


def _products(a_BMK: Tensor, b_BKN: Tensor) -> Tensor:
    (B, M, K), N = a_BMK.shape, b_BKN.shape[2]
    result_BMN = a_BMK.new_empty(B, M, N)
    steps = *a_BMK.stride(), *b_BKN.stride()
    native.call("products", a_BMK.data_ptr(), b_BKN.data_ptr(), result_BMN, *steps, B, M, N, K)
    return result_BMN
