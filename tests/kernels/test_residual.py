"""Residual sums with layer norm, linear maps around an activation: against PyTorch's modules in double precision."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.kernels import native, products
from benchmark.kernels.elementwise import dropout
from benchmark.kernels.linear import joint_linear
from benchmark.kernels.multihead import Maps, cross_multihead, multihead
from benchmark.kernels.packing import Packing
from benchmark.kernels.residual import add_norm, feed_forward
from tests.kernels.test_kernels import SEEDS, threads

__all__ = ["threads"]

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled code was not built")


ACTIVATIONS = {"gelu": F.gelu, "relu": torch.relu}


def with_gradients(function, inputs, modules):
    """Values, and gradients of inputs and parameters, of a weighted sum that no symmetry hides."""
    given_here = [x.detach().clone().requires_grad_() for x in inputs]
    values = function(*given_here)
    weights = (torch.linspace(-1, 2, y.numel(), dtype=y.dtype).sin().view_as(y) for y in values)
    total = sum((y * w).sum() for y, w in zip(values, weights, strict=True))
    parameters = [p for module in modules for p in module.parameters()]
    return [*values, *torch.autograd.grad(total, [*given_here, *parameters])]


def agree(ours, plain, inputs, modules, tolerance=2e-4):
    """`ours` in compiled code and as its twin, against `plain` in double precision."""
    exact_modules = [copy.deepcopy(module).double() for module in modules]
    exact = with_gradients(lambda *x: plain(*x, *exact_modules), [x.double() for x in inputs], exact_modules)
    twins = [with_gradients(lambda *x: ours(*x, *modules), inputs, modules)]
    with native.switched_off():
        twins.append(with_gradients(lambda *x: ours(*x, *modules), inputs, modules))
    for twin in twins:
        for x, y in zip(twin, exact, strict=True):
            torch.testing.assert_close(x.double(), y, rtol=1e-3, atol=tolerance * max(1, len(inputs[0])))


def norm_of(width, seed):
    norm = nn.LayerNorm(width, eps=1e-5)
    with torch.no_grad():
        norm.weight.normal_(generator=torch.Generator().manual_seed(seed))
        norm.bias.normal_()
    return norm


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 150), st.integers(2, 70), SEEDS)
def test_add_norm(n_rows, width, seed):
    torch.manual_seed(seed)
    base, x = torch.randn(n_rows, width), torch.randn(n_rows, width)

    def plain(base, x, norm):
        return base + x, norm(base + x)

    agree(add_norm, plain, (base, x), [norm_of(width, seed)])


@pytest.mark.parametrize("shape", [(7, 24), (2, 129, 24), (300, 33)])
def test_add_norm_drops_what_dropout_drops(shape):
    torch.manual_seed(0)
    base, x, norm = torch.randn(shape), torch.randn(shape), norm_of(shape[-1], 1)

    def seeded(function):
        torch.manual_seed(5)
        return with_gradients(function, (base, x), [norm])

    ours = seeded(lambda base, x: add_norm(base, x, norm, 0.3))
    apart = dropout  # the same draws, in operations of their own
    plain = seeded(lambda base, x: (total := apart(x, 0.3, base=base), norm(total)))
    for found, wanted in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 60), st.integers(1, 40), st.integers(1, 70), st.sampled_from(sorted(ACTIVATIONS)), SEEDS
)
def test_feed_forward(n_rows, width, inner, activation, seed):
    torch.manual_seed(seed)
    x = 2 * torch.randn(1, n_rows, width)
    first, second = nn.Linear(width, inner), nn.Linear(inner, width)

    def ours(x, first, second):
        return (feed_forward(x, first, second, activation),)

    def plain(x, first, second):
        return (second(ACTIVATIONS[activation](first(x))),)

    agree(ours, plain, (x,), [first, second], tolerance=1e-3)


def test_feed_forward_drops_what_dropout_drops():
    torch.manual_seed(0)
    x, first, second = torch.randn(40, 24), nn.Linear(24, 48), nn.Linear(48, 24)

    def seeded(function):
        torch.manual_seed(5)
        return with_gradients(function, (x,), [first, second])

    ours = seeded(lambda x: (feed_forward(x, first, second, "relu", 0.4),))
    plain = seeded(lambda x: (second(dropout(first(x), 0.4, relu=True)),))
    for found, wanted in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_gelu_over_its_whole_range():
    """Within three units of the last place of what it is near, and to 1e-6 where it is small; its slope too."""
    identity = nn.Linear(1, 1)
    nn.init.ones_(identity.weight)
    nn.init.zeros_(identity.bias)
    x = torch.linspace(-12, 12, 20_001).unsqueeze(1).requires_grad_()
    found = feed_forward(x, identity, copy.deepcopy(identity))
    exact_x = x.detach().double().requires_grad_()
    exact = F.gelu(exact_x)
    torch.testing.assert_close(found.double(), exact, rtol=4e-7, atol=1e-6)
    slope, exact_slope = torch.autograd.grad(found.sum(), x), torch.autograd.grad(exact.sum(), exact_x)
    torch.testing.assert_close(slope[0].double(), exact_slope[0], rtol=4e-7, atol=1e-6)


def test_joint_linear_is_the_maps_side_by_side():
    torch.manual_seed(0)
    maps = [nn.Linear(12, n) for n in (5, 7, 12)]
    x = torch.randn(2, 9, 12)
    agree(
        lambda x, *maps: (joint_linear(x, *maps),),
        lambda x, *maps: (torch.cat([m(x) for m in maps], -1),),
        (x,),
        maps,
    )


def test_the_number_of_threads_changes_nothing(threads, monkeypatch):
    """Where products are the compiled code's, too."""
    monkeypatch.setattr(products, "LARGE_PRODUCT", 0)
    monkeypatch.setattr(native, "has_wide_products", lambda: True)
    torch.manual_seed(0)
    base, x, norm = torch.randn(333, 24), torch.randn(333, 24), norm_of(24, 0)
    first, second = nn.Linear(24, 48), nn.Linear(48, 24)

    def both(base, x):
        torch.manual_seed(1)
        total, normed = add_norm(base, x, norm, 0.2)
        return total, feed_forward(normed, first, second)

    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(with_gradients(both, (base, x), [norm]))
    for other in found[1:]:
        for ours, wanted in zip(found[0], other, strict=True):
            assert torch.equal(ours, wanted)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 3), st.integers(1, 9), SEEDS)
