"""How many floating-point operations a piece of work does, and how many the machine can do in a second.

Counted are those that are done, on the way that is taken: PyTorch's matrix products, convolutions and attention by its
own counter, LSTMs that run as one call by formula, and the compiled code call by call. A multiplication, an addition, a
comparison of two floats counts one, so that no instruction counts more than a multiply-add does in a matrix product,
and a share of the machine's peak cannot exceed 1. Not counted: what is done element by element outside of the compiled
code's loops over pairs (activations, norms, dropout, the optimiser).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.kernels import native, products

MATRIX = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product measures the device's peak."""

Count = Callable[..., int]
"""(arguments of `native.call` behind the name) -> operations."""


def _sizes(given: tuple[Any, ...], count: int) -> list[int]:
    """The last arguments, which are sizes."""
    return [int(size) for size in given[-count:]]


def _messages(*given: Any) -> int:
    """Of each pair of nodes, an addition, a maximum and a multiply-add of H; a weighed sum of nodes."""
    N, T, H, C = _sizes(given, 4)
    return N * T * T * (4 * H + 2 * C)


def _messages_backward(*given: Any) -> int:
    N, T, H, C = _sizes(given, 4)
    return N * T * T * (3 * H + 4 * C)  # a comparison, two additions; gradients of weights and of nodes


def _claim_pool(*given: Any) -> int:
    B, _, T, H, C = _sizes(given, 5)
    return B * T * (4 * H + 2 * C)  # an addition, a maximum, a multiply-add; a weighed sum


def _claim_pool_backward(*given: Any) -> int:
    B, _, T, H, C = _sizes(given, 5)
    return B * T * (6 * H + 4 * C)


def _strongest(*given: Any) -> int:
    """2 for each tap on each cell of a valid row."""
    row_mask_BL, (B, A, C, L, R, sizes, filters, _) = given[2], _sizes(given, 8)
    rows = B * L if row_mask_BL is None else int(row_mask_BL.sum())
    return 2 * rows * R * A * C * filters * _squares(sizes)


def _strongest_backward(*given: Any) -> int:
    """6 F for each cell that a winner covers: its cosine once more, and two scaled additions."""
    cell_BSK, (_, A, C, _, _, width, sizes, filters, keep) = given[5], _sizes(given, 9)
    return 6 * width * A * C * _covered(cell_BSK, sizes, filters, keep)


def _strongest_map_backward(*given: Any) -> int:
    cell_BSK, (_, C, _, _, sizes, filters, keep) = given[2], _sizes(given, 7)
    return 4 * C * _covered(cell_BSK, sizes, filters, keep)


def _covered(cell_BSK: Tensor, sizes: int, filters: int, keep: int) -> int:
    """Cells that winners cover, of one channel; those beyond a map's edge included."""
    winners_Z = (cell_BSK >= 0).view(len(cell_BSK), sizes, filters * keep).sum((0, 2))
    return sum(int(count) * size * size for size, count in enumerate(winners_Z, start=1))


def _squares(sizes: int) -> int:
    return sum(size * size for size in range(1, sizes + 1))


def _best_partners(*given: Any) -> int:
    B, P, L, R = _sizes(given, 4)
    return 4 * B * P * L * R  # two products, two maxima


def _best_partners_backward(*given: Any) -> int:
    B, P, L, R, H = _sizes(given, 5)
    return 6 * B * P * (L + R) * H  # three scaled additions for each winner


def _lstm(*given: Any) -> int:
    """The recurrent products of both directions; those of the inputs are a matrix product before it."""
    count_N, H = given[2], int(given[-2])
    return 2 * 2 * int(count_N.sum()) * 4 * H * H


def _lstm_train(*given: Any) -> int:
    """The recurrent products of real steps, forward; or backward, which leaves those of the weights to torch."""
    n_steps, (_, directions, H) = len(given[0]), _sizes(given, 3)
    return 2 * n_steps * directions * 4 * H * H


def _weighted_cosines(*given: Any) -> int:
    """A product and two norms of each real step, comparison and perspective."""
    mask_BT, (B, T, H, P, J) = given[4], _sizes(given, 5)
    steps = B * T if mask_BT is None else int(mask_BT.sum())
    return 6 * steps * J * P * H


