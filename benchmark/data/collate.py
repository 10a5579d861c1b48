"""Review rows -> padded batches. Array work only; no loop runs over tokens or RoIs.

B rows of a batch, N distinct items, T tokens, V RoIs, F width of a RoI feature, R reviews and P products
of the split.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmark.core.errors import DataError, UsageError
from benchmark.core.model import Tokenizer
from benchmark.core.types import Batch, Items, Padding
from benchmark.data.corpus import Split
from benchmark.data.store import Ragged
from benchmark.data.text import CLS, PAD
from benchmark.data.wordpieces import EncoderTokens

Int64 = npt.NDArray[np.int64]

MAPPED_BYTES = 1 << 29
"""Features that take more are read by position instead of through a memory map."""
SHORT_ITEM = 1 << 13
"""Features of an item, on average, below which a batch is gathered by index: one by one, each item costs two operations
however short it is; by index, each feature is copied three times instead of once."""


@dataclass(frozen=True)
class ItemArrays:
    """One side's items as they lie in memory, and how batches hold them: for who makes batches elsewhere."""

    token_flat: npt.NDArray[Any]
    token_start_N: Int64
    token_count_N: Int64
    """As batches hold them, the prefix included."""
    prefix: int | None
    """Id of the token that stands before each text."""
    pad_id: int
    padding: Padding
    roi_flat: npt.NDArray[Any] | None
    """float16 [RoIs of all splits and sides, F]."""
    roi_start_N: Int64
    roi_stored_N: Int64
    """RoIs that are kept of each item."""
    roi_count_N: Int64
    """As batches hold them: an item without any may count some zero rows."""
    surface_NS: npt.NDArray[np.float32] | None


class Collator:
    """Makes batches of one split for one kind of model.

    Each distinct product and review of a batch is there once. A text is its first `max_tokens` tokens
    ([CLS] of `joint` and `bert` comes on top), an item its first `max_rois` RoIs.
    """

    def __init__(
        self,
        split: Split,
        *,
        tokenizer: Tokenizer = "words",
        padding: Padding | None = None,
        reads_images: bool = False,
        reads_surface: bool = False,
        max_tokens: int = 128,
        max_rois: int = 128,
        bert_tokens: EncoderTokens | None = None,
    ) -> None:
        self.split = split
        padding = padding or Padding()
        self._items = {
            side: _ItemReader(
                _TextReader(split, side, tokenizer, padding, max_tokens, bert_tokens),
                _RoiReader(split.rois(side), padding, max_rois) if reads_images else None,
                split.surface_RS if reads_surface and side == "review" else None,
            )
            for side in ("product", "review")
        }

    @property
    def review_length_R(self) -> Int64:
        """int64 [R], tokens of each review as batches hold them: what to sort by to pad less."""
        return self._items["review"].texts.count_N

    def pairs(self, review_B: npt.NDArray[Any], group_size: int | None = None) -> Batch:
        """The batch of these review rows, in this order; in ranking groups of `group_size` if given."""
        if group_size is not None and len(review_B) % group_size:
            raise ValueError(f"{len(review_B)} rows are not groups of {group_size}")
        product_rows, product_B = np.unique(self.split.product_R[review_B], return_inverse=True)
        review_rows, index_B = np.unique(review_B, return_inverse=True)
        return Batch(
            products=self._items["product"].gather(product_rows),
            reviews=self._items["review"].gather(review_rows),
            product_B=torch.from_numpy(product_B.astype(np.int64)),
            review_B=torch.from_numpy(index_B.astype(np.int64)),
            label_B=torch.from_numpy(self.split.label_R[review_B].astype(np.float32)),
            group_size=group_size,
        )

    def products(self, product_rows: npt.NDArray[Any]) -> Batch:
        """The batch of all reviews of these products, in the order of `product_reviews`."""
        return self.pairs(self.product_reviews(product_rows))

    def product_reviews(self, product_rows: npt.NDArray[Any]) -> Int64:
        """Review rows of these products, product by product, each product's in table order."""
        order_R, start_P1 = self._by_product
        return np.concatenate([order_R[start_P1[row] : start_P1[row + 1]] for row in product_rows])

    def lists(self, rows: Iterable[npt.NDArray[Any]]) -> Batch:
        """The batch of some reviews of some products: one array of review rows per product."""
        return self.pairs(np.concatenate(list(rows)))

    def arrays(self, side: str) -> ItemArrays:
        """What batches hold of the `product` or `review` items."""
        return self._items[side].arrays()

    @cached_property
    def _by_product(self) -> tuple[Int64, Int64]:
        order_R = np.argsort(self.split.product_R, kind="stable")
        start_P1 = np.searchsorted(self.split.product_R[order_R], np.arange(self.split.n_products + 1))
        return order_R, start_P1


