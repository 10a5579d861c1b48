"""Real positions side by side: what is done position by position then costs nothing for padding.

N sequences, L positions, X real positions of all of them, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where the real positions of padded sequences are."""

    place_X: Tensor
    """int64, their places in the flattened `[N * L]`, ascending."""
    shape: tuple[int, int]
    """N and L."""

    @classmethod
    def of(cls, mask_NL: Tensor) -> Packing:
        n_sequences, length = mask_NL.shape
        return cls(mask_NL.flatten().nonzero().squeeze(1), (n_sequences, length))

    def pack(self, x_NLF: Tensor) -> Tensor:
        """`[1, X, F]`: one long sequence, as `kernels.linear` takes it."""
        return x_NLF.reshape(-1, x_NLF.shape[-1]).index_select(0, self.place_X).unsqueeze(0)

    def unpack(self, x_1XF: Tensor) -> Tensor:
        """`[N, L, F]`, zero where padded."""
        n_sequences, length = self.shape
        padded = x_1XF.new_zeros(n_sequences * length, x_1XF.shape[-1])
        return padded.index_copy(0, self.place_X, x_1XF.squeeze(0)).view(n_sequences, length, -1)
