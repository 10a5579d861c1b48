"""What the six multimodal baselines have in common beyond the contract of every method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.parts import matching
from benchmark import models
from benchmark.core.types import Batch, CorpusShape, Items, length_mask
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests import toy

NAMES = ("ssecross", "drnet", "mcr", "mcl", "sancl", "gbdt")
CATEGORIES = [(d, c) for d in ("lazada", "amazon") for c in ("clothing", "electronics", "home")]


def build(name: str, shape: CorpusShape = toy.SHAPE, **fields):
    torch.manual_seed(0)
    model_class = models.load(name)
    return model_class(model_class.config_class(**{**model_class.quick, **fields}), shape)


def toy_batch(seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    products = [toy.random_item(random, n, v) for n, v in ((4, 2), (6, 0), (3, 3))]
    reviews = [
        [toy.random_item(random, n, v) for n, v in own]
        for own in (((3, 2), (5, 0), (8, 3)), ((2, 1), (6, 4)), ((7, 0), (4, 2)))
    ]
    return toy.batch(products, reviews)


@pytest.mark.parametrize("name", ["drnet", "mcr", "mcl", "sancl", "gbdt"])
def test_rows_in_steps_equal_rows_at_once(name, monkeypatch):
    """A product with thousands of reviews is matched in steps."""
    model, given = build(name).eval(), toy_batch()
    with torch.no_grad():
        expected = model.score(given)
        monkeypatch.setattr(matching, "POSITIONS_AT_ONCE", 50)  # two rows
        torch.testing.assert_close(model.score(given), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_both_sides_matter(name):
    model, given = build(name).eval(), toy_batch()
    given.products.roi_NVF.requires_grad_()
    given.reviews.roi_NVF.requires_grad_()
    weight = torch.randn(len(given))
    gradients = torch.autograd.grad(
        (model.score(given) * weight).sum(), (given.products.roi_NVF, given.reviews.roi_NVF)
    )
    for gradient, items in zip(gradients, (given.products, given.reviews), strict=True):
        assert gradient[items.roi_mask_NV].abs().max() > 0
        assert gradient[~items.roi_mask_NV].abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_departures_are_stated_with_their_defects(name):
    model_class = models.load(name)
    named = {defect for departure in model_class.departures for defect in departure.defects}
    expected = {
        "mcr": {"P15", "P16", "P17", "P18"},
        "mcl": {"P16", "P17", "P18", "P19"},
        "sancl": {"P15", "P16", "P17", "P20"},
        "gbdt": {"P7", "P16", "P17", "P18", "P21"},
        "ssecross": {"P12", "P16"},
        "drnet": {"P12", "P16"},
    }[name]
    assert expected <= named


@pytest.mark.parametrize("name", ["mcr", "mcl", "sancl"])
@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_released_training(name, dataset, category):
    settings = TrainingConfig(**models.load(name).released_training(dataset, category))
    assert (settings.loss, settings.negatives, settings.label_gap) == ("label-gap", 7, 1)
    if name == "mcl":
        rows = {("lazada", "clothing"): 64, ("amazon", "home"): 128}.get((dataset, category), 32)
        assert (settings.batch_size, settings.batch_unit) == (rows, "reviews")


@pytest.mark.parametrize("name", ["mcr", "mcl", "sancl"])
def test_released_scores_depend_on_padding_as_the_defect_says(name):
    """P17, kept in the released form; the fair form's invariance is tested for every method."""
    random = np.random.default_rng(0)
    products, reviews = [toy.random_item(random, 5, 3)], [[toy.random_item(random, 6, 2)]]
    model = build(name, form="released").eval()
    assert not model.batch_invariant
    with torch.no_grad():
        short = model.score(toy.batch(products, reviews, extra_tokens=4, extra_rois=4))
        long = model.score(toy.batch(products, reviews, extra_tokens=40, extra_rois=40))
    assert (short - long).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["mcr", "mcl", "sancl"])
def test_unknown_form_is_refused(name):
    with pytest.raises(ValueError, match="form is 'faire'; allowed: fair, released"):
        models.load(name).config_class(form="faire")


def planted_batch(seed: int, name: str) -> Batch:
    """Two reviews of each product; the more helpful one has RoIs along the product's own direction. Texts
    are noise."""
    random = np.random.default_rng(seed)
    n, rois = 16, 3
    side = random.choice([-1.0, 1.0], n)
    direction = np.eye(toy.ROI_WIDTH)[0]
    sign_R = np.stack([side, -side], 1).ravel() if name in INTERACTING else np.tile([1.0, -1.0], n)
    roi_P = side[:, None, None] * direction + 0.3 * random.normal(size=(n, rois, toy.ROI_WIDTH))
    roi_R = sign_R[:, None, None] * direction + 0.3 * random.normal(size=(2 * n, rois, toy.ROI_WIDTH))

    def items(roi) -> Items:
        count, size = torch.full((len(roi),), 4), len(roi)
        token = torch.from_numpy(random.integers(2, toy.VOCABULARY, (size, 4))) * length_mask(count, 4)
        roi_NVF = torch.from_numpy(roi.astype(np.float32))
        return Items(token, count, roi_NVF, torch.full((size,), rois), torch.arange(size))

    product_B = torch.arange(n).repeat_interleave(2)
    label_B = torch.tensor([3.0, 1.0]).repeat(n)
    group_size = None if models.load(name).sampling == "lists" else 2
    return Batch(items(roi_P), items(roi_R), product_B, torch.arange(2 * n), label_B, group_size)


INTERACTING = ("mcr", "mcl")
"""Asked for agreement of product and review image; the others only for what a helpful image looks like."""


@pytest.mark.parametrize("name", NAMES)
def test_learns_what_only_images_tell(name):
    """Order of held-out pairs; chance is 0.5."""
    model = build(name).train()
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    objective = ranking_loss(TrainingConfig())
    for step in range(60 if name in INTERACTING else 30):
        loss = model.loss(planted_batch(step, name), objective)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        score_B = torch.cat([model.score(planted_batch(seed, name)) for seed in (1001, 1002, 1003)])
    right = (score_B[0::2] > score_B[1::2]).double().mean().item()
    assert right > 0.8, right


def test_item_twice_is_encoded_once():
    """Rows gather distinct items: the work of the text encoder does not grow with the rows."""
    model, given = build("mcr").eval(), toy_batch()
    seen = []
    model.review_text.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    twice = dataclasses.replace(
        given,
        product_B=given.product_B.repeat(2),
        review_B=given.review_B.repeat(2),
        label_B=given.label_B.repeat(2),
    )
    with torch.no_grad():
        score_B = model.score(twice)
    assert seen == [len(given.reviews)]
    torch.testing.assert_close(score_B[: len(given)], score_B[len(given) :])
