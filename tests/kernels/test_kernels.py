"""The compiled code against the same computation in PyTorch, in double precision.

It is built with the package wherever there is a compiler; without one, what needs it is skipped here and the
PyTorch path carries every other test of the suite.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.parts.encoders import RoiEncoderLayer
from baselines.parts.layers import Dropout
from baselines.parts.pooling import KernelMaxPooling
from baselines.parts.recurrent import BiLSTM
from benchmark import models
from benchmark.core.types import length_mask
from benchmark.kernels import arrays, compiled, native
from benchmark.kernels.attention import (
    cross_attention,
    gathered_attention,
    packed_attention,
    packed_attention_of,
    self_attention,
)
from benchmark.kernels.cosines import weighted_cosines
from benchmark.kernels.elementwise import unit_vectors
from benchmark.kernels.linear import linear
from benchmark.kernels.lstm import _LSTM
from benchmark.kernels.packing import Packing
from benchmark.kernels.partners import max_cosine
from benchmark.kernels.pooling import strongest, strongest_answers
from benchmark.kernels.softpool import packed_soft_pool
from benchmark.kernels.words import WordTable, highest_windows
from tests import toy

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled code was not built")

SEEDS = st.integers(0, 2**16)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def in_both_precisions(function, *arguments):
    """Values and gradients of `function` (floating arguments only) in float32 and in float64."""
    results = []
    for dtype in (torch.float32, torch.float64):
        given = [x.detach().to(dtype).requires_grad_() for x in arguments]
        value = function(*given)
        weight = torch.linspace(-1, 1, value.numel(), dtype=dtype).view_as(value)
        results.append([value, *torch.autograd.grad((value * weight).sum(), given)])
    return zip(*results, strict=True)


def distinct_winners(seed):
    """Items of which no two cells of a map tie, so that both precisions find the same winners."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 2, 7, 20, generator=random), torch.randn(4, 1, 33, 20, generator=random)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("filters", [1, 3, 4, 9])
def test_strongest_cosines_and_their_gradients(masked, filters):
    torch.manual_seed(filters)
    pooling = KernelMaxPooling(channels=2, sizes=3, filters=filters, keep=5)
    rows = torch.tensor([0, 0, 2, 1]), torch.tensor([3, 1, 1, 0])
    masks = length_mask(torch.tensor([7, 4, 1, 0]), 7), length_mask(torch.tensor([33, 1, 16, 9]), 33)
    masks = masks if masked else (None, None)
    exact = copy.deepcopy(pooling).double()

    def pooled(left, right):
        module = pooling if left.dtype == torch.float32 else exact
        return module.cosines(unit_vectors(left), unit_vectors(right), rows, masks)

    for ours, wanted in in_both_precisions(pooled, *distinct_winners(0)):
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-3, atol=2e-4)
    arguments = distinct_winners(0)
    gradients = []
    for module, dtype in ((pooling, torch.float32), (exact, torch.float64)):
        value = pooled(*(x.to(dtype) for x in arguments))
        weight = torch.linspace(-1, 1, value.numel(), dtype=dtype).view_as(value)
        gradients.append(torch.autograd.grad((value * weight).sum(), list(module.parameters())))
    for ours, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_strongest_answers_and_their_gradients(masked):
    """Of maps that are given, with as many as there are cells asked for."""
    random = torch.Generator().manual_seed(5)
    maps, weight = torch.randn(3, 2, 4, 9, generator=random), torch.randn(3 * 2 * 14, generator=random)
    masks = length_mask(torch.tensor([4, 2, 1]), 4), length_mask(torch.tensor([9, 3, 0]), 9)
    maps = maps * (masks[0][:, None, :, None] & masks[1][:, None, None]) if masked else maps

    def answers(maps, weight):
        found = strongest_answers(maps, weight, masks if masked else (None, None), 3, 30)
        return found.masked_fill(found == -torch.inf, 0)

    for ours, exact in in_both_precisions(answers, maps, weight):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 80), st.integers(1, 4), st.integers(1, 6), st.integers(1, 9), SEEDS)
