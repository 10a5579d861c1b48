"""MCR's pooling of a matching map: the strongest answers of small filters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.kernels.pooling import strongest_answers, strongest_cosines, winners_norm


class KernelMaxPooling(nn.Module):
    """The strongest answers of small filters on a matching map (MCR's pooling), layer-normalised.

    For sizes 1..n: pad the map with size-1 zero rows at the bottom and columns at the right, convolve with
    `filters` kernels of size x size, tanh, keep the `keep` largest values of each filter in descending
    order. Layer norm over all [n, keep, filters] values together; flattened in that order.

    With masks (cells outside them must be zero) only cells of valid rows and columns can win, and a slot for
    which there is no cell is 0; without, padded cells compete too, as in the released code.
    """

    def __init__(self, channels: int, sizes: int, filters: int, keep: int) -> None:
        super().__init__()
        self.sizes, self.filters, self.keep = sizes, filters, keep
        self.convs = nn.ModuleList(nn.Conv2d(channels, filters, size + 1) for size in range(sizes))
        self.norm = nn.LayerNorm([sizes, keep, filters])

    @property
    def width(self) -> int:
        return self.sizes * self.keep * self.filters

    def cosines(
        self,
        left_NALF: Tensor,
        right_MCRF: Tensor,
        rows: tuple[Tensor, Tensor],
        masks: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> Tensor:
        """`[B, width]` for maps of cosines, one channel for each of the A left and C right representations of
        items, which are unit vectors. Rows point at items by indices `[B]` each; masks are those of rows,
        `[B, L]` and `[B, R]`."""
        arrays = left_NALF, right_MCRF, self._weight(), rows, masks
        return self._normed(strongest_cosines(*arrays, self.sizes, self.keep))

    def forward(
        self, map_BCLR: Tensor, row_mask_BL: Tensor | None = None, column_mask_BR: Tensor | None = None
    ) -> Tensor:
        """`[B, width]`."""
        masks = row_mask_BL, column_mask_BR
        return self._normed(strongest_answers(map_BCLR, self._weight(), masks, self.sizes, self.keep))

    def _normed(self, value_BSK: Tensor) -> Tensor:
        return winners_norm(value_BSK, [conv.bias for conv in self.convs], self.norm)  # type: ignore[misc]

    def _weight(self) -> Tensor:
        """All filters, flat, size after size."""
        return torch.cat([conv.weight.flatten() for conv in self.convs])  # type: ignore[operator]
