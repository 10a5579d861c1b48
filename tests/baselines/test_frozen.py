"""`frozen` and `frozenlist`: the encoder stays as it is, its pooled states are what is read, the head learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from baselines.frozen import Frozen, PooledPairs
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests import toy
from tests.baselines.test_words import FROZEN, batch, build, folder

__all__ = ["folder"]


@pytest.mark.parametrize("name", FROZEN)
def test_training_moves_the_head_and_nothing_else(name: str, folder: Path) -> None:
    model = build(name, folder).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = batch(group_size=None if model.sampling == "lists" else 4)
    optimiser = torch.optim.Adam(list(model.parameter_groups(1e-2)))
    for _ in range(3):
        optimiser.zero_grad()
        model.loss(given, ranking_loss(TrainingConfig(negatives=3))).backward()
        optimiser.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert not any(key.startswith("pairs.") for key in moved)
    assert {key.partition(".")[0] for key in moved} >= {"hidden", "scorer"}


def test_features_of_a_row_by_the_encoder_itself(folder: Path) -> None:
    """Each text alone through the library's model, its states averaged; then product, review and both."""
    model = build("frozen", folder).eval()
    assert isinstance(model, Frozen)
    pairs = model.pairs
    given = batch()
    bert = pairs.product_text.bert  # type: ignore[union-attr]

    def pooled(items: object, row: int) -> list[torch.Tensor]:
        n, v = int(items.token_count_N[row]), int(items.roi_count_N[row])  # type: ignore[attr-defined]
        state = bert(items.token_NT[row : row + 1, :n]).last_hidden_state[0].mean(0)  # type: ignore[attr-defined]
        rois = items.roi_NVF[row, :v]  # type: ignore[attr-defined]
        image = rois.mean(0) if v else torch.zeros(toy.ROI_WIDTH)
        return [(x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() for x in (state, image)]

    with torch.no_grad():
        found = pairs(given)
        for row in (0, 5, 11):
            product = pooled(given.products, int(given.product_B[row]))
            review = pooled(given.reviews, int(given.review_B[row]))
            parts = [x for p, r in zip(product, review, strict=True) for x in (p, r, p * r)]
            torch.testing.assert_close(found[row], torch.cat(parts), rtol=1e-4, atol=1e-4)


def test_a_linear_head_and_what_cannot_be(folder: Path) -> None:
    linear = build("frozen", folder, hidden=0)
    assert isinstance(linear, Frozen)
    assert isinstance(linear.pairs, PooledPairs)
    assert [name for name, p in linear.named_parameters() if p.requires_grad] == ["scorer.weight"]
    with pytest.raises(ValueError, match="hidden is 0"):
        build("frozenlist", folder, hidden=0)
