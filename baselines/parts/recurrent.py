"""A bidirectional LSTM that masks without packing.

N sequences, T steps, E input width, H hidden size per direction.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.parts.layers import distinct
from baselines.parts.words import scored_by_word
from benchmark.core.types import length_mask
from benchmark.kernels import native
from benchmark.kernels.arrays import row_chunks
from benchmark.kernels.linear import linear
from benchmark.kernels.lstm import lstm as lstm_states
from benchmark.kernels.lstm import trained_lstm
from benchmark.kernels.packing import Packing, shapes_are_fixed

LSTM_WEIGHTS = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"

CHUNKS_AT_ONCE = 8
"""Times `CHUNK_BYTES` that the gates of all steps may take when scoring."""


class States(NamedTuple):
    """States of every step, and of each direction's last step."""

    forward_NTH: Tensor
    backward_NTH: Tensor
    last_forward_NH: Tensor
    """After the last step of the sequence."""
    last_backward_NH: Tensor
    """After the first step, where the backward direction ends."""

    @property
    def both(self) -> Tensor:
        """Forward and backward states of each step, `[N, T, 2H]`."""
        return torch.cat([self.forward_NTH, self.backward_NTH], -1)

    @property
    def last(self) -> Tensor:
        """Final states of the two directions, `[N, 2H]`."""
        return torch.cat([self.last_forward_NH, self.last_backward_NH], -1)


