"""Self-ATT, SoftPool, visual encoder and interactions, each against plain NumPy or a closed form."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from torch import nn

from benchmark.core.types import length_mask
from benchmark.kernels.packing import Packing
from benchmark.kernels.softpool import soft_pool
from mmss.attention import SelfAttention
from mmss.config import INTERACTIONS, Config
from mmss.interactions import Interactions
from mmss.states import States
from mmss.vision import VisualEncoder
from tests.mmss.fixtures import SMALL, Toy


def affine(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def attention_by_hand(attention: SelfAttention, x_LD: np.ndarray) -> np.ndarray:
    """Vaswani et al., one sequence, one loop per head."""
    query, key = np.split(affine(x_LD, attention.query_key), 2, axis=1)
    value = affine(x_LD, attention.value)
    size = x_LD.shape[1] // attention.heads
    parts = []
    for head in range(attention.heads):
        own = slice(head * size, (head + 1) * size)
        weight_LL = softmax(query[:, own] @ key[:, own].T / math.sqrt(size), axis=1)
        parts.append(weight_LL @ value[:, own])
    out = np.concatenate(parts, axis=1)
    if attention.join is not None:
        out = affine(out, attention.join)
    if attention.norm is not None:
        out = x_LD + out
        out = (out - out.mean(1, keepdims=True)) / np.sqrt(out.var(1, keepdims=True) + attention.norm.eps)
    return out


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("heads", [1, 4])
def test_self_attention_against_numpy(heads: int, residual: bool) -> None:
    torch.manual_seed(1)
    attention = SelfAttention(8, heads, residual=residual).double()
    x_NLD, count_N = torch.randn(3, 6, 8, dtype=torch.float64), torch.tensor([6, 4, 1])
    got = attention(x_NLD, length_mask(count_N, 6)).detach().numpy()
    for index, count in enumerate(count_N.tolist()):
        want = attention_by_hand(attention, x_NLD[index, :count].numpy())
        np.testing.assert_allclose(got[index, :count], want, atol=1e-12)
        assert not got[index, count:].any()


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("residual", [False, True])
def test_multiplying_value_and_projection_first_changes_nothing(heads: int, residual: bool) -> None:
    torch.manual_seed(2)
    attention = SelfAttention(10, heads, residual=residual).double()
    project = nn.Linear(10, 4).double()
    x_NLD, mask_NL = torch.randn(3, 5, 10, dtype=torch.float64), length_mask(torch.tensor([5, 2, 0]), 5)
    packing = Packing.of(mask_NL)
    got = packing.unpack(attention.then_project(packing.pack(x_NLD), packing, project))
    torch.testing.assert_close(got, project(attention(x_NLD, mask_NL)) * mask_NL[:, :, None])


def test_an_empty_sequence_gives_zeros_and_finite_gradients() -> None:
    attention = SelfAttention(4)
    x_NLD = torch.randn(2, 3, 4, requires_grad=True)
    mask_NL = torch.tensor([[False] * 3, [True] * 3])
    pooled = soft_pool(attention(x_NLD, mask_NL), mask_NL)
    assert not pooled[0].any()
    pooled.sum().backward()
    assert x_NLD.grad is not None
    assert torch.isfinite(x_NLD.grad).all()
    assert not x_NLD.grad[0].any()


def test_soft_pool_of_two_values_in_closed_form() -> None:
    """For x and 0: sigmoid(x) x."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    x_NLD = torch.stack([x, torch.zeros_like(x)], dim=1)[:, :, None]
    pooled = soft_pool(x_NLD, torch.ones(13, 2, dtype=torch.bool))[:, 0]
    np.testing.assert_allclose(pooled.numpy(), (x / (1 + torch.exp(-x))).numpy(), atol=1e-14)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=6),
    st.integers(0, 4),
    st.floats(-50, 50),
)
def test_soft_pool_ignores_padding_and_stays_between_mean_and_max(
    values: list[float], padding: int, junk: float
) -> None:
    x = np.array(values)
    padded = torch.tensor([*values, *[junk] * padding], dtype=torch.float64)[None, :, None]
    pooled = float(soft_pool(padded, length_mask(torch.tensor([len(values)]), padded.shape[1])))
    assert pooled == pytest.approx(float(softmax(x) @ x), abs=1e-9)
    assert x.mean() - 1e-9 <= pooled <= x.max() + 1e-9