def test_strongest_by_sorting(n_rows, n_columns, sizes, filters, keep, seed):
    """Every answer by a loop over taps, sorted; of equal ones the first."""
    random = np.random.default_rng(seed)
    A, C = int(random.integers(1, 3)), int(random.integers(1, 3))
    maps = random.integers(-2, 3, (1, A, n_rows, C, n_columns)).astype(np.float32)  # many ties, exact sums
    weights = [random.integers(-2, 3, (filters, A * C, s, s)).astype(np.float32) for s in range(1, sizes + 1)]
    flat = torch.from_numpy(np.concatenate([w.ravel() for w in weights]))
    rows, columns = random.random(n_rows) < 0.8, random.random(n_columns) < 0.8
    masks = torch.from_numpy(rows[None]), torch.from_numpy(columns[None])
    value, cell = strongest(torch.from_numpy(maps), flat, sizes, keep, *masks)
    channels = maps[0].transpose(0, 2, 1, 3).reshape(A * C, n_rows, n_columns)
    for slot, (size, f) in enumerate(np.ndindex(sizes, filters)):
        padded = np.pad(channels, ((0, 0), (0, size), (0, size)))
        answer = sum(
            weights[size][f, q, i, j] * padded[q, i : i + n_rows, j : j + n_columns]
            for q, i, j in np.ndindex(A * C, size + 1, size + 1)
        )
        answer = np.where(rows[:, None] & columns, answer, -np.inf).ravel()
        order = np.argsort(-answer, kind="stable")[:keep]
        order = order[answer[order] > -np.inf]
        np.testing.assert_array_equal(cell[0, slot, : len(order)], order)
        np.testing.assert_array_equal(value[0, slot, : len(order)], answer[order])
        assert (cell[0, slot, len(order) :] == -1).all()


def plain_attention(state, mask, heads):
    """Sequence by sequence, of its real positions; zero elsewhere."""
    result = torch.zeros(*state.shape[:2], state.shape[2] // 3, dtype=state.dtype)
    for n, real in enumerate(mask):
        query, key, value = torch.unflatten(state[n, real], 1, (3, heads, -1)).permute(1, 2, 0, 3)
        weight = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        result[n, real] = (weight @ value).transpose(0, 1).flatten(1)
    return result


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 140), st.integers(1, 4), st.integers(1, 40), SEEDS)
def test_attention(n_items, n_positions, heads, width, seed):
    """Sizes on both sides of whole vectors; padding anywhere; an item without a valid position gives zeros."""
    random = torch.Generator().manual_seed(seed)
    state = torch.randn(n_items, n_positions, 3 * heads * width, generator=random)
    mask = torch.rand(n_items, n_positions, generator=random) < torch.rand(n_items, 1, generator=random)
    for ours, exact in zip(
        gradients_of(lambda x: self_attention(x, mask, heads), state.float()),
        gradients_of(lambda x: plain_attention(x, mask, heads), state.double()),
        strict=True,
    ):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-4)


def gradients_of(function, *arguments):
    """Values of `function` and its gradients."""
    given = [x.detach().clone().requires_grad_() for x in arguments]
    value = function(*given)
    weight = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    return [value, *torch.autograd.grad((value * weight).sum(), given)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 3), st.integers(1, 20), SEEDS)
