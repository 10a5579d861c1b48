"""Our Adam against PyTorch's in double precision, and its state across a save."""

from __future__ import annotations

import copy

import pytest
import torch

from benchmark.engine.adam import Adam
from benchmark.kernels import native

SHAPES = [(3, 5), (1,), (40,), (7, 2, 3)]


def parameters(dtype=torch.float32):
    random = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=random).to(dtype).requires_grad_() for shape in SHAPES]


def groups(params):
    return [{"params": params[:1], "lr": 0.02}, {"params": params[1:], "lr": 0.003}]


def give_gradients(params, step, left_out=()):
    random = torch.Generator().manual_seed(100 + step)
    for number, p in enumerate(params):
        gradient = torch.randn(p.shape, generator=random)
        p.grad = None if number in left_out else gradient.to(p.dtype)


@pytest.mark.parametrize("compiled", [True, False])
def test_steps_are_adams(compiled):
    """A parameter without a gradient waits, and its corrections count its own steps."""
    if compiled and not native.available():
        pytest.skip("the compiled code was not built")
    ours, exact = parameters(), parameters(torch.float64)
    mine = Adam(groups(ours), lr=0.01)
    other = torch.optim.Adam(groups(exact), lr=0.01, foreach=False)
    for step in range(6):
        for params, optimiser in ((ours, mine), (exact, other)):
            give_gradients(params, step, left_out=(2,) if step in (1, 2) else ())
            if compiled or optimiser is other:
                optimiser.step()
            else:
                with native.switched_off():
                    optimiser.step()
    for p, q in zip(ours, exact, strict=True):
        torch.testing.assert_close(p.double(), q, rtol=1e-5, atol=1e-6)


def test_goes_on_from_a_saved_state_to_the_last_bit():
    ours = parameters()
    first = Adam(groups(ours), lr=0.01)
    for step in range(3):
        give_gradients(ours, step)
        first.step()
    others = copy.deepcopy(ours)
    second = Adam(groups(others), lr=0.01)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(3, 5):
        for params, optimiser in ((ours, first), (others, second)):
            give_gradients(params, step)
            optimiser.step()
    for p, q in zip(ours, others, strict=True):
        assert torch.equal(p, q)
