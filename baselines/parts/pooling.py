"""MCR's pooling of a matching map: the strongest answers of small filters."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import row_chunks
from benchmark.kernels import native


class KernelMaxPooling(nn.Module):
    """The strongest answers of small filters on a matching map (MCR's pooling), layer-normalised.

    For sizes 1..n: pad the map with size-1 zero rows at the bottom and columns at the right, convolve with
    `filters` kernels of size x size, tanh, keep the `keep` largest values of each filter in descending
    order. Layer norm over all [n, keep, filters] values together; flattened in that order.

    Only the winners carry a gradient, so they are found without one and just their cells are computed again:
    the filtered maps are never kept, nor differentiated.

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
        if not native.usable(left_NALF, right_MCRF):
            left_B, right_B = rows
            map_BACLR = torch.einsum("balf,bcrf->baclr", left_NALF[left_B], right_MCRF[right_B])
            return self.forward(map_BACLR.flatten(1, 2), *masks)
        weight = torch.cat([conv.weight.flatten() for conv in self.convs])  # type: ignore[operator]
        value_BSK = native.strongest_cosines(
            left_NALF, right_MCRF, weight, rows, masks, self.sizes, self.keep
        )
        return self._normed(value_BSK + self._bias().unsqueeze(1), value_BSK > -torch.inf)

    def forward(
        self, map_BCLR: Tensor, row_mask_BL: Tensor | None = None, column_mask_BR: Tensor | None = None
    ) -> Tensor:
        """`[B, width]`."""
        n_columns = map_BCLR.shape[-1]
        weight_SCP = self._stacked()
        with torch.no_grad():
            cell_BSK, found_BSK = self._winners(map_BCLR.detach(), row_mask_BL, column_mask_BR)
        padded_BCLR = F.pad(map_BCLR, (0, self.sizes - 1, 0, self.sizes - 1))
        row, column = cell_BSK // n_columns, cell_BSK % n_columns
        tap = torch.arange(self.sizes, device=cell_BSK.device)
        row_BSKPP, column_BSKPP = row[..., None, None] + tap[:, None], column[..., None, None] + tap
        index_BX = (row_BSKPP * (n_columns + self.sizes - 1) + column_BSKPP).flatten(1)
        index_BCX = index_BX.unsqueeze(1).expand(-1, padded_BCLR.shape[1], -1)
        patch_BCX = padded_BCLR.flatten(2).gather(2, index_BCX)
        patch_BCSKP = torch.unflatten(patch_BCX, 2, (*cell_BSK.shape[1:], -1))
        value_BSK = torch.einsum("bcskp,scp->bsk", patch_BCSKP, weight_SCP) + self._bias().unsqueeze(1)
        return self._normed(value_BSK, found_BSK)

    def _normed(self, value_BSK: Tensor, found_BSK: Tensor) -> Tensor:
        """tanh, order and layer norm of the winners' values."""
        value_BSK = torch.tanh(value_BSK).masked_fill(~found_BSK, 0)
        value = torch.unflatten(value_BSK, 1, (self.sizes, self.filters)).transpose(2, 3)
        normed: Tensor = self.norm(value)
        return normed.flatten(1)

    def _bias(self) -> Tensor:
        """`[S]`."""
        return torch.cat([conv.bias for conv in self.convs])  # type: ignore[misc]

    def _stacked(self) -> Tensor:
        """All kernels as one, zero-padded to the largest size: `[S, C, P]`."""
        weights = [F.pad(conv.weight, (0, self.sizes - 1 - i) * 2) for i, conv in enumerate(self.convs)]  # type: ignore[arg-type]
        return torch.cat(weights).flatten(2)

    def _winners(
        self, map_BCLR: Tensor, row_mask_BL: Tensor | None, column_mask_BR: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cells (row * columns + column) of the `keep` largest answers of each filter, `[B, S, K]`, and
        whether there was such a cell. tanh and the bias do not change an order."""
        if native.usable(map_BCLR):
            weight = torch.cat([conv.weight.flatten() for conv in self.convs])  # type: ignore[operator]
            masks = row_mask_BL, column_mask_BR
            _, cell_BSK = native.strongest(
                map_BCLR.unsqueeze(1).transpose(2, 3), weight, self.sizes, self.keep, *masks
            )
            return cell_BSK.clamp(min=0).long(), cell_BSK >= 0
        weight_SCP = self._stacked()
        n_taps, shift = self.sizes, self.sizes - 1
        n_rows, n_columns = map_BCLR.shape[2:]
        padded_BCLR = F.pad(map_BCLR, (0, shift, 0, shift))
        keep = min(self.keep, n_rows * n_columns)
        row_bytes = n_rows * n_columns * padded_BCLR.element_size() * weight_SCP[0].numel()
        cells, found = [], []
        patch_BCPPLR = padded_BCLR.new_empty(0)
        for chunk in row_chunks(len(padded_BCLR), row_bytes):
            part_BCLR = padded_BCLR[chunk]
            if len(part_BCLR) != len(patch_BCPPLR):  # reused: a fresh one costs a page fault per 4 KB
                patch_BCPPLR = part_BCLR.new_empty(*part_BCLR.shape[:2], n_taps, n_taps, n_rows, n_columns)
            for i, j in itertools.product(range(n_taps), repeat=2):
                patch_BCPPLR[:, :, i, j] = part_BCLR[:, :, i : i + n_rows, j : j + n_columns]
            answer_BSLR = torch.unflatten(
                weight_SCP.flatten(1)
                .expand(len(part_BCLR), -1, -1)
                .bmm(patch_BCPPLR.flatten(4).flatten(1, 3)),
                2,
                (n_rows, n_columns),
            )
            if row_mask_BL is not None:
                answer_BSLR.masked_fill_(~row_mask_BL[chunk, None, :, None], -torch.inf)
            if column_mask_BR is not None:
                answer_BSLR.masked_fill_(~column_mask_BR[chunk, None, None, :], -torch.inf)
            top = answer_BSLR.flatten(2).topk(keep)
            cells.append(F.pad(top.indices, (0, self.keep - keep)))
            found.append(F.pad(top.values > -torch.inf, (0, self.keep - keep)))
        return torch.cat(cells), torch.cat(found)
