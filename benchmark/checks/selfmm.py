"""Pseudo labels of Self-MM (Yu, Xu, Yuan, Wu, AAAI 2021), the scheme that MM-SS's SSP-Label develops.

N training samples, B of a batch, D feature width; modalities are `fusion` and any others.

Kept to check our reading of it against a recorded trajectory; MM-SS itself does not use this module. The
labels must be centred: with labels that are never negative the negative centre is a mean over nothing (NaN).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FUSION = "fusion"
EPSILON = 1e-8


class SelfMMLabels:
    """Labels, stored features and class centres of every modality, updated batch by batch."""

    def __init__(
        self, label_N: Tensor, widths: Mapping[str, int], *, bound: float, exclude_zero: bool = True
    ) -> None:
        """All labels start as the manual ones, features and centres at zero.

        `bound`: H, new labels are clipped to [-H, H]. `exclude_zero`: a label of 0 is not positive.
        """
        self.bound = bound
        self.exclude_zero = exclude_zero
        self.label_N = {name: label_N.clone() for name in widths}
        self.feature_ND = {name: label_N.new_zeros(len(label_N), width) for name, width in widths.items()}
        self.positive_D = {name: label_N.new_zeros(width) for name, width in widths.items()}
        self.negative_D = {name: label_N.new_zeros(width) for name, width in widths.items()}

    def step(self, epoch: int, index_B: Tensor, feature_BD: Mapping[str, Tensor]) -> None:
        """One batch of epoch 1, 2, ...: labels (after epoch 1), then stored features, then centres."""
        if epoch > 1:
            self._update_labels(epoch, index_B, feature_BD)
        for name, feature in feature_BD.items():
            self.feature_ND[name][index_B] = feature
        for name in self.label_N:
            self._update_centres(name)

    def task_loss(self, name: str, prediction_B: Tensor, index_B: Tensor) -> Tensor:
        """Mean of w |prediction - label|; w = tanh|label - fusion label|, 1 for fusion itself."""
        label_B = self.label_N[name][index_B].to(prediction_B.dtype)
        fusion_B = self.label_N[FUSION][index_B].to(prediction_B.dtype)
        weight_B = torch.ones_like(label_B) if name == FUSION else torch.tanh((label_B - fusion_B).abs())
        return (weight_B * (prediction_B - label_B).abs()).mean()

    def _update_labels(self, epoch: int, index_B: Tensor, feature_BD: Mapping[str, Tensor]) -> None:
        """½ (δ_m / δ_f) y_f + ½ (y_f + δ_m - δ_f), clipped, mixed into the stored label by 2 / (epoch + 1)."""
        label_f = self.label_N[FUSION][index_B]
        offset_f = self._offset(FUSION, feature_BD[FUSION])
        for name, feature in feature_BD.items():
            if name == FUSION:
                continue
            offset_m = self._offset(name, feature)
            ratio = offset_m / (offset_f + EPSILON)
            new = (0.5 * ratio * label_f + 0.5 * (label_f + offset_m - offset_f)).clamp(
                -self.bound, self.bound
            )
            old = self.label_N[name][index_B]
            self.label_N[name][index_B] = (epoch - 1) / (epoch + 1) * old + 2 / (epoch + 1) * new

    def _offset(self, name: str, feature_BD: Tensor) -> Tensor:
        """δ = (d⁻ - d⁺) / d⁺ from the Euclidean distances to the two centres."""
        to_positive = torch.linalg.vector_norm(feature_BD - self.positive_D[name], dim=1)
        to_negative = torch.linalg.vector_norm(feature_BD - self.negative_D[name], dim=1)
        offset_B: Tensor = (to_negative - to_positive) / (to_positive + EPSILON)
        return offset_B

    def _update_centres(self, name: str) -> None:
        """Means of the stored features by the sign of the modality's own labels, unseen samples (zero)
        included."""
        label = self.label_N[name]
        positive = label > 0 if self.exclude_zero else label >= 0
        self.positive_D[name] = self.feature_ND[name][positive].mean(0)
        self.negative_D[name] = self.feature_ND[name][label < 0].mean(0)
