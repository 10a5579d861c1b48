"""A split's items on the device: batches are drawn and padded there, from row numbers alone.

Features lie there as float16, as they are packed, and are widened when a batch is made: the numbers are those that a
`Collator` gives. The code knows no device: tests run it on a CPU.

B rows of a batch, N items, T tokens, V RoIs, F width of a RoI, X RoIs of the split, R reviews.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.core.types import Batch, Items
from benchmark.engine.buckets import Shape

if TYPE_CHECKING:
    from benchmark.data.collate import Collator, ItemArrays

Int64 = NDArray[np.int64]

MOST_OF_FREE = 0.6
"""Share of a GPU's free memory that a run's features may take; the rest is for its steps."""
STAGED_BYTES = 1 << 28
"""Features travel in pieces of this size."""
HEAD = 1
"""Numbers before the rows in a step's index: how many reviews are real."""


@dataclass(frozen=True)
class Side:
    """Products, or reviews, of a split."""

    token_Z: Tensor
    """int32, all texts one after another."""
    token_start_N: Tensor
    token_count_N: Tensor
    prefix: int | None
    pad_id: int
    roi_XF: Tensor | None
    roi_start_N: Tensor
    roi_stored_N: Tensor
    roi_count_N: Tensor
    surface_NS: Tensor | None

    @classmethod
    def of(cls, arrays: ItemArrays, device: torch.device) -> Side:
        def there(array: NDArray[Any], dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

        stored_N, rois = arrays.roi_stored_N, arrays.roi_flat
        return cls(
            there(arrays.token_flat.astype(np.int32), torch.int32),
            there(arrays.token_start_N),
            there(arrays.token_count_N),
            arrays.prefix,
            arrays.pad_id,
            None if rois is None else _uploaded(rois, arrays.roi_start_N, stored_N, device),
            there(np.cumsum(stored_N) - stored_N),
            there(stored_N),
            there(arrays.roi_count_N),
            None if arrays.surface_NS is None else there(arrays.surface_NS, torch.float32),
        )

    def gather(self, row_N: Tensor, tokens: int, rois: int, real_N: Tensor | None) -> Items:
        """These items, padded to so many tokens and RoIs; none may have more."""
        count_N, stored_N = self.token_count_N[row_N], self.roi_stored_N
        place_T = torch.arange(tokens, device=row_N.device)
        position_NT = self.token_start_N[row_N, None] + place_T - int(self.prefix is not None)
        token_NT = self.token_Z[position_NT.clamp(0, max(0, len(self.token_Z) - 1))].long()
        token_NT = token_NT.masked_fill(place_T >= count_N[:, None], self.pad_id)
        if self.prefix is not None:
            token_NT[:, 0] = self.prefix
        surface_NS = None if self.surface_NS is None else self.surface_NS[row_N]
        if self.roi_XF is None:
            return Items(token_NT, count_N, None, None, row_N, surface_NS, real_N)
        place_V = torch.arange(rois, device=row_N.device)
        there_NV = place_V < stored_N[row_N, None]
        position_NV = (self.roi_start_N[row_N, None] + place_V).clamp(max=len(self.roi_XF) - 1)
        roi_NVF = self.roi_XF[position_NV].float().masked_fill(~there_NV[:, :, None], 0)
        return Items(token_NT, count_N, roi_NVF, self.roi_count_N[row_N], row_N, surface_NS, real_N)


def _uploaded(flat: NDArray[Any], start_N: Int64, stored_N: Int64, device: torch.device) -> Tensor:
    """The items' RoIs one after another, `[X, F]`, at least one row; a piece at a time through pinned memory."""
    total, width = max(1, int(stored_N.sum())), flat.shape[1]
    source = torch.from_numpy(flat)
    roi_XF = torch.zeros(total, width, dtype=source.dtype, device=device)
    size = max(int(stored_N.max(initial=1)), STAGED_BYTES // (width * source.element_size()))
    stage = torch.empty(min(size, total), width, dtype=source.dtype, pin_memory=device.type == "cuda")
    done = held = 0
    for start, stored in zip(start_N.tolist(), stored_N.tolist(), strict=True):
        if held + stored > len(stage):
            roi_XF[done : done + held].copy_(stage[:held])  # waits: the stage is filled again at once
            done, held = done + held, 0
        stage[held : held + stored].copy_(source[start : start + stored])
        held += stored
    roi_XF[done : done + held].copy_(stage[:held])
    return roi_XF


class Resident:
    """One split for one kind of model."""

    def __init__(self, collator: Collator, device: torch.device) -> None:
        split = collator.split
        self.device, self.collator = device, collator
        arrays = {side: collator.arrays(side) for side in ("product", "review")}
        self._products, self._reviews = (Side.of(arrays[side], device) for side in ("product", "review"))
        self.label_R = torch.from_numpy(np.array(split.label_R, dtype=np.float32)).to(device)
        self.product_R: Int64 = np.asarray(split.product_R, dtype=np.int64)
        self._lengths = {
            side: (own.token_count_N, own.roi_count_N if own.roi_flat is not None else None, own.padding)
            for side, own in arrays.items()
        }

    @staticmethod
    def bytes_of(collator: Collator) -> int:
        """Memory that the split will take, features and texts."""
        total = 0
        for side in ("product", "review"):
            own = collator.arrays(side)
            total += 4 * len(own.token_flat)
            if own.roi_flat is not None:
                total += int(own.roi_stored_N.sum()) * own.roi_flat.shape[1] * own.roi_flat.itemsize
        return total

    def pairs(self, review_B: Int64, group_size: int | None = None) -> Batch:
        """As `Collator.pairs`, the same numbers, on the device."""
        drawn = self.drawn(review_B)
        shape = self.exact(drawn)
        index = torch.from_numpy(drawn.index(shape))
        if self.device.type == "cuda":
            index = index.pin_memory()
        made = self.batch(index.to(self.device, non_blocking=True), shape, len(review_B), group_size)
        return replace(made, reviews=replace(made.reviews, real_N=None))  # nothing fills it up: all are real

    def products(self, product_rows: Int64) -> Batch:
        """As `Collator.products`."""
        return self.pairs(self.collator.product_reviews(product_rows))

    @property
    def review_length_R(self) -> Int64:
        return self.collator.review_length_R

    def product_reviews(self, product_rows: Int64) -> Int64:
        return self.collator.product_reviews(product_rows)

    def drawn(self, review_B: Int64) -> Drawn:
        """The distinct items of these review rows, as a `Collator` finds them."""
        product_N, product_B = np.unique(self.product_R[review_B], return_inverse=True)
        review_N, index_B = np.unique(review_B, return_inverse=True)
        return Drawn(product_N, product_B.reshape(-1), review_N, index_B.reshape(-1))

    def exact(self, drawn: Drawn) -> Shape:
        """The sizes that a `Collator` gives this batch."""
        tokens, rois = {}, {}
        for side, row_N in (("product", drawn.product_N), ("review", drawn.review_N)):
            count_N, roi_count_N, padding = self._lengths[side]
            longest = max(padding.min_tokens, int(count_N[row_N].max(initial=1)))
            tokens[side] = padding.fixed_tokens or longest
            rois[side] = 0
            if roi_count_N is not None:
                rois[side] = max(padding.min_rois, int(roi_count_N[row_N].max(initial=0)))
        sizes = len(drawn.product_N), len(drawn.review_N)
        return Shape(*sizes, tokens["product"], tokens["review"], rois["product"], rois["review"])

    def largest(self, products: int, reviews: int) -> Shape:
        """The sizes of a batch of so many items that no batch exceeds."""
        every = Drawn(
            *(np.arange(len(self._lengths["product"][0])), np.zeros(0, dtype=np.int64)),
            *(np.arange(len(self._lengths["review"][0])), np.zeros(0, dtype=np.int64)),
        )
        return Shape(products, reviews, *self.exact(every)[2:])

    def batch(self, index: Tensor, shape: Shape, rows: int, group_size: int | None) -> Batch:
        """The batch that `Drawn.index` describes, on this device, of this shape. Nothing waits for the device."""
        sizes = [HEAD, shape.products, shape.reviews, rows, rows]
        head, product_N, review_N, product_B, review_B = index.split_with_sizes(sizes)
        real_N = torch.arange(shape.reviews, device=index.device) < head
        label_B = self.label_R[review_N[review_B]]
        return Batch(
            self._products.gather(product_N, shape.product_tokens, shape.product_rois, None),
            self._reviews.gather(review_N, shape.review_tokens, shape.review_rois, real_N),
            product_B,
            review_B,
            label_B,
            group_size,
        )


@dataclass(frozen=True)
class Drawn:
    """A step's distinct items and what its rows point at, as numpy arrays."""

    product_N: Int64
    product_B: Int64
    review_N: Int64
    review_B: Int64

    def index(self, shape: Shape) -> Int64:
        """All of it in one array, for one transfer; copies of the first item fill it up to the shape."""
        sides = []
        for row_N, size in ((self.product_N, shape.products), (self.review_N, shape.reviews)):
            sides += [row_N, np.full(size - len(row_N), row_N[0])]
        return np.concatenate([[len(self.review_N)], *sides, self.product_B, self.review_B]).astype(np.int64)


def fits(collators: list[Collator], device: torch.device) -> bool:
    """Whether these splits may lie on the device together."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(map(Resident.bytes_of, collators)) <= MOST_OF_FREE * free
