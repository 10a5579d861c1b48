"""Sums over reviews of product-aware attention (PRH-Net, Fan et al., WWW 2019; MCR, Liu et al., ACL 2021): for each
row Σ_r (V_r + Σ_l S_rl P_l), S_r = softmax_l (V_r · Q_l), over real positions.

B rows (product, review), N products, M reviews, L and R their positions, F features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.core.types import rows_of
from benchmark.kernels import native
from benchmark.kernels.arrays import MASKED
from benchmark.kernels.native import call
from benchmark.kernels.products import batched_product

Rows = tuple[Tensor, Tensor]
"""Which product and which review each row is, int64 `[B]` both."""


def aware_sums(
    query_NLF: Tensor,
    product_NLF: Tensor,
    product_mask_NL: Tensor,
    review_MRF: Tensor,
    review_mask_MR: Tensor,
    rows: Rows,
) -> Tensor:
    """`[B, F]`. A product without a real position adds nothing. Rows share items, which the compiled code never copies
    together, and whose gradients it adds up in the order of the rows."""
    if not native.usable(query_NLF, product_NLF, review_MRF):
        return _in_torch(query_NLF, product_NLF, product_mask_NL, review_MRF, review_mask_MR, rows)
    arrays = [x.contiguous() for x in (query_NLF, product_NLF, product_mask_NL, review_MRF, review_mask_MR)]
    result: Tensor = _AwareSums.apply(*arrays, *(x.contiguous() for x in rows))  # type: ignore[no-untyped-call]
    return result


class _AwareSums(torch.autograd.Function):
    """Row by row in the cache: weights are computed again in the backward pass, never stored."""

    @staticmethod
    def forward(ctx: Any, *arrays: Tensor) -> Tensor:
        _, product_NLF, _, review_MRF, _, product_B, _ = arrays
        B, (N, L, F), (M, R, _) = len(product_B), product_NLF.shape, review_MRF.shape
        sum_BF, log_BR = product_NLF.new_empty(B, F), product_NLF.new_empty(B, R)
        ctx.sizes = B, N, M, L, R, F
        call("aware_sums", *arrays, sum_BF, log_BR, *ctx.sizes)
        ctx.save_for_backward(*arrays, log_BR)
        return sum_BF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BF: Tensor) -> tuple[Tensor | None, ...]:
        query_NLF, product_NLF, _, review_MRF, *_ = ctx.saved_tensors
        of_query, of_product, of_review = map(torch.zeros_like, (query_NLF, product_NLF, review_MRF))
        arrays = *ctx.saved_tensors, gradient_BF.contiguous(), of_query, of_product, of_review
        call("aware_sums_backward", *arrays, *ctx.sizes)
        return of_query, of_product, None, of_review, None, None, None


def aware_weights(query_BLF: Tensor, product_mask_BL: Tensor, review_BRF: Tensor) -> Tensor:
    """S: what each review position takes of each product position, `[B, R, L]`."""
    logit_BRL = batched_product(review_BRF, query_BLF.transpose(1, 2))
    # in place: the backward pass of a product needs its factors, not its result
    return logit_BRL.masked_fill_(~product_mask_BL.unsqueeze(1), MASKED).softmax(-1)


def _in_torch(
    query_NLF: Tensor,
    product_NLF: Tensor,
    product_mask_NL: Tensor,
    review_MRF: Tensor,
    review_mask_MR: Tensor,
    rows: Rows,
) -> Tensor:
    """Σ_r V_r + (Σ_r S_r) P, half the work."""
    product_B, review_B = rows
    mask_BL, review_BRF = rows_of(product_mask_NL, product_B), rows_of(review_MRF, review_B)
    weight_BRL = aware_weights(rows_of(query_NLF, product_B), mask_BL, review_BRF)
    mask_B1R = rows_of(review_mask_MR, review_B).to(weight_BRL.dtype).unsqueeze(1)
    own_B1F, share_B1L = torch.bmm(mask_B1R, review_BRF), torch.bmm(mask_B1R, weight_BRL)
    # where all positions are padding the softmax is uniform
    share_B1L = share_B1L * mask_BL.any(1)[:, None, None]
    return torch.baddbmm(own_B1F, share_B1L, rows_of(product_NLF, product_B)).squeeze(1)