def test_attention_without_padding_in_memory(n_items, n_positions, heads, width, seed):
    """Packed, and with values of another width, and of rows that sequences share: as of the padded arrays."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.rand(n_items, n_positions, generator=random) < 0.6
    packing, n = Packing.of(mask), int(mask.sum())
    state = torch.randn(n, 3 * heads * width, generator=random)
    value = torch.randn(n, width + 3, generator=random)
    row = torch.randint(0, max(n, 1), (n,), generator=random)

    def padded(x):
        return plain_attention(packing.unpack(x.unsqueeze(0)), mask, heads)[mask]

    def of_width(query_key, value):
        query, key, value = (packing.unpack(x.unsqueeze(0)) for x in (*query_key.chunk(2, -1), value))
        result = torch.zeros_like(value)
        for i, real in enumerate(mask):
            weight = (query[i, real] @ key[i, real].T * query.shape[-1] ** -0.5).softmax(-1)
            result[i, real] = weight @ value[i, real]
        return result[mask]

    cases = [
        (lambda x: packed_attention(x, packing, heads), padded, (state,)),
        (lambda x: gathered_attention(x, row, packing, heads), lambda x: padded(x[row]), (state,)),
        (lambda *x: packed_attention_of(*x, packing), of_width, (state[:, : 2 * width].clone(), value)),
    ]
    for ours, plain, arguments in cases:
        twins = [gradients_of(ours, *arguments)]
        with native.switched_off():
            twins.append(gradients_of(ours, *arguments))
        for twin in twins:
            exact = gradients_of(plain, *(x.double() for x in arguments))
            for x, y in zip(twin, exact, strict=True):
                torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=1e-4)


def test_a_sequence_does_not_see_how_far_others_are_padded():
    """Bit for bit, wherever the padding stands: and so with what is packed."""
    torch.manual_seed(0)
    state = torch.randn(1, 23, 3 * 24)
    alone = self_attention(state, torch.ones(1, 23, dtype=torch.bool), 2)[0]
    place = torch.randperm(80)[:23].sort().values
    wide = torch.randn(1, 80, 3 * 24).index_copy(1, place, state)
    mask = torch.zeros(1, 80, dtype=torch.bool).index_fill(1, place, True)
    assert torch.equal(self_attention(wide, mask, 2)[0, place], alone)
    assert torch.equal(packed_attention(state[0], Packing.of(mask), 2), alone)


def test_half_precision_is_widened():
    """bf16 states, under autocast too: as of the same states in float32, rounded once."""
    torch.manual_seed(0)
    state, mask = torch.randn(3, 20, 3 * 16).bfloat16(), length_mask(torch.tensor([20, 7, 0]), 20)
    with torch.autocast("cpu", torch.bfloat16):
        half = self_attention(state, mask, 2)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, self_attention(state.float(), mask, 2).bfloat16())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(1, 40), SEEDS)
def test_packed_soft_pool(n_items, n_positions, width, seed):
    random = torch.Generator().manual_seed(seed)
    mask = torch.rand(n_items, n_positions, generator=random) < 0.6
    packing = Packing.of(mask)
    x = 3 * torch.randn(int(mask.sum()), width, generator=random)

    def plain(x):
        rows = x.split(mask.sum(1).tolist())
        return torch.stack([(row.softmax(0) * row).sum(0) for row in rows])

    for ours, exact in zip(
        gradients_of(lambda x: packed_soft_pool(x, packing), x), gradients_of(plain, x.double()), strict=True
    ):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 3), st.integers(1, 20), SEEDS)
def test_cross_attention(n_queries, n_positions, heads, width, seed):
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(2, n_queries, heads * width, generator=random)
    context = torch.randn(2, n_positions, 2 * heads * width, generator=random)
    mask = length_mask(torch.randint(0, n_positions + 1, (2,), generator=random), n_positions)

    def attended(query, context):
        return cross_attention(query, context, mask, heads)

    for ours, exact in in_both_precisions(attended, query, context):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-4)


def test_attention_with_dropout():
    """Mean and variance over draws; the gradient by finite differences of one draw."""
    torch.manual_seed(0)
    state, mask, heads, rate = torch.randn(2, 20, 3 * 8), torch.ones(2, 20).bool(), 2, 0.3
    draws = torch.stack([self_attention(state, mask, heads, rate) for _ in range(4000)])
    query, key, value = state.view(2, 20, 3, heads, -1).permute(2, 0, 3, 1, 4)
    squared = (query @ key.transpose(-1, -2) / 2).softmax(-1).square() @ value.square() * rate / (1 - rate)
    spread = squared.transpose(1, 2).reshape(2, 20, 8)
    error = (draws.mean(0) - plain_attention(state, mask, heads)) / (spread / 4000).sqrt()
    assert error.abs().max() < 5
    torch.testing.assert_close(draws.var(0) / spread, torch.ones(2, 20, 8), rtol=0, atol=0.3)

    def drawn(x):
        torch.manual_seed(5)
        return (self_attention(x, mask, heads, rate) * torch.linspace(-1, 1, 320).view(2, 20, 8)).sum()

    x = state.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(drawn(x), x)
    for i in range(0, state.numel(), 37):
        step = torch.zeros(state.numel())
        step[i] = 1e-2
        slope = (drawn(state + step.view_as(state)) - drawn(state - step.view_as(state))) / 2e-2
        assert abs(float(slope - gradient.flatten()[i])) < 2e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(4, 30), st.booleans(), SEEDS)
def test_max_cosine(n_left, n_right, perspectives, hidden, masked, seed):
    """BiMPM's max-pooling matching, each text with at least one valid step."""
    random = torch.Generator().manual_seed(seed)
    shapes = (2, n_left, hidden), (2, n_right, hidden), (perspectives, hidden)
    p, h, w = (torch.randn(*shape, generator=random) for shape in shapes)
    masks = [
        length_mask(torch.randint(1, n + 1, (2,), generator=random), n) if masked else None
        for n in (n_left, n_right)
    ]

    def joined(*arguments):
        return torch.cat(max_cosine(*arguments, *masks), 1)

    for ours, exact in in_both_precisions(joined, p, h, w):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 4), st.integers(1, 40), SEEDS)
