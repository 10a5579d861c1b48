"""Self-ATT and SoftPool, the two operations that every interaction is made of.

N sequences, L positions, D width, H heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.kernels.arrays import MASKED
from benchmark.kernels.attention import self_attention
from benchmark.kernels.linear import Linear, joint_linear, linear
from benchmark.kernels.packing import Packing, shapes_are_fixed


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

    def forward(self, x_NLD: Tensor, mask_NL: Tensor) -> Tensor:
        """Attended states `[N, L, D]`, zero where masked. An entirely masked sequence gives zeros."""
        state_NLX = joint_linear(x_NLD, self.query_key, self.value)
        # An empty sequence attends to its padding and is zeroed afterwards.
        offset_NL = torch.where(mask_NL, 0.0, MASKED).to(state_NLX.dtype)
        attended_NLD = self_attention(state_NLX, offset_NL, self.heads)
        if self.join is not None:
            attended_NLD = self.join(attended_NLD)
        if self.norm is not None:
            attended_NLD = self.norm(x_NLD + attended_NLD)
        # the biases of `join` and LayerNorm give padding a value again, so the mask comes last
        return attended_NLD * mask_NL[:, :, None]

    def then_project(self, x_NLD: Tensor, mask_NL: Tensor, project: nn.Linear) -> Tensor:
        """`project(self(x))` `[N, L, D']`, zero where masked.

        Bare one-head attention is linear in its values, so value map and projection are multiplied first:
        the same function with values of width D' instead of D (128 for 2048 at full size). The maps see real
        positions only, and the attention no empty sequence.
        """
        if self.join is not None or self.norm is not None:
            projected = project(self(x_NLD, mask_NL))
            return projected * mask_NL[:, :, None]  # type: ignore[no-any-return]
        weight = project.weight @ self.value.weight
        # rows of a softmax sum to 1: a bias of the values comes out unchanged, so it may be projected first
        bias = F.linear(self.value.bias, project.weight, project.bias)
        if shapes_are_fixed(x_NLD):
            attended_NLE = self._attend(self.query_key(x_NLD), linear(x_NLD, weight, bias), mask_NL)
            return attended_NLE * mask_NL[:, :, None]
        there_N = mask_NL.any(dim=1)
        there_N[0] |= ~there_N.any()  # one sequence at least
        whole, packing = Packing.of(mask_NL), Packing.of(mask_NL[there_N])
        x_1XD = whole.pack(x_NLD)
        query_key_NLY = packing.unpack(self.query_key(x_1XD))
        value_NLE = packing.unpack(linear(x_1XD, weight, bias))
        attended_NLE = self._attend(query_key_NLY, value_NLE, mask_NL[there_N])
        # an empty sequence packs no position, so both packings hold the same ones in the same order
        return whole.unpack(packing.pack(attended_NLE))

    def _attend(self, query_key_NLX: Tensor, value_NLE: Tensor, mask_NL: Tensor) -> Tensor:
        query_NLD, key_NLD = query_key_NLX.chunk(2, dim=-1)
        # A softmax over nothing is NaN: an empty sequence attends to its padding.
        attendable_NL = mask_NL | ~mask_NL.any(dim=1, keepdim=True)
        # the scale is that of the query's width D, not of the narrower values' D'
        attended_N1LE = F.scaled_dot_product_attention(
            query_NLD.unsqueeze(1),
            key_NLD.unsqueeze(1),
            value_NLE.unsqueeze(1),
            attendable_NL[:, None, None, :],
        )
        return attended_N1LE.squeeze(1)


def soft_pool(x_NLD: Tensor, mask_NL: Tensor) -> Tensor:
    """SoftPool (Stergiou et al., 2021) over the sequence, `[N, D]`: per channel c
    `f_c = sum_i softmax_i(x_ic) x_ic` over unmasked positions i; zeros for an empty sequence."""
    mask_NL1 = mask_NL[:, :, None]
    # A finite floor, not -inf: an empty sequence must not give NaN, and its products below are zero.
    logit_NLD = x_NLD.masked_fill(~mask_NL1, torch.finfo(x_NLD.dtype).min)
    # along the sequence, for each channel on its own: two channels may weigh positions differently
    weight_NLD = torch.softmax(logit_NLD, dim=1)
    # an empty sequence has a uniform softmax over its padding: only the mask makes its sum zero. what stands
    # at padding must be finite all the same, as 0 * NaN is NaN
    return (weight_NLD * x_NLD * mask_NL1).sum(dim=1)
