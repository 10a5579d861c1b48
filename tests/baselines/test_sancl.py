"""SANCL: selection of tokens, contrast, and what each form has."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.parts.selective import SelfAttention, first_occurrence, info_nce, word_overlap
from baselines.sancl import Config
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests.baselines.test_multimodal_methods import build, toy_batch


def test_overlap_is_one_for_the_products_words_and_ignores_its_padding():
    table = F.normalize(torch.randn(9, 50), dim=1)
    table[0] = 0
    product, review = torch.tensor([[3, 4, 5]]), torch.tensor([[4, 7, 3, 5, 0]])
    overlap = word_overlap(table[product], torch.tensor([[True, True, False]]), table[review])
    cosine = (table[review[0]] @ table[product[0, :2]].T).max(1).values.clamp(min=0)
    torch.testing.assert_close(overlap[0], cosine)
    np.testing.assert_allclose(overlap[0, [0, 2]], 1, atol=1e-6)
    assert overlap[0, [1, 3, 4]].max() < 0.9
    assert not overlap.requires_grad


def test_info_nce_is_cross_entropy_when_all_products_differ():
    x, y = torch.randn(5, 4), torch.randn(5, 4)
    logit = F.cosine_similarity(x.unsqueeze(1), y.unsqueeze(0), dim=-1) / 0.2
    torch.testing.assert_close(info_nce(x, y, torch.arange(5), 0.2), F.cross_entropy(logit, torch.arange(5)))


def test_info_nce_has_no_negatives_within_a_product():
    x, y = torch.randn(4, 3), torch.randn(4, 3)
    assert info_nce(x, y, torch.zeros(4), 0.2).abs().item() < 1e-6
    assert info_nce(x[:0], y[:0], torch.zeros(0), 0.2).item() == 0
    together = info_nce(x, y, torch.tensor([0, 0, 1, 2]), 0.2)
    apart = [info_nce(x[keep], y[keep], torch.arange(3), 0.2) for keep in ([0, 2, 3], [1, 2, 3])]
    assert not any(torch.isclose(together, value) for value in apart)


def test_first_occurrence():
    assert first_occurrence(torch.tensor([2, 0, 2, 1, 0])).tolist() == [True, True, False, True, False]


def test_self_attention_by_hand():
    torch.manual_seed(0)
    layer = SelfAttention(3).double()
    x, weight = torch.randn(1, 3, 3).double(), torch.tensor([[1.0, 0.5, 0.0]]).double()
    mask = torch.tensor([[True, True, False]])
    query, key = layer.query(x)[0].detach().numpy(), layer.key(x)[0].detach().numpy()
    ours = layer(x, mask, weight, mask_queries=False)[0].detach().numpy()
    for s in range(3):
        attention = np.exp(query[s] @ key[:2].T)
        selected = attention / attention.sum() * weight[0, s].item() * weight[0, :2].numpy()
        np.testing.assert_allclose(ours[s], x[0, s].numpy() + selected @ x[0, :2].numpy(), atol=1e-12)


def test_loss_subtracts_the_contrastive_score():
    model, given = build("sancl").eval(), toy_batch()
    objective = ranking_loss(TrainingConfig(loss="point"))
    expected = objective(model.score(given), given) - model.contrast(given)
    torch.testing.assert_close(model.loss(given, objective), expected)
    assert model.contrast(given).item() < 0


def test_text_enters_the_contrast_of_the_fair_form_only():
    """P20: as released, changing every word leaves the contrastive score as it is."""
    given = dataclasses.replace(toy_batch(), label_B=torch.full((7,), 4.0))
    changed = given.reviews.token_NT.where(given.reviews.token_NT < 3, given.reviews.token_NT % 7 + 3)
    swapped = dataclasses.replace(given, reviews=dataclasses.replace(given.reviews, token_NT=changed))
    for form, same in (("released", True), ("fair", False)):
        model = build("sancl", form=form).eval()
        assert torch.isclose(model.contrast(given), model.contrast(swapped)).item() is same


def test_released_convolutions_are_frozen():
    released, fair = build("sancl", form="released"), build("sancl")
    assert not any(p.requires_grad for p in released.product_text.convs.parameters())
    assert all(p.requires_grad for p in fair.product_text.convs.parameters())
    trained = {id(p) for group in released.parameter_groups(1e-3) for p in group["params"]}
    assert not any(id(p) in trained for p in released.review_text.convs.parameters())


def test_a_given_mask_replaces_the_overlap():
    model, given = build("sancl", form="released").eval(), toy_batch()
    size = len(given), given.reviews.token_NT.shape[1]
    all_selected = model.score(given, torch.ones(size, dtype=torch.bool))
    none_selected = model.score(given, torch.zeros(size, dtype=torch.bool))
    assert (all_selected - none_selected).abs().max() > 1e-7


def test_networks():
    with pytest.raises(ValueError, match="network is 'bert'; allowed: conv"):
        Config(network="bert")
    model = build("sancl", form="released", network="bert", bert=(8, 1, 2, 16, 64), embedding=8)
    assert model.tokenizer == "joint"
    assert torch.isfinite(model.eval().score(toy_batch())).all()
