"""Packed positions: there and back, and nothing of padding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.core.types import length_mask
from benchmark.kernels.packing import Packing


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_there_and_back(counts):
    mask_NL = length_mask(torch.tensor(counts), 6)
    x_NLF = torch.randn(len(counts), 6, 3, requires_grad=True)
    packing = Packing.of(mask_NL)
    packed = packing.pack(x_NLF)
    expected = torch.cat([x[:count] for x, count in zip(x_NLF, counts, strict=True)])
    assert torch.equal(packed.squeeze(0), expected)
    back = packing.unpack(packed)
    assert torch.equal(back, x_NLF * mask_NL.unsqueeze(-1))
    (gradient,) = torch.autograd.grad(back.sum(), x_NLF)
    assert torch.equal(gradient, mask_NL.unsqueeze(-1).expand_as(x_NLF).float())