def states(n: int, length: int, width: int, counts: list[int]) -> States:
    state_NLD = torch.randn(n, length, width, dtype=torch.float64)
    return States.of(state_NLD, length_mask(torch.tensor(counts), length))


def in_float32(side: States) -> States:
    return States(side.state_1XD.float(), side.packing)


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_interactions_together_are_those_one_by_one(shared: bool, residual: bool, heads: int) -> None:
    """In float32, where compiled code takes all five at once, against float64: values and gradients."""
    torch.manual_seed(4)
    fields = {"attention_shared": shared, "attention_residual": residual, "attention_heads": heads}
    exact = Interactions(Config(**(SMALL | fields))).double()
    module = copy.deepcopy(exact).float()
    sides = (
        states(2, 4, 12, [4, 2]),
        states(2, 3, 12, [0, 3]),
        states(3, 5, 12, [5, 1, 3]),
        states(3, 2, 12, [2, 0, 1]),
    )
    rows = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 2])
    got = module(*map(in_float32, sides), *rows)
    want = exact(*sides, *rows)
    for name in INTERACTIONS:
        torch.testing.assert_close(got[name].double(), want[name], rtol=1e-4, atol=1e-5)
    for found in (got, want):
        sum(f_BD.square().sum() for f_BD in found.values()).backward()
    for ours, theirs in zip(module.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_interactions_against_numpy(shared: bool) -> None:
    torch.manual_seed(3)
    module = Interactions(Config(**(SMALL | {"attention_shared": shared}))).double()
    assert len(module.attention) == (1 if shared else 5)
    pt, pv = states(2, 4, 12, [4, 2]), states(2, 3, 12, [0, 3])
    rt, rv = states(3, 5, 12, [5, 1, 3]), states(3, 2, 12, [2, 0, 1])
    product_B, review_B = [0, 0, 1, 1], [0, 1, 1, 2]
    got = module(pt, pv, rt, rv, torch.tensor(product_B), torch.tensor(review_B))
    assert tuple(got) == INTERACTIONS
    modality = {"pt": (pt, product_B), "pv": (pv, product_B), "rt": (rt, review_B), "rv": (rv, review_B)}
    for name in INTERACTIONS:
        attention = module.attention["shared" if shared else name]
        for row in range(4):
            parts = []
            for side in (name[:2], name[2:]):
                part, index = modality[side]
                parts.append(part.padded_NLD[index[row]][part.mask_NL[index[row]]].numpy())
            joined = np.concatenate(parts)
            want = np.zeros(12)
            if len(joined):
                x_LD = attention_by_hand(attention, joined)
                want = (softmax(x_LD, axis=0) * x_LD).sum(axis=0)
            np.testing.assert_allclose(got[name][row].detach().numpy(), want, atol=1e-12)


@pytest.mark.parametrize("order", ["attend-then-project", "project-then-attend"])
def test_visual_encoder_orders(order: str) -> None:
    toy = Toy()
    encoder = VisualEncoder(Config(**(SMALL | {"visual_order": order})), 12).double()
    items = toy.batch(list(range(9))).reviews
    assert items.roi_NVF is not None
    assert items.roi_count_N is not None
    items = items.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    got = encoder(items).padded_NLD.detach().numpy()
    for index, count in enumerate(items.roi_count_N.tolist()):
        roi = items.roi_NVF[index, :count].numpy()
        if not count:
            want = np.zeros((0, 12))
        elif order == "attend-then-project":
            want = affine(attention_by_hand(encoder.attention, roi), encoder.project)
        else:
            want = attention_by_hand(encoder.attention, affine(roi, encoder.project))
        np.testing.assert_allclose(got[index, :count], want, atol=1e-12)
        assert not got[index, count:].any()


def test_attention_width_follows_the_order() -> None:
    """The printed order attends at the RoI width, the other one at d_v: what makes it 16 times cheaper."""
    for order, width in (("attend-then-project", 48), ("project-then-attend", 12)):
        encoder = VisualEncoder(Config(**(SMALL | {"visual_order": order})), 48)
        assert encoder.attention.value.weight.shape == (width, width)
