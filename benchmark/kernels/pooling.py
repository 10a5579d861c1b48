"""MCR's pooling of a matching map: the strongest answers of small filters to it.

B rows (product, review), A product and C review representations (so A x C channels of a map), L product and R review
positions, F features, S filters of all sizes together, K values kept of each, P taps of the largest filter.

`weight` holds, flat and size after size from 1 to `sizes`, filters of `[channels, size, size]`, equally many of each
size; a cell's answer covers it and the cells below and to the right, zeros outside. Only the winners carry a
gradient: the filtered maps are never kept, nor differentiated.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.core.types import rows_of
from benchmark.kernels import native
from benchmark.kernels.arrays import row_chunks
from benchmark.kernels.native import call
from benchmark.kernels.products import batched_product

Masks = tuple[Tensor | None, Tensor | None]


def strongest_cosines(
    left_NALF: Tensor,
    right_MCRF: Tensor,
    weight: Tensor,
    rows: tuple[Tensor, Tensor],
    masks: Masks,
    sizes: int,
    keep: int,
) -> Tensor:
    """The `keep` largest answers of each filter to the maps of the dot products of items, in descending order,
    `[B, S, K]`, -inf where there is none.

    Rows point at items (`rows`: left and right indices `[B]`); masks are those of rows, `[B, L]` and `[B, R]`: only
    cells of valid rows and columns can win.
    """
    if native.usable(left_NALF, right_MCRF):
        arrays = [x.contiguous() for x in (left_NALF, right_MCRF, weight)]
        indices = rows[0].contiguous(), rows[1].contiguous()
        result: Tensor = _StrongestCosines.apply(*arrays, indices, masks, sizes, keep)  # type: ignore[no-untyped-call]
        return result
    map_BACLR = torch.einsum("balf,bcrf->baclr", left_NALF[rows[0]], right_MCRF[rows[1]])
    return strongest_answers(map_BACLR.flatten(1, 2), weight, masks, sizes, keep)


def strongest_answers(map_BCLR: Tensor, weight: Tensor, masks: Masks, sizes: int, keep: int) -> Tensor:
    """The same of maps of C channels that are given; cells outside the masks must be zero."""
    if native.usable(map_BCLR):
        map_B1LCR = map_BCLR.transpose(1, 2).unsqueeze(1).contiguous()
        result: Tensor = _StrongestAnswers.apply(map_B1LCR, weight, masks, sizes, keep)  # type: ignore[no-untyped-call]
        return result
    weight_SCP = _stacked(weight, map_BCLR.shape[1], sizes)
    with torch.no_grad():
        cell_BSK, found_BSK = _winners(map_BCLR.detach(), weight_SCP, masks, sizes, keep)
    n_columns = map_BCLR.shape[-1]
    padded_BCLR = F.pad(map_BCLR, (0, sizes - 1, 0, sizes - 1))
    row, column = cell_BSK // n_columns, cell_BSK % n_columns
    tap = torch.arange(sizes, device=cell_BSK.device)
    row_BSKPP, column_BSKPP = row[..., None, None] + tap[:, None], column[..., None, None] + tap
    # in the padded map, whose rows are `sizes` - 1 cells longer
    index_BX = (row_BSKPP * (n_columns + sizes - 1) + column_BSKPP).flatten(1)
    index_BCX = index_BX.unsqueeze(1).expand(-1, padded_BCLR.shape[1], -1)
    patch_BCX = padded_BCLR.flatten(2).gather(2, index_BCX)
    patch_BCSKP = torch.unflatten(patch_BCX, 2, (*cell_BSK.shape[1:], -1))
    # the winners' answers once more, now with a gradient: `_winners` only says where they are
    value_BSK = torch.einsum("bcskp,scp->bsk", patch_BCSKP, weight_SCP)
    return value_BSK.masked_fill(~found_BSK, -torch.inf)


def _stacked(weight: Tensor, channels: int, sizes: int) -> Tensor:
    """All filters as one, zero-padded to the largest size: `[S, C, P]`."""
    filters = _filters(weight, sizes, channels)
    parts = weight.split_with_sizes([filters * channels * size * size for size in range(1, sizes + 1)])
    # a small filter is padded at its bottom and right, where its answer then adds 0
    squares = (part.view(filters, channels, i + 1, i + 1) for i, part in enumerate(parts))
    return torch.cat([F.pad(square, (0, sizes - len(square[0, 0])) * 2) for square in squares]).flatten(2)


def _winners(
    map_BCLR: Tensor, weight_SCP: Tensor, masks: Masks, sizes: int, keep: int
) -> tuple[Tensor, Tensor]:
    """Cells (row * columns + column) of the largest answers of each filter, `[B, S, K]`, and whether there was
    such a cell."""
    row_mask_BL, column_mask_BR = masks
    n_rows, n_columns = map_BCLR.shape[2:]
    padded_BCLR = F.pad(map_BCLR, (0, sizes - 1, 0, sizes - 1))
    # `topk` wants no more than there is: a small map leaves slots without a winner
    there = min(keep, n_rows * n_columns)
    row_bytes = n_rows * n_columns * padded_BCLR.element_size() * weight_SCP[0].numel()
    cells, found = [], []
    patch_BCPPLR = padded_BCLR.new_empty(0)
    for chunk in row_chunks(len(padded_BCLR), row_bytes):
        part_BCLR = padded_BCLR[chunk]
        if len(part_BCLR) != len(patch_BCPPLR):  # reused: a fresh one costs a page fault per 4 KB
            patch_BCPPLR = part_BCLR.new_empty(*part_BCLR.shape[:2], sizes, sizes, n_rows, n_columns)
        for i, j in itertools.product(range(sizes), repeat=2):
            patch_BCPPLR[:, :, i, j] = part_BCLR[:, :, i : i + n_rows, j : j + n_columns]
        patch_BXY = patch_BCPPLR.flatten(4).flatten(1, 3)
        answer_BSY = weight_SCP.flatten(1).expand(len(part_BCLR), -1, -1).bmm(patch_BXY)
        answer_BSLR = torch.unflatten(answer_BSY, 2, (n_rows, n_columns))
        if row_mask_BL is not None:
            answer_BSLR.masked_fill_(~row_mask_BL[chunk, None, :, None], -torch.inf)
        if column_mask_BR is not None:
            answer_BSLR.masked_fill_(~column_mask_BR[chunk, None, None, :], -torch.inf)
        top = answer_BSLR.flatten(2).topk(there)
        cells.append(F.pad(top.indices, (0, keep - there)))
        found.append(F.pad(top.values > -torch.inf, (0, keep - there)))
    return torch.cat(cells), torch.cat(found)


def strongest(
    map_BALCR: Tensor,
    weight: Tensor,
    sizes: int,
    keep: int,
    row_mask_BL: Tensor | None,
    column_mask_BR: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Compiled: the `keep` largest answers of each filter to each pair's map in descending order, of equal ones the
    first: values `[B, S, K]` and their cells (row * R + column, int32); -inf and -1 where there is none."""
    B, A, L, C, R = map_BALCR.shape
    filters = _filters(weight, sizes, A * C)
    value_BSK = map_BALCR.new_empty(B, sizes * filters, keep)
    cell_BSK = torch.empty_like(value_BSK, dtype=torch.int32)
    masks = [None if mask is None else mask.contiguous() for mask in (row_mask_BL, column_mask_BR)]
    arrays = map_BALCR.contiguous(), weight.contiguous(), *masks, value_BSK, cell_BSK
    call("strongest", *arrays, B, A, C, L, R, sizes, filters, keep)
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
        masks: Masks,
        sizes: int,
        keep: int,
    ) -> Tensor:
        left_B, right_B = rows
        left_BXF = rows_of(left_NALF, left_B).flatten(1, 2)
        right_BYF = rows_of(right_MCRF, right_B).flatten(1, 2)
        map_BXY = batched_product(left_BXF, right_BYF.transpose(1, 2))
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
        call("strongest_backward", *arrays, *gradients, *sizes)
        return left_gradient, right_gradient, tap_gradient.sum(0), None, None, None, None


