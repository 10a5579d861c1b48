"""What a model sees. Shapes are in the names:

B rows of a batch (one row = one (product, review) pair), N distinct items, T tokens, V RoIs,
F width of a RoI feature.

A batch holds each distinct product and each distinct review once, and rows that point at them: a
ranking group shares its product, so a model encodes it once and gathers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


def length_mask(count_N: Tensor, size: int) -> Tensor:
    """bool [N, size], True at positions below each count."""
    return torch.arange(size, device=count_N.device)[None, :] < count_N[:, None]


@dataclass(frozen=True)
class Items:
    """Distinct products, or distinct reviews, right-padded."""

    token_NT: Tensor
    """int64 token ids; 0 is padding. Never an empty text: an empty one is a single unknown token."""
    token_count_N: Tensor
    """int64, 1..T."""
    roi_NVF: Tensor | None
    """float RoI features, zero rows where padded; None for a model that reads no images."""
    roi_count_N: Tensor | None
    """int64, 0..V; 0 means "no image"."""
    row_N: Tensor
    """int64, the item's row in its split's product or review table."""
    surface_NS: Tensor | None = None
    """float hand-made features of reviews, columns as `benchmark.core.surface.FEATURES`; None for a method that does
    not read them, and for products."""
    real_N: Tensor | None = None
    """bool; False at items that only fill a batch up to a fixed shape: copies of the first one, which no row points
    at. None: all are real."""

    @property
    def token_mask_NT(self) -> Tensor:
        return length_mask(self.token_count_N, self.token_NT.shape[1])

    @property
    def roi_mask_NV(self) -> Tensor:
        assert self.roi_NVF is not None
        assert self.roi_count_N is not None
        return length_mask(self.roi_count_N, self.roi_NVF.shape[1])

    def __len__(self) -> int:
        return self.token_NT.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Items:
        """The same items with `function` applied to every tensor (a device transfer, say)."""
        return Items(
            function(self.token_NT),
            function(self.token_count_N),
            None if self.roi_NVF is None else function(self.roi_NVF),
            None if self.roi_count_N is None else function(self.roi_count_N),
            function(self.row_N),
            None if self.surface_NS is None else function(self.surface_NS),
            None if self.real_N is None else function(self.real_N),
        )


@dataclass(frozen=True)
class Batch:
    """Rows of (product, review), pointing at distinct items."""

    products: Items
    reviews: Items
    product_B: Tensor
    """int64, row -> index into `products`."""
    review_B: Tensor
    """int64, row -> index into `reviews`."""
    label_B: Tensor
    """float, helpfulness 0..4 (zeros where unknown)."""
    group_size: int | None = None
    """In training: rows come in groups of 1 + K, one positive then its K negatives, all of one product.
    None: whole products, as in scoring and in listwise training."""

    def __len__(self) -> int:
        return self.product_B.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            products=self.products.map(function),
            reviews=self.reviews.map(function),
            product_B=function(self.product_B),
            review_B=function(self.review_B),
            label_B=function(self.label_B),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))


@dataclass(frozen=True)
class Padding:
    """How a model wants its batches padded. The defaults pad to the longest item and mask; the released
    forms need the fixed or minimum lengths that their results depend on (defects P16, P17)."""

    min_tokens: int = 1
    fixed_tokens: int | None = None
    min_rois: int = 1
    empty_rois: int = 0
    """An item without images becomes this many zero RoIs that count as valid (16 in the released code)."""


@dataclass(frozen=True)
class CorpusShape:
    """What a model must know of the data to be built."""

    product_vocabulary: int
    """Number of word ids of product texts, the padding and unknown ids (0 and 1) included."""
    review_vocabulary: int
    joint_vocabulary: int
    """Number of ids of the joint word vocabulary (both fields): 0 padding, 1 unknown, 2 [CLS], then words."""
    roi_width: int
    """F; 1 where the corpus has no image at all."""
    n_train_reviews: int
    word_vectors: Callable[[str, int], Tensor] | None = None
    """(field, width) -> float32 [vocabulary, width], the initial word vectors of `product` or `review`
    (row 0 zero); a word gets the same vector in both. None: the model draws its own."""
    spellings: Callable[[str], tuple[Tensor, int]] | None = None
    """field -> (int64 [vocabulary, L] character ids of the words of `product` or `review`, 0 after a word's end;
    number of character ids). None: words without a spelling."""


def rows_of(x: Tensor, index_B: Tensor) -> Tensor:
    """`x[index_B]`, without a copy where that is a range of rows, as a batch's reviews are (on a GPU, looking would
    take longer than copying)."""
    if x.device.type == "cpu" and len(index_B):
        place_B = index_B.numpy()  # NumPy's operations: torch's take five times as long to begin
        first, end = int(place_B[0]), int(place_B[0]) + len(place_B)
        if int(place_B[-1]) == end - 1 and (np.diff(place_B) == 1).all():
            return x if end - first == len(x) else x[first:end]
    return x.index_select(0, index_B)