def test_highest_windows(n_texts, n_steps, width, filters, seed):
    torch.manual_seed(seed)
    size = n_steps + width - 1
    windows = torch.randint(1, n_steps + 1, (n_texts,))
    x, weight = torch.randn(n_texts, size, 7), torch.randn(filters, 7, width)

    def highest(x, weight):
        answer = torch.nn.functional.conv1d(x.transpose(1, 2), weight).transpose(1, 2)
        if x.dtype == torch.float32:
            return highest_windows(x, weight, answer.detach(), windows)
        outside = ~length_mask(windows, n_steps)
        return answer.masked_fill(outside.unsqueeze(-1), -torch.inf).amax(1)

    for ours, exact in in_both_precisions(highest, x, weight):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4)


def of_words(table, token):
    value = table(token)
    weight = torch.linspace(-1, 2, value.numel()).sin().view_as(value)
    return value, *torch.autograd.grad((value * weight).sum(), list(table.parameters()))


def test_the_gradient_of_a_table_of_words(threads):
    """As torch's, and the same bits whatever the number of threads; none for padding."""
    torch.manual_seed(0)
    token, plain = torch.randint(0, 40, (9, 21)), torch.nn.Embedding(40, 33, padding_idx=0)
    table = WordTable(40, 33, padding_idx=0)
    table.load_state_dict(plain.state_dict())
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(of_words(table, token))
        assert torch.equal(found[0][1], found[-1][1])
    for ours, theirs in zip(found[0], of_words(plain, token), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not found[0][1][0].any()


@pytest.mark.parametrize("method", ["egcnn", "convknrm", "mcr", "prhnet", "ssecross", "drnet"])
def test_scores_by_distinct_words(method):
    """With and without a gradient to be taken: by position, and once for each distinct word. Texts of one word,
    shorter than every window, and longer."""
    model_class = models.load(method)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**model_class.quick), toy.SHAPE).eval()
    random = np.random.default_rng(0)
    images = np.zeros((0, toy.ROI_WIDTH))
    texts = [[int(word) for word in random.integers(2, toy.VOCABULARY, n)] for n in (1, 2, 3, 9, 14)]
    items = [toy.Item(text, images) for text in texts]
    batch = toy.batch([items[3], items[0]], [items, items], group_size=5)
    expected = model.score(batch)
    with torch.inference_mode():
        torch.testing.assert_close(model.score(batch), expected.detach(), rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 12), st.integers(1, 40), st.booleans(), SEEDS)
def test_lstm_scores_as_the_library_does(n_texts, n_steps, hidden, masked, seed):
    """States of both directions with and without a gradient to be taken, of vectors and of words."""
    torch.manual_seed(seed)
    lstm, table = BiLSTM(6, hidden), torch.nn.Embedding(11, 6)
    token = torch.randint(0, 11, (n_texts, n_steps))
    count = torch.randint(1, n_steps + 1, (n_texts,)) if masked else None
    wanted = lstm(table(token), count)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHUNK_BYTES", 1 << 13)  # some rows at a time
        found = lstm(table(token), count)
        words = lstm.of_words(table, token, torch.full((n_texts,), n_steps) if count is None else count)
    for ours, expected in zip((*found, words), (*wanted, wanted.both), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 40), st.integers(1, 20), SEEDS)
