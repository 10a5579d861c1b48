"""Messages within graphs and pooling by claims: the compiled code and its twin against the equations, graph by graph in
double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.kernels import native, products
from benchmark.kernels.graphs import claim_pool, messages
from tests.kernels.test_kernels import SEEDS, gradients_of, threads

__all__ = ["threads"]

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled code was not built")


def network(width, hidden):
    return torch.randn(hidden, 2 * width) / width**0.5, torch.randn(hidden), torch.randn(1, hidden)


def agree(ours, plain, *arguments):
    exact = gradients_of(plain, *(x.double() for x in arguments))
    twins = [gradients_of(ours, *arguments)]
    with native.switched_off():
        twins.append(gradients_of(ours, *arguments))
    for twin in twins:
        for x, y in zip(twin, exact, strict=True):
            torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=1e-3)


def pair_logits(left, right, first, bias, second):
    """w₂ᵀ relu(W₁ [x_i ; x_j] + b₁) of all pairs, as it is written."""
    pairs = torch.cat([left[:, None].expand(-1, len(right), -1), right.expand(len(left), -1, -1)], 2)
    return (torch.relu(pairs @ first.T + bias) @ second.T).squeeze(2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 35), st.integers(1, 35), SEEDS)
def test_messages(n_graphs, n_nodes, width, hidden, seed):
    """Sizes on both sides of whole vectors and tiles; where no node is valid all weigh alike."""
    torch.manual_seed(seed)
    node, mask = (
        torch.randn(n_graphs, n_nodes, width),
        torch.rand(n_graphs, n_nodes) < torch.rand(n_graphs, 1),
    )

    def plain(node, *parameters):
        found = []
        for x, real in zip(node, mask, strict=True):
            if real.any():
                found.append(pair_logits(x, x[real], *parameters).softmax(1) @ x[real])
            else:
                found.append(pair_logits(x, x, *parameters).sub(1e23).softmax(1) @ x)
        return torch.stack(found)

    if not mask.any(1).all():  # 1e23 leaves nothing of a logit in float32, and something of its gradient
        mask[:, 0] = True
    agree(lambda node, *parameters: messages(node, mask, parameters), plain, node, *network(width, hidden))


def test_messages_of_a_graph_without_a_valid_node():
    torch.manual_seed(0)
    node, parameters = torch.randn(2, 5, 6), network(6, 4)
    mask = torch.tensor([[True] * 5, [False] * 5])
    found = messages(node, mask, parameters)
    torch.testing.assert_close(found[1], node[1].mean(0).expand(5, -1))
    assert torch.equal(found[:1], messages(node[:1], mask[:1], parameters))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 35), st.integers(1, 35), SEEDS)
def test_claim_pool(n_rows, n_nodes, width, hidden, seed):
    torch.manual_seed(seed)
    claim, node = torch.randn(3, width), torch.randn(n_rows, n_nodes, width)
    product_B, mask = torch.randint(0, 3, (n_rows,)), torch.rand(n_rows, n_nodes) < 0.7
    mask[:, 0] = True

    def ours(claim, node, first, bias, second, last):
        return claim_pool(claim, product_B, node, mask, (first, bias, second), last)

    def plain(claim, node, first, bias, second, last):
        found = []
        for b, real in enumerate(mask):
            logit = pair_logits(claim[product_B[b], None], node[b, real], first, bias, second) + last
            found.append((logit.softmax(1) @ node[b, real])[0])
        return torch.stack(found)

    agree(ours, plain, claim, node, *network(width, hidden), torch.randn(1))


def test_a_graph_sees_nothing_else(threads, monkeypatch):
    """Bit for bit: neither how many threads there are nor, in the compiled code, other graphs and rows."""
    monkeypatch.setattr(products, "LARGE_PRODUCT", 0)
    monkeypatch.setattr(native, "has_wide_products", lambda: True)
    torch.manual_seed(0)
    claim, node, mask = torch.randn(3, 24), torch.randn(7, 19, 24), torch.rand(7, 19) < 0.7
    parameters, product_B = network(24, 16), torch.tensor([0, 2, 2, 1, 0, 1, 1])

    def both(node, claim):
        return claim_pool(claim, product_B, messages(node, mask, parameters), mask, parameters, torch.ones(1))

    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(gradients_of(both, node, claim))
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))
    alone = messages(node[3:4], mask[3:4], parameters)
    assert torch.equal(alone[0], messages(node, mask, parameters)[3])
    pooled = claim_pool(claim, product_B[3:4], alone, mask[3:4], parameters, torch.ones(1))
    assert torch.equal(pooled[0], found[0][0][3])