class _ItemReader:
    """Products, or reviews, of a split."""

    def __init__(
        self, texts: _TextReader, rois: _RoiReader | None, surface: npt.NDArray[np.float32] | None
    ) -> None:
        self.texts = texts
        self._rois = rois
        self._surface = surface

    def arrays(self) -> ItemArrays:
        texts, rois, none = self.texts, self._rois, np.zeros(0, dtype=np.int64)
        return ItemArrays(
            token_flat=texts.ids.flat,
            token_start_N=texts.ids.offset_N1[:-1],
            token_count_N=texts.count_N,
            prefix=texts.prefix,
            pad_id=texts.pad_id,
            padding=texts.padding,
            roi_flat=None if rois is None else rois.flat,
            roi_start_N=none if rois is None else rois.start_N,
            roi_stored_N=none if rois is None else rois.stored_N,
            roi_count_N=none if rois is None else rois.count_N,
            surface_NS=self._surface,
        )

    def gather(self, row_N: Int64) -> Items:
        token_NT, token_count_N = self.texts.gather(row_N)
        roi_NVF, roi_count_N = (None, None) if self._rois is None else self._rois.gather(row_N)
        surface_NS = None if self._surface is None else torch.from_numpy(self._surface[row_N])
        return Items(token_NT, token_count_N, roi_NVF, roi_count_N, torch.from_numpy(row_N), surface_NS)


class _TextReader:
    """Token ids of one side's texts, padded on the right."""

    def __init__(
        self,
        split: Split,
        side: str,
        tokenizer: Tokenizer,
        padding: Padding,
        max_tokens: int,
        bert_tokens: EncoderTokens | None,
    ) -> None:
        self.padding = padding
        self.pad_id = PAD
        self.prefix = CLS if tokenizer == "joint" else None
        limit = max_tokens
        if tokenizer == "bert":
            self.ids = _wordpieces(bert_tokens, max_tokens).of(split.name, side)
            self.pad_id = bert_tokens.pad_id if bert_tokens else PAD
            limit += bert_tokens.special if bert_tokens else 0
        else:
            self.ids = split.words(side, joint=tokenizer == "joint")
        self._stored_N = np.minimum(self.ids.count_N, limit)
        longest = padding.fixed_tokens or limit + 1
        self.count_N: Int64 = np.minimum(self._stored_N + (self.prefix is not None), longest)
        """Tokens of each item as batches hold them."""

    def gather(self, row_N: Int64) -> tuple[torch.Tensor, torch.Tensor]:
        """(token_NT, token_count_N)"""
        count_N = self.count_N[row_N]
        size = self.padding.fixed_tokens or max(self.padding.min_tokens, int(count_N.max(initial=1)))
        position_NT = np.arange(size)[None, :] + self.ids.offset_N1[row_N, None]
        if self.prefix is not None:
            position_NT -= 1
        flat = self.ids.flat
        token_NT = flat[np.clip(position_NT, 0, len(flat) - 1)].astype(np.int64)
        token_NT[np.arange(size) >= count_N[:, None]] = self.pad_id
        if self.prefix is not None:
            token_NT[:, 0] = self.prefix
        return torch.from_numpy(token_NT), torch.from_numpy(count_N)


def _wordpieces(tokens: EncoderTokens | None, max_tokens: int) -> EncoderTokens:
    if tokens is None:
        raise ValueError("tokenizer 'bert' needs bert_tokens")
    if max_tokens > tokens.max_tokens:
        raise UsageError(
            f"max_tokens {max_tokens}, but {tokens.max_tokens} word pieces of a text were packed"
        )
    return tokens


