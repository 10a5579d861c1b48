"""D&R Net: decomposition and relation, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.drnet import Config, DecompositionRelation, RoiStates, States
from baselines.parts.layers import masked_mean
from benchmark.core.types import length_mask
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from tests.baselines.test_multimodal_methods import build, toy_batch


def states(n_valid: list[int], size: int, width: int) -> States:
    x, mask = torch.randn(len(n_valid), size, width).double(), length_mask(torch.tensor(n_valid), size)
    return States(x * mask.unsqueeze(-1), mask, masked_mean(x, mask))


def test_relation_by_hand():
    torch.manual_seed(0)
    network = DecompositionRelation(4, 2).double()
    text, image = states([3, 2], 3, 4), states([2, 4], 4, 4)
    ours = network.relate(text, image).detach().numpy()
    wa, wb, b, w = (
        p.detach().numpy()
        for p in (
            network.query.weight,
            network.relation.weight,
            network.relation.bias,
            network.relation_weight.weight[0],
        )
    )
    for n in range(2):
        h = text.state_NTD[n][text.mask_NT[n]].numpy()
        pairs, logits = [], []
        for v in image.state_NTD[n][image.mask_NT[n]].numpy():
            beta = np.exp(h @ (wa @ v) / 2)
            pairs.append(np.concatenate([v, beta / beta.sum() @ h]))
            logits.append(w @ np.tanh(wb @ pairs[-1] + b))
        gamma = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(ours[n], gamma @ np.array(pairs), atol=1e-12)


def test_penalty_is_zero_for_orthogonal_parts_only():
    network = DecompositionRelation(4, 2)
    with torch.no_grad():
        for part, rows in (
            (network.common, [0, 1]),
            (network.text_private, [2, 3]),
            (network.image_private, [3, 2]),
        ):
            part.weight.copy_(torch.eye(4)[rows])
    assert network.penalty().item() == 0
    with torch.no_grad():
        network.text_private.weight[0] = torch.tensor([0.5, 0.25, 0, 0])
    assert network.penalty().item() == pytest.approx(0.5**2 + 0.25**2)


def test_no_image_is_one_learned_roi():
    given = toy_batch().products
    encoder = RoiStates(given.roi_NVF.shape[2], 5)
    result = encoder(given)
    assert result.mask_NT.sum(1).tolist() == [2, 1, 3]
    torch.testing.assert_close(result.state_NTD[1, 0], encoder.no_image)
    torch.testing.assert_close(result.mean_ND[1], encoder.no_image)
    torch.testing.assert_close(
        result.state_NTD[0, :2], torch.relu(encoder.map(given.roi_NVF[0, :2])), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("alignment", [0.0, 0.5])
def test_loss_adds_penalty_and_alignment(alignment):
    model, given = build("drnet", alignment=alignment, variant="review-only").eval(), toy_batch()
    objective = ranking_loss(TrainingConfig(loss="point"))
    network = model.network
    text, image = model.review_text(given.reviews).mean_ND, model.image(given.reviews).mean_ND
    cosine = F.cosine_similarity(network.common(text), network.common(image)).mean()
    expected = objective(model.score(given), given) + 0.01 * network.penalty() + alignment * (1 - cosine)
    torch.testing.assert_close(model.loss(given, objective), expected)


def test_variants():
    model, batch = build("drnet", variant="review-only").eval(), toy_batch()
    other = dataclasses.replace(batch, product_B=(batch.product_B + 1) % 3)
    torch.testing.assert_close(model.score(batch), model.score(other), rtol=0, atol=0)
    aware = build("drnet").eval()
    assert (aware.score(batch) - aware.score(other)).abs().max() > 1e-6
    with pytest.raises(ValueError, match="variant is 'both'"):
        Config(variant="both")