def test_weighted_cosines(n_rows, n_steps, width, perspectives, seed):
    """Two vectors at a time with their weights; a y for all steps, and steps that are masked."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.rand(n_rows, n_steps, generator=random) < 0.7
    x = torch.randn(n_rows, n_steps, width, generator=random) * mask.unsqueeze(-1)
    ys = [torch.randn(n_rows, steps, width, generator=random) for steps in (n_steps, 1, n_steps)]
    weights = [torch.randn(perspectives, width, generator=random) for _ in ys]

    def ours(x, *rest):
        return torch.stack(weighted_cosines(x, [*rest[:3]], [*rest[3:]], mask), 2) * mask[..., None, None]

    def exact(x, *rest):
        pairs = zip(rest[:3], rest[3:], strict=True)
        parts = [torch.cosine_similarity(x[:, :, None] * w, y[:, :, None] * w, -1) for y, w in pairs]
        return torch.stack(parts, 2) * mask[..., None, None]

    given_here = x, *ys, *weights
    found = gradients_of(ours, *given_here)
    wanted = gradients_of(exact, *(array.double() for array in given_here))
    found[1], wanted[1] = found[1] * mask.unsqueeze(-1), wanted[1] * mask.unsqueeze(-1)
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-3, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 11), st.integers(1, 12), st.integers(1, 40), st.booleans(), SEEDS)
def test_lstm_trains_as_the_library_does(n_texts, n_steps, hidden, masked, seed):
    """States and all gradients, against PyTorch's LSTMs in double precision, each text on its own."""
    torch.manual_seed(seed)
    ours = BiLSTM(5, hidden)
    exact = copy.deepcopy(ours).double()
    x = torch.randn(n_texts, n_steps, 5)
    counts = torch.randint(1, n_steps + 1, (n_texts,)) if masked else None

    def one_by_one(x):
        parts = []
        for row, count in zip(x, [n_steps] * n_texts if counts is None else counts.tolist(), strict=True):
            text = row[None, :count]
            there = exact.forward_lstm(text)[0], exact.backward_lstm(text.flip(1))[0].flip(1)
            parts.append(torch.cat(there, 2)[0])
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)

    found = []
    for module, made in ((ours, lambda x: ours(x, counts)), (exact, one_by_one)):
        given_x = x.to(next(module.parameters()).dtype).requires_grad_()
        states = made(given_x)
        both = (
            states if module is exact else states.both[:, : int(n_steps if counts is None else counts.max())]
        )
        weight = torch.linspace(-1, 1, both.numel(), dtype=both.dtype).view_as(both)
        found.append([both, *torch.autograd.grad((both * weight).sum(), [given_x, *module.parameters()])])
        if module is ours:
            last = torch.arange(n_texts), (n_steps if counts is None else counts) - 1
            assert torch.equal(states.last_forward_NH, states.forward_NTH[last])
            assert torch.equal(states.last_backward_NH, states.backward_NTH[:, 0])
    for x, y in zip(*found, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=1e-5)


def test_results_do_not_depend_on_the_number_of_threads(threads):
    """Bit for bit: forward, backward and what dropout draws."""
    torch.manual_seed(0)
    pooling = KernelMaxPooling(channels=2, sizes=3, filters=4, keep=5)
    a, b, w = torch.randn(5, 40, 24), torch.randn(5, 40, 24), torch.randn(24)
    rows = torch.tensor([0, 0, 2, 1]), torch.tensor([3, 1, 1, 0])
    mask = length_mask(torch.tensor([40, 3, 0, 17, 33]), 40)
    recurrent = torch.randn(1, 24, 6)
    found = []
    for count in (1, 2, 3):
        threads(count)
        torch.manual_seed(1)
        arguments = [x.clone().requires_grad_() for x in (a, b, *distinct_winners(0))]
        dropout = Dropout(0.4)
        values = [
            pooling.cosines(*(unit_vectors(x) for x in arguments[2:]), rows),
            dropout(arguments[0]),
            dropout.relu(arguments[1]),
            dropout.add(arguments[0], arguments[1]),
            self_attention(arguments[0], mask, 2, 0.3),
            gathered_attention(arguments[0].flatten(0, 1), torch.arange(93) % 50, Packing.of(mask), 2),
            packed_soft_pool(arguments[0][mask], Packing.of(mask)),
            *weighted_cosines(arguments[0], [arguments[1]], [w.expand(3, 24) + torch.ones(3, 1)], mask),
            _LSTM.apply(arguments[0][mask].view(-1, 1, 24), recurrent, Packing.of(mask).start_N1),
        ]
        total = sum((value * value).sum() for value in values)
        found.append([*values, *torch.autograd.grad(total, arguments)])
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_dropout_draws_as_it_should(rate):
    """The rate over elements; independence of elements near one another, of the two that share a hash, and of
    one draw and the next; each within five standard errors."""
    torch.manual_seed(3)
    dropout, x = Dropout(rate), torch.ones(400_000)
    kept = torch.stack([dropout(x) != 0 for _ in range(4)]).double() - (1 - rate)
    spread, n = rate * (1 - rate), kept.numel()
    assert abs(kept.mean()) < 5 * (spread / n) ** 0.5
    for lag in (1, 2, 15, 16, 17, 31, 32, 33, 64, 1024, 16384):
        assert abs((kept[:, lag:] * kept[:, :-lag]).mean()) < 5 * spread / n**0.5
    for i, j in ((0, 1), (0, 2), (1, 3)):
        assert abs((kept[i] * kept[j]).mean()) < 5 * spread / x.numel() ** 0.5
    counts = (kept + 1 - rate).view(4, -1, 32).sum(2).flatten()  # of a block: binomial
    assert abs(counts.var() / (32 * spread) - 1) < 0.03


