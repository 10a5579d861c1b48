"""What MCR, MCL and GBDT-LCM know of a (product, review) pair beside the pooled matching maps.

B rows (product, review), N distinct items, T word positions, V RoIs, H text width, D image width, C width of
the common space of words and RoIs.

Numbers f1..f5 follow the order of the features in the released scorer input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.parts.graph import Coherence
from baselines.parts.layers import ProductAwareAttention, mlp
from benchmark.core.types import Batch, rows_of

POSITIONS_AT_ONCE = 1 << 15
"""Words and RoIs of the rows that are matched together: a product with thousands of reviews is scored in bounded
memory, and short ones in large steps."""


def row_steps(batch: Batch) -> Iterator[slice]:
    """Rows of a batch that are matched together."""
    positions = 0
    for items in (batch.products, batch.reviews):
        positions += items.token_NT.shape[1] + (0 if items.roi_NVF is None else items.roi_NVF.shape[1])
    size = max(1, POSITIONS_AT_ONCE // positions)
    for start in range(0, len(batch), size):
        yield slice(start, start + size)


@dataclass(frozen=True)
class Item:
    """Products or reviews, encoded."""

    text_NTH: Tensor
    text_mask_NT: Tensor
    image_NVD: Tensor
    image_mask_NV: Tensor
    common_text_NTC: Tensor
    common_image_NVC: Tensor
    graph: Tensor
    """Products: the claim vector `[N, C]`; reviews: nodes after message passing `[N, T + V, C]`."""

    @property
    def node_mask(self) -> Tensor:
        """bool [N, T + V]: words, then RoIs."""
        return torch.cat([self.text_mask_NT, self.image_mask_NV], 1)


class ContextFeatures(nn.Module):
    """f1..f5: text and image context, two cross-modal contexts, intra-review coherence.

    `released` keeps what the released code does with padding: means over positions divide by the padded
    length (defect P17) and padded nodes enter the product's claim (P18).
    """

    def __init__(
        self, text: int, image: int, common: int, graph_layers: int, graph_hidden: int, released: bool
    ) -> None:
        super().__init__()
        self.released = released
        self.width = text + image + 3 * common
        self.text_common = mlp(text, common, common, activation=nn.Tanh)
        self.image_common = mlp(image, common, common, activation=nn.Tanh)
        self.text_attention = ProductAwareAttention(text)
        self.image_attention = ProductAwareAttention(image)
        self.image_to_text = ProductAwareAttention(common)
        self.text_to_image = ProductAwareAttention(common)
        self.coherence = Coherence(common, graph_hidden, graph_layers, padded_claim=released)

    def product(
        self, text_NTH: Tensor, text_mask_NT: Tensor, image_NVD: Tensor, image_mask_NV: Tensor
    ) -> Item:
        """Everything about products that does not depend on the review."""
        return self._item(text_NTH, text_mask_NT, image_NVD, image_mask_NV, self.coherence.claim)

    def review(
        self, text_NTH: Tensor, text_mask_NT: Tensor, image_NVD: Tensor, image_mask_NV: Tensor
    ) -> Item:
        """Everything about reviews that does not depend on the product."""
        return self._item(text_NTH, text_mask_NT, image_NVD, image_mask_NV, self.coherence.review_nodes)

    def _item(
        self,
        text_NTH: Tensor,
        text_mask_NT: Tensor,
        image_NVD: Tensor,
        image_mask_NV: Tensor,
        graph: Callable[[Tensor, Tensor], Tensor],
    ) -> Item:
        text_NTC, image_NVC = self.text_common(text_NTH), self.image_common(image_NVD)
        node_NTC = torch.cat([text_NTC, image_NVC], 1)
        node_mask_NT = torch.cat([text_mask_NT, image_mask_NV], 1)
        return Item(
            text_NTH,
            text_mask_NT,
            image_NVD,
            image_mask_NV,
            text_NTC * text_mask_NT.unsqueeze(-1),  # pads are constants in the common space
            image_NVC * image_mask_NV.unsqueeze(-1),
            graph(node_NTC, node_mask_NT),
        )

    def forward(self, p: Item, r: Item, rows: tuple[Tensor, Tensor]) -> Tensor:
        """`[B, H + D + 3 C]` of rows that point at products and reviews."""
        text, image = (p.text_NTH, p.text_mask_NT), (p.image_NVD, p.image_mask_NV)
        common_text, common_image = (p.common_text_NTC, p.text_mask_NT), (p.common_image_NVC, p.image_mask_NV)
        # f3 crosses the product's image with the review's text, f4 its text with the review's image
        features = [
            self._mean(self.text_attention, text, (r.text_NTH, r.text_mask_NT), rows),
            self._mean(self.image_attention, image, (r.image_NVD, r.image_mask_NV), rows),
            self._mean(self.image_to_text, common_image, (r.common_text_NTC, r.text_mask_NT), rows),
            self._mean(self.text_to_image, common_text, (r.common_image_NVC, r.image_mask_NV), rows),
        ]
        node_BTC, node_mask_BT = rows_of(r.graph, rows[1]), rows_of(r.node_mask, rows[1])
        return torch.cat([*features, self.coherence.pool(p.graph, rows[0], node_BTC, node_mask_BT)], 1)

    def _mean(
        self,
        attention: ProductAwareAttention,
        product: tuple[Tensor, Tensor],
        review: tuple[Tensor, Tensor],
        rows: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Mean over the review's positions of what the attention makes of them, `[B, F]`."""
        total_BF = attention.summed(product, review, rows)
        mask_MT = review[1]
        if self.released:
            return total_BF / mask_MT.shape[1]
        return total_BF / rows_of(mask_MT, rows[1]).sum(1, keepdim=True).clamp(min=1)
