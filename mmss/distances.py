"""Anchors, covariances and distances of the subtasks (Eq. 17, 18) (D-ANCHOR, D-COV, D-SCALE)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmss.config import Config

FIRST_RIDGE, LAST_RIDGE = 1e-10, 1.0
"""A covariance that cannot be factorised gets a ridge of these shares of its mean variance, times ten each."""

Chunks = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""() -> (label_N, representation_NG) in float64, review block by review block; may be called repeatedly."""


# Anchor, Eq. 17


def anchor(chunks: Chunks, kind: str = "representation") -> Tensor:
    """A_k `[G]`: the centroid of the representations, weighted by sigmoid(label) (D-EPS)."""
    total_G: Tensor | float = 0.0
    weight: Tensor | float = 0.0
    for label_N, f_NG in chunks():
        # Eq. 17: weights of labels 0..4 run from 0.5 to 0.98 only, so the anchor lies close to the plain mean
        weight_N = torch.sigmoid(label_N) if kind == "representation" else torch.ones_like(label_N)
        total_G = total_G + weight_N @ f_NG
        weight = weight + weight_N.sum()
    return torch.as_tensor(total_G / weight)


# Distance, Eq. 18


@dataclass(frozen=True)
class Spread:
    """Sigma_k by its Cholesky factor, and how it came about."""

    factor_GG: Tensor | None
    """Lower Cholesky factor; None for the Euclidean distance."""
    shrinkage: float
    """Weight of the scaled identity."""
    ridge: float
    """Ridge that had to be added before the factorisation succeeded, as a share of the mean variance."""


def spread(chunks: Chunks, anchor_G: Tensor, kind: str, ridge: float) -> Spread:
    """Sigma_k about the anchor (D-COV), ready to solve with.

    `ledoit-wolf`: `(1 - w) S + w mu I` with S the second moment about the anchor, mu = tr(S)/G and the
    weight w of Ledoit and Wolf (2004), for a centre that is given instead of estimated. `ridge`: `S + ridge
    mu I`. `diagonal`: S's diagonal. `euclidean`: none.
    """
    if kind == "euclidean":
        return Spread(None, 0.0, 0.0)
    # about the anchor, not about the mean: the outer product of the gap between them is part of Sigma
    second_GG, fourth, count = _moments(chunks, anchor_G)
    size = len(anchor_G)
    mean_variance = float(second_GG.trace()) / size
    identity_GG = torch.eye(size, dtype=second_GG.dtype, device=second_GG.device)
    shrinkage = 0.0
    if kind == "ledoit-wolf":
        shrinkage = ledoit_wolf_weight(second_GG, fourth, count)
        sigma_GG = (1 - shrinkage) * second_GG + shrinkage * mean_variance * identity_GG
    elif kind == "ridge":
        sigma_GG = second_GG + ridge * mean_variance * identity_GG
    else:
        sigma_GG = torch.diag(second_GG.diagonal())
    # Variance below float32's resolution of the representations is rounding, not spread: without this floor
    # a task whose representations are all alike would turn rounding into distances of order 1.
    floor = torch.finfo(torch.float32).eps ** 2 * float(anchor_G.square().mean())
    factor_GG, raised = robust_cholesky(sigma_GG + floor * identity_GG)
    return Spread(factor_GG, shrinkage, raised)


def _moments(chunks: Chunks, anchor_G: Tensor) -> tuple[Tensor, float, int]:
    """(mean of z z^T `[G, G]`, mean of |z|^4, number of reviews), for z = f - A."""
    size = len(anchor_G)
    second_GG = torch.zeros(size, size, dtype=anchor_G.dtype, device=anchor_G.device)
    fourth, count = 0.0, 0
    for _, f_NG in chunks():
        z_NG = f_NG - anchor_G
        second_GG += z_NG.T @ z_NG
        fourth += float(z_NG.square().sum(dim=1).square().sum())
        count += len(z_NG)
    return second_GG / count, fourth / count, count


