"""MCR's coherence graphs: messages between nodes, whose pairs are scored by a two-layer network, and the pooling of
nodes by a claim; in memory that does not grow with the network's width.

N graphs, B rows (product, review), T nodes, C node width, H hidden width of the networks. W₁ of
e_ij = w₂ᵀ relu(W₁ [x_i ; x_j] + b₁) is split into the halves that meet x_i and x_j; what is left is the sum over H of a
T x T x H array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.arrays import MASKED, in_float32
from benchmark.kernels.linear import gradients_of_map, linear, mapped
from benchmark.kernels.native import call
from benchmark.kernels.products import batched_product

PairNetwork = tuple[Tensor, Tensor, Tensor]
"""Weight `[H, 2 C]` and bias `[H]` of the first layer of a network over two vectors, weight `[1, H]` of the second."""

BLOCK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Size of the temporary of one block: 4 MB stay in a CPU's cache, a GPU wants few launches."""


def _blocks(a_NTH: Tensor) -> Iterator[tuple[slice, slice]]:
    """(graphs, nodes i) whose `[graphs, i, T, H]` temporary fits the budget of the device."""
    n_graphs, n_nodes, hidden = a_NTH.shape
    budget = BLOCK_ELEMENTS.get(a_NTH.device.type, BLOCK_ELEMENTS["cuda"])
    graphs = max(1, budget // max(1, n_nodes * n_nodes * hidden))
    # several graphs at once only if they fit whole; else one graph, some of its nodes i at a time
    nodes = n_nodes if graphs > 1 else max(1, budget // (n_nodes * hidden))
    for first in range(0, n_graphs, graphs):
        for start in range(0, n_nodes, nodes):
            yield slice(first, first + graphs), slice(start, start + nodes)


def _gated_sum(own_NTH: Tensor, other_NTH: Tensor, weight_NTT: Tensor) -> Tensor:
    """Σ_j weight_ij [own_ih + other_jh > 0], `[N, T, H]`."""
    result_NTH = torch.empty_like(own_NTH)
    negative_NTH = -other_NTH
    buffer = own_NTH.new_empty(0)
    for n, i in _blocks(own_NTH):
        own = own_NTH[n, i].unsqueeze(2)
        buffer = _fitting(buffer, own, own_NTH.shape[1])
        # own > -other stores no sum; a float buffer takes the truth as 1 and 0, fit for the product
        torch.gt(own, negative_NTH[n].unsqueeze(1), out=buffer)
        result_NTH[n, i] = (weight_NTT[n, i].unsqueeze(2) @ buffer).squeeze(2)
    return result_NTH


def _fitting(buffer: Tensor, own: Tensor, n_nodes: int) -> Tensor:
    """A `[graphs, i, T, H]` buffer for the block `[graphs, i, 1, H]`: the one at hand if it fits, for a fresh
    one costs a page fault every 4 KB, which is more than the arithmetic."""
    shape = (*own.shape[:2], n_nodes, own.shape[3])
    return buffer if buffer.shape == shape else own.new_empty(shape)


class _PairAttention(torch.autograd.Function):
    """softmax_j of e_ij = Σ_h w_h relu(a_ih + b_jh) + offset_j, with recomputation in the backward pass.

    Forward: relu(a + b) = max(a, -b) + b spares one pass over the block. Backward, with g = ∂L/∂e:
    G^a_ih = Σ_j g_ij [a_ih + b_jh > 0] and G^b_jh likewise give ∂L/∂a = w G^a, ∂L/∂b = w G^b and, since
    relu(z) = z [z > 0], ∂L/∂w_h = Σ_i a_ih G^a_ih + Σ_j b_jh G^b_jh.
    """

    @staticmethod
    def forward(ctx: Any, a_NTH: Tensor, b_NTH: Tensor, w_H: Tensor, offset_NT: Tensor) -> Tensor:
        negative_NTH = -b_NTH
        # w·relu(a + b) = w·max(a, -b) + w·b, of which the last depends on j alone
        key_NT = b_NTH @ w_H + offset_NT
        weight_NTT = a_NTH.new_empty(*a_NTH.shape[:2], a_NTH.shape[1])
        buffer = a_NTH.new_empty(0)
        for n, i in _blocks(a_NTH):
            own = a_NTH[n, i].unsqueeze(2)
            buffer = _fitting(buffer, own, a_NTH.shape[1])
            torch.maximum(own, negative_NTH[n].unsqueeze(1), out=buffer)
            weight_NTT[n, i] = (buffer @ w_H).add_(key_NT[n].unsqueeze(1)).softmax(-1)
        ctx.save_for_backward(a_NTH, b_NTH, w_H, weight_NTT)
        return weight_NTT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NTT: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        a_NTH, b_NTH, w_H, weight_NTT = ctx.saved_tensors
        product_NTT = gradient_NTT * weight_NTT
        # softmax backward: g_ij = y_ij (∂L/∂y_ij - Σ_k y_ik ∂L/∂y_ik); in place, its sum is taken before
        logit_NTT = product_NTT.addcmul_(product_NTT.sum(-1, keepdim=True), weight_NTT, value=-1)
        own_NTH = _gated_sum(a_NTH, b_NTH, logit_NTT)
        # the gate a_i + b_j > 0 is symmetric: with transposed weights the same sum runs over i
        other_NTH = _gated_sum(b_NTH, a_NTH, logit_NTT.transpose(1, 2).contiguous())
        w_gradient_H = (a_NTH * own_NTH + b_NTH * other_NTH).sum((0, 1))
        return own_NTH * w_H, other_NTH * w_H, w_gradient_H, None


def pair_attention(a_NTH: Tensor, b_NTH: Tensor, w_H: Tensor, mask_NT: Tensor) -> Tensor:
    """Attention weights `[N, T, T]`: for each node i, softmax over valid nodes j of Σ_h w_h relu(a_ih + b_jh);
    in memory that does not grow with H.

    Not twice differentiable. Half precisions are computed in float32: the sum has H signed terms.
    """
    with in_float32(a_NTH, b_NTH, w_H) as (a_NTH, b_NTH, w_H):
        # added to e_ij: a masked j weighs exactly 0, but if all are masked they weigh alike
        offset_NT = torch.zeros_like(mask_NT, dtype=a_NTH.dtype).masked_fill(~mask_NT, MASKED)
        arguments = a_NTH.contiguous(), b_NTH.contiguous(), w_H.to(a_NTH.dtype), offset_NT
        result: Tensor = _PairAttention.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


def messages(node_NTC: Tensor, mask_NT: Tensor, network: PairNetwork) -> Tensor:
    """x_i ← Σ_j softmax_j(e_ij) x_j over valid nodes j, `[N, T, C]`; padded nodes i are computed like any others."""
    if native.usable(node_NTC, *network):
        result: Tensor = _Messages.apply(node_NTC.contiguous(), mask_NT.contiguous(), *network)  # type: ignore[no-untyped-call]
        return result
    first_HX, bias_H, second_1H = network
    # W₁ [x_i ; x_j] = W₁ᵃ x_i + W₁ᵇ x_j: the T x T pairs of vectors are never built
    own_HC, other_HC = first_HX.chunk(2, dim=1)
    a_NTH, b_NTH = linear(node_NTC, own_HC, bias_H), linear(node_NTC, other_HC)
    weight_NTT = pair_attention(a_NTH, b_NTH, second_1H.squeeze(0), mask_NT)
    return batched_product(weight_NTT.to(node_NTC.dtype), node_NTC)


class _Messages(torch.autograd.Function):
    """Graph by graph in the cache; both halves of the first layer are one product."""

    @staticmethod
    def forward(
        ctx: Any, node_NTC: Tensor, mask_NT: Tensor, first_HX: Tensor, bias_H: Tensor, second_1H: Tensor
    ) -> Tensor:
        (N, T, C), H = node_NTC.shape, len(first_HX)
        halves_YC = torch.cat(first_HX.chunk(2, dim=1))
        ab_NTY = mapped(node_NTC, halves_YC, F.pad(bias_H, (0, H)))
        weight_NTT, out_NTC = node_NTC.new_empty(N, T, T), torch.empty_like(node_NTC)
        call("messages", ab_NTY, second_1H, mask_NT, node_NTC, weight_NTT, out_NTC, N, T, H, C)
        ctx.save_for_backward(ab_NTY, second_1H, node_NTC, weight_NTT, halves_YC)
        return out_NTC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NTC: Tensor) -> tuple[Tensor | None, ...]:
        ab_NTY, second_1H, node_NTC, weight_NTT, halves_YC = ctx.saved_tensors
        (N, T, C), H = node_NTC.shape, second_1H.shape[1]
        of_ab_NTY, of_node_NTC, of_second_NH = map(torch.empty_like, (ab_NTY, node_NTC, ab_NTY[:, 0, :H]))
        given = ab_NTY, second_1H, node_NTC, weight_NTT, gradient_NTC.contiguous()
        call("messages_backward", *given, of_ab_NTY, of_node_NTC, of_second_NH, N, T, H, C)
        flat = of_ab_NTY.view(-1, 2 * H), node_NTC.view(-1, C)
        through_XC, of_halves_YC, of_bias_Y = gradients_of_map(*flat, halves_YC)
        assert through_XC is not None
        of_node_NTC += through_XC.view_as(of_node_NTC)
        return (
            of_node_NTC,
            None,
            torch.cat(of_halves_YC.chunk(2), 1),
            of_bias_Y[:H],
            of_second_NH.sum(0, keepdim=True),
        )


def claim_pool(
    claim_NC: Tensor,
    product_B: Tensor,
    node_BTC: Tensor,
    mask_BT: Tensor,
    network: PairNetwork,
    bias_1: Tensor,
) -> Tensor:
    """Σ_j softmax_j(e_j) x_j over valid nodes j of each row, e_j = w₂ᵀ relu(W₁ [q ; x_j] + b₁) + b₂, `[B, C]`; q is the
    claim of the row's product."""
    if native.usable(claim_NC, node_BTC, *network):
        arrays = (
            claim_NC,
            product_B.contiguous(),
            node_BTC.contiguous(),
            mask_BT.contiguous(),
            *network,
            bias_1,
        )
        result: Tensor = _ClaimPool.apply(*arrays)  # type: ignore[no-untyped-call]
        return result
    first_HX, bias_H, second_1H = network
    claim_HC, node_HC = first_HX.chunk(2, dim=1)
    claim_BH = linear(claim_NC, claim_HC, bias_H).index_select(0, product_B)
    hidden_BTH = torch.relu(claim_BH.unsqueeze(1) + linear(node_BTC, node_HC))
    logit_BT = F.linear(hidden_BTH, second_1H, bias_1).squeeze(-1)
    weight_BT = logit_BT.masked_fill(~mask_BT, MASKED).softmax(-1)
    return torch.bmm(weight_BT.unsqueeze(1), node_BTC).squeeze(1)


class _ClaimPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        claim_NC: Tensor,
        product_B: Tensor,
        node_BTC: Tensor,
        mask_BT: Tensor,
        first_HX: Tensor,
        bias_H: Tensor,
        second_1H: Tensor,
        bias_1: Tensor,
    ) -> Tensor:
        (B, T, C), H = node_BTC.shape, len(first_HX)
        ctx.sizes = B, len(claim_NC), T, H, C
        claim_HC, node_HC = (half.contiguous() for half in first_HX.chunk(2, dim=1))
        claim_NH, own_BTH = mapped(claim_NC, claim_HC, bias_H), mapped(node_BTC, node_HC, None)
        weight_BT, out_BC = node_BTC.new_empty(B, T), node_BTC.new_empty(B, C)
        given = claim_NH, own_BTH, second_1H, bias_1, mask_BT, node_BTC, product_B
        call("claim_pool", *given, weight_BT, out_BC, *ctx.sizes)
        kept = claim_NH, own_BTH, second_1H, mask_BT, node_BTC, product_B, weight_BT
        ctx.save_for_backward(claim_NC, claim_HC, node_HC, *kept)
        return out_BC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BC: Tensor) -> tuple[Tensor | None, ...]:
        claim_NC, claim_HC, node_HC, *kept = ctx.saved_tensors
        claim_NH, own_BTH, second_1H, _, node_BTC, *_ = kept
        of_claim_NH, of_own_BTH, of_node_BTC = map(torch.empty_like, (claim_NH, own_BTH, node_BTC))
        B, H = len(gradient_BC), second_1H.shape[1]
        of_second_BH, of_bias_B1 = second_1H.new_empty(B, H), second_1H.new_empty(B, 1)
        results = of_claim_NH, of_own_BTH, of_second_BH, of_bias_B1, of_node_BTC
        call("claim_pool_backward", *kept, gradient_BC.contiguous(), *results, *ctx.sizes)
        of_claim, of_claim_HC, of_bias_H = gradients_of_map(of_claim_NH, claim_NC, claim_HC)
        flat = of_own_BTH.view(-1, H), node_BTC.view(-1, node_BTC.shape[2])
        through, of_node_HC, _ = gradients_of_map(*flat, node_HC)
        assert through is not None
        of_node_BTC += through.view_as(of_node_BTC)
        of_first_HX = torch.cat([of_claim_HC, of_node_HC], 1)
        of_second_1H, of_bias_1 = of_second_BH.sum(0, keepdim=True), of_bias_B1.sum(0)
        return of_claim, None, of_node_BTC, None, of_first_HX, of_bias_H, of_second_1H, of_bias_1
