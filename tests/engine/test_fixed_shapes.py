"""What a GPU computes, with shapes that no value decides, is what a CPU computes: scores and losses of every method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark import models
from benchmark.core.model import RankingModel
from benchmark.core.types import Batch
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from benchmark.kernels import native
from benchmark.kernels.packing import Packing, fixed_shapes
from tests.test_model_contract import SIZE, batch_for, build


@pytest.fixture(params=list(models.METHODS))
def model(request: pytest.FixtureRequest) -> RankingModel:
    return build(request.param, "fair").eval()


def loss_of(model: RankingModel, batch: Batch) -> torch.Tensor:
    """Without dropout; what a method keeps is begun anew."""
    model.start_training(batch.label_B)
    return model.loss(batch, ranking_loss(TrainingConfig(negatives=SIZE - 1)))


def test_scores_and_gradients_are_the_same(model: RankingModel) -> None:
    batch = batch_for(model)

    def computed() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        model.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        with torch.no_grad():
            score_B = model.score(batch)
        return score_B, loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]

    with native.switched_off():
        plain = computed()
        with fixed_shapes():
            fixed = computed()
    for one, other in zip(plain[:2], fixed[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert len(plain[2]) == len(fixed[2])
    for one, other in zip(plain[2], fixed[2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_padding_is_zero_whatever_stands_there() -> None:
    mask_NL = torch.tensor([[True, True, False], [False, False, False]])
    x_NLF = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    x_NLF[1, 2] = torch.nan
    expected = torch.where(mask_NL.unsqueeze(-1), x_NLF, 0)
    with fixed_shapes():
        packing = Packing.of(mask_NL)
        assert packing.pack(x_NLF).shape == (1, 6, 4), "no shape depends on the mask"
        assert torch.equal(packing.unpack(packing.pack(x_NLF)), expected)
    assert torch.equal(Packing.of(mask_NL).unpack(Packing.of(mask_NL).pack(x_NLF)), expected)
