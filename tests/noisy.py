"""A method with one module that is not a function of its inputs, for the determinism check to find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.core.model import RankingModel


@dataclass(frozen=True)
class Config:
    noise: str = "hash"
    """Where it is: `none`, `forward`, `backward` or `hash` (a sum in the order of a set of words)."""


class _NoisyGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_NH):
        return x_NH.clone()

    @staticmethod
    def backward(ctx, gradient_NH):
        return gradient_NH * (1 + 1e-2 * torch.from_numpy(np.random.default_rng().random(1)).float())


class Jitter(nn.Module):
    def __init__(self, noise: str) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, x_NH: Tensor) -> Tensor:
        if self.noise == "forward":  # a shift of all scores alike would not reach a ranking loss
            return x_NH * (1 + 1e-2 * torch.from_numpy(np.random.default_rng().random(1)).float())
        if self.noise == "backward":
            return _NoisyGradient.apply(x_NH)
        if self.noise == "hash":
            order = sorted(range(x_NH.shape[1]), key=lambda column: hash(f"column {column}"))
            total_N = torch.zeros(len(x_NH))
            for column in order:
                total_N = total_N + x_NH[:, column]
            return x_NH + total_N[:, None]
        return x_NH * 1


class Noisy(RankingModel):
    title = "Noisy"
    reference = "none"
    config_class = Config

    def __init__(self, config, corpus) -> None:
        super().__init__(config, corpus)
        self.embedding = nn.Embedding(corpus.review_vocabulary, 16, padding_idx=0)
        self.before = nn.Linear(16, 16)
        self.jitter = Jitter(config.noise)
        self.after = nn.Linear(16, 1)

    def score(self, batch):
        word_NTH = self.embedding(batch.reviews.token_NT)
        mean_NH = word_NTH.sum(1) / batch.reviews.token_count_N[:, None]
        return self.after(self.jitter(self.before(mean_NH)))[batch.review_B, 0]
