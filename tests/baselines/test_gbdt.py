"""GBDT-LCM: lists, ListNet and the tree, each by another route."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from baselines.gbdt import Config, SoftTree, list_slots, listnet, to_lists
from benchmark.core.types import length_mask
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests.baselines.test_multimodal_methods import build, toy_batch


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_lists_hold_each_row_once(products):
    product_B = torch.tensor(products)
    slot_B, length_P = list_slots(product_B, 5)
    assert length_P.tolist() == [products.count(p) for p in range(5)]
    mask_PS = length_mask(length_P, int(length_P.max()))
    lists = to_lists(torch.arange(len(products)) + 1, product_B, slot_B, mask_PS)
    for p in range(5):
        rows = [row + 1 for row, product in enumerate(products) if product == p]
        assert lists[p].tolist() == rows + [0] * (mask_PS.shape[1] - len(rows))


@pytest.mark.parametrize("swapped", [False, True])
def test_listnet_by_hand(swapped):
    random = np.random.default_rng(0)
    score, label = random.normal(size=(2, 3, 4))
    counts = [4, 2, 0]  # a product without rows in the batch is no list
    mask = length_mask(torch.tensor(counts), 4)
    ours = listnet(torch.from_numpy(score), torch.from_numpy(label), mask, swapped)
    terms = []
    for s, y, n in zip(score, label, counts, strict=True):
        target, source = (s, y) if swapped else (y, s)
        if n:
            terms.append(-(softmax(target[:n]) * log_softmax(source[:n])).sum())
    np.testing.assert_allclose(ours.item(), np.mean(terms), rtol=1e-12)


def test_listnet_gradient_is_the_difference_of_the_softmaxes():
    score = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([[4.0, 0, 2, 1, 1]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(listnet(score, label, torch.ones(1, 5, dtype=torch.bool)), score)
    torch.testing.assert_close(gradient, score.detach().softmax(1) - label.softmax(1))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_tree_by_walking_down(depth):
    torch.manual_seed(0)
    tree = SoftTree(3, depth).double()
    x = torch.randn(6, 3).double()
    weight, leaves = tree.gates.weight.detach().numpy(), tree.leaves.detach().numpy()
    for row, value in zip(x.numpy(), tree(x).tolist(), strict=True):
        expected = 0.0
        for leaf in range(2**depth):
            node, reach = 0, 1.0
            for level in reversed(range(depth)):
                right = leaf >> level & 1
                gate = 1 / (1 + np.exp(-weight[node] @ row))
                reach *= gate if right else 1 - gate
                node = 2 * node + 1 + right
            expected += reach * leaves[leaf]
        assert value == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(tree.leaf_probabilities(x).sum(1), torch.ones(6).double())


def test_a_score_hears_its_own_list_only_and_is_not_random():
    model, batch = (
        build("gbdt").double().eval(),
        toy_batch().map(lambda t: t.double() if t.is_floating_point() else t),
    )
    score_B = model.score(batch)
    assert torch.equal(score_B, model.score(batch))
    first = batch.product_B == 0
    alone = dataclasses.replace(
        batch, product_B=batch.product_B[first], review_B=batch.review_B[first], label_B=batch.label_B[first]
    )
    torch.testing.assert_close(model.score(alone), score_B[first], rtol=0, atol=1e-10)
    shorter = dataclasses.replace(
        alone, product_B=alone.product_B[:2], review_B=alone.review_B[:2], label_B=alone.label_B[:2]
    )
    assert (model.score(shorter) - score_B[first][:2]).abs().max() > 1e-9


def test_loss_is_listnet_whatever_the_protocol_says():
    model, batch = build("gbdt").eval(), toy_batch()
    losses = [model.loss(batch, ranking_loss(TrainingConfig(loss=loss))) for loss in ("hinge", "point")]
    torch.testing.assert_close(*losses)
    label, score = batch.label_B.numpy(), model.score(batch).detach().numpy()
    expected = [
        -(softmax(label[own]) * log_softmax(score[own])).sum()
        for own in (batch.product_B.numpy() == p for p in range(3))
    ]
    assert losses[0].item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert build("gbdt", listnet="swapped").eval().loss(batch, ranking_loss(TrainingConfig())) != losses[0]


def test_heads_must_divide_the_features():
    assert Config().features == 832
    with pytest.raises(ValueError, match="heads=5 does not divide"):
        Config(heads=5)
    with pytest.raises(ValueError, match="listnet is 'both'"):
        Config(listnet="both")


def test_more_words_than_positions():
    model = build("gbdt", positions=3).eval()
    assert torch.isfinite(model.score(toy_batch())).all()
