"""Adam in one call for all parameters: with a hundred small ones, PyTorch's takes longer than its arithmetic."""

from __future__ import annotations

import operator
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.kernels import native


@dataclass
class _Known:
    """What stays from step to step of a group's parameters that have a gradient."""

    params: list[Tensor]
    addresses: list[int]
    pointer_P4: Tensor
    """int64: of each parameter, its gradient, its mean and its mean square; held by `params` and the state."""
    gradient_P: NDArray[np.int64]
    """The gradients' column of it, in the same memory: addresses are no numbers of a run, so what traces torch's
    operations must not see them."""
    size_P: Tensor
    clock_P: Tensor
    """How many steps each has taken, which `state` holds views of: all are counted up at once."""


def _call_directly() -> None:
    """An optimiser's methods ask torch's compiler to keep away from them, and importing it to ask takes as long as
    importing torch. Nothing here compiles: unless it is loaded already, they are called as they are."""
    if "torch._dynamo" in sys.modules:
        return
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if method is not None:
            # where torch keeps the method that the compiler was asked about
            vars(method).setdefault("__dynamo_disable", method)


class Adam(torch.optim.Adam):
    """`torch.optim.Adam` (Kingma and Ba, 2015), whose state it keeps; compiled code takes the step where all is float32
    on a CPU."""

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        _call_directly()
        on_gpu = any(p.device.type == "cuda" for group in groups for p in group["params"])
        super().__init__(groups, lr=lr, fused=True, capturable=on_gpu)
        self._known: dict[int, _Known] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Every gradient forgotten; PyTorch's looks at each device first."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self, closure: Any = None) -> Any:
        # without a gradient a parameter is skipped whole: its moments and clock stand still, as in torch
        found = [[(p, p.grad) for p in group["params"]] for group in self.param_groups]
        if closure or torch.is_autocast_enabled("cpu") or not native.available():
            return super().step(closure)
        with torch.no_grad():
            given = [[p for p, gradient in pairs if gradient is not None] for pairs in found]
            known = [self._of_group(number, params) for number, params in enumerate(given)]
            gradients = [[gradient for _, gradient in pairs if gradient is not None] for pairs in found]
            if any(k is None for k in known) or not all(map(_are_float32, gradients)):
                return super().step(closure)
            for group, k, arrays in zip(self.param_groups, known, gradients, strict=True):
                if k is not None and k.params:
                    _step(group, k, arrays)
        return None

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        # loading puts new step tensors into `state`: the old clocks would count for nobody
        self._known.clear()

    def _of_group(self, number: int, params: list[Tensor]) -> _Known | None:
        """What is known of these parameters; None if compiled code cannot take them."""
        known = self._known.get(number)
        addresses = [p.data_ptr() for p in params]
        # `is`: == on tensors compares element by element
        if known is None or known.addresses != addresses or not all(map(operator.is_, known.params, params)):
            if not native.usable(*params) or not all(p.is_contiguous() for p in params):
                return None
            self._known[number] = known = self._learn(params, addresses)
        return known

    def _learn(self, params: list[Tensor], addresses: list[int]) -> _Known:
        states = [self._of(p) for p in params]
        pointers = np.array(
            [
                (address, 0, state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr())
                for address, state in zip(addresses, states, strict=True)
            ],
            dtype=np.int64,
        ).reshape(-1, 4)
        clock_P = torch.stack([state["step"] for state in states]) if states else torch.zeros(0)
        for state, step in zip(states, clock_P, strict=True):
            # a view of the clock, so that adding 1 to the clock counts up every state
            state["step"] = step
        sizes = torch.tensor([p.numel() for p in params], dtype=torch.int64)
        return _Known(params, addresses, torch.from_numpy(pointers), pointers[:, 1], sizes, clock_P)

    def _of(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter, made at its first step."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


def _are_float32(gradients: list[Any]) -> bool:
    return all(g.dtype is torch.float32 for g in gradients)


def _step(group: dict[str, Any], known: _Known, gradients: list[Any]) -> None:
    # held until the call: a gradient that is not contiguous is copied
    held = [g if g.is_contiguous() else g.contiguous() for g in gradients]
    known.gradient_P[:] = [g.data_ptr() for g in held]
    # counted before the call: the bias correction is that of the step being made
    arrays = known.pointer_P4, known.size_P, known.clock_P.add_(1)
    native.call("adam", *arrays, float(group["lr"]), *group["betas"], group["eps"], len(held))
