"""Ours at the exact setting in which the released implementations were measured, and the ratio to them.

    python tests/speed/reference.py [--method mcr ...] [--repeats 3] [--json FILE]
    python tests/speed/reference.py --growth

A script, not a test: a time is no property of the code alone, so nothing here is asserted. Two CPU threads,
float32, 32 rows a step (4 groups of 1 + 7), every text 128 tokens long, vocabularies of 20,000 words,
vectors of 300, hidden size 128, and, where images are read, 128 RoIs of 2048 for every item. Batches are in
memory, as in the reference measurement. A step is forward, backward and optimiser. Each measurement is a
fresh process, for the peak of memory is one per process; their order is random and the median is reported.
The machine must be idle but for this: two threads wait for one another at every operation, so that one other
busy process slows them down many times.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

THREADS = 2
GROUPS, GROUP_SIZE = 4, 8
TOKENS, ROIS, ROI_WIDTH, VOCABULARY = 128, 128, 2048, 20_000
SCORED_PRODUCTS = 32
"""Products scored at once, of `GROUP_SIZE` reviews each: 256 reviews, as runs do."""
WARMUP_STEPS, MIN_STEPS = 2, 4
GB = 1e9


class Figures(NamedTuple):
    """Rows trained per second, reviews scored per second, peak memory of training in GB."""

    training: float
    scoring: float
    memory: float


REFERENCE: Mapping[str, Figures] = {
    "mcr": Figures(8.3, 24, 5.5),
    "bimpm": Figures(13.2, 22, 5.0),
    "convknrm": Figures(70, 233, 1.5),
    "egcnn": Figures(228, 814, 0.7),
    "prhnet": Figures(153, 985, 0.7),
}
"""Measured on the released implementations, two cores, in this setting; MCR and BiMPM with the better of two
settings of the C allocator. Other load moved them by up to 1.4 times."""
REFERENCE_PAIRS = 1.28
"""Seconds per 1,000 positives, released pair construction."""
REFERENCE_TOKENS: Mapping[str, float] = {"lazada": 0.3, "amazon": 0.9}
"""Seconds per 1,000 reviews, released tokenising."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One network: a form of a method and its sizes where they are not that form's own."""

    method: str
    form: str
    target: Figures
    """At least so many times as fast in training and scoring, at most this share of the memory."""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method}:{self.form}"