def _weighted_cosines_backward(*given: Any) -> int:
    return 2 * _weighted_cosines(*given)  # three sums over perspectives, and three for the weights


def _highest_windows(*given: Any) -> int:
    windows_N, C = given[1], int(given[-1])
    return int(windows_N.sum()) * C


def _highest_windows_backward(*given: Any) -> int:
    gradient_NC, (E, _, k) = given[3], _sizes(given, 3)
    return 4 * int(torch.count_nonzero(gradient_NC)) * k * E


def _sum_words(*given: Any) -> int:
    N, T, _, P, C = _sizes(given, 5)
    return N * T * P * C


def _kernel_sums(*given: Any) -> int:
    B, X, R, K = _sizes(given, 4)
    return 2 * B * X * R * K  # a factor and an addition for each bell, of which none costs less


def _kernel_sums_backward(*given: Any) -> int:
    return 2 * _kernel_sums(*given)


def _attention(*given: Any) -> int:
    """Logits and weighted values, of real positions with real positions."""
    heads, width, value_width, _ = _sizes(given, 4)
    return 2 * _attended_pairs(given) * heads * (width + value_width)


def _attention_backward(*given: Any) -> int:
    """Logits again, and the gradients of weights, values, queries and keys."""
    heads, width, value_width, _ = _sizes(given, 4)
    return 2 * _attended_pairs(given) * heads * (3 * width + 2 * value_width)


def _attended_pairs(given: tuple[Any, ...]) -> int:
    """Queries times keys of each sequence, summed: behind three places stand the rows and starts of both."""
    queries_N1, keys_N1 = given[4], given[6]
    return int((queries_N1.diff() * keys_N1.diff()).sum())


def _aware_sums(*given: Any) -> int:
    """The logits of real positions; the sums that they weigh are taken once for all positions of a review."""
    product_mask_NL, review_mask_MR, product_B, review_B = given[2], *given[4:7]
    pairs_B = product_mask_NL.sum(1)[product_B] * review_mask_MR.sum(1)[review_B]
    return 2 * int(pairs_B.sum()) * int(given[-1])


def _aware_sums_backward(*given: Any) -> int:
    return 3 * _aware_sums(*given)  # logits again, gradients of queries and of reviews


def _add_rows(*given: Any) -> int:
    count, width = _sizes(given, 2)
    return count * width


def _product(*given: Any) -> int:
    """Of one pair of matrices, or of many: the last sizes are (pairs,) rows, columns, terms of a sum."""
    return 2 * math.prod(_sizes(given, 3))


def _products(*given: Any) -> int:
    return 2 * math.prod(_sizes(given, 4))


def _map_backward(*given: Any) -> int:
    """Gradients of the weight, and of the input where it wants one."""
    return 2 * math.prod(_sizes(given, 3)) * (1 if given[3] is None else 2)


def _none(*given: Any) -> int:
    return 0


KERNELS: Mapping[str, Count] = {
    "messages": _messages,
    "messages_backward": _messages_backward,
    "claim_pool": _claim_pool,
    "claim_pool_backward": _claim_pool_backward,
    "strongest": _strongest,
    "strongest_backward": _strongest_backward,
    "strongest_map_backward": _strongest_map_backward,
    "best_partners": _best_partners,
    "best_partners_backward": _best_partners_backward,
    "lstm": _lstm,
    "lstm_train": _lstm_train,
    "lstm_train_backward": _lstm_train,
    "weighted_cosines": _weighted_cosines,
    "weighted_cosines_backward": _weighted_cosines_backward,
    "highest_windows": _highest_windows,
    "highest_windows_backward": _highest_windows_backward,
    "sum_words": _sum_words,
    "kernel_sums": _kernel_sums,
    "kernel_sums_backward": _kernel_sums_backward,
    "attention": _attention,
    "attention_backward": _attention_backward,
    "aware_sums": _aware_sums,
    "aware_sums_backward": _aware_sums_backward,
    "add_rows": _add_rows,
    "product": _product,
    "products": _products,
    "map_backward": _map_backward,
    **dict.fromkeys(("dropout", "gate", "unit_vectors", "unit_vectors_backward", "adam"), _none),
    **dict.fromkeys(("soft_pool", "soft_pool_backward", "gelu", "gelu_backward"), _none),
    **dict.fromkeys(("add_norm", "add_norm_backward", "part_maxima_backward"), _none),
    **dict.fromkeys(("part_maxima", "contrast", "winners_norm", "winners_norm_backward"), _none),
}
"""Function of the compiled code -> its operations; those that go element by element have none."""