class _StrongestAnswers(torch.autograd.Function):
    """`strongest` of given maps, `[B, 1, L, C, R]`."""

    @staticmethod
    def forward(ctx: Any, map_B1LCR: Tensor, weight: Tensor, masks: Masks, sizes: int, keep: int) -> Tensor:
        value_BSK, cell_BSK = strongest(map_B1LCR, weight, sizes, keep, *masks)
        ctx.sizes = sizes
        ctx.save_for_backward(map_B1LCR, weight, cell_BSK)
        return value_BSK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BSK: Tensor) -> tuple[Tensor | None, ...]:
        map_B1LCR, weight, cell_BSK = ctx.saved_tensors
        B, _, L, C, R = map_B1LCR.shape
        filters, keep = _filters(weight, ctx.sizes, C), cell_BSK.shape[2]
        map_gradient, tap_gradient = torch.zeros_like(map_B1LCR), weight.new_zeros(B, weight.numel())
        arrays = map_B1LCR, weight, cell_BSK, gradient_BSK.contiguous(), map_gradient, tap_gradient
        call("strongest_map_backward", *arrays, B, C, L, R, ctx.sizes, filters, keep)
        return map_gradient, tap_gradient.sum(0), None, None, None


def winners_norm(value_BSK: Tensor, biases: Sequence[Tensor], norm: nn.LayerNorm) -> Tensor:
    """tanh of the winners' values with their filters' bias, 0 where there is none; in the order [sizes, K, filters] and
    layer-normalised as a whole, `[B, S K]`. One bias array for each size."""
    sizes, _, filters = norm.normalized_shape
    if native.usable(value_BSK, norm.weight):
        arrays = value_BSK.contiguous(), norm.weight, norm.bias, norm.eps
        result: Tensor = _WinnersNorm.apply(*arrays, *biases)  # type: ignore[no-untyped-call]
        return result
    # bias and tanh keep the order within a filter, so they wait until the winners are known
    bias_S1 = torch.cat(list(biases)).unsqueeze(1)
    # noted before tanh, which makes -inf an innocent -1
    none_BSK = value_BSK == -torch.inf
    value_BSK = torch.tanh(value_BSK + bias_S1).masked_fill(none_BSK, 0)
    normed: Tensor = norm(torch.unflatten(value_BSK, 1, (sizes, filters)).transpose(2, 3))
    return normed.flatten(1)


