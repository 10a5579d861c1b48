"""How the fair form of every method is put together: what reaches the score, what learns, what is shared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmark import models
from benchmark.core.model import RankingModel
from benchmark.core.types import Batch, Items
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests.test_model_contract import SIZE, batch_for, build

METHODS = [
    name for name in models.METHODS if models.METHODS[name].target.partition(".")[0] in ("baselines", "mmss")
]
NETWORKS = [name for name in METHODS if list(build(name, "fair").parameters()) and name != "features"]
"""What reads words and RoIs (hand-made features have tests of their own)."""
REVIEWS_ONLY = {"egcnn"}
"""EG-CNN (Chen et al., 2018) reads no product."""

NO_GRADIENT = ("scorer.bias", "scorer.2.bias", "scorer.3.bias", "predict.bias", "second.bias")
"""Biases that cancel: a score's own in a difference of scores, an attention logit's in a softmax."""


def scored(model: RankingModel, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model.eval().score(batch)


def other_words(items: Items) -> Items:
    changed = torch.where(
        items.token_mask_NT & (items.token_NT > 2), 3 + (items.token_NT + 5) % 20, items.token_NT
    )
    assert not torch.equal(changed, items.token_NT)
    return replace(items, token_NT=changed)


def other_rois(items: Items) -> Items:
    assert items.roi_NVF is not None
    return replace(items, roi_NVF=(items.roi_NVF * -1.7 + 0.3) * items.roi_mask_NV.unsqueeze(-1))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("side", ["products", "reviews"])
@pytest.mark.parametrize("change", [other_words, other_rois], ids=["words", "rois"])
def test_what_a_method_reads_reaches_its_scores(name: str, side: str, change) -> None:  # type: ignore[no-untyped-def]
    """And within a product, or it could not rank: the change must not move all its reviews alike."""
    model = build(name, "fair")
    batch = batch_for(model)
    reads = (side == "reviews" or name not in REVIEWS_ONLY) and (change is other_words or model.reads_images)
    if change is other_rois and not model.reads_images:
        assert batch.reviews.roi_NVF is None
        return
    before = scored(model, batch)
    after = scored(model, replace(batch, **{side: change(getattr(batch, side))}))
    moved = (after - before).view(-1, SIZE)
    spread = (moved.max(1).values - moved.min(1).values).max()
    assert (spread > 1e-6) == reads, f"{name}: {side}, {change.__name__}: {spread}"


def without_gradient(model: RankingModel) -> set[str]:
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str) -> None:
    """A part that is built but not wired gets no gradient. MM-SS's subtasks have targets from epoch 2 on."""
    model = build(name, "fair").train()
    batch = batch_for(model)
    objective = ranking_loss(TrainingConfig(negatives=SIZE - 1))
    model.start_training(batch.label_B)
    optimiser = torch.optim.Adam(list(model.parameter_groups(1e-3)))
    for epoch in (1, 2, 3):
        optimiser.zero_grad()
        model.loss(batch, objective).backward()
        optimiser.step()
        model.end_epoch(epoch)
    dead = without_gradient(model)
    assert {parameter for parameter in dead if not parameter.endswith(NO_GRADIENT)} == set()


SEPARATE = {
    "mcr": [("product_text", "review_text"), ("product_image", "review_image")],
    "mcl": [("product_text", "review_text"), ("product_image", "review_image")],
    "sancl": [("product_text", "review_text"), ("product_image", "review_image")],
    "gbdt": [("product_text", "review_text"), ("product_image", "review_image")],
    "bimpm": [("product_embedding", "review_embedding")],
    "convknrm": [("product_embedding", "review_embedding")],
    "prhnet": [("product_embedding", "review_embedding"), ("product_lstm", "review_lstm")],
}
"""The papers' pairs of encoders that have weights of their own in the fair form. (The released MCR
sends review images through the encoder of the product.)"""


@pytest.mark.parametrize(
    ("name", "pair"), [(name, pair) for name, pairs in SEPARATE.items() for pair in pairs]
)
def test_the_two_sides_have_weights_of_their_own(name: str, pair: tuple[str, str]) -> None:
    """Seen in what they compute: other weights on one side move only scores that pass through it."""
    model = build(name, "fair")
    first, second = (getattr(model, part) for part in pair)
    assert isinstance(first, nn.Module)
    assert isinstance(second, nn.Module)
    shared = {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    assert not shared
    batch = batch_for(model)
    for part in (first, second):
        before = scored(model, batch)
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        assert not torch.equal(scored(model, batch), before), f"{name}: {pair} is built but not used"
