"""Scaled dot-product attention with dropout on its weights, of real positions only.

N sequences, T queries, S positions that they attend to, X real positions of all sequences, D width of queries and keys,
E of values, H heads of width d, consecutive blocks of channels.

A position outside its mask neither attends (its result is zero) nor is attended to; one that finds nothing to attend to
gets zero. The compiled code reads the rows that it is told, so that padding costs nothing, nothing is copied
together, and a sequence's result does not depend on how far others are padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.arrays import MASKED
from benchmark.kernels.elementwise import dropout
from benchmark.kernels.native import call, draw
from benchmark.kernels.packing import Packing

FUSED_WIDTH = 256
"""Widest head that a GPU's fused attention is asked for. RoI states of 2048 are one head: three plain products."""


def self_attention(state_NTX: Tensor, mask_NT: Tensor, heads: int, rate: float = 0.0) -> Tensor:
    """Of each position to all of its sequence, `[N, T, D]`, from queries, keys and values side by side, `[N, T, 3 D]`;
    dropout at `rate` on the weights."""
    packing = Packing.of(mask_NT)
    if native.usable_in_float32(state_NTX) and not packing.is_fixed:
        places = packing.place_X, packing
        return _compiled((state_NTX,), "qkv", places, places, heads, rate, packed=False)
    query_NTD, key_NTD, value_NTD = state_NTX.chunk(3, dim=-1)
    return _in_torch(query_NTD, key_NTD, value_NTD, mask_NT, heads, rate) * mask_NT.unsqueeze(-1)


def cross_attention(
    query_NTD: Tensor, context_NSX: Tensor, mask_NS: Tensor, heads: int, rate: float = 0.0
) -> Tensor:
    """Of all queries to a context whose keys and values stand side by side, `[N, S, 2 D]`."""
    keys = Packing.of(mask_NS)
    if native.usable_in_float32(query_NTD, context_NSX) and not keys.is_fixed:
        queries = Packing.full(query_NTD.shape[0], query_NTD.shape[1], query_NTD.device)
        arrays = query_NTD, context_NSX
        places = (None, queries), (keys.place_X, keys)
        return _compiled(arrays, "q kv", *places, heads, rate, packed=False)
    key_NSD, value_NSD = context_NSX.chunk(2, dim=-1)
    return _in_torch(query_NTD, key_NSD, value_NSD, mask_NS, heads, rate)


def packed_attention(state_XY: Tensor, packing: Packing, heads: int, rate: float = 0.0) -> Tensor:
    """`self_attention` where only the real positions are there: `[X, D]` from `[X, 3 D]`."""
    if native.usable_in_float32(state_XY) and not packing.is_fixed:
        return _compiled((state_XY,), "qkv", (None, packing), (None, packing), heads, rate, packed=True)
    query_XD, key_XD, value_XD = state_XY.chunk(3, dim=-1)
    return _padded(query_XD, key_XD, value_XD, packing, heads, rate)


def packed_cross_attention(
    query_XD: Tensor, context_YX: Tensor, packings: tuple[Packing, Packing], heads: int, rate: float = 0.0
) -> Tensor:
    """`cross_attention` where only the real positions of queries and context are there: `[X, D]` from `[X, D]` and
    keys and values side by side, `[Y, 2 D]`."""
    queries, keys = packings
    if native.usable_in_float32(query_XD, context_YX) and not queries.is_fixed:
        return _compiled(
            (query_XD, context_YX), "q kv", (None, queries), (None, keys), heads, rate, packed=True
        )
    key_YD, value_YD = context_YX.chunk(2, dim=-1)
    query = queries.unpack(query_XD.unsqueeze(0))
    key, value = (keys.unpack(x.unsqueeze(0)) for x in (key_YD, value_YD))
    return queries.pack(_in_torch(query, key, value, keys.mask_NL, heads, rate)).squeeze(0)


def packed_attention_of(query_key_XY: Tensor, value_XE: Tensor, packing: Packing) -> Tensor:
    """`packed_attention` with one head whose values have a width of their own, E."""
    if native.usable_in_float32(query_key_XY, value_XE) and not packing.is_fixed:
        arrays = query_key_XY, value_XE
        return _compiled(arrays, "qk v", (None, packing), (None, packing), 1, 0.0, packed=True)
    query_XD, key_XD = query_key_XY.chunk(2, dim=-1)
    return _padded(query_XD, key_XD, value_XE, packing, 1, 0.0)


def gathered_attention(state_RY: Tensor, row_X: Tensor, packing: Packing, heads: int) -> Tensor:
    """`packed_attention` of sequences whose position x has its queries, keys and values in row `row_X[x]` of
    `[R, 3 D]`: sequences share rows, which are never copied together."""
    if native.usable_in_float32(state_RY) and not packing.is_fixed:
        places = row_X, packing
        return _compiled((state_RY,), "qkv", places, places, heads, 0.0, packed=True)
    return packed_attention(state_RY.index_select(0, row_X), packing, heads)


Places = tuple[Tensor | None, Packing]
"""Rows of an array that hold the real positions (None: all, in their order), and what sequences they form."""


def _compiled(
    arrays: tuple[Tensor, ...],
    form: str,
    queries: Places,
    keys: Places,
    heads: int,
    rate: float,
    *,
    packed: bool,
) -> Tensor:
    first, *others = (x.contiguous() for x in arrays)
    second = others[0] if others else None
    attending = Attending(form, queries, keys, heads, rate, packed)
    result: Tensor = _Attention.apply(first, second, attending)  # type: ignore[no-untyped-call]
    return result


