"""The five interactions (4.2, Eq. 3-5): `f_s = SoftPool(SelfATT_s([X; Z]))`.

B rows, N distinct reviews, T tokens, V RoIs, L positions of a concatenation, R rows of all states, S sequences,
D = d_t = d_v.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.kernels import native
from benchmark.kernels.attention import gathered_attention
from benchmark.kernels.linear import linear
from benchmark.kernels.packing import shapes_are_fixed
from benchmark.kernels.softpool import packed_soft_pool, soft_pool
from mmss.attention import SelfAttention
from mmss.config import INTERACTIONS, Config
from mmss.states import States, joined


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
        every_N = torch.arange(len(rt.mask_NL), device=review_B.device)
        sides = {
            "ptrt": ((pt, product_B), (rt, review_B)),
            "pvrv": ((pv, product_B), (rv, review_B)),
            "ptrv": ((pt, product_B), (rv, review_B)),
            "pvrt": ((pv, product_B), (rt, review_B)),
            "rtrv": ((rt, every_N), (rv, every_N)),
        }
        states = (pt, pv, rt, rv)
        first = pt.state_1XD
        if native.usable_in_float32(first) and not shapes_are_fixed(first):
            features = self._together(states, sides)
        else:
            features = [self._interact(name, *both) for name, both in sides.items()]
        named = dict(zip(INTERACTIONS, features, strict=True))
        return named | {"rtrv": named["rtrv"][review_B]}

    def _of(self, name: str) -> SelfAttention:
        module = self.attention[name if name in self.attention else "shared"]
        assert isinstance(module, SelfAttention)
        return module

    def _interact(self, name: str, first: tuple[States, Tensor], second: tuple[States, Tensor]) -> Tensor:
        """One interaction, of padded rows."""
        # padding may stand between X and Z: this attention knows no positions, so the mask alone decides
        state_BLD = torch.cat([states.padded_NLD[index] for states, index in (first, second)], 1)
        mask_BL = torch.cat([states.mask_NL[index] for states, index in (first, second)], 1)
        return soft_pool(self._of(name)(state_BLD, mask_BL), mask_BL)

    def _together(
        self,
        states: tuple[States, ...],
        sides: dict[str, tuple[tuple[States, Tensor], tuple[States, Tensor]]],
    ) -> list[Tensor]:
        """All five in one: each state is mapped to queries, keys and values once, however many rows point at it, and
        no [X; Z] is ever copied together."""
        modules = list(dict.fromkeys(self._of(name) for name in sides))
        state_1RD = torch.cat([side.state_1XD for side in states], 1)
        weight = torch.cat([part for m in modules for part in (m.query_key.weight, m.value.weight)])
        bias = torch.cat([part for m in modules for part in (m.query_key.bias, m.value.bias)])
        width = 3 * state_1RD.shape[-1]
        mapped_RY = linear(state_1RD, weight, bias).reshape(-1, width)
        runs = _runs(states)
        starts, counts, offsets = [], [], []
        for name, both in sides.items():
            starts.append([runs[id(side)][0][index] for side, index in both])
            counts.append([runs[id(side)][1][index] for side, index in both])
            offsets.append(torch.full_like(starts[-1][0], modules.index(self._of(name))))
        parts = [
            (torch.cat([s[part] for s in starts]), torch.cat([c[part] for c in counts])) for part in (0, 1)
        ]
        sequences = joined(parts, len(modules), torch.cat(offsets))
        row_X, packing = sequences.row_X, sequences.packing
        attended_XD = gathered_attention(mapped_RY, row_X, packing, modules[0].heads)
        sizes = [len(offset) for offset in offsets]
        if not modules[0].is_bare:
            place_X = row_X.div(len(modules), rounding_mode="floor")
            state_XD = state_1RD.squeeze(0).index_select(0, place_X)
            end_X = packing.start_N1[torch.tensor([0, *sizes]).cumsum(0)].diff().tolist()
            pieces = zip(attended_XD.split_with_sizes(end_X), state_XD.split_with_sizes(end_X), strict=True)
            attended_XD = torch.cat(
                [self._of(name).finished(*piece) for name, piece in zip(sides, pieces, strict=True)]
            )
        return list(packed_soft_pool(attended_XD, packing).split_with_sizes(sizes))


def _runs(states: tuple[States, ...]) -> dict[int, tuple[Tensor, Tensor]]:
    """Of each of these states: where an item's rows begin among all of them, and how many it has, `[N]` each."""
    found, before = {}, 0
    for side in states:
        start_N1 = side.packing.start_N1
        found[id(side)] = start_N1[:-1] + before, start_N1.diff()
        before += len(side.packing)
    return found