class BiLSTM(nn.Module):
    """One layer, one LSTM for each direction.

    With counts it gives what a packed sequence gives: the backward direction starts at each sequence's own
    last step and states beyond it are zero. It reverses within the sequences instead of packing, which is
    twice as fast on a CPU and needs no copy of the counts to the host on a GPU. Without counts both
    directions run over the padding, as in some of the released code. On a CPU compiled code (`kernels.lstm`)
    goes through the real steps alone.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.forward_lstm = nn.LSTM(width, hidden, batch_first=True)
        self.backward_lstm = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x_NTE: Tensor, count_N: Tensor | None = None) -> States:
        if native.usable_for_scoring(x_NTE):
            (N, T, _), states = x_NTE.shape, []
            for rows in row_chunks(N, T * self._width() * x_NTE.element_size() // CHUNKS_AT_ONCE):
                slot_NT = torch.arange(x_NTE[rows].shape[:2].numel()).view(-1, T)
                count = None if count_N is None else count_N[rows]
                states.append(self._scored(x_NTE[rows].flatten(0, 1), slot_NT, count))
            forward_NTH, backward_NTH = torch.cat(states).unbind(2)
            step_N = (torch.full((N,), T) if count_N is None else count_N) - 1
            return States(forward_NTH, backward_NTH, forward_NTH[torch.arange(N), step_N], backward_NTH[:, 0])
        if native.usable(x_NTE) and not shapes_are_fixed(x_NTE):
            return self._trained(x_NTE, count_N)
        forward_NTH = self.forward_lstm(x_NTE)[0]
        if count_N is None:
            backward_NTH = self.backward_lstm(x_NTE.flip(1))[0].flip(1)
            return States(forward_NTH, backward_NTH, forward_NTH[:, -1], backward_NTH[:, 0])
        # its own inverse; padding stays behind the words, where no LSTM state of theirs sees it
        reversed_NT = _reversal(count_N, x_NTE.shape[1])
        backward_NTH = _take(self.backward_lstm(_take(x_NTE, reversed_NT))[0], reversed_NT)
        mask_NT1 = length_mask(count_N, x_NTE.shape[1]).unsqueeze(-1)
        last_forward_NH = forward_NTH[torch.arange(len(count_N), device=count_N.device), count_N - 1]
        return States(forward_NTH * mask_NT1, backward_NTH * mask_NT1, last_forward_NH, backward_NTH[:, 0])

    def _trained(self, x_NTE: Tensor, count_N: Tensor | None) -> States:
        N, T, _ = x_NTE.shape
        every = Packing.full(N, T, x_NTE.device)
        packing = every if count_N is None else Packing.of(length_mask(count_N, T))
        states_XDH = trained_lstm(packing.pack(x_NTE), packing, (self.forward_lstm, self.backward_lstm))
        forward_NTH, backward_NTH = packing.unpack(states_XDH.flatten(1).unsqueeze(0)).chunk(2, dim=-1)
        start_N1 = packing.start_N1
        return States(
            forward_NTH, backward_NTH, states_XDH[start_N1[1:] - 1, 0], states_XDH[start_N1[:-1], 1]
        )

    def of_words(self, table: nn.Module, token_NT: Tensor, count_N: Tensor) -> Tensor:
        """`States.both` of the words' vectors, `[N, T, 2H]`. When scoring, what a word adds to the gates, most of the
        work, is computed once for each distinct word."""
        vector_WE = scored_by_word(table)
        if vector_WE is None:
            return self.forward(table(token_NT), count_N).both
        word_U, slot_NT = distinct(token_NT, len(vector_WE))
        return self._scored(vector_WE[word_U], slot_NT, count_N).flatten(2)

    def _width(self) -> int:
        """All gates of both directions, each as wide as the hidden state in whole vectors."""
        hidden = self.forward_lstm.hidden_size
        return 8 * (hidden + -hidden % native.LANES)

    def _scored(self, x_UE: Tensor, slot_NT: Tensor, count_N: Tensor | None) -> Tensor:
        """States `[N, T, 2, H]` without a gradient; step t of sequence n has the input `x_UE[slot_NT[n, t]]`."""
        hidden, wide = self.forward_lstm.hidden_size, self._width() // 8
        spare = (0, wide - hidden)
        weights, biases, recurrent = [], [], []
        for lstm in (self.forward_lstm, self.backward_lstm):
            input_GHE, recurrent_GHH, bias_GH, other_bias_GH = (
                getattr(lstm, name).unflatten(0, (4, hidden)) for name in LSTM_WEIGHTS
            )
            weights.append(F.pad(input_GHE, (0, 0, *spare)).flatten(0, 1))
            recurrent.append(F.pad(recurrent_GHH, (0, 0, *spare)).flatten(0, 1).T)
            # torch keeps two biases of each gate, which only ever occur as their sum
            biases.append(F.pad(bias_GH + other_bias_GH, spare).flatten())
        inputs_UG = linear(x_UE.unsqueeze(0), torch.cat(weights), torch.cat(biases)).squeeze(0)
        counts = torch.full(slot_NT.shape[:1], slot_NT.shape[1]) if count_N is None else count_N
        return lstm_states(inputs_UG, slot_NT, counts, torch.stack(recurrent), hidden)


def _reversal(count_N: Tensor, size: int) -> Tensor:
    """int64 [N, T]: step t of the reversed sequence is this step of the sequence; padding stays in place."""
    step_T = torch.arange(size, device=count_N.device)
    return torch.where(length_mask(count_N, size), count_N[:, None] - 1 - step_T, step_T)


def _take(x_NTE: Tensor, step_NT: Tensor) -> Tensor:
    # a row index into the flattened [N * T, E] is several times as fast as `gather` here, backward included
    N, T, E = x_NTE.shape
    flat = step_NT + T * torch.arange(N, device=step_NT.device)[:, None]
    return x_NTE.reshape(N * T, E).index_select(0, flat.reshape(-1)).reshape(N, T, E)


def reference_lstm_names(reference: str, ours: str) -> dict[str, str]:
    """Names of a one-layer bidirectional `nn.LSTM` -> those of our two LSTMs, for `reference_names`."""
    names: dict[str, str] = {}
    for weight in LSTM_WEIGHTS:
        names[f"{reference}{weight}"] = f"{ours}forward_lstm.{weight}"
        names[f"{reference}{weight}_reverse"] = f"{ours}backward_lstm.{weight}"
    return names