@dataclass
class Attending:
    """One call of the compiled code, forward and backward. `form` says how queries, keys and values are spread over two
    arrays: "qkv", "q kv" or "qk v"."""

    form: str
    queries: Places
    keys: Places
    heads: int
    rate: float
    packed: bool

    def __post_init__(self) -> None:
        (query_X, queries), (key_X, keys) = self.queries, self.keys
        self.indices = query_X, queries.start_N1, key_X, keys.start_N1

    def forward(self, first: Tensor, second: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the queries find, and the logarithms of their sums of exponentials `[H, X]`."""
        strides, width, value_width = _widths(first, second, self.form)
        (_, queries), (_, keys) = self.queries, self.keys
        # drawn once: with the same seed the backward pass drops the same weights
        self.settings = (width // self.heads) ** -0.5, *draw(self.rate)
        head = self.heads, width // self.heads, value_width // self.heads
        self.sizes = *strides, queries.shape[0], queries.shape[1], keys.shape[1], *head, self.packed
        n_queries = len(queries)
        # rows that are not written are padding, and packed there is none
        make = first.new_empty if self.packed else first.new_zeros
        attended = make(*((n_queries,) if self.packed else first.shape[:-1]), value_width)
        log = first.new_empty(self.heads, n_queries)
        places = _places(first, second, self.form)
        call("attention", *places, *self.indices, attended, log, *self.settings, *self.sizes)
        return attended, log

    def backward(
        self, first: Tensor, second: Tensor | None, attended: Tensor, log: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients of both arrays."""
        query_X = self.indices[0]
        # packed and yet by index: rows are shared by sequences, and their gradients are added up afterwards
        shared = self.packed and query_X is not None
        # packed, every row is written; else those of padding are not
        like = torch.empty_like if self.packed else torch.zeros_like
        made = (
            first.new_empty(len(query_X), first.shape[-1]) if shared and query_X is not None else like(first)
        )
        results = made, None if second is None else like(second)
        arrays = *_places(first, second, self.form), *self.indices, attended, log, gradient.contiguous()
        call("attention_backward", *arrays, *_places(*results, self.form), *self.settings, *self.sizes)
        if shared and query_X is not None:
            made = torch.zeros_like(first)
            call("add_rows", results[0], query_X, made, len(query_X), first.shape[-1])
        return made, results[1]


class _Attention(torch.autograd.Function):
    """Head by head in the cache: logits and weights are computed again in the backward pass, never stored. Half
    precisions are widened as they are read, for sums over positions are taken in float32, and kept as they came."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor | None, attending: Attending) -> Tensor:
        attended, log = attending.forward(*_widened(first, second))
        ctx.attending = attending
        ctx.save_for_backward(first, second, attended, log)
        return attended.to(first.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        first, second, attended, log = ctx.saved_tensors
        arrays = *_widened(first, second), attended, log, gradient.float()
        of_first, of_second = ctx.attending.backward(*arrays)
        return of_first.to(first.dtype), None if of_second is None else of_second.to(second.dtype), None


def _widened(first: Tensor, second: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return first.float(), None if second is None else second.float()


def _widths(first: Tensor, second: Tensor | None, form: str) -> tuple[tuple[int, int, int], int, int]:
    """Steps between rows of queries, keys and values; widths of queries and values."""
    X = first.shape[-1]
    if second is None:
        return (X, X, X), X // 3, X // 3
    Y = second.shape[-1]
    if form == "q kv":
        return (X, Y, Y), X, Y // 2
    return (X, X, Y), X // 2, Y


def _places(first: Tensor, second: Tensor | None, form: str) -> tuple[int, int, int]:
    """Addresses of queries, keys and values."""
    # all in one array: steps of D channels within its rows, so that nothing is copied apart
    start, width = first.data_ptr(), first.shape[-1] * first.element_size()
    if second is None:
        return start, start + width // 3, start + 2 * width // 3
    other = second.data_ptr()
    if form == "q kv":
        return start, other, other + second.shape[-1] * second.element_size() // 2
    return start, start + width // 2, other


def _padded(
    query_XD: Tensor, key_XD: Tensor, value_XE: Tensor, packing: Packing, heads: int, rate: float
) -> Tensor:
    """The twin of the packed forms: padded, and packed again."""
    query, key, value = (packing.unpack(x.unsqueeze(0)) for x in (query_XD, key_XD, value_XE))
    return packing.pack(_in_torch(query, key, value, packing.mask_NL, heads, rate)).squeeze(0)


def _in_torch(
    query_NTD: Tensor, key_NSD: Tensor, value_NSE: Tensor, mask_NS: Tensor, heads: int, rate: float
) -> Tensor:
    query, key, value = (
        torch.unflatten(x, 2, (heads, -1)).transpose(1, 2) for x in (query_NTD, key_NSD, value_NSE)
    )
    offset_NS = torch.where(mask_NS, 0.0, MASKED).to(query.dtype)
    on_gpu = query.device.type != "cpu"
    if on_gpu and query.shape[-1] <= FUSED_WIDTH:
        # a GPU's fused kernels draw dropout themselves; which of them runs is torch's choice, and with
        # deterministic algorithms each gives the same bits every time
        offset = offset_NS[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, offset, dropout_p=rate)
    elif torch.is_grad_enabled() or on_gpu:
        # by hand: with dropout on the weights, which the fused kernel of a CPU does not have, and where heads are
        # wide, for which a GPU's fused kernels were not made
        logit = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3) + offset_NS[:, None, None, :]
        weight = logit.softmax(-1)
        attended = (dropout(weight, rate) if rate else weight) @ value
    else:
        # `rate` is not looked at: what wants no gradient is a score, and scoring drops nothing
        attended = F.scaled_dot_product_attention(query, key, value, offset_NS[:, None, None, :])
    attended_NTE: Tensor = attended.transpose(1, 2).flatten(2)
    return attended_NTE * mask_NS.any(1)[:, None, None]
