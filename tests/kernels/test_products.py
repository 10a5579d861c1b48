"""Products and convolutions of the compiled code against PyTorch's in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.kernels import native, products
from benchmark.kernels.convolution import convolution
from benchmark.kernels.linear import linear
from benchmark.kernels.products import batched_product, product
from tests.kernels.test_kernels import SEEDS, in_both_precisions

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled code was not built")


@pytest.fixture(autouse=True)
def everything_compiled(monkeypatch):
    """On any processor, however small the matrices."""
    monkeypatch.setattr(products, "LARGE_PRODUCT", 0)
    monkeypatch.setattr(native, "has_wide_products", lambda: True)


def laid_out(x, transposed):
    return x.T.contiguous().T if transposed else x


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 300), st.integers(1, 900), st.integers(1, 170), st.booleans(), st.booleans(), SEEDS)
def test_product(M, K, N, a_transposed, b_transposed, seed):
    """Sizes on both sides of tiles, panels, blocks of rows and of terms; rows and columns in either order."""
    torch.manual_seed(seed)
    a, b, offset = torch.randn(M, K), torch.randn(K, N), torch.randn(N)
    exact = a.double() @ b.double()
    a, b = laid_out(a, a_transposed), laid_out(b, b_transposed)
    torch.testing.assert_close(product(a, b).double(), exact, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(product(a, b, offset).double(), exact + offset, rtol=1e-4, atol=1e-3)


def test_a_sum_has_one_order():
    """Whatever the number of rows and of threads: a row's bits are those that it has alone."""
    torch.manual_seed(0)
    a, b = torch.randn(517, 800), torch.randn(800, 100)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            results.append((product(a, b), product(a[:30], b), product(a[:30].T, b[:30])))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(map(torch.equal, results[0], result))
    for rows in (slice(0, 1), slice(3, 20), slice(500, 517)):
        assert torch.equal(product(a[rows], b), results[0][0][rows])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 500), st.integers(1, 70), SEEDS)
def test_batched_product(B, M, K, N, seed):
    torch.manual_seed(seed)
    a, b = torch.randn(B, M, K), torch.randn(B, N, K)
    for ours, exact in in_both_precisions(lambda a, b: batched_product(a, b.transpose(1, 2)), a, b):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-3)


def test_batched_product_of_one_matrix_for_all():
    torch.manual_seed(0)
    a, b = torch.randn(7, 5).expand(4, 7, 5), torch.randn(4, 5, 9)
    torch.testing.assert_close(batched_product(a, b), torch.bmm(a, b))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 9), st.integers(1, 20), SEEDS)
def test_linear_and_its_gradients(n_items, n_positions, width, n_results, seed):
    torch.manual_seed(seed)
    arrays = (
        torch.randn(n_items, n_positions, width),
        torch.randn(n_results, width),
        torch.randn(n_results),
    )
    for ours, exact in in_both_precisions(linear, *arrays):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 9), st.integers(1, 20), st.integers(1, 5), SEEDS)
def test_convolution_and_its_gradients(n_texts, n_steps, width, filters, k, seed):
    """Against PyTorch's, with and without padding; no window reaches from one text into the next."""
    torch.manual_seed(seed)
    padding = int(torch.randint(0, 3, ()))
    if n_steps + 2 * padding < k:
        n_steps = k
    x, weight, bias = (
        torch.randn(n_texts, n_steps, width),
        torch.randn(filters, width, k),
        torch.randn(filters),
    )

    def exact(x, weight, bias):
        return F.conv1d(x.transpose(1, 2), weight, bias, padding=padding).transpose(1, 2)

    arrays = [x.requires_grad_() for x in (x, weight, bias)]
    value, expected = convolution(*arrays, padding), exact(*(x.double() for x in arrays))
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-4)
    outer = torch.randn_like(value)
    ours = torch.autograd.grad(value, arrays, outer)
    theirs = torch.autograd.grad(expected, arrays, outer.double())
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other.float(), rtol=1e-4, atol=1e-4)
    without = convolution(x, weight, None, padding)
    torch.testing.assert_close(without + bias, value, rtol=1e-4, atol=1e-4)


def test_a_text_shorter_than_the_window_is_refused():
    with pytest.raises(RuntimeError, match="Kernel size"):
        convolution(torch.randn(2, 3, 4), torch.randn(5, 4, 6))


def test_small_products_stay_with_torch(monkeypatch):
    monkeypatch.setattr(products, "LARGE_PRODUCT", 1 << 19)
    called = []
    with native.watched(lambda name, arguments: called.append(name)):
        linear(torch.randn(10, 10), torch.randn(10, 10))
        batched_product(torch.randn(2, 10, 10), torch.randn(2, 10, 10))
        assert not called
        linear(torch.randn(1000, 100), torch.randn(100, 100))
    assert called == ["product"]


def test_windows_at_once_change_no_bit(monkeypatch):
    x, weight, bias = torch.randn(9, 40, 48), torch.randn(64, 48, 3), torch.randn(64)
    whole = convolution(x, weight, bias)
    monkeypatch.setattr("benchmark.kernels.convolution.WINDOWS_AT_ONCE", 100)
    assert torch.equal(convolution(x, weight, bias), whole)
    assert whole.isfinite().all()