class _WinnersNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value_BSK: Tensor, weight: Tensor, offset: Tensor, eps: float, *biases: Tensor
    ) -> Tensor:
        sizes, keep, filters = weight.shape
        ctx.sizes = len(value_BSK), sizes, filters, keep
        active_BX, normed_BX = value_BSK.new_empty(2, len(value_BSK), weight.numel()).unbind()
        statistics_B2 = value_BSK.new_empty(len(value_BSK), 2)
        results = active_BX, normed_BX, statistics_B2
        call("winners_norm", value_BSK, torch.cat(biases), weight, offset, *results, eps, *ctx.sizes)
        ctx.save_for_backward(value_BSK, active_BX, weight, statistics_B2)
        return normed_BX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BX: Tensor) -> tuple[Tensor | None, ...]:
        value_BSK, _, weight, _ = ctx.saved_tensors
        of_value = torch.empty_like(value_BSK)
        of_weight, of_offset = weight.new_zeros(2, *weight.shape).unbind()
        of_bias_S = weight.new_zeros(value_BSK.shape[1])
        results = of_value, of_bias_S, of_weight, of_offset
        call("winners_norm_backward", *ctx.saved_tensors, gradient_BX.contiguous(), *results, *ctx.sizes)
        return of_value, of_weight, of_offset, None, *of_bias_S.chunk(ctx.sizes[1])
