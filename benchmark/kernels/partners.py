"""BiMPM's max-pooling matching: the best weighted cosine of each step of one text with any of the other's.

B rows, L product and R review steps (T either), H width, P perspectives with weights w; v = w².
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.arrays import in_float32, row_chunks
from benchmark.kernels.native import call
from benchmark.kernels.products import batched_product

EPSILON = 1e-8
"""Lower bound of norms."""

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Partners:
    """For each step of one text the best partner among the valid steps of the other."""

    best: Tensor
    """float [B, P, T]: dot product times the partner's scale; -inf where there is no partner."""
    winner: Tensor
    """int64 [B, P, T]."""


def best_partners(
    dot_BPLR: Tensor,
    scales: tuple[Tensor, Tensor],
    masks: tuple[Tensor | None, Tensor | None],
) -> tuple[Partners, Partners]:
    """Best partners of the steps l and of the steps r, by dot_lr scale_r and dot_lr scale_l; scales are
    `[B, P, L]` and `[B, P, R]`, masks `[B, L]` and `[B, R]`."""
    of_l, of_r = (
        Partners(torch.empty_like(scale), torch.empty_like(scale, dtype=torch.int64)) for scale in scales
    )
    arrays = dot_BPLR, *scales, *(None if mask is None else mask.contiguous() for mask in masks)
    call("best_partners", *arrays, of_l.best, of_l.winner, of_r.best, of_r.winner, *dot_BPLR.shape)
    return of_l, of_r


