"""Visual encoder (4.1): self-attention over all RoIs of an item, and a linear projection to d_v.

N items, V RoIs, X real RoIs of all items, F RoI width, D = d_v.
"""

from __future__ import annotations

from torch import nn

from benchmark.core.types import Items
from benchmark.kernels.linear import Linear
from benchmark.kernels.packing import Packing
from mmss.attention import SelfAttention
from mmss.config import Config
from mmss.states import States


class VisualEncoder(nn.Module):
    """RoI features of an item to its states V^p or V^r, in the order of D-VISORDER."""

    def __init__(self, config: Config, roi_width: int) -> None:
        super().__init__()
        self.attend_first = config.visual_order == "attend-then-project"
        # attention over raw RoIs is 2048 wide at full size, about 16 times the work of the other order
        width = roi_width if self.attend_first else config.width
        # A corpus without images has RoIs of width 1, which several heads cannot share.
        heads = config.attention_heads if width % config.attention_heads == 0 else 1
        self.attention = SelfAttention(width, heads, residual=config.attention_residual)
        self.project = Linear(roi_width, config.width)

    def forward(self, items: Items) -> States:
        """States of width D; none for an item without images."""
        assert items.roi_NVF is not None
        packing = Packing.of(items.roi_mask_NV)
        roi_1XF = packing.pack(items.roi_NVF)
        if self.attend_first:
            return States(self.attention.then_project(roi_1XF, packing, self.project), packing)
        return States(self.attention.packed(self.project(roi_1XF), packing), packing)
