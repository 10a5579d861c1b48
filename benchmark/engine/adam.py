"""Adam in one call for all parameters: with a hundred small ones, PyTorch's takes longer than its arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.kernels import native


class Adam(torch.optim.Adam):
    """`torch.optim.Adam` (Kingma and Ba, 2015), whose state it keeps; compiled code takes the step where all is float32
    on a CPU."""

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        on_gpu = any(p.device.type == "cuda" for group in groups for p in group["params"])
        super().__init__(groups, lr=lr, fused=True, capturable=on_gpu)
        self._clocks: dict[int, tuple[list[Tensor], Tensor]] = {}
        """Of each group: the parameters of the last step, and their numbers of steps, of which `state` holds views."""

    def step(self, closure: Any = None) -> Any:
        # without a gradient a parameter is skipped whole: its moments and clock stand still, as in torch
        given = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        every = [p for params in given for p in params]
        if closure or not native.usable(*every, *(p.grad for p in every)) or not _contiguous(every):
            return super().step(closure)
        with torch.no_grad():
            for number, params in enumerate(given):
                if params:
                    self._step(number, params)
        return None

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        # loading puts new step tensors into `state`: the old clocks would count for nobody
        self._clocks.clear()

    def _step(self, number: int, params: list[Tensor]) -> None:
        """A group's parameters that have a gradient."""
        group = self.param_groups[number]
        states = [self._of(p) for p in params]
        # counted before the call: the bias correction is that of the step being made
        clock_P = self._clock(number, params, states).add_(1)
        # held until the call: a gradient that is not contiguous is copied
        gradients = [p.grad.contiguous() for p in params if p.grad is not None]
        # bare addresses: all that they point into must be held until the call returns
        pointers = [
            (p.data_ptr(), g.data_ptr(), state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr())
            for p, g, state in zip(params, gradients, states, strict=True)
        ]
        arrays = torch.tensor(pointers), torch.tensor([p.numel() for p in params]), clock_P
        native.call("adam", *arrays, float(group["lr"]), *group["betas"], group["eps"], len(params))

    def _of(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter, made at its first step."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _clock(self, number: int, params: list[Tensor], states: list[dict[str, Tensor]]) -> Tensor:
        """How many steps each parameter has taken, as one array that is counted up at once."""
        known, clock_P = self._clocks.get(number, ([], torch.zeros(0)))
        # `is not`: == on tensors compares element by element
        if len(known) != len(params) or any(a is not b for a, b in zip(known, params, strict=True)):
            clock_P = torch.stack([state["step"] for state in states])
            for state, step in zip(states, clock_P, strict=True):
                # a view of the clock, so that adding 1 to the clock counts up every state
                state["step"] = step
            self._clocks[number] = params, clock_P
        return clock_P


def _contiguous(params: list[Tensor]) -> bool:
    return all(p.is_contiguous() for p in params)
