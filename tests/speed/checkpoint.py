"""What does a checkpoint of MM-SS at full size cost, beside the epoch after which it is written?

    python -m tests.speed.checkpoint [--bert-base] [--steps 3] [--device cpu] [--json FILE]

A script, not a test: nothing here is asserted. MM-SS as `--preset paper` has it, or with an encoder of BERT-base's
size, makes a few training steps on the generated corpus of `bench speed`; then its state, with optimiser and best
weights, is written as a run writes it. An epoch of each of the paper's categories is so many steps as Table 3's number
of training reviews gives, with the generated corpus's training rows per review. Wall time, and processor time of all
threads; without dev, which makes an epoch longer still.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmark.data.datasets import BUILT_IN
from benchmark.data.published import published_count
from benchmark.engine import runner
from benchmark.engine.checkpoint import Checkpoint
from benchmark.engine.plan import Choices, expand
from benchmark.engine.train import Progress, Trainer
from benchmark.speed.measure import synchronise
from benchmark.speed.report import PLACE, speed_corpus, stand_in

BERT_BASE = {"layers": 12, "width": 768, "feedforward": 3072, "heads": 12}


class _EnoughError(Exception):
    """So many steps were wanted."""


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float

    @classmethod
    def since(cls, begun: Cost) -> Cost:
        return cls(time.perf_counter() - begun.wall, time.process_time() - begun.cpu)

    @classmethod
    def now(cls) -> Cost:
        return cls(time.perf_counter(), time.process_time())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bert-base", action="store_true", help="an encoder of BERT-base's size")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--saves", type=int, default=2)
    parser.add_argument("--products", type=int, default=24, help="of the generated corpus")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache", type=Path, help="where the generated corpus is kept")
    parser.add_argument("--folder", type=Path, help="where checkpoints go: the disk that is measured")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    options = parser.parse_args(arguments)
    measured = measure(options)
    print(report(measured))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    corpus = speed_corpus(options.products, options.cache).open(*PLACE)
    choices = Choices(
        datasets=PLACE[:1],
        categories=PLACE[1:],
        methods=("mmss",),
        seeds=(0,),
        preset="paper",
        protocol="fair",
        overrides=(f"train.threads={options.threads}",),
        device=options.device,
    )
    large = ("mmss.encoder=scratch", *(f"mmss.scratch_{name}={size}" for name, size in BERT_BASE.items()))
    encoder = large if options.bert_base else stand_in(choices)
    (spec,) = expand(replace(choices, overrides=(*choices.overrides, *encoder)), [corpus])
    trainer = runner.new_trainer(spec, corpus)
    step, steps, rows = _steps(trainer, options.steps)
    # as after an epoch that was the best so far: the most that a checkpoint holds
    trainer.best_weights = {
        name: value.detach().clone() for name, value in trainer.model.state_dict().items()
    }
    saves = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        checkpoint = Checkpoint(Path(folder) / "checkpoint", 0.0, {})
        for _ in range(options.saves):
            begun = Cost.now()
            checkpoint.save(trainer.state())
            saves.append(Cost.since(begun))
        size = sum(file.stat().st_size for file in checkpoint.folder.iterdir())
    # the second replaces the first, as all but the first of a run do
    return {
        "device": options.device,
        "parameters": sum(one.numel() for one in trainer.model.parameters()),
        "rows_per_review": steps * rows / corpus.train.n_reviews,
        "rows_per_step": rows,
        "step": vars(step),
        "save": vars(saves[-1]),
        "checkpoint_bytes": size,
        "epochs": _epochs(steps / corpus.train.n_reviews, step, saves[-1]),
    }


def _steps(trainer: Trainer, wanted: int) -> tuple[Cost, int, float]:
    """Mean cost of a step after the first, steps of an epoch, rows of a step."""
    marks: list[Cost] = []
    planned = 0

    def on_step(progress: Progress) -> None:
        nonlocal planned
        synchronise(trainer.device)
        marks.append(Cost.now())
        planned = progress.steps
        if len(marks) > wanted:
            raise _EnoughError

    while len(marks) <= wanted:
        try:
            trainer.advance(on_step)
        except _EnoughError:
            break
    wall, cpu = marks[-1].wall - marks[0].wall, marks[-1].cpu - marks[0].cpu
    made = len(marks) - 1
    return Cost(wall / made, cpu / made), planned, trainer.fitted.rows / trainer.fitted.steps


def _epochs(steps_per_review: float, step: Cost, save: Cost) -> list[dict[str, Any]]:
    found = []
    for data_set in BUILT_IN.values():
        for category in data_set.category_names:
            reviews = published_count(data_set.name, category, "train", "reviews") or 0
            steps = reviews * steps_per_review
            shares = {name: getattr(save, name) / (steps * getattr(step, name)) for name in ("wall", "cpu")}
            found.append({"category": f"{data_set.name}/{category}", "steps": round(steps), "shares": shares})
    return found


def report(measured: dict[str, Any]) -> str:
    step, save = measured["step"], measured["save"]
    lines = [
        f"{measured['parameters']:,} parameters; {measured['device']}, {torch.get_num_threads()} threads",
        f"a step of {measured['rows_per_step']:.0f} rows: {step['wall']:.3f} s, {step['cpu']:.3f} CPU s",
        f"a checkpoint of {measured['checkpoint_bytes'] / 1e6:.1f} MB: {save['wall']:.3f} s, {save['cpu']:.3f} CPU s",
        "",
        "| category | steps of an epoch | checkpoint, of its time | of its CPU time |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one['category']} | {one['steps']:,} | {one['shares']['wall']:.3%} | {one['shares']['cpu']:.3%} |"
        for one in measured["epochs"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
