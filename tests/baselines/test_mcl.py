"""MCL's contrastive term, by loops and by what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from baselines.mcl import MCL, Config
from baselines.parts.contrast import adaptive_contrast
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests import toy
from tests.baselines.test_multimodal_methods import build, toy_batch


def contrast_by_hand(x, y, negative, margin, scale):
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    terms = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if negative[i, j]]
        if not others:
            continue
        positive = x[i] @ y[i]
        pulled = -scale * max(0, 1 + margin - positive) * (positive - (1 - margin))
        pushed = [scale * max(0, x[i] @ y[j] + margin) * (x[i] @ y[j] - margin) for j in others]
        terms.append(np.logaddexp(0, pulled + logsumexp(pushed)))
    return np.mean(terms) if terms else 0.0


@pytest.mark.parametrize("margin", [0.25, 0.1])
def test_adaptive_contrast_by_hand(margin):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 5, 4))
    negative = random.random((5, 5)) < 0.5
    negative[2] = False  # a row without negatives is left out
    ours = adaptive_contrast(*(torch.from_numpy(v)[None] for v in (x, y, negative)), margin, 8.0)
    np.testing.assert_allclose(ours.item(), contrast_by_hand(x, y, negative, margin, 8.0), rtol=1e-9)


def test_no_negatives_give_zero_and_a_finite_gradient():
    x = torch.randn(1, 3, 4, requires_grad=True)
    value = adaptive_contrast(x, torch.randn(1, 3, 4), torch.zeros(1, 3, 3, dtype=torch.bool), 0.25, 256.0)
    assert value.item() == 0


def test_the_weights_are_constants_for_the_gradient():
    """d/dx of one row without negatives but one, with a⁺ and a⁻ held."""
    x = torch.tensor([[1.0, 0.2], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.9, 0.4], [-0.3, 1.0]], dtype=torch.float64)
    negative = torch.tensor([[False, True], [True, False]])
    (ours,) = torch.autograd.grad(adaptive_contrast(x[None], y[None], negative[None], 0.25, 4.0)[0], x)

    def cosines(v):
        return (v / v.norm(dim=1, keepdim=True)) @ (y / y.norm(dim=1, keepdim=True)).T

    held = cosines(x).detach()

    def frozen(v):
        c = cosines(v)
        total = 0
        for i, j in ((0, 1), (1, 0)):
            pulled = -4 * (1.25 - held[i, i]).clamp(min=0) * (c[i, i] - 0.75)
            pushed = 4 * (held[i, j] + 0.25).clamp(min=0) * (c[i, j] - 0.25)
            total = total + torch.nn.functional.softplus(pulled + pushed) / 2
        return total

    steps = torch.eye(4, dtype=torch.float64).view(4, 2, 2) * 1e-6
    numeric = [(frozen(x.detach() + s) - frozen(x.detach() - s)).item() / 2e-6 for s in steps]
    np.testing.assert_allclose(ours.ravel(), numeric, rtol=1e-6)


def test_rows_of_one_product_are_no_negatives():
    model, given = build("mcl").eval(), toy_batch()
    assert model.contrast(given, torch.arange(3)).item() == 0  # all of product 0
    assert model.contrast(given, torch.arange(len(given))).item() > 0
    released = build("mcl", form="released").eval()
    assert released.contrast(given, torch.arange(3)).item() > 0


def test_contrast_does_not_see_padding():
    model = build("mcl").double().eval()
    random = np.random.default_rng(1)
    products = [toy.random_item(random, n, v) for n, v in ((4, 2), (6, 0), (3, 3))]
    reviews = [[toy.random_item(random, n, v)] for n, v in ((4, 2), (5, 3), (3, 0))]
    values = [
        model.contrast(
            toy.as_double(toy.batch(products, reviews, extra_tokens=t, extra_rois=v)), torch.arange(3)
        )
        for t, v in ((0, 0), (5, 4))
    ]
    torch.testing.assert_close(*values, rtol=0, atol=1e-9)


def test_loss_adds_the_contrast_of_helpful_rows():
    model, given = build("mcl").eval(), toy_batch()
    objective = ranking_loss(TrainingConfig(loss="point"))
    helpful = (given.label_B >= 2).nonzero().squeeze(1)
    expected = objective(model.score(given), given) + model.config.contrast_weight * model.contrast(
        given, helpful
    )
    torch.testing.assert_close(model.loss(given, objective), expected)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="joint_heads is 8, which does not divide the width of 20"):
        Config(hidden=20)
    assert MCL.config_class is Config
