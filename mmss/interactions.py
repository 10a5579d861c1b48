"""The five interactions (4.2, Eq. 3-5): `f_s = SoftPool(SelfATT_s([X; Z]))`.

B rows, N distinct reviews, T tokens, V RoIs, L positions of a concatenation, D = d_t = d_v.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmss.attention import SelfAttention, soft_pool
from mmss.config import INTERACTIONS, Config


@dataclass(frozen=True)
class States:
    """Token or RoI states of distinct items, with the mask of real positions."""

    state_NLD: Tensor
    mask_NL: Tensor

    def rows(self, index_B: Tensor) -> States:
        """One entry per row of a batch."""
        return States(self.state_NLD[index_B], self.mask_NL[index_B])

    def join(self, other: States) -> States:
        """[X; Z] along the sequence."""
        return States(
            # padding may stand between X and Z: this attention knows no positions, so the mask alone decides
            torch.cat([self.state_NLD, other.state_NLD], dim=1),
            torch.cat([self.mask_NL, other.mask_NL], dim=1),
        )

    def pooled(self) -> Tensor:
        """SoftPool over the sequence, `[N, D]`."""
        return soft_pool(self.state_NLD, self.mask_NL)


class Interactions(nn.Module):
    """One Self-ATT per interaction, or one for all (D-ATTSHARE)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        names = ("shared",) if config.attention_shared else INTERACTIONS
        self.attention = nn.ModuleDict(
            {
                name: SelfAttention(config.width, config.attention_heads, residual=config.attention_residual)
                for name in names
            }
        )

    def forward(
        self, pt: States, pv: States, rt: States, rv: States, product_B: Tensor, review_B: Tensor
    ) -> dict[str, Tensor]:
        """Interaction name -> `f_BD`, in the paper's order.

        The states are of distinct products and reviews. `rtrv` depends on the review alone, so it is
        computed once per distinct review.
        """
        pt_B, pv_B = pt.rows(product_B), pv.rows(product_B)
        rt_B, rv_B = rt.rows(review_B), rv.rows(review_B)
        return {
            "ptrt": self._interact("ptrt", pt_B, rt_B),
            "pvrv": self._interact("pvrv", pv_B, rv_B),
            "ptrv": self._interact("ptrv", pt_B, rv_B),
            "pvrt": self._interact("pvrt", pv_B, rt_B),
            "rtrv": self._interact("rtrv", rt, rv)[review_B],
        }

    def _interact(self, name: str, first: States, second: States) -> Tensor:
        attention = self.attention[name if name in self.attention else "shared"]
        joined = first.join(second)
        return soft_pool(attention(joined.state_NLD, joined.mask_NL), joined.mask_NL)
