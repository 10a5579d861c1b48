"""Eq. 9, 14 and 15: values by hand, gradients by finite differences, frozen sigmas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from torch import Tensor

from mmss.config import Config
from mmss.subtasks import LOG_VARIANCE_LIMIT, Subtasks, balance, subtask_losses
from tests.mmss.fixtures import SMALL

S, N = 5, 7


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(5)
    prediction_SN = torch.randn(S, N, generator=rng, dtype=torch.float64)
    label_N = torch.randint(0, 5, (N,), generator=rng).double()
    return prediction_SN, label_N + torch.randn(S, N, generator=rng, dtype=torch.float64), label_N


def test_eq_14_by_hand() -> None:
    prediction_SN, pseudo_SN, label_N = inputs()
    got = subtask_losses(prediction_SN, pseudo_SN, label_N)
    for s in range(S):
        terms = [
            math.tanh(abs(float(pseudo_SN[s, i] - label_N[i])))
            * abs(float(prediction_SN[s, i] - pseudo_SN[s, i]))
            for i in range(N)
        ]
        assert float(got[s]) == pytest.approx(sum(terms) / N, abs=1e-12)


@pytest.mark.parametrize("regulariser", ["kendall", "log1p"])
def test_eq_15_by_hand_and_by_finite_differences(regulariser: str) -> None:
    prediction_SN, pseudo_SN, label_N = inputs()
    log_variance = np.array([-1.5, -0.5, 0.0, 0.7, 2.0])
    loss_S = subtask_losses(prediction_SN, pseudo_SN, label_N)

    def by_hand(flat: np.ndarray) -> float:
        losses = subtask_losses(torch.tensor(flat[S:].reshape(S, N)), pseudo_SN, label_N).numpy()
        sigma = np.exp(flat[:S] / 2)
        penalty = np.log(sigma) if regulariser == "kendall" else np.log(1 + sigma**2)
        return float((losses / (2 * sigma**2) + penalty).sum())

    point = np.concatenate([log_variance, prediction_SN.numpy().ravel()])
    free_S = torch.tensor(log_variance, requires_grad=True)
    free_SN = prediction_SN.clone().requires_grad_()
    value = balance(subtask_losses(free_SN, pseudo_SN, label_N), free_S, regulariser)
    assert float(value.detach()) == pytest.approx(by_hand(point), abs=1e-12)
    assert float(balance(loss_S, torch.tensor(log_variance), regulariser)) == pytest.approx(by_hand(point))
    value.backward()
    assert free_S.grad is not None
    assert free_SN.grad is not None
    numeric = approx_fprime(point, by_hand, 1e-7)
    np.testing.assert_allclose(np.concatenate([free_S.grad, free_SN.grad.ravel()]), numeric, atol=1e-5)


def test_the_best_sigma_of_kendall_is_the_root_of_the_loss() -> None:
    """d/dsigma (L / (2 sigma^2) + log sigma) = 0 at sigma^2 = L."""
    loss_S = torch.tensor([0.3, 2.0], dtype=torch.float64)
    log_variance_S = loss_S.log().requires_grad_()
    balance(loss_S, log_variance_S, "kendall").backward()
    torch.testing.assert_close(log_variance_S.grad, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("regulariser", ["kendall", "log1p"])
def test_sigmas_are_frozen_only_while_every_loss_is_exactly_zero(regulariser: str) -> None:
    log_variance_S = torch.zeros(3, requires_grad=True)
    value = balance(torch.zeros(3), log_variance_S, regulariser)
    value.backward()
    assert value.item() == 0.0
    assert log_variance_S.grad is not None
    assert not log_variance_S.grad.any()
    log_variance_S.grad = None
    balance(torch.tensor([0.0, 0.0, 1e-30]), log_variance_S, regulariser).backward()
    assert log_variance_S.grad is not None
    assert bool((log_variance_S.grad != 0).all())


def test_log_variance_counts_within_its_bounds_and_can_come_back() -> None:
    subtasks = Subtasks(Config(**SMALL))
    far, limit = [-50.0, 50.0, 0.0, 1.0, -1.0], LOG_VARIANCE_LIMIT
    with torch.no_grad():
        subtasks.log_variance_S.copy_(torch.tensor(far))
    loss_S = torch.full((S,), 0.5)
    value = subtasks.balanced(loss_S)
    bounded_S = torch.tensor([-limit, limit, 0.0, 1.0, -1.0])
    assert value.item() == pytest.approx(balance(loss_S, bounded_S, subtasks.regulariser).item())
    assert subtasks.log_variance_S.tolist() == far  # asking for the loss changes no parameter
    value.backward()
    assert subtasks.log_variance_S.grad is not None
    assert (
        subtasks.log_variance_S.grad[0] < 0
    )  # a loss stands there, so the gradient leads away from the bound
    assert subtasks.sigmas().tolist() == pytest.approx([math.exp(x / 2) for x in (-10, 10, 0, 1, -1)])


@pytest.mark.parametrize(("mlp", "count"), [("hidden", 8 * 4 + 4 + 4 + 1), ("linear", 8 + 1)])
def test_size_of_the_subtask_mlp(mlp: str, count: int) -> None:
    subtasks = Subtasks(Config(**(SMALL | {"subtask_mlp": mlp})))
    for task in subtasks.tasks.values():
        assert sum(parameter.numel() for parameter in task.predict.parameters()) == count


@pytest.mark.parametrize("mlp", ["hidden", "linear"])
@pytest.mark.parametrize("drop", [(), ("ptrt", "rtrv")])
def test_all_subtasks_at_once_are_each_by_itself(mlp: str, drop: tuple[str, ...]) -> None:
    """Eq. 9 with every subtask's own modules, one after the other: values, and gradients of all parameters."""
    torch.manual_seed(0)
    subtasks = Subtasks(Config(**(SMALL | {"subtask_mlp": mlp, "drop": drop}))).double()
    f_SND = torch.randn(len(subtasks.tasks), 5, SMALL["width"], dtype=torch.float64, requires_grad=True)

    def of_each() -> tuple[torch.Tensor, torch.Tensor]:
        representations = [
            torch.nn.functional.gelu(task.represent(f_ND))
            for task, f_ND in zip(subtasks.tasks.values(), f_SND, strict=True)
        ]
        predictions = [
            task.predict(x).squeeze(1)
            for task, x in zip(subtasks.tasks.values(), representations, strict=True)
        ]
        return torch.stack(representations), torch.stack(predictions)

    wanted = [f_SND, *subtasks.tasks.parameters()]
    found = []
    for representation_SNG, prediction_SN in (subtasks(f_SND), of_each()):
        assert prediction_SN.shape == f_SND.shape[:2]
        total = representation_SNG.square().sum() + (prediction_SN * torch.arange(5)).sum()
        found.append([representation_SNG, prediction_SN, *torch.autograd.grad(total, wanted)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
