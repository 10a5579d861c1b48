"""SSE-Cross: whose embedding a row is trained with, and what the gates see."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from baselines.ssecross import Config, CrossGate, exchange
from benchmark.core.types import Batch
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests.baselines.test_multimodal_methods import build, toy_batch


def rows(product, label, review=None) -> Batch:
    given = toy_batch()
    review_B = torch.arange(len(product)) if review is None else torch.tensor(review)
    return Batch(given.products, given.reviews, torch.tensor(product), review_B, torch.tensor(label))


def drawn(batch: Batch, rate: float, ratio: float, times: int = 2000) -> np.ndarray:
    torch.manual_seed(0)
    return torch.stack([exchange(batch, rate, ratio) for _ in range(times)]).numpy()


def test_partners_have_the_label_and_the_product_goes_first():
    batch = rows([0, 0, 0, 1, 1, 2], [3.0, 3.0, 1.0, 3.0, 1.0, 4.0])
    partner = drawn(batch, 1.0, 1e9)
    assert set(partner[:, 0]) == {1}  # the product's other review of that label, never row 3
    assert set(partner[:, 1]) == {0}
    assert set(partner[:, 2]) == {4}  # none in the product: another product's
    assert set(partner[:, 3]) == {0, 1}
    assert set(partner[:, 5]) == {5}  # no other review of its label: itself


def test_rates():
    batch = rows([0, 0, 1, 2], [3.0, 3.0, 1.0, 1.0])
    partner = drawn(batch, 0.3, 4.0)
    swapped = (partner != np.arange(4)).sum(0)
    assert binomtest(int(swapped[0]), len(partner), 0.3).pvalue > 1e-4
    # elsewhere only with probability 4 / (1 + 4)
    assert binomtest(int(swapped[2]), len(partner), 0.3 * 0.8).pvalue > 1e-4


def test_a_review_is_no_partner_of_itself():
    """A negative is drawn with replacement, so a review may stand in two rows."""
    assert set(drawn(rows([0, 0], [1.0, 1.0], review=[2, 2]), 1.0, 1e9)[:, 0]) == {0}


def test_exchange_happens_in_training_only():
    model, batch = (
        build("ssecross", swap_text=1.0, swap_image=1.0, dropout=0.0, embedding_dropout=0.0),
        toy_batch(),
    )
    batch = dataclasses.replace(batch, label_B=torch.tensor([1.0, 1, 1, 2, 2, 3, 3]))
    objective = ranking_loss(TrainingConfig(loss="point", point_threshold=1))
    expected = objective(model.score(batch), batch)
    torch.testing.assert_close(model.eval().loss(batch, objective), expected)
    assert (model.train().loss(batch, objective) - expected).abs() > 1e-6


def test_each_gate_sees_the_other_modality():
    torch.manual_seed(0)
    fuse = CrossGate(4, 3).double()
    image, text = torch.randn(2, 1, 4).double().unbind()
    gate = {}
    fuse.image_gate.register_forward_hook(lambda m, inputs, output: gate.update(image=inputs[0]))
    fuse.text_gate.register_forward_hook(lambda m, inputs, output: gate.update(text=inputs[0]))
    fuse(image, text)
    assert gate["image"] is text
    assert gate["text"] is image


def test_variants():
    model, batch = build("ssecross", variant="review-only").eval(), toy_batch()
    other = dataclasses.replace(batch, product_B=(batch.product_B + 1) % 3)
    torch.testing.assert_close(model.score(batch), model.score(other), rtol=0, atol=0)
    aware = build("ssecross").eval()
    assert (aware.score(batch) - aware.score(other)).abs().max() > 1e-6
    with pytest.raises(ValueError, match="variant is 'both'"):
        Config(variant="both")
