"""Building blocks that several baselines share, in the notation of MCR (Liu et al., ACL 2021).

B rows (product, review), N distinct items, T (L product, R review) positions, V RoIs, F features, H heads,
C channels of a matching map or width of the common space, K values kept by a pooling.

Each block takes masks (bool, True where valid) and never lets a padded position change a valid result.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MASKED = -1e23
"""Logit of a masked position; finite, so that a fully masked row stays finite too."""


def masked_mean(x_NTF: Tensor, mask_NT: Tensor) -> Tensor:
    """Mean over valid positions, `[N, F]`; zeros where there is none."""
    weight_NT1 = mask_NT.to(x_NTF.dtype).unsqueeze(-1)
    return (x_NTF * weight_NT1).sum(1) / weight_NT1.sum(1).clamp(min=1)


def masked_max(x_NTF: Tensor, mask_NT: Tensor) -> Tensor:
    """Element-wise maximum over valid positions, `[N, F]`; zeros where there is none."""
    top_NF = x_NTF.masked_fill(~mask_NT.unsqueeze(-1), -torch.inf).amax(1)
    return torch.where(mask_NT.any(1, keepdim=True), top_NF, torch.zeros_like(top_NF))


class ProductAwareAttention(nn.Module):
    """A review's positions, each with the product positions that it attends to added (PRH-Net, Fan et al.,
    WWW 2019; used by MCR, MCL and SANCL).

    S = relu(P w + b) Vᵀ; softmax over the *product* axis; result (V + Sᵀ P), padded review rows zero. There is
    no 1/√F. `w` and `b` are Xavier-uniform, the bias included.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(width, width))
        self.b = nn.Parameter(torch.empty(1, 1, width))
        nn.init.xavier_uniform_(self.w)
        nn.init.xavier_uniform_(self.b)

    def forward(
        self, product_BLF: Tensor, product_mask_BL: Tensor, review_BRF: Tensor, review_mask_BR: Tensor
    ) -> Tensor:
        """`[B, R, F]`. A product without any valid position adds nothing."""
        query_BLF = torch.relu(product_BLF @ self.w + self.b)
        logit_BRL = review_BRF @ query_BLF.transpose(1, 2)
        logit_BRL = logit_BRL.masked_fill(~product_mask_BL.unsqueeze(1), MASKED)
        context_BRF = logit_BRL.softmax(-1) @ product_BLF
        context_BRF = context_BRF * product_mask_BL.any(1)[:, None, None]
        return (review_BRF + context_BRF) * review_mask_BR.unsqueeze(-1)
