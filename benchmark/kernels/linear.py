"""Linear maps over positions, computed the faster of two ways on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGE_PRODUCT = 1 << 24
"""Multiplications from which on `linear` is a convolution."""


def linear(x_NTF: Tensor, weight_HF: Tensor, bias_H: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, `[N, T, H]`. Where it is large, a CPU computes it as a convolution of size one: the same products, in
    a library that is a sixth to a third faster at them than the one behind `F.linear` (forward and
    backward, AMD Zen 4)."""
    if x_NTF.device.type != "cpu" or x_NTF.numel() * len(weight_HF) < LARGE_PRODUCT:
        return F.linear(x_NTF, weight_HF, bias_H)
    # views only: features are the channels of an image one pixel high, positions its columns
    x_NF1T = x_NTF.transpose(1, 2).unsqueeze(2)
    return F.conv2d(x_NF1T, weight_HF[:, :, None, None], bias_H).squeeze(2).transpose(1, 2)


def joint_linear(x_NTF: Tensor, *maps: nn.Linear) -> Tensor:
    """Several linear maps of the same positions as one, their results side by side."""
    return linear(x_NTF, torch.cat([m.weight for m in maps]), torch.cat([m.bias for m in maps]))


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear` where the input has positions."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() == 3:
            return linear(input, self.weight, self.bias)
        return F.linear(input, self.weight, self.bias)


def with_own_linear(module: nn.Module) -> nn.Module:
    """The module of another library, its linear maps computed by `linear`."""
    for part in module.modules():
        # not its subclasses, which may compute something else
        if type(part) is nn.Linear:
            part.__class__ = Linear  # the parameters, and all that knows of them, stay
    return module
