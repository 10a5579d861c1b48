"""What each method computes on a fixed small input, as a few numbers: the fingerprints in `fingerprints.json`.

They guard `benchmark.runs.spec.NUMERICS_VERSION`. `values` are sums that hold on every machine, with and without
the compiled kernels, to `RELATIVE`; `bits` are hashes of the same arrays to the last bit, which hold on the machine
that made them (`environment`). A change that moves either changes what runs give.

    python -m tests.fingerprints            # what moved
    python -m tests.fingerprints --remake   # after NUMERICS_VERSION was raised
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.core.model import RankingModel
from benchmark.core.types import CorpusShape
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss
from benchmark.engine.machine import processor_name
from benchmark.engine.pairs import training_groups, training_lists
from benchmark.engine.train import make_optimiser
from benchmark.kernels import compiled, native
from benchmark.kernels.elementwise import dropout
from benchmark.runs.spec import NUMERICS_VERSION
from tests import toy
from tests.test_model_contract import FORMS, GROUPS, SIZE, batch_for, build

FILE = Path(__file__).with_suffix(".json")
RELATIVE, ABSOLUTE = 3e-4, 1e-6
"""How far values may be from the recorded ones: what float32 rounding, another processor's order of sums and the
PyTorch stand-ins of the kernels move them, with a wide margin."""
SHAPE = CorpusShape(toy.VOCABULARY, toy.VOCABULARY, toy.VOCABULARY, toy.ROI_WIDTH, GROUPS * SIZE)

Values = dict[str, dict[str, list[float]]]
Bits = dict[str, str]


def compute(names: Iterable[str] = ("engine", *("-".join(form) for form in FORMS))) -> tuple[Values, Bits]:
    """(values, bits) by name: of every method's every form, and of the engine."""
    values, bits = {}, {}
    for name in names:
        arrays = _engine() if name == "engine" else _method(*name.split("-"))
        values[name] = {part: _summary(array) for part, array in arrays.items()}
        bits[name] = _hash(arrays)
    return values, bits


def _method(name: str, form: str) -> dict[str, Tensor]:
    """Initial weights, scores, the loss and its gradients without dropout; for a method with a state between epochs
    also those of the second epoch."""
    model = build(name, form)
    initial = _joined(dict(model.named_parameters()))
    # dropout is off: the compiled code draws differently than PyTorch (see `draws` of the engine)
    fields = [f.name for f in dataclasses.fields(model.config) if f.name.endswith("dropout")]
    config = dataclasses.replace(model.config, **dict.fromkeys(fields, 0.0))
    torch.manual_seed(0)
    model = type(model)(config, SHAPE)
    _move(model)
    batch = batch_for(model)
    objective = ranking_loss(TrainingConfig(negatives=SIZE - 1))
    found = {f"initial {part}": weight for part, weight in initial.items()}
    model.eval()
    with torch.inference_mode():
        found["scores"] = model.score(batch).clone()
    model.train()
    model.start_training(batch.label_B)
    for epoch in (1, 2) if model.training_state() else (1,):
        model.zero_grad()
        torch.manual_seed(epoch)
        loss = model.loss(batch, objective)
        loss.backward()  # type: ignore[no-untyped-call]
        found[f"loss {epoch}"] = loss.detach()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found |= {f"gradient {epoch} {part}": array for part, array in _joined(gradients).items()}
        model.end_epoch(epoch)
    found |= {f"state {part}": array for part, array in model.training_state().items()}
    return found


def _move(model: RankingModel) -> None:
    """Weights off their initial values, zero biases and unit norms among them, so that every part counts."""
    random = np.random.default_rng(3)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter.add_(torch.from_numpy(0.1 * random.standard_normal(parameter.shape)).float())
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0


def _engine() -> dict[str, Tensor]:
    """What surrounds the methods: pairs and lists as they are drawn, losses, Adam, dropout."""
    random = np.random.default_rng(4)
    product_R, label_R = np.sort(random.integers(0, 6, 60)), random.integers(0, 5, 60)
    groups = training_groups(product_R, label_R, gap=1, negatives=3, seed=5, epoch=2, weighted=True)
    uniform = training_groups(product_R, label_R, gap=0, negatives=2, seed=5, epoch=2, weighted=False)
    lists = training_lists(product_R, label_R, size=5, seed=5, epoch=2)
    found = {
        "pairs": torch.from_numpy(np.concatenate([groups.ravel(), uniform.ravel()])),
        "lists": torch.from_numpy(np.concatenate(lists)),
        "adam": _adam(),
    }
    model = build("drnet", "fair")
    batch = batch_for(model)
    score_B = torch.from_numpy(random.standard_normal(len(batch))).float()
    for loss in ("hinge", "label-gap", "point"):
        config = TrainingConfig(loss=loss, negatives=SIZE - 1)
        found[f"loss {loss}"] = ranking_loss(config)(score_B, batch)
    return found


