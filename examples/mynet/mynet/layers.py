"""Means over the parts of an item that are there."""

from __future__ import annotations

from torch import Tensor


def masked_mean(x_NLE: Tensor, mask_NL: Tensor) -> Tensor:
    """[N, E]: the mean over L where the mask is True; zeros where it is nowhere (an item without images)."""
    weight_NL1 = mask_NL.unsqueeze(-1).to(x_NLE.dtype)
    total_NE: Tensor = (x_NLE * weight_NL1).sum(1)
    return total_NE / weight_NL1.sum(1).clamp_min(1)