@dataclass
class Operations:
    """What was counted."""

    by_part: dict[str, int] = field(default_factory=dict)
    """`torch`, `lstm`, and the compiled functions by name."""
    unknown: set[str] = field(default_factory=set)
    """Compiled functions that were called and are not in `KERNELS`: the total lacks them."""

    @property
    def total(self) -> int:
        return sum(self.by_part.values())

    def add(self, part: str, operations: int) -> None:
        self.by_part[part] = self.by_part.get(part, 0) + operations

    def called(self, name: str, arguments: tuple[Any, ...]) -> None:
        count = KERNELS.get(name)
        if count is None:
            self.unknown.add(name)
        else:
            self.add(name, count(*arguments))


@contextmanager
def counting(model: nn.Module) -> Iterator[Operations]:
    """Count what is done inside, forward and backward; complete when the context is left."""
    counted = Operations()
    counter = FlopCounterMode(display=False, custom_mapping=_cpu_attention())
    with native.watched(counted.called), lstm_operations(model) as lstms, counter:
        yield counted
    counted.add("torch", counter.get_total_flops())
    if lstms:
        counted.add("lstm", sum(lstms))


def _cpu_attention() -> dict[Any, Any]:
    """PyTorch's counter knows the fused attention of GPUs only."""
    aten = torch.ops.aten

    def forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        *batch, T, d = query
        return int(2 * math.prod(batch) * T * key[-2] * (d + value[-1]))

    def backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        *batch, T, d = query
        # logits again, gradients of queries and keys: 3 of width d; of weights and values: 2 of the values' width
        return int(2 * math.prod(batch) * T * key[-2] * (3 * d + 2 * value[-1]))

    return {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }


@contextmanager
def lstm_operations(model: nn.Module) -> Iterator[list[int]]:
    """Collects the operations of one-layer, one-direction LSTMs, which run as one kernel that the counter does
    not know: 2 · N T · 4H (E + H) forward, and twice that backward."""
    counted: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        assert isinstance(module, nn.LSTM)
        n_steps = inputs[0].shape[0] * inputs[0].shape[1]
        hidden, width = module.hidden_size, module.input_size
        passes = 3 if torch.is_grad_enabled() else 1
        counted.append(passes * 2 * n_steps * 4 * hidden * (width + hidden))

    lstms = [module for module in model.modules() if isinstance(module, nn.LSTM)]
    hooks = [module.register_forward_hook(count) for module in lstms if not _counter_sees(module)]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def _counter_sees(lstm: nn.LSTM) -> bool:
    """Whether this build of torch runs an LSTM as matrix products, which are counted anyway."""
    weight = next(lstm.parameters())
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        lstm(weight.new_zeros(1, 1, lstm.input_size))
    return counter.get_total_flops() > 0


def peak_flops(device: torch.device, precision: str, repeats: int = 5) -> float:
    """Operations per second of the best of some square matrix products, of all that the methods use: PyTorch's, as a
    convolution of size one (another library), and the compiled code's."""
    size = MATRIX[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    # random numbers: on equal ones a chip draws less power and runs faster than it does on data
    a, b = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    ways: list[Callable[[], Tensor]] = [lambda: a @ b]
    if device.type == "cpu":
        # columns in order, as positions of a text stand
        image, weight = a.T[None, :, None, :], b[:, :, None, None]
        ways.append(lambda: F.conv2d(image, weight))
        if products.is_worth_it(size**3, a, b):
            ways.append(lambda: products.product(a, b))
    best = math.inf
    for _ in range(1 + repeats):
        for way in ways:
            synchronise(device)
            started = time.perf_counter()
            way()
            synchronise(device)
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def matrix_product(seconds: float = 1.0) -> float:
    """Operations per second of the machine's processors just now: the median of square float32 products for so long."""
    size = MATRIX["cpu"]
    a, b = (torch.rand(size, size) for _ in range(2))
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 5:
        started = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - started)
    return 2 * size**3 / sorted(taken)[len(taken) // 2]


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
