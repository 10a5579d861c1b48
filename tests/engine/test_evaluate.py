"""A split's scores, whatever the batches they were made in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import models
from benchmark.data.corpus import Split
from benchmark.data.source import Source
from benchmark.data.store import Ragged, offsets_of
from benchmark.engine import runner
from benchmark.engine.evaluate import explain_split, mean_metrics, per_product_table, score_split
from benchmark.engine.plan import Choices, expand

CPU = torch.device("cpu")


@pytest.mark.parametrize("method", ["egcnn", "mcr", "gbdt"])
@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_every_review_has_its_own_score_in_the_splits_order(
    corpus: Path, cache: Path, method: str, rows: int
) -> None:
    """Against batches of one product, made in the table's order."""
    data = Source(corpus, cache).open("amazon", "home")
    (spec,) = expand(Choices(("amazon",), ("home",), (method,), (0,), device="cpu"), [data])
    torch.manual_seed(0)
    model = runner.build_model(spec, data).eval()
    collator = runner.make_collator(data.test, model=model, corpus=data, config=runner.training_config(spec))
    score_R = score_split(model, data.test, collator, CPU, rows=rows)
    alone_R = np.zeros_like(score_R)
    with torch.no_grad():
        for product in range(data.test.n_products):
            own = np.flatnonzero(data.test.product_R == product)
            alone_R[own] = model.score(collator.pairs(own, None)).numpy()
    np.testing.assert_allclose(score_R, alone_R, rtol=1e-4, atol=1e-5)
    assert len(np.unique(score_R)) > len(score_R) // 2
    assert models.get(method).name == spec.method
    table = per_product_table(data.test, score_R, 0)
    means = mean_metrics(data.test, score_R, 0)
    assert means == {name: pytest.approx(table[name].mean()) for name in means}


@pytest.mark.parametrize("method", ["mcr", "frozenlist"])
def test_a_product_that_is_scored_alone_has_the_same_bits_anywhere(
    corpus: Path, cache: Path, method: str
) -> None:
    """The test split with its products in another order, and with half of them gone."""
    data = Source(corpus, cache).open("amazon", "home")
    (spec,) = expand(Choices(("amazon",), ("home",), (method,), (0,), device="cpu"), [data])
    torch.manual_seed(0)
    model = runner.build_model(spec, data)
    test = data.test

    def scored(split: Split) -> np.ndarray:  # type: ignore[type-arg]
        collator = runner.make_collator(split, model=model, corpus=data, config=runner.training_config(spec))
        return score_split(model, split, collator, CPU, alone=True)

    score_R = scored(test)
    order = np.argsort(test.product_R % 3, kind="stable")
    moved = Rows(test, order)
    np.testing.assert_array_equal(scored(moved), score_R[order])
    half = np.flatnonzero(test.product_R % 2)
    np.testing.assert_array_equal(scored(Rows(test, half)), score_R[half])


class Rows(Split):
    """Some review rows of a split, in an order of their own."""

    def __init__(self, split: Split, row_X: np.ndarray) -> None:  # type: ignore[type-arg]
        super().__init__(
            split.pack, split.name, split.product_R[row_X], split.label_R[row_X], split.n_products
        )
        object.__setattr__(self, "row_X", row_X)

    def words(self, side: str, joint: bool = False) -> Ragged:
        return self._rows(super().words(side, joint), side)

    def rois(self, side: str) -> Ragged:
        return self._rows(super().rois(side), side)

    def _rows(self, ragged: Ragged, side: str) -> Ragged:
        if side == "product":
            return ragged
        parts = [ragged[row] for row in self.row_X]  # type: ignore[attr-defined]
        return Ragged(np.concatenate(parts), offsets_of([len(part) for part in parts]))


def test_what_a_method_says_beside_its_scores_is_stored_by_review(corpus: Path, cache: Path) -> None:
    """MM-SS's subtasks, against a batch of each product; and the scores are those of a pass without it."""
    data = Source(corpus, cache).open("amazon", "home")
    (spec,) = expand(
        Choices(("amazon",), ("home",), ("mmss",), (0,), overrides=("epochs=1",), device="cpu"), [data]
    )
    trained = runner.train_and_score(spec, data)
    model = trained.model.eval()
    collator = runner.make_collator(data.test, model=model, corpus=data, config=runner.training_config(spec))
    assert list(trained.parts) == ["ptrt", "pvrv", "ptrv", "pvrt", "rtrv"]
    np.testing.assert_array_equal(score_split(model, data.test, collator, CPU, alone=True), trained.score_R)
    for product in range(0, data.test.n_products, 5):
        own = np.flatnonzero(data.test.product_R == product)
        batch = collator.pairs(own, None)
        with torch.no_grad():
            features = model.features(batch)
            for name, part_R in trained.parts.items():
                task = model.subtasks.tasks[name]
                alone = task.predict(torch.nn.functional.gelu(task.represent(features[name]))).squeeze(-1)
                np.testing.assert_allclose(part_R[own], alone.numpy(), rtol=1e-4, atol=1e-5)
    (plain,) = expand(Choices(("amazon",), ("home",), ("egcnn",), (0,), device="cpu"), [data])
    assert explain_split(runner.build_model(plain, data), data.test, collator, CPU) == {}
