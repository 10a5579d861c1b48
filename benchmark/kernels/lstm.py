"""A bidirectional LSTM over sequences of different lengths, for scoring.

N sequences, T steps, H hidden width, U distinct inputs.
"""

from __future__ import annotations

from torch import Tensor

from benchmark.kernels.native import LANES, call


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