CASES = (
    Case("mcr", "released", Figures(10, 10, 1 / 4)),
    Case("mcr", "fair", Figures(10, 10, 1 / 4)),
    Case("bimpm", "released", Figures(3, 3, 1 / 4)),
    Case("bimpm", "fair", Figures(8, 8, 1 / 4), {"hidden": 128, "perspectives": 8, "dropout": 0.5}),
    Case("convknrm", "released", Figures(3, 3, 1 / 2)),
    Case("convknrm", "fair", Figures(3, 3, 1 / 2)),
    Case("egcnn", "released", Figures(2.5, 3, 1)),
    Case("egcnn", "fair", Figures(2.5, 3, 1)),
    Case("prhnet", "released", Figures(2.5, 3, 1)),
)
"""The fair forms of Conv-KNRM and EG-CNN are the papers' networks, larger than the released ones; PRH-Net's
two forms are one network."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--method", action="append", choices=sorted(REFERENCE), help="default: all")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes per network")
    parser.add_argument("--seconds", type=float, default=6.0, help="of training steps, and of scoring, each")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--growth", action="store_true", help="instead: twice the reviews, how much more?")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(_measure(_case(options.child), options.seconds)))
        return
    if options.growth:
        from growth import main as growth

        growth(options.json)
        return
    cases = [case for case in CASES if not options.method or case.method in options.method]
    measured = _repeated(cases, options.repeats, options.seconds)
    data = [] if options.method else [_pairs(), *map(_tokens, REFERENCE_TOKENS)]
    print(_report(cases, measured, data))
    if options.json:
        options.json.write_text(json.dumps({"networks": measured, "data": data}, indent=1) + "\n")


def _case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def _repeated(cases: Sequence[Case], repeats: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """Case -> its measurements, from fresh processes in random order."""
    order = [case.name for case in cases for _ in range(repeats)]
    random.Random(time.time_ns()).shuffle(order)
    measured: dict[str, list[dict[str, float]]] = {case.name: [] for case in cases}
    for i, name in enumerate(order):
        command = [sys.executable, __file__, "--child", name, "--seconds", str(seconds)]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured[name].append(json.loads(finished.stdout))
        print(f"{i + 1}/{len(order)} {name} {measured[name][-1]}", file=sys.stderr, flush=True)
    return measured


def _measure(case: Case, seconds: float) -> dict[str, float]:
    """One network in this process: its rates and the peak of memory, in that of training alone too."""
    import torch

    from benchmark.engine.config import TrainingConfig
    from benchmark.engine.losses import ranking_loss
    from benchmark.engine.machine import peak_host_bytes, prepare_process
    from benchmark.engine.steps import autocast, make_optimiser, train_step

    config = TrainingConfig(threads=THREADS, batch_size=GROUPS, negatives=GROUP_SIZE - 1)
    prepare_process(config)
    torch.manual_seed(0)
    model = _model(case).train()
    device = torch.device("cpu")
    optimiser = make_optimiser(model, config)
    objective = ranking_loss(config)
    batches = [_batch(model, GROUPS, seed) for seed in range(3)]

    def train(step: int) -> None:
        train_step(model, batches[step % len(batches)], objective, optimiser, autocast(config, device))

    training = GROUPS * GROUP_SIZE / _median_seconds(train, seconds)
    peak = peak_host_bytes()
    model.eval()
    scored = _batch(model, SCORED_PRODUCTS, 3)
    with torch.inference_mode():
        scoring = len(scored) / _median_seconds(lambda step: model.score(scored), seconds)
    return {
        "training": training,
        "scoring": scoring,
        "memory": peak / GB,
        "with_scoring": peak_host_bytes() / GB,
        "machine": _matrix_product(),
    }


def _matrix_product() -> float:
    """GFLOP/s of a square matrix product, median: how fast the machine is just now."""
    import torch

    a, b = (torch.ones(2048, 2048) for _ in range(2))
    return 2 * 2048**3 / _median_seconds(lambda step: a @ b, 1.0) / GB


def _model(case: Case) -> Any:
    from benchmark import models
    from benchmark.core.types import CorpusShape

    model_class = models.load(case.method)
    fields = dict((model_class.released or {}) if case.form == "released" else {}) | dict(case.fields)
    shape = CorpusShape(VOCABULARY, VOCABULARY, VOCABULARY, ROI_WIDTH, 1000)
    return model_class(model_class.config_class(**fields), shape)


def _batch(model: Any, products: int, seed: int) -> Any:
    """`products` ranking groups of random words and RoIs, everything at its full length."""
    import torch

    from benchmark.core.types import Batch, Items

    random_ = torch.Generator().manual_seed(seed)

    def items(count: int) -> Items:
        tokens = torch.randint(2, VOCABULARY, (count, TOKENS), generator=random_)
        length = torch.full((count,), TOKENS)
        if not model.reads_images:
            return Items(tokens, length, None, None, torch.arange(count))
        rois = torch.rand(count, ROIS, ROI_WIDTH, generator=random_)
        return Items(tokens, length, rois, torch.full((count,), ROIS), torch.arange(count))

    rows = products * GROUP_SIZE
    label = torch.randint(0, 5, (rows,), generator=random_).float()
    product_B = torch.arange(products).repeat_interleave(GROUP_SIZE)
    return Batch(items(products), items(rows), product_B, torch.arange(rows), label, GROUP_SIZE)


def _median_seconds(function: Callable[[int], object], seconds: float) -> float:
    """Median duration of a call, over as many as fit into `seconds` after the warm-up."""
    for step in range(WARMUP_STEPS):
        function(step)
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < MIN_STEPS:
        started = time.perf_counter()
        function(len(taken))
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _pairs() -> dict[str, Any]:
    """Pair construction on 2,000 products of 20 reviews, seven negatives."""
    import numpy as np

    from benchmark.engine.pairs import training_groups

    label_R = np.random.default_rng(0).choice(5, 40_000, p=(0.54, 0.20, 0.12, 0.09, 0.05))
    product_R = np.repeat(np.arange(2000), 20)
    made: list[int] = []

    def construct(epoch: int) -> None:
        groups = training_groups(product_R, label_R, gap=1, negatives=GROUP_SIZE - 1, seed=0, epoch=epoch)
        made.append(len(groups))

    seconds = _median_seconds(construct, 1.0)
    per_thousand = 1000 * seconds / statistics.median(made)
    return {
        "what": "pair construction, seconds per 1,000 positives",
        "ours": per_thousand,
        "reference": REFERENCE_PAIRS,
        "target": 200,
    }


def _tokens(dataset: str) -> dict[str, Any]:
    """Tokenising of texts of 64 words each, a fresh tokenizer every time (it remembers what it has seen)."""
    from benchmark.data.text import word_tokenizer

    texts = _texts(2000, 64)
    tokens: list[int] = []

    def tokenise(step: int) -> None:
        tokenizer = word_tokenizer("id" if dataset == "lazada" else "en")
        tokens.append(sum(len(tokenizer(text)) for text in texts))

    seconds = _median_seconds(tokenise, 2.0)
    length = tokens[-1] / len(texts)
    return {
        "what": f"tokenising, {dataset}, {length:.0f} tokens each, seconds per 1,000 reviews",
        "ours": 1000 * seconds / len(texts),
        "reference": REFERENCE_TOKENS[dataset],
        "target": 3,
    }


def _texts(count: int, words: int) -> list[str]:
    """Texts whose words follow Zipf's law over the vocabulary; a seventh of them carry a mark, and some are
    contractions or measures."""
    import numpy as np

    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 10, VOCABULARY)]
    share = 1 / np.arange(1, VOCABULARY + 1)
    drawn = rng.choice(VOCABULARY, (count, words), p=share / share.sum())
    ends = rng.choice(
        ["", ",", ". ", "!", "n't", "'s", "-3.5cm"],
        (count, words),
        p=(0.82, 0.06, 0.06, 0.02, 0.01, 0.02, 0.01),
    )
    return [
        " ".join(vocabulary[word] + end for word, end in zip(row, tail, strict=True))
        for row, tail in zip(drawn, ends, strict=True)
    ]


def _report(
    cases: Sequence[Case],
    measured: Mapping[str, Sequence[Mapping[str, float]]],
    data: Sequence[Mapping[str, Any]],
) -> str:
    """Markdown: rates, ratios to the reference and the targets; a ratio below its target carries a `!`."""
    lines = [
        "| network | training rows/s | x ref (target) | scoring reviews/s | x ref (target) "
        "| peak memory GB | of ref (at most) |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        reference, ours = REFERENCE[case.method], _median(measured[case.name])
        faster = [ours[0] / reference[0], ours[1] / reference[1]]
        marks = ["" if ratio >= target else " !" for ratio, target in zip(faster, case.target, strict=False)]
        share = ours.memory / reference.memory
        lines.append(
            f"| {case.method}, {case.form} | {ours.training:.1f} | {faster[0]:.1f} ({case.target[0]:g}){marks[0]} "
            f"| {ours.scoring:.1f} | {faster[1]:.1f} ({case.target[1]:g}){marks[1]} "
            f"| {ours.memory:.2f} | {share:.2f} ({case.target[2]:g}){'' if share <= case.target[2] else ' !'} |"
        )
    machine = sorted(run["machine"] for runs in measured.values() for run in runs)
    lines += [
        "",
        f"A square matrix product beside each measurement: {statistics.median(machine):.0f} GFLOP/s "
        f"(median; {machine[0]:.0f} to {machine[-1]:.0f}). It shows what other load the machine had.",
    ]
    if data:
        lines += ["", "| data | ours | reference | x ref (target) |", "|---|---|---|---|"]
    for row in data:
        ratio = row["reference"] / row["ours"]
        mark = "" if ratio >= row["target"] else " !"
        lines.append(
            f"| {row['what']} | {row['ours']:.4f} | {row['reference']} | {ratio:.0f} ({row['target']}){mark} |"
        )
    return "\n".join(lines)


def _median(measured: Sequence[Mapping[str, float]]) -> Figures:
    return Figures(*(statistics.median(run[field] for run in measured) for field in Figures._fields))


if __name__ == "__main__":
    main()