def test_multihead(n_sequences, length, heads, width, seed):
    """Maps and attention as one function, to itself and to a context, some of it empty: sequence by sequence."""
    torch.manual_seed(seed)
    D = heads * width
    maps = Maps(*(nn.Linear(D, D) for _ in range(4)))
    masks = [torch.rand(n_sequences, n) < 0.7 for n in (length, length + 3)]
    queries, keys = map(Packing.of, masks)
    x, context = torch.randn(len(queries), D), torch.randn(len(keys), D)

    def attended(x, context, masks, maps):
        sizes = [mask.sum(1).tolist() for mask in masks]
        found = []
        for own, other in zip(x.split(sizes[0]), context.split(sizes[1]), strict=True):
            parts = maps[0](own), maps[1](other), maps[2](other)
            query, key, value = (part.view(len(part), heads, width).transpose(0, 1) for part in parts)
            weight = (query @ key.mT * width**-0.5).softmax(-1) if len(other) else query @ key.mT
            found.append(maps[3]((weight @ value).transpose(0, 1).flatten(1)))
        return torch.cat(found)

    agree(
        lambda x, *maps: (multihead(x, queries, Maps(*maps), heads),),
        lambda x, *maps: (attended(x, x, (masks[0], masks[0]), maps),),
        (x,),
        maps,
        tolerance=1e-3,
    )
    agree(
        lambda x, context, *maps: (cross_multihead(x, context, (queries, keys), Maps(*maps), heads),),
        lambda x, context, *maps: (attended(x, context, masks, maps),),
        (x, context),
        maps,
        tolerance=1e-3,
    )