@pytest.mark.parametrize("size", [1 << 23, 1 << 25])
def test_linear_is_linear_whatever_computes_it(size):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(8, 64, size >> 16), torch.randn(128, size >> 16), torch.randn(128)
    for ours, exact in in_both_precisions(linear, x, weight, bias):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-3)
    assert torch.equal(linear(x[:0], weight), x.new_zeros(0, 64, 128))


def test_dropout_with_a_base_and_with_relu():
    dropout = Dropout(0.5)
    for function, plain in (
        (lambda x, base: dropout.add(base, x), lambda x, base: base + dropout(x)),
        (lambda x, base: dropout.relu(x) + base, lambda x, base: dropout(torch.relu(x)) + base),
    ):
        results = []
        for form in (function, plain):
            torch.manual_seed(7)
            x, base = torch.linspace(-1, 1, 1003).requires_grad_(), torch.ones(1003, requires_grad=True)
            value = form(x, base)
            results.append([value, *torch.autograd.grad(value.square().sum(), (x, base))])
        for ours, expected in zip(*results, strict=True):
            torch.testing.assert_close(ours, expected)


def test_what_cannot_be_taken_goes_another_way():
    assert native.usable(torch.ones(2), torch.ones(3))
    assert not native.usable(torch.ones(2), torch.ones(3, dtype=torch.float64))
    assert not native.usable(torch.ones(2, dtype=torch.bfloat16))
    assert not native.usable(torch.ones(2, device="meta"))


def test_switched_off_for_a_while():
    with native.switched_off():
        assert not native.available()
        assert not native.usable(torch.ones(2))
    assert native.available()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="5 attention heads do not divide a width of 24"):
        RoiEncoderLayer(24, 5, 48, 0.0, 0.0, 0.0)


SCORES = """
import json, torch
from benchmark import models
from benchmark.kernels import native
from tests import toy
model_class = models.load("mcr")
torch.manual_seed(0)
model = model_class(model_class.config_class(**model_class.quick), toy.SHAPE).eval()
items = [toy.Item([3, 5, 4, 8, 9], torch.linspace(0, 1, 3 * toy.ROI_WIDTH).view(3, -1).numpy())]
with torch.inference_mode():
    score = model.score(toy.batch(items, [items * 3], group_size=3))
print(json.dumps([native.available(), score.tolist()]))
"""


def test_the_switch_and_that_both_ways_agree():
    found = []
    for value in ("1", "0"):
        environment = os.environ | {compiled.SWITCH: value}
        made = subprocess.run(
            [sys.executable, "-c", SCORES], env=environment, capture_output=True, text=True, check=True
        )
        found.append(json.loads(made.stdout))
    assert [there for there, _ in found] == [True, False]
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)


def test_kernels_of_another_source_are_not_loaded(tmp_path, monkeypatch):
    """After an update without a new installation their arguments might differ."""
    for cached in (compiled.library, compiled.problem):
        monkeypatch.setattr(compiled, cached.__name__, cached.__wrapped__)
    assert compiled.library() is not None
    assert compiled.problem() == ""
    changed = tmp_path / "_kernels.cpp"
    changed.write_bytes(compiled.SOURCE.read_bytes() + b"// changed")
    monkeypatch.setattr(compiled, "SOURCE", changed)
    assert compiled.library() is None
    assert "install again" in compiled.problem()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "were not built" in compiled.problem()
    monkeypatch.setenv(compiled.SWITCH, "0")
    assert compiled.problem() == ""
