"""`features`: hand-made features by hand, trees against scikit-learn's own predictions, boosting on real batches."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingRegressor

from baselines.features import Trees, centred
from benchmark.core.errors import UsageError
from benchmark.core.surface import FEATURES, text_features
from benchmark.data.source import Source
from tests.test_model_contract import batch_for, build


def named(text: str) -> dict[str, float]:
    return dict(zip(FEATURES, text_features(text), strict=False))


def test_the_features_of_a_text_counted_by_hand() -> None:
    text = "GREAT case! Fits my iPhone 7.\nBuy it? Buy it."
    found = named(text)
    assert found["log characters"] == pytest.approx(math.log1p(len(text)))
    assert found["log words"] == pytest.approx(math.log1p(10))
    assert found["log sentences"] == pytest.approx(math.log1p(4))
    assert found["letters per word"] == pytest.approx(32 / 10)
    assert found["words per sentence / 10"] == pytest.approx(0.25)
    assert found["readability / 10"] == pytest.approx((4.71 * 3.2 + 0.5 * 2.5 - 21.43) / 10)
    assert found["distinct words, share"] == pytest.approx(8 / 10)
    assert found["capitals, share of letters"] == pytest.approx(9 / 31)
    assert found["words in capitals, share"] == pytest.approx(1 / 10)
    assert found["digits, share"] == pytest.approx(1 / len(text))
    assert found["punctuation, share"] == pytest.approx(4 / len(text))
    assert found["log exclamation marks"] == found["log question marks"] == pytest.approx(math.log(2))
    assert found["log lines"] == pytest.approx(math.log(2))


@pytest.mark.parametrize("text", ["", " ", "...", "!!!\n\n", "日本語のレビュー。とても良い。", "\ud83d"])
def test_any_text_has_finite_features(text: str) -> None:
    assert np.isfinite(text_features(text)).all()


def test_a_split_has_age_and_images(corpus: Path, cache: Path) -> None:
    split = Source(corpus, cache).open("amazon", "home").test
    column = {name: split.surface_RS[:, place] for place, name in enumerate(FEATURES)}
    assert split.surface_RS.shape == (split.n_reviews, len(FEATURES))
    assert np.array_equal(column["has RoIs"] > 0, split.has_image_R)
    time_R = split.time_R
    assert time_R is not None
    for row in range(0, split.n_reviews, 7):
        own = split.product_R == split.product_R[row]
        earlier = np.sum(time_R[own] < time_R[row])
        assert column["log earlier reviews"][row] == pytest.approx(math.log1p(earlier), abs=1e-6)


def test_stored_trees_answer_as_scikit_learn_does() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 5)).astype(np.float32)
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2]
    library = GradientBoostingRegressor(n_estimators=7, max_depth=3, init="zero", random_state=0).fit(x, y)
    trees = Trees(10, 3)
    for stage in library.estimators_:
        trees.add(stage[0].tree_, library.learning_rate)
    fresh = random.normal(size=(200, 5)).astype(np.float32)
    np.testing.assert_allclose(
        trees(torch.from_numpy(fresh)).numpy(), library.predict(fresh), rtol=0, atol=1e-12
    )
    assert trees.room == 3
    other = Trees(10, 3)
    other.load_state_dict(trees.state_dict())
    assert torch.equal(other(torch.from_numpy(fresh)), trees(torch.from_numpy(fresh)))


def test_boosting_brings_the_scores_nearer_to_the_labels() -> None:
    model = build("features", "fair").train()
    model.config = type(model.config)(min_leaf=1)
    batch = batch_for(model)

    def left() -> float:
        rest = (batch.label_B - model.score(batch)).detach().double().numpy()
        return float(np.square(centred(rest, batch.product_B.numpy())).mean())

    before, last = left(), math.inf
    for epoch in range(1, 6):
        model.loss(batch, lambda score, batch: score.sum())
        notes = model.end_epoch(epoch)
        assert notes == {"trees": 10 * epoch, "trees_added": 10}
        last = left()
    assert last < 0.3 * before


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match=r"mrhp-bench\[features\]"):
        build("features", "fair")
