"""LSTMs over sequences of different lengths, for scoring and for training.

N sequences, T steps, X steps of all sequences, H hidden width, D directions, U distinct inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.kernels.linear import linear
from benchmark.kernels.native import LANES, call
from benchmark.kernels.packing import Packing
from benchmark.kernels.products import batched_product


def trained_lstm(x_1XE: Tensor, packing: Packing, lstms: Sequence[nn.LSTM]) -> Tensor:
    """States `[X, D, H]` of one-layer LSTMs, one a direction, the second from each sequence's end to its beginning; in
    compiled code, with a gradient. Real steps lie side by side (`packing`), and padding is never met."""
    directions, hidden = len(lstms), lstms[0].hidden_size
    names = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"
    found: list[list[Tensor]] = [[lstm.get_parameter(name) for lstm in lstms] for name in names]
    weights, recurrent, biases, others = found
    # torch keeps two biases of each gate, which only ever occur as their sum
    weight_GE, bias_G = torch.cat(weights), torch.cat(biases) + torch.cat(others)
    recurrent_DGH = torch.stack(recurrent)
    gates_XDG = linear(x_1XE, weight_GE, bias_G).view(-1, directions, 4 * hidden)
    states: Tensor = _LSTM.apply(gates_XDG.contiguous(), recurrent_DGH, packing.start_N1)  # type: ignore[no-untyped-call]
    return states


class _LSTM(torch.autograd.Function):
    """Keeps the gates as they were, the cells and the state before each step; of the gradients, what is a product of
    matrices is left to torch."""

    @staticmethod
    def forward(ctx: Any, gates_XDG: Tensor, recurrent_DGH: Tensor, start_N1: Tensor) -> Tensor:
        X, D, _ = gates_XDG.shape
        sizes = len(start_N1) - 1, D, recurrent_DGH.shape[2]
        active_XDG = torch.empty_like(gates_XDG)
        cells_XDH, states_XDH, before_XDH = gates_XDG.new_empty(3, X, D, sizes[2]).unbind()
        arrays = active_XDG, cells_XDH, states_XDH, before_XDH
        call("lstm_train", gates_XDG, start_N1, recurrent_DGH, *arrays, *sizes)
        ctx.save_for_backward(active_XDG, cells_XDH, before_XDH, start_N1, recurrent_DGH)
        ctx.sizes = sizes
        return states_XDH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_XDH: Tensor) -> tuple[Tensor, Tensor, None]:
        active_XDG, cells_XDH, before_XDH, start_N1, recurrent_DGH = ctx.saved_tensors
        result_XDG = torch.empty_like(active_XDG)
        arrays = active_XDG, cells_XDH, gradient_XDH.contiguous(), start_N1, recurrent_DGH, result_XDG
        call("lstm_train_backward", *arrays, *ctx.sizes)
        recurrent = batched_product(result_XDG.permute(1, 2, 0), before_XDH.transpose(0, 1))
        return result_XDG, recurrent, None


def lstm(inputs_UG: Tensor, slot_NT: Tensor, count_N: Tensor, recurrent_DHG: Tensor, hidden: int) -> Tensor:
    """States of both directions of an LSTM, `[N, T, 2, H]`, zero beyond a sequence's count; no gradient.

    `inputs_UG` holds, for each distinct input u, the four gates (i, f, g, o) of the forward and then of the
    backward direction, each as wide as H in whole vectors, biases included; `slot_NT` says which input a step has.
    `recurrent_DHG` is `[2, H, 4 wide]`.
    """
    (N, T), wide = slot_NT.shape, hidden + -hidden % LANES
    states = inputs_UG.new_empty(N, T, 2, hidden)
    arrays = (x.contiguous() for x in (inputs_UG, slot_NT, count_N, recurrent_DHG))
    call("lstm", *arrays, states, N, T, hidden, wide)
    return states
