"""MyNet: how well does a review fit its product, in words and in images?

score = MLP([t_r ; t_r * t_p ; v_r ; v_r * v_p])

with t the mean word vector of a text and v the mean of the projected RoI features, of the review (r) and its
product (p). Without an image v is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.core.model import RankingModel
from benchmark.core.types import Batch, CorpusShape, Items

from .layers import masked_mean


@dataclass(frozen=True)
class Config:
    """Each field is an option of the command line: --set mynet.width=32."""

    width: int = 64
    """Width of word vectors and of projected RoI features."""
    dropout: float = 0.1
    """Share of the scorer's inputs that are zeroed in training."""
    drop: tuple[str, ...] = ()
    """Parts that an ablation removes, among MyNet.drops."""


class MyNet(RankingModel):
    """The layers, and one score per (product, review) pair."""

    name = "mynet"
    title = "MyNet"
    reference = "An example"
    config_class = Config
    quick = {"width": 24}
    reads_images = True
    drops = ("images", "product")

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        self.product_words = nn.Embedding(corpus.product_vocabulary, config.width, padding_idx=0)
        self.review_words = nn.Embedding(corpus.review_vocabulary, config.width, padding_idx=0)
        self.roi = nn.Linear(corpus.roi_width, config.width)
        self.scorer = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(4 * config.width, config.width),
            nn.ReLU(),
            nn.Linear(config.width, 1),
        )

    def score(self, batch: Batch) -> Tensor:
        """[B]"""
        product_BE2 = self._encoded(self.product_words, batch.products)[batch.product_B]
        review_BE2 = self._encoded(self.review_words, batch.reviews)[batch.review_B]
        if "product" in self.config.drop:
            product_BE2 = torch.ones_like(product_BE2)
        return self.scorer(torch.cat([review_BE2, review_BE2 * product_BE2], dim=-1)).squeeze(-1)

    def _encoded(self, words: nn.Embedding, items: Items) -> Tensor:
        """[N, 2 E]: text, then images."""
        assert items.roi_NVF is not None  # reads_images
        text_NE = masked_mean(words(items.token_NT), items.token_mask_NT)
        image_NE = masked_mean(self.roi(items.roi_NVF), items.roi_mask_NV)
        if "images" in self.config.drop:
            image_NE = torch.zeros_like(image_NE)
        return torch.cat([text_NE, image_NE], dim=-1)
