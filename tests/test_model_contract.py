"""The contract of every registered method, fair and released, on toy data: the next method is covered for free.

(What only fair forms promise, scores that no padding or neighbour moves, is in `test_invariance`.)
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from benchmark import models
from benchmark.core.model import RankingModel
from benchmark.core.types import Batch, CorpusShape, Items, Padding
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests import toy

FORMS = [
    (name, form)
    for name in models.METHODS
    for form in ("fair", "released")
    if form == "fair" or models.load(name).released is not None
]
GROUPS, SIZE = 6, 4
STEPS = 40


@pytest.fixture(params=FORMS, ids="-".join)
def form(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


def build(name: str, form: str, seed: int = 0) -> RankingModel:
    """Quick sizes, as `bench run --preset quick --protocol <form>` resolves them."""
    torch.manual_seed(seed)
    model_class = models.load(name)
    fields = {**((model_class.released or {}) if form == "released" else {}), **model_class.quick}
    shape = CorpusShape(toy.VOCABULARY, toy.VOCABULARY, toy.VOCABULARY, toy.ROI_WIDTH, GROUPS * SIZE)
    return model_class(model_class.config_class(**fields), shape)


def padded(items: Items, padding: Padding, reads_images: bool) -> Items:
    """As the harness pads for this model: released forms want fixed or minimum lengths."""
    size = padding.fixed_tokens or max(padding.min_tokens, items.token_NT.shape[1])
    token_NT = torch.nn.functional.pad(items.token_NT, (0, max(0, size - items.token_NT.shape[1])))
    if not reads_images:
        return dataclasses.replace(items, token_NT=token_NT, roi_NVF=None, roi_count_N=None)
    assert items.roi_NVF is not None
    assert items.roi_count_N is not None
    count_N = torch.where(items.roi_count_N == 0, torch.tensor(padding.empty_rois), items.roi_count_N)
    rows = max(padding.min_rois, int(count_N.max()), items.roi_NVF.shape[1])
    roi_NVF = torch.nn.functional.pad(items.roi_NVF, (0, 0, 0, rows - items.roi_NVF.shape[1]))
    return dataclasses.replace(items, token_NT=token_NT, roi_NVF=roi_NVF, roi_count_N=count_N)


def batch_for(model: RankingModel, order: list[int] | None = None, *, images: bool = True) -> Batch:
    """Six products with four reviews each, labels 3, 0, 1, 0; some items have no RoIs.

    `order`: the order of the first product's reviews.
    """
    random = np.random.default_rng(5)
    first = None if model.tokenizer == "words" else 2  # [CLS]

    def item(words: int, rois: int) -> toy.Item:
        return toy.random_item(random, words, rois if images else 0, first)

    products = [item(3 + p, p % 3) for p in range(GROUPS)]
    reviews = [[item(4 + r + p % 2, (p + r) % 3) for r in range(SIZE)] for p in range(GROUPS)]
    label_GK = np.tile([3.0, 0.0, 1.0, 0.0], (GROUPS, 1))
    if order is not None:
        reviews[0] = [reviews[0][i] for i in order]
        label_GK[0] = label_GK[0, order]
    made = toy.batch(products, reviews, group_size=None if model.sampling == "lists" else SIZE)
    return dataclasses.replace(
        made,
        products=padded(made.products, model.padding, model.reads_images),
        reviews=padded(made.reviews, model.padding, model.reads_images),
        label_B=torch.from_numpy(label_GK.ravel()).float(),
    )


def test_scores_have_the_rows_shape_and_are_finite(form: tuple[str, str]) -> None:
    model = build(*form).eval()
    batch = batch_for(model)
    with torch.no_grad():
        score_B = model.score(batch)
    assert score_B.shape == (len(batch),)
    assert score_B.dtype == torch.float32
    assert torch.isfinite(score_B).all()
    assert len(score_B.unique()) > len(batch) // 2, "a score is no constant"


def test_same_seed_same_scores_and_another_seed_others(form: tuple[str, str]) -> None:
    def scores(seed: int) -> torch.Tensor:
        model = build(*form, seed).eval()
        with torch.no_grad():
            return model.score(batch_for(model))

    assert torch.equal(scores(0), scores(0))
    assert not torch.equal(scores(0), scores(1))


def test_shuffling_a_products_reviews_shuffles_its_scores(form: tuple[str, str]) -> None:
    model = build(*form).eval()
    order = [2, 0, 3, 1]
    with torch.no_grad():
        plain, shuffled = model.score(batch_for(model)), model.score(batch_for(model, order))
    torch.testing.assert_close(shuffled[:SIZE], plain[:SIZE][order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shuffled[SIZE:], plain[SIZE:], rtol=1e-5, atol=1e-5)


def fit(model: RankingModel, batch: Batch, steps: int = STEPS) -> list[float]:
    """The losses of some steps on one batch."""
    model.train()
    objective = ranking_loss(TrainingConfig(negatives=SIZE - 1))
    model.start_training(batch.label_B)
    optimiser = torch.optim.Adam(list(model.parameter_groups(5e-3)))
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = model.loss(batch, objective)
        loss.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    return losses


def ranking_loss_of(model: RankingModel, batch: Batch) -> float:
    """Without dropout, and without the further terms of a pairwise method (a listwise one has its own)."""
    model.eval()
    objective = ranking_loss(TrainingConfig(negatives=SIZE - 1))
    with torch.no_grad():
        if model.sampling == "lists":
            return model.loss(batch, objective).item()
        return objective(model.score(batch), batch).item()


def test_the_loss_falls(form: tuple[str, str]) -> None:
    model = build(*form)
    batch = batch_for(model)
    before = ranking_loss_of(model, batch)
    torch.manual_seed(10)  # dropout's draws decide how far forty steps come
    assert np.isfinite(fit(model, batch)).all()
    assert ranking_loss_of(model, batch) < 0.9 * before
    notes = model.end_epoch(1)
    assert isinstance(notes, dict)
    assert all(isinstance(value, torch.Tensor) for value in model.training_state().values())


def test_without_any_image(form: tuple[str, str]) -> None:
    model = build(*form)
    batch = batch_for(model, images=False)
    assert np.isfinite(fit(model, batch, steps=2)).all()
    model.eval()
    with torch.no_grad():
        assert torch.isfinite(model.score(batch)).all()


def test_a_method_says_what_it_is(form: tuple[str, str]) -> None:
    name, _ = form
    model_class, line = models.load(name), models.get(name)
    assert model_class.title == line.title
    # hand-made features tell of a review's images too
    assert (model_class.reads_images or model_class.reads_surface) == (line.modality == "multimodal")
    assert model_class.reference
    assert dataclasses.is_dataclass(model_class.config_class)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model_class.config_class().anything = 1  # type: ignore[attr-defined]
    if name != models.PROPOSED and model_class.released is None:
        assert model_class.departures or model_class.__doc__


def test_half_precision_trains_and_scores(form):
    """bf16 autocast on a CPU: finite gradients in float32, and scores near those of float32."""
    model = build(*form)
    batch = batch_for(model)
    objective = ranking_loss(TrainingConfig(batch_size=GROUPS, negatives=SIZE - 1))
    model.start_training(torch.zeros(GROUPS * SIZE))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(batch, objective)
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for g in gradients)
    model.eval()
    with torch.inference_mode():
        exact = model.score(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model.score(batch)
    assert (rough - exact).abs().max() < 0.05 * max(1.0, float(exact.abs().max()))
