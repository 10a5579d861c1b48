"""Ranking losses on groups of one positive and its K negatives (MCR, Liu et al., ACL 2021; Eq. 13 of MM-SS).

B rows in groups of 1 + K, positive first; G groups; K negatives.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.core.model import RankingLoss
from benchmark.core.types import Batch

LOSSES = ("hinge", "label-gap", "point")


class LossConfig(Protocol):
    """The fields of `benchmark.engine.config.TrainingConfig` that choose a loss."""

    @property
    def loss(self) -> str: ...
    @property
    def margin(self) -> float: ...
    @property
    def point_threshold(self) -> int: ...
    @property
    def target_reduction(self) -> str: ...


def hinge_loss(score_B: Tensor, label_B: Tensor, group_size: int, margin: float) -> Tensor:
    """Mean over groups of Σ_k max(0, margin - (s⁺ - s_k)); Eq. 13 of MM-SS with margin 1 (no labels)."""
    return _hinge(_score_gap(score_B, group_size), margin)


def label_gap_hinge_loss(score_B: Tensor, label_B: Tensor, group_size: int) -> Tensor:
    """Mean over groups of Σ_k max(0, (y⁺ - y_k) - (s⁺ - s_k)): the margin is the label gap.

    Where a "negative" has the higher label the margin is negative; nothing special happens.
    """
    return _hinge(_score_gap(score_B, group_size), _score_gap(label_B, group_size))


def point_loss(score_B: Tensor, label_B: Tensor, threshold: int) -> Tensor:
    """Mean over rows of the binary cross-entropy of sigmoid(s) against `label > threshold`."""
    target_B = (label_B > threshold).to(score_B.dtype)
    return F.binary_cross_entropy_with_logits(score_B, target_B)


def ranking_loss(config: LossConfig) -> RankingLoss:
    """The objective that a training configuration names, as a function of scores and batch.

    Raises UsageError for an unknown name.
    """
    if config.target_reduction == "sum":  # D-TARGETSUM: the mean, times its groups (rows for `point`)
        mean = _mean_loss(config)
        return lambda score_B, batch: (
            mean(score_B, batch)
            * (len(score_B) if config.loss == "point" else len(score_B) // _group_size(batch))
        )
    return _mean_loss(config)


def _mean_loss(config: LossConfig) -> RankingLoss:
    if config.loss == "hinge":
        return lambda score_B, batch: hinge_loss(score_B, batch.label_B, _group_size(batch), config.margin)
    if config.loss == "label-gap":
        return lambda score_B, batch: label_gap_hinge_loss(score_B, batch.label_B, _group_size(batch))
    if config.loss == "point":
        return lambda score_B, batch: point_loss(score_B, batch.label_B, config.point_threshold)
    raise UsageError(f"unknown loss {config.loss!r}; known: {' '.join(LOSSES)}.")


def _group_size(batch: Batch) -> int:
    if batch.group_size is None:
        raise UsageError(
            "a pairwise loss needs batches of ranking groups; a listwise method brings its own loss."
        )
    return batch.group_size


def _score_gap(value_B: Tensor, group_size: int) -> Tensor:
    """Positive minus each negative, `[G, K]`."""
    # relies on the order of rows: groups are contiguous, the positive first
    value_GK = value_B.reshape(-1, group_size)
    return value_GK[:, :1] - value_GK[:, 1:]


def _hinge(gap_GK: Tensor, margin: Tensor | float) -> Tensor:
    # clamp, not relu: at an exact zero the released losses pass the gradient, and clamp does too
    return torch.clamp(margin - gap_GK, min=0).sum(1).mean()
