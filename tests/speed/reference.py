"""Ours at the very lengths at which the released implementations were measured, and the ratio to them.

    python tests/speed/reference.py [--method mcr ...] [--repeats 3] [--json FILE]
    python tests/speed/reference.py --growth

A script, not a test: a time is no property of the code alone, so nothing here is asserted. Two CPU threads,
float32, as many rows a step as the reference had (groups of 1 + 7), every text and item of exactly the reference's
lengths (`released.toml`), vocabularies of 20,000 words, vectors of 300, hidden size 128, RoIs of 2048. Batches are in
memory, as in the reference measurement. A step is forward, backward and optimiser. Each measurement is a
fresh process, for the peak of memory is one per process; their order is random and the median is reported.
The machine must be idle but for this: two threads wait for one another at every operation, so that one other
busy process slows them down many times. A square matrix product, timed beside each, tells how fast the machine was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

THREADS = 2
GROUP_SIZE = 8
ROI_WIDTH, VOCABULARY = 2048, 20_000
SCORED_PRODUCTS = 32
"""Products scored at once, of `GROUP_SIZE` reviews each: 256 reviews, as runs do."""
WARMUP_STEPS, MIN_STEPS = 2, 3
GB = 1e9
RELEASED: Mapping[str, Any] = tomllib.loads((Path(__file__).parent / "released.toml").read_text())


class Figures(NamedTuple):
    """Rows trained per second, reviews scored per second, peak memory of training in GB (NaN: not known)."""

    training: float
    scoring: float
    memory: float


class Lengths(NamedTuple):
    """Of every item: words of products and of reviews, RoIs of products and of reviews."""

    product_tokens: int
    review_tokens: int
    product_rois: int
    review_rois: int

    def __str__(self) -> str:
        words = f"{self.product_tokens}" if len(set(self[:2])) == 1 else f"{self[0]} / {self[1]}"
        if not self.product_rois:
            return words
        return words if len(set(self)) == 1 else " / ".join(map(str, self))


@dataclasses.dataclass(frozen=True)
class Case:
    """One network at one set of lengths, and what the released code reached there."""

    method: str
    form: str
    lengths: Lengths
    rows: int
    """Of a training step."""
    reference: Figures
    source: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Sizes that are not the form's own."""

    @property
    def name(self) -> str:
        return f"{self.method}:{self.form}:{'-'.join(map(str, self.lengths))}"

    @property
    def target(self) -> Figures:
        return TARGETS[self.method]


TARGETS: Mapping[str, Figures] = {
    "mcr": Figures(10, 10, 1 / 4),
    "bimpm": Figures(8, 12, 1 / 4),
    "convknrm": Figures(5, 6, 1 / 2),
    "egcnn": Figures(2.5, 3, 1),
    "prhnet": Figures(2.5, 3, 1),
}
"""At least so many times as fast as the released code in training and scoring, at most this share of its memory."""
FORMS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "mcr": {"released": {}, "fair": {}},
    "bimpm": {"released": {}, "fair": {"hidden": 128, "perspectives": 8, "dropout": 0.5}},
    "convknrm": {"released": {}, "fair": {}},
    "egcnn": {"released": {}, "fair": {}},
    "prhnet": {"released": {}},
}
"""Forms that are measured, with sizes that are not their own. The fair forms of Conv-KNRM and EG-CNN are the papers'
networks, larger than the released ones; PRH-Net's two forms are one network."""


