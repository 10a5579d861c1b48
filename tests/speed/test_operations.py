"""Operations are counted as they are done: against counts by hand, from the equations and the sizes alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from benchmark.core.model import RankingModel
from benchmark.core.types import Batch
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from benchmark.kernels import attention, native, products
from benchmark.kernels.aware import aware_sums
from benchmark.kernels.convolution import convolution
from benchmark.kernels.linear import linear
from benchmark.speed import operations
from tests.test_model_contract import GROUPS, SIZE, batch_for, build

needs_kernels = pytest.mark.skipif(not native.available(), reason="the compiled kernels are not built")


@pytest.fixture(autouse=True)
def products_by_torch(monkeypatch):
    """Which code computes a product depends on the processor: here PyTorch's, on every one."""
    monkeypatch.setattr(products, "LARGE_PRODUCT", 1 << 62)


def counted(model: RankingModel, batch: Batch) -> operations.Operations:
    """Of a step, forward and backward."""
    objective = ranking_loss(TrainingConfig(negatives=SIZE - 1))
    with operations.counting(model.train()) as found:
        model.loss(batch, objective).backward()
    return found


@contextmanager
def maybe(compiled: bool) -> Iterator[None]:
    if compiled:
        yield
    else:
        with native.switched_off():
            yield


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_kernels), False])
def test_egcnn(compiled: bool) -> None:
    """Gate, convolutions, scorer; with compiled code only the winning windows carry a gradient."""
    model = build("egcnn", "fair")
    batch, c = batch_for(model), model.config
    with maybe(compiled):
        found = counted(model, batch)
    assert not found.unknown
    sides = (batch.reviews, batch.products) if c.product_text else (batch.reviews,)
    E = model.gate.in_features
    gate_width = model.gate.out_features
    once = winners = windows = 0
    for items in sides:
        N, T = items.token_NT.shape
        padded = T + max(c.windows) - 1
        once += 3 * 2 * N * T * E * gate_width  # forward; gradients of input and weight
        for k in c.windows:
            passes = 1 if compiled else 3
            once += passes * 2 * N * (padded - k + 1) * c.filters * E * k
            windows += int((items.token_count_N - k + 1).clamp(min=1).sum()) * c.filters
            winners += 4 * N * c.filters * k * E
    scorer = 3 * 2 * len(batch) * c.filters * len(c.windows)
    assert model.review_spelling is None, "the toy corpus has no spellings"
    assert found.by_part["torch"] == once + scorer
    if compiled:
        assert found.by_part["highest_windows"] == windows
        # of filters that no row's gradient reaches, nothing is done
        assert 0 < found.by_part["highest_windows_backward"] <= winners


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_kernels), False])
def test_convknrm(compiled: bool) -> None:
    """Convolutions of both texts, all cosines of a row as one product, a linear scorer; bells in compiled code."""
    model = build("convknrm", "fair")
    batch, c = batch_for(model), model.config
    with maybe(compiled):
        found = counted(model, batch)
    assert not found.unknown
    expected = 0
    for items in (batch.products, batch.reviews):
        N, T = items.token_NT.shape
        steps = T + max(c.ngrams) - 1
        expected += sum(3 * 2 * N * (steps - n + 1) * c.filters * c.embedding * n for n in c.ngrams)
    A, L, R = len(c.ngrams), batch.products.token_NT.shape[1], batch.reviews.token_NT.shape[1]
    B = len(batch)
    expected += 3 * 2 * B * (A * L) * (A * R) * c.filters
    expected += 2 * 2 * B * A * A * c.kernels + _data_gradient(B, A * A * c.kernels)
    assert found.by_part["torch"] == expected
    if compiled:
        bells = B * (A * L * A) * R * c.kernels
        assert found.by_part["kernel_sums"] == 2 * bells
        assert found.by_part["kernel_sums_backward"] == 4 * bells
    else:
        assert set(found.by_part) == {"torch"}


def _data_gradient(rows: int, width: int) -> int:
    """Of a linear map to one number: its input wants a gradient."""
    return 2 * rows * width