def ledoit_wolf_weight(second_GG: Tensor, fourth: float, count: int) -> float:
    """Optimal weight of the scaled identity (Ledoit and Wolf, 2004), in [0, 1]:
    `min(b^2, d^2) / d^2` with `d^2 = |S - mu I|^2` and `b^2 = (mean |z|^4 - |S|^2) / n`."""
    size = len(second_GG)
    squared = float(second_GG.square().sum())
    # the squared norm of S - mu I is that of S less tr(S)^2 / G, since mu is tr(S) / G
    d2 = squared - float(second_GG.trace()) ** 2 / size
    # the mean squared norm of z z^T - S, over n: z z^T has the squared norm |z|^4, and its mean is S
    b2 = (fourth - squared) / count
    if d2 <= 0:
        return 1.0  # S is a multiple of the identity already
    return min(max(b2, 0.0), d2) / d2


def robust_cholesky(sigma_GG: Tensor) -> tuple[Tensor, float]:
    """(lower factor, ridge that was needed as a share of the mean variance; 0 where none was).

    Raises ValueError where even a ridge of the mean variance does not help.
    """
    size = len(sigma_GG)
    # Representations that are all zero have no variance at all: any positive scale gives distance 0.
    mean_variance = max(float(sigma_GG.trace()) / size, torch.finfo(sigma_GG.dtype).tiny ** 0.5)
    identity_GG = torch.eye(size, dtype=sigma_GG.dtype, device=sigma_GG.device)
    ridge = 0.0
    while ridge <= LAST_RIDGE:
        # cholesky_ex reports a failure in `info` where cholesky would raise
        factor_GG, info = torch.linalg.cholesky_ex(sigma_GG + ridge * mean_variance * identity_GG)
        if not int(info) and bool(torch.isfinite(factor_GG).all()):
            return factor_GG, ridge
        ridge = FIRST_RIDGE if ridge == 0.0 else 10 * ridge
    raise ValueError("the covariance cannot be factorised, not even with a ridge of its mean variance")


@dataclass(frozen=True)
class Distribution:
    """What Eq. 18 needs of one task: anchor, Sigma and s_k."""

    anchor_G: Tensor
    spread: Spread
    scale: float
    """s_k (D-SCALE)."""

    def distance(self, f_NG: Tensor) -> Tensor:
        """chi_k `[N]`, by a triangular solve: `|L^-1 (f - A)|^2 = (f - A)^T Sigma^-1 (f - A)`."""
        z_NG = f_NG.to(self.anchor_G.dtype) - self.anchor_G
        if self.spread.factor_GG is not None:
            z_NG = torch.linalg.solve_triangular(self.spread.factor_GG, z_NG.T, upper=False).T
        return z_NG.square().sum(dim=1).sqrt() / math.sqrt(self.scale)


def fit_distribution(chunks: Chunks, config: Config) -> Distribution:
    """Anchor, Sigma and scale of one task. Raises ValueError for values that are not finite."""
    anchor_G = anchor(chunks, config.anchor)
    if not bool(torch.isfinite(anchor_G).all()):
        raise ValueError("the anchor is not finite")
    # scale 1 for now: `rms` below is made of the unscaled distances
    fitted = Distribution(anchor_G, spread(chunks, anchor_G, config.covariance, config.ridge), 1.0)
    scale = 1.0
    if config.distance_scale == "dim":
        # with Sigma = S the mean of z^T S^-1 z is G: divided by it, the mean squared distance is 1 in every
        # task (exactly so without shrinkage and ridge)
        scale = float(len(anchor_G))
    elif config.distance_scale == "rms":
        squared, count = 0.0, 0
        for _, f_NG in chunks():
            squared += float(fitted.distance(f_NG).square().sum())
            count += len(f_NG)
        # all at the anchor: every distance is 0, whatever the scale
        scale = squared / count or 1.0
    return Distribution(anchor_G, fitted.spread, scale)


# Estimate, Eq. 19-21