class _RoiReader:
    """RoI features of one side's items, float32, zero rows where padded."""

    def __init__(self, rois: Ragged, padding: Padding, max_rois: int) -> None:
        self.flat = rois.flat
        self._rows = _RowFile(rois.flat)
        self.start_N = rois.offset_N1[:-1]
        self.stored_N = np.minimum(rois.count_N, max_rois)
        self.count_N = np.where(self.stored_N == 0, padding.empty_rois, self.stored_N)
        self._min_rois = padding.min_rois

    def gather(self, row_N: Int64) -> tuple[torch.Tensor, torch.Tensor]:
        """(roi_NVF, roi_count_N)"""
        count_N = self.count_N[row_N]
        size = max(self._min_rois, int(count_N.max(initial=0)))
        start_N, stored_N = self.start_N[row_N], self.stored_N[row_N]
        if self._rows.mapped_XF is not None and stored_N.sum() * self._rows.width < SHORT_ITEM * len(row_N):
            return self._at_once(self._rows.mapped_XF, start_N, stored_N, size), torch.from_numpy(count_N)
        roi_NVF = torch.empty(len(row_N), size, self._rows.width)
        stretches = self._rows.stretches(start_N.tolist(), stored_N.tolist())
        for roi_VF, stored_VF in zip(roi_NVF, stretches, strict=True):
            roi_VF[: len(stored_VF)].copy_(stored_VF)  # converts on the way
            roi_VF[len(stored_VF) :].zero_()
        return roi_NVF, torch.from_numpy(count_N)

    @staticmethod
    def _at_once(flat_XF: torch.Tensor, start_N: Int64, stored_N: Int64, size: int) -> torch.Tensor:
        """`[N, size, F]` by index, all items together."""
        within_Y = np.arange(stored_N.sum()) - np.repeat(np.cumsum(stored_N) - stored_N, stored_N)
        from_Y = np.repeat(start_N, stored_N) + within_Y
        to_Y = np.repeat(np.arange(len(stored_N)) * size, stored_N) + within_Y
        roi_YF = flat_XF.index_select(0, torch.from_numpy(from_Y)).float()
        roi_ZF = torch.zeros(len(stored_N) * size, flat_XF.shape[1])
        return roi_ZF.index_copy_(0, torch.from_numpy(to_Y), roi_YF).view(len(stored_N), size, -1)


class _RowFile:
    """Stretches of rows of a flat array, read from any number of threads.

    A small file is read through its map. Of a large one, pages once read would count towards the resident set
    until it holds the whole file, and a page that is not in memory yet brings up to megabytes of neighbours
    with it (so far as the system reads ahead): such a file is read by position, an item at a time.
    """

    def __init__(self, flat: npt.NDArray[Any]) -> None:
        self.width = flat.shape[1]
        self._flat_F = torch.from_numpy(flat)
        self._file: int | None = None
        if not hasattr(os, "preadv"):
            return
        if isinstance(flat, np.memmap) and flat.filename and flat.nbytes > MAPPED_BYTES:
            self._path, self._begin = flat.filename, flat.offset
            self._file = os.open(self._path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)

    @property
    def mapped_XF(self) -> torch.Tensor | None:
        """All rows, where they are read through the map."""
        return self._flat_F if self._file is None else None

    def stretches(self, starts: list[int], counts: list[int]) -> Iterator[torch.Tensor]:
        """[count, F] from each start; valid until the next one is asked for."""
        if self._file is None:
            for start, count in zip(starts, counts, strict=True):
                yield self._flat_F[start : start + count]
            return
        row_bytes = self.width * self._flat_F.itemsize
        if hasattr(os, "posix_fadvise"):  # all at once: a disk serves many requests faster than one by one
            for start, count in zip(starts, counts, strict=True):
                if count:
                    place = self._begin + start * row_bytes
                    os.posix_fadvise(self._file, place, count * row_bytes, os.POSIX_FADV_WILLNEED)
        buffer_VF = torch.empty(max(counts, default=0), self.width, dtype=self._flat_F.dtype)
        raw_VF = buffer_VF.numpy()
        for start, count in zip(starts, counts, strict=True):
            if count:
                read = os.preadv(self._file, [raw_VF[:count].data], self._begin + start * row_bytes)
                if read < count * row_bytes:
                    raise DataError(f"{self._path}: cut short; remove the pack, the next run makes it anew")
            yield buffer_VF[:count]
