"""Sums of product-aware attention: the compiled code and its twin against one row at a time in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.kernels import native
from benchmark.kernels.aware import aware_sums
from tests.kernels.test_kernels import SEEDS, gradients_of, threads

__all__ = ["threads"]

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled code was not built")


def pairs(seed, most_L, most_R, width, n_rows=7):
    """Items that rows share, some of them without a real position; zero where padded."""
    random = torch.Generator().manual_seed(seed)
    masks = [
        torch.rand(3, n, generator=random) < torch.rand(3, 1, generator=random) for n in (most_L, most_R)
    ]
    of_product, of_review = (mask.unsqueeze(-1) for mask in masks)
    query, product = (torch.randn(3, most_L, width, generator=random) * of_product for _ in range(2))
    review = torch.randn(3, most_R, width, generator=random) * of_review
    rows = torch.randint(0, 3, (2, n_rows), generator=random)
    return (query, product, review), masks, (rows[0], rows[1])


def row_by_row(query, product, review, masks, rows):
    found = []
    for p, r in zip(*rows, strict=True):
        real_p, real_r = product[p, masks[0][p]], review[r, masks[1][r]]
        weight = (real_r @ query[p, masks[0][p]].T).softmax(-1)
        found.append((real_r + weight @ real_p).sum(0))
    return torch.stack(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), SEEDS)
def test_aware_sums(most_L, most_R, width, seed):
    arrays, masks, rows = pairs(seed, most_L, most_R, width)
    exact = gradients_of(lambda *x: row_by_row(*x, masks, rows), *(x.double() for x in arrays))

    def ours(query, product, review):
        return aware_sums(query, product, masks[0], review, masks[1], rows)

    twins = [gradients_of(ours, *arrays)]
    with native.switched_off():
        twins.append(gradients_of(ours, *arrays))
    for twin in twins:
        for x, y in zip(twin, exact, strict=True):
            torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=2e-3)


def test_gradients_by_finite_differences():
    arrays, masks, rows = pairs(3, 4, 5, 3)
    inputs = [x.double().requires_grad_() for x in arrays]
    assert torch.autograd.gradcheck(
        lambda query, product, review: aware_sums(query, product, masks[0], review, masks[1], rows), inputs
    )


def test_a_row_sees_nothing_else(threads):
    """Bit for bit: neither how many threads there are, nor other rows, nor padding."""
    arrays, masks, rows = pairs(5, 19, 33, 24, n_rows=40)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(
            gradients_of(
                lambda query, *rest: aware_sums(query, rest[0], masks[0], rest[1], masks[1], rows), *arrays
            )
        )
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))
    query, product, review = arrays
    for b, (p, r) in enumerate(zip(*rows, strict=True)):
        real_p, real_r = masks[0][p], masks[1][r]
        own = query[p, real_p], product[p, real_p], torch.ones(1, int(real_p.sum()), dtype=torch.bool)
        of_review = review[r, real_r].unsqueeze(0), torch.ones(1, int(real_r.sum()), dtype=torch.bool)
        first = torch.zeros(1, dtype=torch.int64)
        alone = aware_sums(own[0].unsqueeze(0), own[1].unsqueeze(0), own[2], *of_review, (first, first))
        assert torch.equal(alone[0], found[0][0][b])
