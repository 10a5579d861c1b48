"""Sums over reviews of product-aware attention (PRH-Net, Fan et al., WWW 2019; MCR, Liu et al., ACL 2021): for each
row Σ_r (V_r + Σ_l S_rl P_l), S_r = softmax_l (V_r · Q_l), Q = relu(P w + b), over real positions.

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
from benchmark.kernels.linear import gradients_of_map, linear, mapped
from benchmark.kernels.native import call
from benchmark.kernels.products import batched_product

Rows = tuple[Tensor, Tensor]
"""Which product and which review each row is, int64 `[B]` both."""


def aware_sums(
    product_NLF: Tensor,
    product_mask_NL: Tensor,
    review_MRF: Tensor,
    review_mask_MR: Tensor,
    rows: Rows,
    weight_FF: Tensor,
    bias_F: Tensor,
) -> Tensor:
    """`[B, F]`, with Q = relu(P w + b). A product without a real position adds nothing. Rows share items, which the
    compiled code never copies together, and whose gradients it adds up in the order of the rows."""
    arrays = product_NLF, product_mask_NL, review_MRF, review_mask_MR
    if not native.usable(product_NLF, review_MRF, weight_FF):
        return _in_torch(*arrays, rows, weight_FF, bias_F)
    given = [x.contiguous() for x in (*arrays, *rows)]
    result: Tensor = _AwareSums.apply(*given, weight_FF, bias_F)  # type: ignore[no-untyped-call]
    return result


class _AwareSums(torch.autograd.Function):
    """Row by row in the cache: attention is computed again in the backward pass, never stored."""

    @staticmethod
    def forward(
        ctx: Any,
        product_NLF: Tensor,
        product_mask_NL: Tensor,
        review_MRF: Tensor,
        review_mask_MR: Tensor,
        product_B: Tensor,
        review_B: Tensor,
        weight_FF: Tensor,
        bias_F: Tensor,
    ) -> Tensor:
        B, (N, L, F), (M, R, _) = len(product_B), product_NLF.shape, review_MRF.shape
        query_NLF = mapped(product_NLF, weight_FF.T, bias_F).relu_()
        sum_BF, log_BR = product_NLF.new_empty(B, F), product_NLF.new_empty(B, R)
        ctx.sizes = B, N, M, L, R, F
        arrays = query_NLF, product_NLF, product_mask_NL, review_MRF, review_mask_MR, product_B, review_B
        call("aware_sums", *arrays, sum_BF, log_BR, *ctx.sizes)
        ctx.save_for_backward(weight_FF, *arrays, log_BR)
        return sum_BF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BF: Tensor) -> tuple[Tensor | None, ...]:
        weight_FF, *arrays = ctx.saved_tensors
        query_NLF, product_NLF, _, review_MRF, *_ = arrays
        of_query, of_product, of_review = map(torch.zeros_like, (query_NLF, product_NLF, review_MRF))
        results = gradient_BF.contiguous(), of_query, of_product, of_review
        call("aware_sums_backward", *arrays, *results, *ctx.sizes)
        of_query = torch.ops.aten.threshold_backward(of_query, query_NLF, 0)
        flat = of_query.flatten(0, 1), product_NLF.flatten(0, 1)
        through, of_weight_FF, of_bias_F = gradients_of_map(*flat, weight_FF.T)
        assert through is not None
        of_product += through.view_as(of_product)
        return of_product, None, of_review, None, None, None, of_weight_FF.T, of_bias_F


def aware_weights(query_BLF: Tensor, product_mask_BL: Tensor, review_BRF: Tensor) -> Tensor:
    """S: what each review position takes of each product position, `[B, R, L]`."""
    logit_BRL = batched_product(review_BRF, query_BLF.transpose(1, 2))
    # in place: the backward pass of a product needs its factors, not its result
    return logit_BRL.masked_fill_(~product_mask_BL.unsqueeze(1), MASKED).softmax(-1)


def aware_query(product_NLF: Tensor, weight_FF: Tensor, bias_F: Tensor) -> Tensor:
    """relu(P w + b), which the review's positions are compared with."""
    # the paper multiplies by w, `linear` by its transpose
    return torch.relu(linear(product_NLF, weight_FF.T, bias_F))


def _in_torch(
    product_NLF: Tensor,
    product_mask_NL: Tensor,
    review_MRF: Tensor,
    review_mask_MR: Tensor,
    rows: Rows,
    weight_FF: Tensor,
    bias_F: Tensor,
) -> Tensor:
    """Σ_r V_r + (Σ_r S_r) P, half the work."""
    product_B, review_B = rows
    query_NLF = aware_query(product_NLF, weight_FF, bias_F)
    mask_BL, review_BRF = rows_of(product_mask_NL, product_B), rows_of(review_MRF, review_B)
    weight_BRL = aware_weights(rows_of(query_NLF, product_B), mask_BL, review_BRF)
    mask_B1R = rows_of(review_mask_MR, review_B).to(weight_BRL.dtype).unsqueeze(1)
    own_B1F, share_B1L = torch.bmm(mask_B1R, review_BRF), torch.bmm(mask_B1R, weight_BRL)
    # where all positions are padding the softmax is uniform
    share_B1L = share_B1L * mask_BL.any(1)[:, None, None]
    return torch.baddbmm(own_B1F, share_B1L, rows_of(product_NLF, product_B)).squeeze(1)
