"""Sums of product-aware attention: the compiled code and its twin against one row at a time in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.kernels import native, products
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
    product = torch.randn(3, most_L, width, generator=random) * of_product
    review = torch.randn(3, most_R, width, generator=random) * of_review
    rows = torch.randint(0, 3, (2, n_rows), generator=random)
    parameters = (
        torch.randn(width, width, generator=random) / width**0.5,
        torch.randn(width, generator=random),
    )
    return (product, review, *parameters), masks, (rows[0], rows[1])


def summed(masks, rows):
    """As a function of what has a gradient."""
    return lambda product, review, *parameters: aware_sums(
        product, masks[0], review, masks[1], rows, *parameters
    )


def row_by_row(masks, rows, product, review, weight, bias):
    query, found = torch.relu(product @ weight + bias), []
    for p, r in zip(*rows, strict=True):
        real_p, real_r = product[p, masks[0][p]], review[r, masks[1][r]]
        weight = (real_r @ query[p, masks[0][p]].T).softmax(-1)
        found.append((real_r + weight @ real_p).sum(0))
    return torch.stack(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), SEEDS)
def test_aware_sums(most_L, most_R, width, seed):
    arrays, masks, rows = pairs(seed, most_L, most_R, width)
    exact = gradients_of(lambda *x: row_by_row(masks, rows, *x), *(x.double() for x in arrays))
    ours = summed(masks, rows)
    twins = [gradients_of(ours, *arrays)]
    with native.switched_off():
        twins.append(gradients_of(ours, *arrays))
    for twin in twins:
        for x, y in zip(twin, exact, strict=True):
            torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=2e-3)


def test_gradients_by_finite_differences():
    arrays, masks, rows = pairs(3, 4, 5, 3)
    inputs = [x.double().requires_grad_() for x in arrays]
    assert torch.autograd.gradcheck(summed(masks, rows), inputs)


def test_a_row_sees_nothing_else(threads, monkeypatch):
    """Bit for bit: neither how many threads there are, nor other rows, nor padding."""
    monkeypatch.setattr(products, "LARGE_PRODUCT", 0)  # nor do products that are the compiled code's
    monkeypatch.setattr(native, "has_wide_products", lambda: True)
    arrays, masks, rows = pairs(5, 19, 33, 24, n_rows=40)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(gradients_of(summed(masks, rows), *arrays))
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))
    product, review, *parameters = arrays
    for b, (p, r) in enumerate(zip(*rows, strict=True)):
        real_p, real_r = masks[0][p], masks[1][r]
        own = product[p, real_p].unsqueeze(0), torch.ones(1, int(real_p.sum()), dtype=torch.bool)
        of_review = review[r, real_r].unsqueeze(0), torch.ones(1, int(real_r.sum()), dtype=torch.bool)
        first = torch.zeros(1, dtype=torch.int64)
        alone = aware_sums(*own, *of_review, (first, first), *parameters)
        assert torch.equal(alone[0], found[0][0][b])
