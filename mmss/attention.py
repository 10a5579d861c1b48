"""Self-ATT, which images and interactions are made of.

N sequences, L positions, X real positions of all sequences, D width, H heads.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.kernels.attention import packed_attention, packed_attention_of, self_attention
from benchmark.kernels.linear import Linear, joint_linear, linear
from benchmark.kernels.packing import Packing


class SelfAttention(nn.Module):
    """Scaled dot-product self-attention along a sequence (Vaswani et al., 2017), bare as Eq. 3-5 show it.

    Queries, keys and values are linear maps. Several heads are joined by an output map; with one head that
    map and the value map would be a single matrix, so there is none. `residual` adds the input and applies
    LayerNorm (D-ATT).
    """

    def __init__(self, width: int, heads: int = 1, *, residual: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query_key = Linear(width, 2 * width)
        self.value = Linear(width, width)
        self.join = Linear(width, width) if heads > 1 else None
        self.norm = nn.LayerNorm(width) if residual else None

    @property
    def is_bare(self) -> bool:
        """Nothing follows the attention itself."""
        return self.join is None and self.norm is None

    def forward(self, x_NLD: Tensor, mask_NL: Tensor) -> Tensor:
        """Attended states `[N, L, D]`, zero where masked. An entirely masked sequence gives zeros."""
        state_NLX = joint_linear(x_NLD, self.query_key, self.value)
        attended_NLD = self.finished(self_attention(state_NLX, mask_NL, self.heads), x_NLD)
        # the biases of `join` and LayerNorm give padding a value again, so the mask comes last
        return attended_NLD * mask_NL[:, :, None]

    def finished(self, attended: Tensor, x: Tensor) -> Tensor:
        """What follows the attention, position by position."""
        if self.join is not None:
            attended = self.join(attended)
        return attended if self.norm is None else self.norm(x + attended)

    def packed(self, x_1XD: Tensor, packing: Packing) -> Tensor:
        """`forward` where only the real positions are there, `[1, X, D]`."""
        state_1XY = joint_linear(x_1XD, self.query_key, self.value)
        attended_XD = packed_attention(state_1XY.squeeze(0), packing, self.heads)
        return self.finished(attended_XD.unsqueeze(0), x_1XD)

    def then_project(self, x_1XD: Tensor, packing: Packing, project: nn.Linear) -> Tensor:
        """`project(self.packed(x))` `[1, X, D']`.

        Bare one-head attention is linear in its values, so value map and projection are multiplied first:
        the same function with values of width D' instead of D (128 for 2048 at full size).
        """
        if not self.is_bare:
            projected: Tensor = project(self.packed(x_1XD, packing))
            return projected
        weight = project.weight @ self.value.weight
        # rows of a softmax sum to 1: a bias of the values comes out unchanged, so it may be projected first
        bias = F.linear(self.value.bias, project.weight, project.bias)
        query_key_1XY, value_1XE = self.query_key(x_1XD), linear(x_1XD, weight, bias)
        return packed_attention_of(query_key_1XY.squeeze(0), value_1XE.squeeze(0), packing).unsqueeze(0)