def best_partners_backward(
    texts: tuple[Tensor, Tensor],
    square_PH: Tensor,
    scales: tuple[Tensor, Tensor],
    winners: tuple[Tensor, Tensor],
    gradients: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the texts `[B, L, H]` and `[B, R, H]` and of the squared weights `[P, H]`, through the dot products
    Σ_d v_d p_d h_d of the winners, whose cosines have the `gradients` `[B, P, L]` and `[B, P, R]`."""
    (B, L, H), R, P = texts[0].shape, texts[1].shape[1], len(square_PH)
    results = *(torch.zeros_like(x) for x in texts), square_PH.new_zeros(B, P, H)
    arrays = *texts, square_PH, *scales, *winners, *(x.contiguous() for x in gradients)
    call("best_partners_backward", *arrays, *results, B, P, L, R, H)
    # a slice of its own for each row, summed here: threads cannot change the order of the sum
    return results[0], results[1], results[2].sum(0)


def max_cosine(
    p_BLH: Tensor, h_BRH: Tensor, weight_PH: Tensor, p_mask: Tensor | None, h_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Max-pooling matching: max over valid s of cos(w_k ∘ p_t, w_k ∘ h_s), `[B, L, P]`, and over valid t,
    `[B, R, P]`. Masks None: every step is valid."""
    with in_float32(p_BLH, h_BRH, weight_PH.square()) as arrays:
        p_best, h_best = _MaxCosine.apply(*arrays, p_mask, h_mask)  # type: ignore[no-untyped-call]
    return p_best, h_best


class _MaxCosine(torch.autograd.Function):
    """With v = w² and n_ts = Σ_d v_d p_td h_sd: cos_ts = n_ts / sqrt(Σ v p_t²) / sqrt(Σ v h_s²).

    The n of a row and all perspectives are one matrix product; only the winners among them are kept. So is
    the backward pass: dn = G / norms, with G the gradient scattered to the winners, and

        dp = Σ_k v_k ∘ (dn_k h) - p ∘ Σ_k v_k c_k / ‖p‖²_k        (h alike)
        dv = Σ p ∘ (dn h) - ½ Σ c p² / ‖p‖² - ½ Σ c h² / ‖h‖²

    where c sums G ∘ cos over the other text's steps.
    """

    @staticmethod
    def forward(
        ctx: Any,
        p_BLH: Tensor,
        h_BRH: Tensor,
        square_PH: Tensor,
        p_mask: Tensor | None,
        h_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        p_BLH, h_BRH, square_PH = p_BLH.contiguous(), h_BRH.contiguous(), square_PH.contiguous()
        scales = _inverse_norm(p_BLH, square_PH), _inverse_norm(h_BRH, square_PH)
        p, h = _best_partners(p_BLH, h_BRH, square_PH, scales, (p_mask, h_mask))
        # a step's own norm does not change which partner is best, so it is divided out afterwards
        p_best, h_best = p.best * scales[0], h.best * scales[1]
        ctx.save_for_backward(p_BLH, h_BRH, square_PH, *scales, p_best, h_best, p.winner, h.winner)
        return p_best.transpose(1, 2), h_best.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        p_BLH, h_BRH, square_PH, p_scale, h_scale, p_best, h_best, p_winner, h_winner = ctx.saved_tensors
        p_grad_BPL, h_grad_BPR = (grad.transpose(1, 2) for grad in grads)
        grad_p, grad_h, grad_square = _through_winners(
            (p_BLH, h_BRH), square_PH, (p_scale, h_scale), (p_winner, h_winner), (p_grad_BPL, h_grad_BPR)
        )
        p_share, h_share = p_grad_BPL * p_best, h_grad_BPR * h_best
        # of each step: its own best pair, and every pair in which it is the other's best partner
        c_BPL = p_share.scatter_add(2, h_winner, h_share)
        c_BPR = h_share.scatter_add(2, p_winner, p_share)
        for x, scale, c, grad_x in ((p_BLH, p_scale, c_BPL, grad_p), (h_BRH, h_scale, c_BPR, grad_h)):
            # at its lower bound a norm is a constant
            ratio_BTP = (c * scale.square() * (scale < 1 / EPSILON)).transpose(1, 2)
            grad_x -= x * (ratio_BTP @ square_PH)
            grad_square -= 0.5 * ratio_BTP.flatten(0, 1).T @ x.square().flatten(0, 1)
        return grad_p, grad_h, grad_square, None, None


def _best_partners(
    p_BLH: Tensor, h_BRH: Tensor, square_PH: Tensor, scales: Pair, masks: tuple[Tensor | None, Tensor | None]
) -> tuple[Partners, Partners]:
    """See `best_partners`."""
    found = []
    for rows in _rows(p_BLH, h_BRH, square_PH):
        dot_BPLR = _weighted_dots(p_BLH[rows], h_BRH[rows], square_PH)
        p_scale_BPL, h_scale_BPR = scales[0][rows], scales[1][rows]
        p_mask_BL, h_mask_BR = (None if mask is None else mask[rows] for mask in masks)
        if native.usable(dot_BPLR):
            p, h = best_partners(dot_BPLR, (p_scale_BPL, h_scale_BPR), (p_mask_BL, h_mask_BR))
        else:
            by_h = dot_BPLR * h_scale_BPR.unsqueeze(2)
            if h_mask_BR is not None:
                by_h.masked_fill_(~h_mask_BR[:, None, None], -torch.inf)
            # in place: `by_h` is a copy, and the plain products are not needed again
            by_p = dot_BPLR.mul_(p_scale_BPL.unsqueeze(3))
            if p_mask_BL is not None:
                by_p.masked_fill_(~p_mask_BL[:, None, :, None], -torch.inf)
            p, h = Partners(*by_h.max(3)), Partners(*by_p.max(2))
        found.append((p.best, p.winner, h.best, h.winner))
    p_best, p_winner, h_best, h_winner = (torch.cat(part) for part in zip(*found, strict=True))
    return Partners(p_best, p_winner), Partners(h_best, h_winner)


def _through_winners(
    texts: Pair, square_PH: Tensor, scales: Pair, winners: Pair, gradients: Pair
) -> tuple[Tensor, Tensor, Tensor]:
    """See `best_partners_backward`."""
    if native.usable(*texts, square_PH):
        return best_partners_backward(texts, square_PH, scales, winners, gradients)
    (p_BLH, h_BRH), (p_scale, h_scale), (p_winner, h_winner) = texts, scales, winners
    grad_p, grad_h, grad_square = (torch.zeros_like(x) for x in (p_BLH, h_BRH, square_PH))
    for rows in _rows(p_BLH, h_BRH, square_PH):
        p, h = p_BLH[rows], h_BRH[rows]
        dn_BPLR = p.new_zeros(*p_scale[rows].shape, h.shape[1])
        # each (perspective, l) has one winner, so nothing collides; a pair that won both ways is added up
        dn_BPLR.scatter_(3, p_winner[rows].unsqueeze(3), gradients[0][rows].unsqueeze(3))
        dn_BPLR.scatter_add_(2, h_winner[rows].unsqueeze(2), gradients[1][rows].unsqueeze(2))
        dn_BPLR *= p_scale[rows].unsqueeze(3)
        dn_BPLR *= h_scale[rows].unsqueeze(2)
        dn_BXR = dn_BPLR.flatten(1, 2)
        toward_BPLH = batched_product(dn_BXR, h).view(*p_scale[rows].shape, -1)
        grad_p[rows] = (toward_BPLH * square_PH.unsqueeze(1)).sum(1)
        grad_square += toward_BPLH.mul_(p.unsqueeze(1)).sum((0, 2))
        weighted_BXH = (p.unsqueeze(1) * square_PH.unsqueeze(1)).flatten(1, 2)
        grad_h[rows] = batched_product(dn_BXR.transpose(1, 2), weighted_BXH)
    return grad_p, grad_h, grad_square


def _rows(p_BLH: Tensor, h_BRH: Tensor, square_PH: Tensor) -> Iterator[slice]:
    _, L, H = p_BLH.shape
    return row_chunks(len(p_BLH), len(square_PH) * L * (h_BRH.shape[1] + H) * p_BLH.element_size())


def _weighted_dots(p_BLH: Tensor, h_BRH: Tensor, square_PH: Tensor) -> Tensor:
    """Σ_d v_kd p_td h_sd, `[B, P, L, R]`."""
    weighted_BPLH = p_BLH.unsqueeze(1) * square_PH.unsqueeze(1)
    dot_BXR = batched_product(weighted_BPLH.flatten(1, 2), h_BRH.transpose(1, 2))
    return dot_BXR.view(*weighted_BPLH.shape[:3], -1)


def _inverse_norm(x_BTH: Tensor, square_PH: Tensor) -> Tensor:
    """1 / max(sqrt(Σ_d v_kd x_td²), 1e-8), `[B, P, T]`."""
    norm_BPT = square_PH @ x_BTH.square().transpose(1, 2)
    # squared norms, hence the squared bound: 1e-16, which float32 holds
    return norm_BPT.clamp_(min=EPSILON**2).rsqrt_()