def cases(methods: Sequence[str] | None = None, forms: Sequence[str] = ("released", "fair")) -> list[Case]:
    return [
        Case(
            entry["method"],
            form,
            Lengths(*entry["lengths"]),
            entry["rows"],
            Figures(entry["training"], entry["scoring"], entry.get("memory_gb", math.nan)),
            entry["source"],
            fields,
        )
        for entry in RELEASED["measured"]
        for form, fields in FORMS[entry["method"]].items()
        if form in forms and (not methods or entry["method"] in methods)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--method", action="append", choices=sorted(FORMS), help="default: all")
    parser.add_argument("--form", action="append", choices=("released", "fair"), help="default: both")
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
    chosen = cases(options.method, options.form or ("released", "fair"))
    measured = repeated(chosen, options.repeats, options.seconds)
    data = [] if options.method else data_rows()
    print(report(chosen, measured, data))
    if options.json:
        options.json.write_text(json.dumps({"networks": measured, "data": data}, indent=1) + "\n")


def _case(name: str) -> Case:
    return next(case for case in cases() if case.name == name)


def data_rows() -> list[dict[str, Any]]:
    """Pair construction and tokenising."""
    return [_pairs(), *map(_tokens, RELEASED["data"]["tokens"])]


def repeated(cases: Sequence[Case], repeats: int, seconds: float) -> dict[str, list[dict[str, float]]]:
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
    from benchmark.speed.operations import matrix_product

    groups = case.rows // GROUP_SIZE
    config = TrainingConfig(threads=THREADS, batch_size=groups, negatives=GROUP_SIZE - 1)
    prepare_process(config)
    torch.manual_seed(0)
    model = _model(case).train()
    device = torch.device("cpu")
    optimiser = make_optimiser(model, config)
    objective = ranking_loss(config)
    batches = [batch_of(model, case.lengths, groups, seed) for seed in range(3)]

    def train(step: int) -> None:
        train_step(model, batches[step % len(batches)], objective, optimiser, autocast(config, device))

    training = case.rows / _median_seconds(train, seconds)
    peak = peak_host_bytes()
    model.eval()
    scored = batch_of(model, case.lengths, SCORED_PRODUCTS, 3)
    with torch.inference_mode():
        scoring = len(scored) / _median_seconds(lambda step: model.score(scored), seconds)
    return {
        "training": training,
        "scoring": scoring,
        "memory": peak / GB,
        "with_scoring": peak_host_bytes() / GB,
        "machine": matrix_product() / GB,
    }


def _model(case: Case) -> Any:
    from benchmark import models
    from benchmark.core.types import CorpusShape

    model_class = models.load(case.method)
    fields = dict((model_class.released or {}) if case.form == "released" else {}) | dict(case.fields)
    shape = CorpusShape(VOCABULARY, VOCABULARY, VOCABULARY, ROI_WIDTH, 1000)
    return model_class(model_class.config_class(**fields), shape)


def batch_of(model: Any, lengths: Lengths, products: int, seed: int) -> Any:
    """`products` ranking groups of random words and RoIs, every item of exactly these lengths."""
    import torch

    from benchmark.core.types import Batch, Items

    random_ = torch.Generator().manual_seed(seed)

    def items(count: int, tokens: int, rois: int) -> Items:
        token_NT = torch.randint(2, VOCABULARY, (count, tokens), generator=random_)
        length = torch.full((count,), tokens)
        if not model.reads_images:
            return Items(token_NT, length, None, None, torch.arange(count))
        roi_NVF = torch.rand(count, rois, ROI_WIDTH, generator=random_)
        return Items(token_NT, length, roi_NVF, torch.full((count,), rois), torch.arange(count))

    rows = products * GROUP_SIZE
    label = torch.randint(0, 5, (rows,), generator=random_).float()
    product_B = torch.arange(products).repeat_interleave(GROUP_SIZE)
    sides = (
        items(products, lengths.product_tokens, lengths.product_rois),
        items(rows, lengths.review_tokens, lengths.review_rois),
    )
    return Batch(*sides, product_B, torch.arange(rows), label, GROUP_SIZE)


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
        "reference": RELEASED["data"]["pairs"],
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
        "reference": RELEASED["data"]["tokens"][dataset],
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


def report(
    cases: Sequence[Case],
    measured: Mapping[str, Sequence[Mapping[str, float]]],
    data: Sequence[Mapping[str, Any]],
) -> str:
    """Markdown: rates, the reference's, ratios and targets, the matrix product of the day beside each; a ratio below
    its target carries a `!`."""
    lines = [
        "| network | lengths | rows a step | reference: rows/s, reviews/s | training rows/s | x ref (target) "
        "| scoring reviews/s | x ref (target) | peak memory GB | of ref (at most) | matrix product GFLOP/s |",
        "|---" * 11 + "|",
    ]
    for case in cases:
        reference, ours = case.reference, _median(measured[case.name])
        faster = [ours[0] / reference[0], ours[1] / reference[1]]
        marks = ["" if ratio >= target else " !" for ratio, target in zip(faster, case.target, strict=False)]
        share = ours.memory / reference.memory
        memory = (
            ""
            if math.isnan(share)
            else f"{share:.2f} ({case.target[2]:g}){'' if share <= case.target[2] else ' !'}"
        )
        machine = statistics.median(run["machine"] for run in measured[case.name])
        lines.append(
            f"| {case.method}, {case.form} | {case.lengths} | {case.rows} "
            f"| {reference.training:g}, {reference.scoring:g} | {ours.training:.1f} "
            f"| {faster[0]:.1f} ({case.target[0]:g}){marks[0]} | {ours.scoring:.1f} "
            f"| {faster[1]:.1f} ({case.target[1]:g}){marks[1]} | {ours.memory:.2f} | {memory} | {machine:.0f} |"
        )
    lines += ["", *_sources(cases)]
    if data:
        lines += ["", "| data | ours | reference | x ref (target) |", "|---|---|---|---|"]
    for row in data:
        ratio = row["reference"] / row["ours"]
        mark = "" if ratio >= row["target"] else " !"
        lines.append(
            f"| {row['what']} | {row['ours']:.4f} | {row['reference']} | {ratio:.0f} ({row['target']}){mark} |"
        )
    return "\n".join(lines)


def _sources(cases: Sequence[Case]) -> list[str]:
    """Where the reference's figures come from."""
    lines = []
    for name in dict.fromkeys(case.source for case in cases):
        source = RELEASED["sources"][name]
        methods = ", ".join(dict.fromkeys(case.method for case in cases if case.source == name))
        product = source.get("matrix_product_gflops")
        machine = f", {product} GFLOP/s in a matrix product" if product else ""
        lines.append(f"Reference of {methods}: {source['what']}{machine}.")
    return lines


def _median(measured: Sequence[Mapping[str, float]]) -> Figures:
    return Figures(*(statistics.median(run[field] for run in measured) for field in Figures._fields))


if __name__ == "__main__":
    main()
