"""Subtasks (4.4) and their balanced loss (4.5).

N distinct reviews of a batch, S subtasks, D = d_t, G = d_g.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmss.config import Config

LOG_VARIANCE_LIMIT = 10.0
"""log sigma^2 stays within plus and minus this (D-UNCERT)."""


class Subtask(nn.Module):
    """The maps of one subtask: `represent`, and `predict` with or without a hidden layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.represent = nn.Linear(config.width, config.d_g)
        hidden = config.d_g // 2
        self.predict = (
            nn.Sequential(nn.Linear(config.d_g, hidden), nn.GELU(), nn.Linear(hidden, 1))
            if config.subtask_mlp == "hidden"
            else nn.Linear(config.d_g, 1)
        )


class Subtasks(nn.Module):
    """All subtasks that were not dropped, and the uncertainties that balance their losses."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.regulariser = config.uncertainty
        self.tasks = nn.ModuleDict({name: Subtask(config) for name in config.subtasks})
        self.log_variance_S = nn.Parameter(torch.zeros(len(config.subtasks)))
        """log sigma_s^2."""

    def forward(self, f_SND: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 9, of the interactions in the order of the subtasks: `f_s* = GELU(Linear_s(f_s))`, `[S, N, G]`, and
        `yhat_s = MLP_s(f_s*)`, `[S, N]`."""
        represent, *predict = zip(*(maps_of(task) for task in self.tasks.values()), strict=True)
        representation_SNG = nn.functional.gelu(each(represent, f_SND))
        x = each(predict[0], representation_SNG)
        for maps in predict[1:]:
            x = each(maps, nn.functional.gelu(x))
        return representation_SNG, x.squeeze(-1)

    def balanced(self, loss_S: Tensor) -> Tensor:
        """Eq. 15 of the losses L_s as one scalar; exactly 0 while every L_s is (as in epoch 1)."""
        return balance(loss_S, self._bounded(), self.regulariser)

    def sigmas(self) -> Tensor:
        """sigma_s, `[S]`, detached."""
        return torch.exp(0.5 * self._bounded().detach())

    def _bounded(self) -> Tensor:
        """log sigma_s^2 within its limits. The gradient passes as if there were none: a clamp's own would be 0
        beyond them, and the parameter could never come back."""
        free_S = self.log_variance_S
        return free_S + (free_S.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT) - free_S).detach()


def maps_of(task: nn.Module) -> list[nn.Linear]:
    """A subtask's maps in their order; a GELU stands between any two."""
    return [module for module in task.modules() if isinstance(module, nn.Linear)]


def each(maps: Sequence[nn.Linear], x_SNF: Tensor) -> Tensor:
    """Every subtask's own map of its own input, `[S, N, H]`, as one product of stacked matrices."""
    weight_SHF, bias_SH = (torch.stack([getattr(m, name) for m in maps]) for name in ("weight", "bias"))
    return torch.baddbmm(bias_SH.unsqueeze(1), x_SNF, weight_SHF.mT)


def subtask_losses(
    prediction_SN: Tensor, pseudo_SN: Tensor, label_N: Tensor, real_N: Tensor | None = None
) -> Tensor:
    """Eq. 14, `[S]`: `L_s = mean_i tanh(|y_s(i) - y_g(i)|) |yhat_s(i) - y_s(i)|`, over the real reviews (None: all)."""
    # no gradient runs through labels; the weight saturates fast: 0.96 for labels that are 2 apart
    weight_SN = torch.tanh((pseudo_SN - label_N).abs())
    loss_SN = weight_SN * (prediction_SN - pseudo_SN).abs()
    if real_N is None:
        return loss_SN.mean(dim=1)
    return (loss_SN * real_N).sum(dim=1) / real_N.sum()


def balance(loss_S: Tensor, log_variance_S: Tensor, regulariser: str) -> Tensor:
    """Eq. 15: `sum_s L_s / (2 sigma_s^2) + log sigma_s` (`kendall`), or with `log(1 + sigma_s^2)`
    (`log1p`; Liebel and Koerner, 2018).

    While every L_s is exactly 0 the sum and its gradient are 0, so the sigmas are frozen: the log term
    alone would push them down without bound.
    """
    if regulariser == "kendall":
        # log sigma is half of log sigma^2
        penalty_S = 0.5 * log_variance_S
    else:
        penalty_S = torch.log1p(torch.exp(log_variance_S))
    # 1 / (2 sigma^2) as an exponential: no division, and positive for any value of the parameter
    total = (0.5 * torch.exp(-log_variance_S) * loss_S + penalty_S).sum()
    # `where` instead of `if` waits for no device. the branch that is not taken must be finite for its
    # gradient to be 0, not NaN; the bounds on log sigma^2 see to that
    return torch.where((loss_S == 0).all(), torch.zeros_like(total), total)
