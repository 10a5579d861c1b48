"""What every fair method promises, whatever it computes: a score belongs to a review and its product.

It does not change with the rest of the batch, with padding or with the order of the reviews; what is masked
cannot matter; an item without images never gives NaN.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from benchmark import models
from benchmark.core.model import RankingModel
from benchmark.core.types import Batch
from tests import toy

PRECISIONS = {"float32": 1e-5, "float64": 1e-9}


@cache
def fair_model(name: str) -> RankingModel:
    """The quick preset with weights moved off their initial values, so that every part moves the score."""
    torch.manual_seed(11)
    model_class = models.load(name)
    model = model_class(model_class.config_class(**model_class.quick), toy.SHAPE).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    return model


def items(name: str, seed: int, *, images: bool = True):
    """Three products of 1 to 12 words with 4, 1 and 3 reviews; one item of each kind lacks images."""
    random = np.random.default_rng(seed)
    first = None if fair_model(name).tokenizer == "words" else 2  # [CLS]
    counts = iter([3, 0, 1, 2, 0, 5, 1, 4, 0, 3, 2] if images else [0] * 11)
    products = [toy.random_item(random, n, next(counts), first) for n in (7, 12, 1)]
    lengths = iter([5, 1, 9, 2, 12, 3, 8, 4])
    reviews = [
        [toy.random_item(random, next(lengths), next(counts), first) for _ in range(n)] for n in (4, 1, 3)
    ]
    return products, reviews


def scores(name: str, given: Batch, precision: str) -> torch.Tensor:
    model = fair_model(name).to(torch.float64 if precision == "float64" else torch.float32)
    with torch.no_grad():
        return model.score(toy.as_double(given) if precision == "float64" else given)


@pytest.fixture(params=list(models.METHODS))
def name(request):
    return request.param


@pytest.fixture(params=list(PRECISIONS))
def precision(request):
    return request.param


def assert_same(ours, expected, precision):
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(ours, expected, rtol=0, atol=PRECISIONS[precision])


def test_alone_in_a_batch_and_padded_further(name, precision):
    products, reviews = items(name, 1)
    together = scores(name, toy.batch(products, reviews), precision)
    # the methods do not give a constant
    assert len({round(float(score), 6) for score in together}) > 4
    alone = [scores(name, toy.batch([p], [own]), precision) for p, own in zip(products, reviews, strict=True)]
    assert_same(torch.cat(alone), together, precision)
    padded = scores(name, toy.batch(products, reviews, extra_tokens=9, extra_rois=5), precision)
    assert_same(padded, together, precision)


def test_permuting_reviews_permutes_scores(name, precision):
    products, reviews = items(name, 2)
    expected = scores(name, toy.batch(products[:1], reviews[:1]), precision)
    order = [2, 0, 3, 1]
    permuted = scores(name, toy.batch(products[:1], [[reviews[0][i] for i in order]]), precision)
    assert_same(permuted, expected[order], precision)


def test_rubbish_in_masked_rois_does_not_matter(name, precision):
    products, reviews = items(name, 3)
    given = toy.batch(products, reviews, extra_rois=2)

    def soil(side):
        return dataclasses.replace(
            side, roi_NVF=torch.where(side.roi_mask_NV.unsqueeze(-1), side.roi_NVF, 7.0)
        )

    soiled = dataclasses.replace(given, products=soil(given.products), reviews=soil(given.reviews))
    assert_same(scores(name, soiled, precision), scores(name, given, precision), precision)


def test_no_images_anywhere(name):
    products, reviews = items(name, 4, images=False)
    model = fair_model(name).float()
    given = toy.batch(products, reviews)
    result = model.score(given)
    assert torch.isfinite(result).all()
    result.square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)
    model.zero_grad()


def test_a_product_twice_in_a_batch_scores_twice_the_same(name):
    """Rows may point at the same items, as the rows of a ranking group do."""
    products, reviews = items(name, 5)
    given = toy.batch(products[:1], reviews[:1])
    if models.load(name).sampling == "lists":
        pytest.skip("a list holds each review once")
    twice = dataclasses.replace(
        given,
        product_B=given.product_B.repeat(2),
        review_B=given.review_B.repeat(2),
        label_B=given.label_B.repeat(2),
    )
    expected = scores(name, given, "float64")
    assert_same(scores(name, twice, "float64"), expected.repeat(2), "float64")