@needs_kernels
def test_attention_in_compiled_code_counts_as_its_twin_does() -> None:
    state_NTX = torch.randn(2, 5, 3 * 16, requires_grad=True)

    def found(*counts: int) -> operations.Operations:
        mask_NT = torch.arange(5) < torch.tensor(counts)[:, None]
        with operations.counting(torch.nn.Identity()) as seen:
            attention.self_attention(state_NTX, mask_NT, heads=2).sum().backward()
        return seen

    with native.switched_off():
        twin = found(5, 5)
    logits = 2 * 2 * (5 * 5) * 8  # of one text
    # the compiled code makes the logits once more instead of keeping them, and does nothing for padding
    assert twin.total == 6 * 2 * logits
    assert found(5, 5).total == 7 * 2 * logits
    assert found(5, 2).total == 7 * (logits + logits * 4 // 25)


@needs_kernels
def test_sums_of_attention_count_real_positions() -> None:
    product, review = (torch.randn(2, n, 3, requires_grad=True) for n in (4, 5))
    masks = torch.arange(4) < torch.tensor([[4], [2]]), torch.arange(5) < torch.tensor([[5], [1]])
    rows = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    with operations.counting(torch.nn.Identity()) as found:
        aware_sums(product, masks[0], review, masks[1], rows, torch.eye(3), torch.ones(3)).sum().backward()
    logits = 2 * 3 * (4 * 5 + 2 * 5 + 2 * 1)
    assert found.by_part["aware_sums"] == logits
    assert found.by_part["aware_sums_backward"] == 3 * logits


def test_fused_attention_of_a_cpu_is_counted() -> None:
    query, key, value = (torch.randn(2, 3, n, 8) for n in (4, 6, 6))
    with operations.counting(torch.nn.Identity()) as found, torch.no_grad():
        torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert found.total == 2 * 2 * (2 * 3) * 4 * 6 * 8


@needs_kernels
def test_a_trained_lstm_counts_its_real_steps() -> None:
    """PRH-Net: inputs to gates and their gradients in torch, the recurrence in compiled code, both directions."""
    model = build("prhnet", "fair")
    batch = batch_for(model)
    found = counted(model, batch)
    if "lstm_train" not in found.by_part:
        pytest.skip("its LSTMs run in torch")
    hidden = next(m for m in model.modules() if isinstance(m, torch.nn.LSTM)).hidden_size
    steps = sum(int(items.token_count_N.sum()) for items in (batch.products, batch.reviews))
    assert found.by_part["lstm_train"] == 2 * steps * 2 * 4 * hidden * hidden
    assert found.by_part["lstm_train_backward"] == found.by_part["lstm_train"]


def test_a_function_without_a_count_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("egcnn", "fair")
    monkeypatch.delitem(operations.KERNELS, "highest_windows")  # type: ignore[attr-defined]
    with operations.counting(model) as found:
        found.called("highest_windows", ())
    assert found.unknown == {"highest_windows"}


@pytest.mark.parametrize("name", ["bimpm", "prhnet", "mcr", "mcl", "mmss"])
def test_every_method_is_counted(name: str) -> None:
    model = build(name, "fair")
    model.start_training(torch.zeros(GROUPS * SIZE))
    found = counted(model, batch_for(model))
    assert found.total > 1e5


@needs_kernels
def test_products_of_the_compiled_code(monkeypatch) -> None:
    """Three of each, two where the input has no gradient; windows that reach into the next text are computed, too."""
    monkeypatch.setattr(products, "LARGE_PRODUCT", 0)
    monkeypatch.setattr(native, "has_wide_products", lambda: True)
    x, weight = torch.randn(3, 10, 4, requires_grad=True), torch.randn(5, 4, 2, requires_grad=True)
    with operations.counting(torch.nn.Identity()) as found:
        linear(x.detach(), weight[:, :, 0]).sum().backward()
        convolution(x, weight).sum().backward()
        products.batched_product(x, x.transpose(1, 2)).sum().backward()
    windows, filters = 3 * 10 - 1, 2 * 4 * 5
    of_linear, of_convolution = 2 * 30 * 4 * 5, 2 * windows * filters * 2 + 2 * 30 * filters
    assert found.by_part["product"] == of_linear + of_convolution
    assert found.by_part["map_backward"] == of_linear
    assert found.by_part["products"] == 3 * (2 * 3 * 10 * 10 * 4)
    assert not found.unknown
