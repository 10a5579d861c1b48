"""Losses against plain loops, SciPy, scikit-learn and the goldens; the gradient at an exact hinge zero."""

from __future__ import annotations

import json
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss

from benchmark.core.errors import UsageError
from benchmark.core.types import Batch, Items
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import hinge_loss, label_gap_hinge_loss, point_loss, ranking_loss

GOLDENS = files("benchmark") / "checks" / "recorded"


def looped_hinge(score, label, group_size, margin):
    """The definition, one pair at a time; `margin` None means the label gap."""
    groups = []
    for start in range(0, len(score), group_size):
        total = 0.0
        for k in range(start + 1, start + group_size):
            gap = label[start] - label[k] if margin is None else margin
            total += max(0.0, gap - (score[start] - score[k]))
        groups.append(total)
    return sum(groups) / len(groups)


@pytest.fixture
def rows():
    random = np.random.default_rng(3)
    return random.normal(0, 2, 24), random.integers(0, 5, 24).astype(float)


@pytest.mark.parametrize("group_size", [2, 4, 8])
@pytest.mark.parametrize("margin", [0.5, 1.0, None])
def test_hinge_equals_loop(rows, group_size, margin):
    score, label = map(torch.tensor, rows)
    ours = (
        label_gap_hinge_loss(score, label, group_size)
        if margin is None
        else hinge_loss(score, label, group_size, margin)
    )
    assert float(ours) == pytest.approx(looped_hinge(*rows, group_size, margin), abs=1e-12)


@pytest.mark.parametrize("threshold", [0, 1])
def test_point_loss_equals_scikit_learn(rows, threshold):
    score, label = rows
    ours = point_loss(torch.tensor(score), torch.tensor(label), threshold)
    assert float(ours) == pytest.approx(log_loss(label > threshold, expit(score)), abs=1e-10)


def test_gradient_passes_at_an_exact_hinge_zero():
    score = torch.tensor([2.0, 1.0, 0.5, 3.5], requires_grad=True)  # margins left: 0, -0.5, 2.5
    hinge_loss(score, torch.zeros(4), 4, 1.0).backward()
    assert score.grad.tolist() == [-2.0, 1.0, 0.0, 1.0]


def golden_losses(key, score, label, group_size):
    return {
        "adaptive": lambda: label_gap_hinge_loss(score, label, group_size),
        "fixed_margin1": lambda: hinge_loss(score, label, group_size, 1.0),
        "fixed_margin0.5": lambda: hinge_loss(score, label, group_size, 0.5),
        "point_ce_t0": lambda: point_loss(score, label, 0),
        "point_ce_t1": lambda: point_loss(score, label, 1),
    }[key]()


def golden_cases():
    cases = json.loads((GOLDENS / "losses.json").read_text())["cases"]
    return [(case["key"], case["num_neg"]) for case in cases]


@pytest.mark.parametrize(("key", "negatives"), golden_cases())
def test_goldens_with_gradients(key, negatives):
    with np.load(GOLDENS / "losses.npz") as golden:
        label = torch.from_numpy(golden[f"{key}/y_true"]).double().squeeze(1)
        names = {
            name.split("/")[1] for name in golden.files if name.startswith(f"{key}/") and name.count("/") == 2
        }
        assert len(names) == 5
        for name in names:
            score = torch.from_numpy(golden[f"{key}/y_pred"]).double().squeeze(1).requires_grad_()
            loss = golden_losses(name, score, label, 1 + negatives)
            loss.backward()
            np.testing.assert_allclose(loss.item(), golden[f"{key}/{name}/loss_f64"], atol=1e-10)
            np.testing.assert_allclose(score.grad, golden[f"{key}/{name}/grad_f64"].squeeze(1), atol=1e-10)


def one_group(group_size):
    items = Items(
        torch.ones(2, 1, dtype=torch.int64), torch.ones(2, dtype=torch.int64), None, None, torch.arange(2)
    )
    index = torch.tensor([0, 1])
    return Batch(items, items, index, index, torch.tensor([3.0, 1.0]), group_size)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TrainingConfig(), 0.75),
        (TrainingConfig(margin=2.0), 1.75),
        (TrainingConfig(loss="label-gap"), 1.75),
        (
            TrainingConfig(loss="point", point_threshold=1),
            (np.log1p(np.exp(-0.5)) + np.log1p(np.exp(0.25))) / 2,
        ),
    ],
)
def test_ranking_loss_reads_the_configuration(config, expected):
    score = torch.tensor([0.5, 0.25])
    assert float(ranking_loss(config)(score, one_group(2))) == pytest.approx(expected, rel=1e-6)


def test_ranking_loss_refuses_unknown_names_and_lists():
    with pytest.raises(UsageError, match="hinge label-gap point"):
        ranking_loss(SimpleNamespace(loss="hinges", margin=1.0, point_threshold=0, target_reduction="mean"))
    with pytest.raises(UsageError, match="listwise"):
        ranking_loss(TrainingConfig())(torch.zeros(2), one_group(None))


@pytest.mark.parametrize(("loss", "times"), [("hinge", 6), ("label-gap", 6), ("point", 24)])
def test_a_sum_is_the_mean_times_its_terms(rows, loss, times):
    """D-TARGETSUM, on 24 rows in 6 groups: the loop's mean over groups (rows for `point`) times their number."""
    score, label = rows
    batch = SimpleNamespace(label_B=torch.tensor(label), group_size=4)
    config = TrainingConfig(loss=loss, target_reduction="sum", negatives=3)
    mean = {
        "hinge": lambda: looped_hinge(score, label, 4, 1.0),
        "label-gap": lambda: looped_hinge(score, label, 4, None),
        "point": lambda: log_loss(label > 0, expit(score)),
    }[loss]()
    assert float(ranking_loss(config)(torch.tensor(score), batch)) == pytest.approx(times * mean, abs=1e-9)
    config = TrainingConfig(loss=loss, negatives=3)
    assert float(ranking_loss(config)(torch.tensor(score), batch)) == pytest.approx(mean, abs=1e-10)
