"""Maxima over parts, MCL's circle loss, the norm behind MCR's pooling: the compiled code and its twin against PyTorch,
in double precision."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.kernels import native
from benchmark.kernels.contrast import circle_loss
from benchmark.kernels.maxima import part_maxima
from benchmark.kernels.pooling import winners_norm
from tests.kernels.test_kernels import SEEDS, gradients_of, threads

__all__ = ["threads"]

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled code was not built")


def agree(ours, plain, *arguments, tolerance=1e-4):
    exact = gradients_of(plain, *(x.double() for x in arguments))
    twins = [gradients_of(ours, *arguments)]
    with native.switched_off():
        twins.append(gradients_of(ours, *arguments))
    for twin in twins:
        for x, y in zip(twin, exact, strict=True):
            torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 40), SEEDS)
def test_part_maxima(n_rows, lengths, width, seed):
    torch.manual_seed(seed)
    x, mask = torch.randn(n_rows, sum(lengths), width), torch.rand(n_rows, sum(lengths)) < 0.5
    ends = list(itertools.accumulate(lengths))

    def plain(x):
        found = []
        for length, end in zip(lengths, ends, strict=True):
            part = slice(end - length, end)
            rows = [row[part][real[part]] for row, real in zip(x, mask, strict=True)]
            found.append(torch.stack([row.amax(0) if len(row) else x.new_zeros(width) for row in rows]))
        return torch.stack(found) + 0 * x.sum()

    agree(lambda x: part_maxima(x, mask, lengths), plain, x)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 20), st.sampled_from([4.0, 64.0, 256.0]), SEEDS)
def test_circle_loss(n_kinds, n_rows, scale, seed):
    """Rows without negatives, rows that are their own, kinds where none is left."""
    torch.manual_seed(seed)
    cosine = 2 * torch.rand(n_kinds, n_rows, n_rows) - 1
    negative = torch.rand(n_kinds, n_rows, n_rows) < torch.rand(n_kinds, n_rows, 1)

    def plain(cosine):
        found = []
        for kind, others in zip(cosine, negative, strict=True):
            held, terms = kind.detach(), []
            for i in range(n_rows):
                if others[i].any():
                    push = (held[i] + 0.25).clamp(min=0) * (kind[i] - 0.25) * scale
                    pull = (1.25 - held[i, i]).clamp(min=0) * (kind[i, i] - 0.75) * scale
                    zero = kind.new_zeros(())
                    terms.append(torch.logaddexp(zero, push[others[i]].logsumexp(0) - pull))
            found.append(torch.stack(terms).mean() if terms else 0 * kind.sum())
        return torch.stack(found)

    agree(lambda x: circle_loss(x, negative, 0.25, scale), plain, cosine, tolerance=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), SEEDS)
def test_winners_norm(n_rows, sizes, filters, keep, seed):
    torch.manual_seed(seed)
    value = torch.randn(n_rows, sizes * filters, keep)
    none = torch.rand_like(value) < 0.2
    biases = [torch.randn(filters) for _ in range(sizes)]
    parameters = [torch.randn(sizes, keep, filters) for _ in range(2)]

    def normed(function):
        def applied(value, weight, bias, *biases):
            norm = nn.LayerNorm(weight.shape, dtype=weight.dtype)
            del norm.weight, norm.bias
            norm.weight, norm.bias = weight, bias  # given arrays, whose gradients are asked for
            # what no winner stands at has a gradient all the same: zero
            nothing = 0 * (value.sum() + torch.stack(biases).sum())
            return function(value.masked_fill(none, -torch.inf), biases, norm) + nothing

        return applied

    def plain(value, biases, norm):
        rows = []
        for row in value:
            cells = torch.zeros(sizes, keep, filters, dtype=row.dtype)
            for i, k, f in itertools.product(range(sizes), range(keep), range(filters)):
                if row[i * filters + f, k] > -torch.inf:
                    cells[i, k, f] = torch.tanh(row[i * filters + f, k] + biases[i][f])
            deviation = (cells.var(unbiased=False) + norm.eps).sqrt()
            rows.append(((cells - cells.mean()) / deviation * norm.weight + norm.bias).flatten())
        return torch.stack(rows)

    agree(normed(winners_norm), normed(plain), value, *parameters, *biases, tolerance=5e-3)


def test_the_number_of_threads_changes_nothing(threads):
    torch.manual_seed(0)
    x, mask = torch.randn(9, 12, 24), torch.rand(9, 12) < 0.5
    cosine, negative = torch.rand(6, 9, 9), torch.rand(6, 9, 9) < 0.5
    value, norm, biases = torch.randn(9, 8, 4), nn.LayerNorm([2, 4, 4]), [torch.randn(4) for _ in range(2)]
    cases = [
        (lambda x: part_maxima(x, mask, [5, 3, 4]), x),
        (lambda x: circle_loss(x, negative, 0.25, 64.0), cosine),
        (lambda x: winners_norm(x, biases, norm), value),
    ]
    for function, given_here in cases:
        found = []
        for count in (1, 2, 3):
            threads(count)
            found.append(gradients_of(function, given_here))
        for other in found[1:]:
            assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))