def _adam() -> Tensor:
    """Weights after three steps with given gradients."""
    torch.manual_seed(0)
    model = build("prhnet", "fair")
    optimiser = make_optimiser(model, TrainingConfig(learning_rate=1e-3))
    random = np.random.default_rng(6)
    for _ in range(3):
        for _, parameter in sorted(model.named_parameters()):
            parameter.grad = torch.from_numpy(random.standard_normal(parameter.shape)).float()
        optimiser.step()
    return torch.cat([parameter.detach().flatten() for _, parameter in sorted(model.named_parameters())])


def draws() -> str:
    """A hash of what the compiled dropout draws; exact on every machine that has the kernels."""
    torch.manual_seed(8)
    kept = [dropout(torch.ones(1000), 0.3) != 0 for _ in range(2)]
    return _hash({"kept": torch.stack(kept)})


def _joined(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """One array for each part of a model, by the first word of its parameters' names."""
    parts: dict[str, list[Tensor]] = {}
    for name, array in sorted(arrays.items()):
        parts.setdefault(name.partition(".")[0], []).append(array.detach().flatten())
    return {part: torch.cat(own) for part, own in parts.items()}


def _summary(array: Tensor) -> list[float]:
    """All of a small array; of a large one its norm and its products with three fixed directions over it."""
    flat = array.detach().double().flatten().numpy()
    if len(flat) > 8:
        size = float(np.linalg.norm(flat))
        directions = np.random.default_rng(len(flat)).standard_normal((3, len(flat)))
        flat = np.array([size, *(directions @ flat)])
    return [float(f"{value:.7g}") for value in flat]


def _hash(arrays: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + array.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def environment() -> dict[str, Any]:
    """What bits depend on beside the code."""
    source = hashlib.sha256(compiled.SOURCE.read_bytes()).hexdigest()[:16] if native.available() else "off"
    return {
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_implementation(),
        "torch": torch.__version__,
        "kernels": source,
        "threads": torch.get_num_threads(),
    }


def moved(recorded: Values, values: Values) -> list[str]:
    """`method: part` of everything that is not as recorded, new and missing parts included."""
    names = [
        (name, part)
        for name in sorted(recorded.keys() | values.keys())
        for part in sorted(recorded.get(name, {}).keys() | values.get(name, {}).keys())
    ]
    return [f"{n}: {p}" for n, p in names if not _near(recorded.get(n, {}).get(p), values.get(n, {}).get(p))]


def changed_bits(recorded: Bits, found: Bits) -> list[str]:
    """Names whose arrays are not the same to the last bit."""
    return [name for name in sorted(recorded.keys() | found.keys()) if recorded.get(name) != found.get(name)]


def _near(recorded: list[float] | None, found: list[float] | None) -> bool:
    """Products with directions are compared on the scale of the array, its norm: they may nearly cancel."""
    if recorded is None or found is None or len(recorded) != len(found):
        return False
    scale = max(abs(value) for value in recorded) if recorded else 0.0
    return all(abs(a - b) <= ABSOLUTE + RELATIVE * scale for a, b in zip(recorded, found, strict=True))


@contextmanager
def as_in_runs() -> Iterator[None]:
    """One thread and deterministic algorithms, as runs have them."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def record() -> dict[str, Any]:
    """The content of `FILE` as the code is now."""
    with as_in_runs():
        values, bits = compute()
        return {
            "numerics_version": NUMERICS_VERSION,
            "environment": environment(),
            "bits": bits,
            "draws": draws() if native.available() else "",
            "values": values,
        }


def stored() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--remake", action="store_true", help="record what is computed now")
    parser.add_argument(
        "--unpublished",
        action="store_true",
        help="remake under the same version: no run of this version was kept or published yet",
    )
    given = parser.parse_args()
    made, before = record(), stored()
    for line in moved(before["values"], made["values"]):
        print("moved", line)
    if made["environment"] != before["environment"]:
        print("bits were recorded elsewhere:", before["environment"])
    else:
        print("other bits:", *changed_bits(before["bits"], made["bits"]))
    if not given.remake:
        return 0
    if before["numerics_version"] == NUMERICS_VERSION and not given.unpublished:
        print(
            "NUMERICS_VERSION (benchmark/runs/spec.py) is still the recorded one: raise it first.",
            file=sys.stderr,
        )
        return 1
    FILE.write_text(_text(made))
    return 0


def _text(made: dict[str, Any]) -> str:
    """JSON with an array to a line."""
    text = json.dumps(made, indent=1)
    return re.sub(r"\[[^\[\]]*\]", lambda array: " ".join(array[0].split()), text) + "\n"


if __name__ == "__main__":
    sys.exit(main())
