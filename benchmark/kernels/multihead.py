"""Multi-head attention with its linear maps, of real positions side by side, as one function.

X positions of all sequences, Y of all contexts, D width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.kernels import native
from benchmark.kernels.attention import Attending, packed_attention, packed_cross_attention
from benchmark.kernels.linear import gradients_of_map, joint_linear, linear, mapped
from benchmark.kernels.packing import Packing


class Maps(NamedTuple):
    """The four linear maps; heads are consecutive blocks of channels."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear


def multihead(x_XD: Tensor, packing: Packing, maps: Maps, heads: int, rate: float = 0.0) -> Tensor:
    """W_o · MultiHead(x, x): each position attends to its sequence, dropout at `rate` on the weights."""
    if native.usable(x_XD, maps.output.weight) and not packing.is_fixed:
        return _compiled(x_XD, None, (packing, packing), maps, heads, rate)
    state_XY = joint_linear(x_XD.unsqueeze(0), *maps[:3]).squeeze(0)
    attended_XD = packed_attention(state_XY, packing, heads, rate)
    return _output(attended_XD, maps)


def cross_multihead(
    x_XD: Tensor,
    context_YD: Tensor,
    packings: tuple[Packing, Packing],
    maps: Maps,
    heads: int,
    rate: float = 0.0,
) -> Tensor:
    """W_o · MultiHead(x, context): each position attends to its sequence's context."""
    if native.usable(x_XD, context_YD, maps.output.weight) and not packings[0].is_fixed:
        return _compiled(x_XD, context_YD, packings, maps, heads, rate)
    query_XD = linear(x_XD.unsqueeze(0), maps.query.weight, maps.query.bias).squeeze(0)
    state_YX = joint_linear(context_YD.unsqueeze(0), maps.key, maps.value).squeeze(0)
    attended_XD = packed_cross_attention(query_XD, state_YX, packings, heads, rate)
    return _output(attended_XD, maps)


def _output(attended_XD: Tensor, maps: Maps) -> Tensor:
    return linear(attended_XD.unsqueeze(0), maps.output.weight, maps.output.bias).squeeze(0)


def _compiled(
    x_XD: Tensor,
    context_YD: Tensor | None,
    packings: tuple[Packing, Packing],
    maps: Maps,
    heads: int,
    rate: float,
) -> Tensor:
    queries, keys = packings
    form = "qkv" if context_YD is None else "q kv"
    attending = Attending(form, (None, queries), (None, keys), heads, rate, packed=True)
    parameters = [m.weight for m in maps] + [m.bias for m in maps]
    result: Tensor = _Multihead.apply(attending, x_XD, context_YD, *parameters)  # type: ignore[no-untyped-call]
    return result


class _Multihead(torch.autograd.Function):
    """The maps of one array are applied as one; gradients of their parameters are slices of those of the whole."""

    @staticmethod
    def forward(
        ctx: Any, attending: Attending, x_XD: Tensor, context_YD: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        query, key, value, output, *biases = parameters
        if context_YD is None:
            joint, rest = torch.cat([query, key, value]), None
            first, second = mapped(x_XD, joint, torch.cat(biases[:3])), None
        else:
            joint, rest = query, torch.cat([key, value])
            first = mapped(x_XD, joint, biases[0])
            second = mapped(context_YD, rest, torch.cat(biases[1:3]))
        attended_XD, log = attending.forward(first, second)
        ctx.attending = attending
        ctx.save_for_backward(x_XD, context_YD, joint, rest, output, first, second, attended_XD, log)
        return mapped(attended_XD, output, biases[3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_XD: Tensor) -> tuple[Tensor | None, ...]:
        x_XD, context_YD, joint, rest, output, *states = ctx.saved_tensors
        attended_XD = states[2]
        of_attended_XD, of_output, of_output_bias = gradients_of_map(gradient_XD, attended_XD, output)
        assert of_attended_XD is not None
        of_first, of_second = ctx.attending.backward(*states, of_attended_XD)
        wanted, wanted_too = ctx.needs_input_grad[1:3]
        of_x, of_joint, of_biases = gradients_of_map(of_first, x_XD, joint, wanted=wanted)
        if rest is None:
            of_maps, of_their_biases = of_joint.chunk(3), of_biases.chunk(3)
            return None, of_x, None, *of_maps, of_output, *of_their_biases, of_output_bias
        of_context, of_rest, of_its_biases = gradients_of_map(of_second, context_YD, rest, wanted=wanted_too)
        weights = of_joint, *of_rest.chunk(2), of_output
        return None, of_x, of_context, *weights, of_biases, *of_its_biases.chunk(2), of_output_bias
