"""One RunSpec -> one run folder; many RunSpecs side by side."""

from __future__ import annotations

import functools
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import models
from benchmark.core.errors import BenchError
from benchmark.data.source import Source
from benchmark.runs import files
from benchmark.runs.spec import RunSpec
from benchmark.runs.writer import RunWriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.core.model import RankingModel
    from benchmark.data.corpus import Corpus, Split
    from benchmark.engine.config import TrainingConfig
    from benchmark.engine.train import Fitted, Progress, Trainer
from benchmark.engine.machine import prepare_process, provenance

HEARTBEAT_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How one run ended."""

    spec: RunSpec
    seconds: float
    reason: str = ""
    """Empty if it is done; else why it failed."""

    @property
    def ok(self) -> bool:
        return not self.reason


def execute(spec: RunSpec, source: Source, results: Path, keep_weights: bool = False) -> Outcome:
    """Carry out one run and publish its folder; a failure leaves a record with the reason instead."""
    started = time.perf_counter()
    writer = RunWriter(spec, results)
    try:
        _run(spec, source, writer, keep_weights)
        writer.finish()
    except BenchError as error:
        return _failed(spec, results, str(error), started)
    except Exception as error:
        return _failed(spec, results, f"{type(error).__name__}: {error}", started)
    finally:
        writer.discard()  # does nothing once the folder has been published
    return Outcome(spec, time.perf_counter() - started)


def _failed(spec: RunSpec, results: Path, reason: str, started: float) -> Outcome:
    files.write_failure(spec, results, reason, traceback.format_exc())
    return Outcome(spec, time.perf_counter() - started, reason)


@dataclass(frozen=True)
class Trained:
    """What one run's training left."""

    model: RankingModel
    """With the weights of the selected epoch."""
    fitted: Fitted
    score_R: NDArray[np.float32]
    """Of every test review, in the data's order."""
    test_seconds: float


def train_and_score(
    spec: RunSpec,
    corpus: Corpus,
    *,
    on_model: Callable[[RankingModel], None] = lambda model: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda entry: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Build the model, fit it, score the test split once: all of a run that makes numbers.

    Raises:
        BenchError: the corpus is not the one that the spec names.
    """
    import torch

    from benchmark.engine.evaluate import score_split
    from benchmark.engine.steps import autocast

    if corpus.fingerprint != spec.fingerprint:
        raise BenchError("the data changed between planning and this run; start the command again")
    config = training_config(spec)
    device = torch.device(spec.device)
    trainer = new_trainer(spec, corpus)
    model = trainer.model
    on_model(model)
    while not trainer.finished:
        on_epoch(trainer.advance(on_progress))
    fitted = trainer.finish()
    testing = time.perf_counter()
    test = make_collator(corpus.test, model=model, corpus=corpus, config=config)
    with autocast(config, device):
        score_R = score_split(model, corpus.test, test, device)  # once, after selection
    return Trained(model, fitted, score_R, time.perf_counter() - testing)


def new_trainer(spec: RunSpec, corpus: Corpus) -> Trainer:
    """The run's trainer before its first step, in a process that is set up for it."""
    import torch

    from benchmark.engine.train import Feed, Trainer, seed_everything

    config = training_config(spec)
    prepare_process(config)
    seed_everything(spec.seed)
    model = build_model(spec, corpus)
    train, dev = corpus.train, corpus.dev
    if spec.shuffle_labels:  # dev too: its labels choose the epoch, and would let the truth in again
        train, dev = shuffled_labels(train, spec.seed), shuffled_labels(dev, spec.seed)
    feed = {
        split.name: Feed(split, make_collator(split, model=model, corpus=corpus, config=config))
        for split in (train, dev)
    }
    device = torch.device(spec.device)
    return Trainer(model, feed["train"], feed["dev"], config, seed=spec.seed, device=device)


def _run(spec: RunSpec, source: Source, writer: RunWriter, keep_weights: bool) -> None:
    from safetensors.torch import save_file

    from benchmark.engine.evaluate import per_product_table

    started, cpu = time.perf_counter(), time.process_time()
    corpus = open_once(source, spec.dataset, spec.category)
    config = training_config(spec)
    heartbeat = _Heartbeat(writer.folder / "progress.json")
    trained = train_and_score(spec, corpus, on_epoch=writer.log, on_progress=heartbeat)
    model, fitted, score_R = trained.model, trained.fitted, trained.score_R

    writer.write_table("per_product.csv", per_product_table(corpus.test, score_R, config.relevance_threshold))
    writer.write_table("scores.csv", _scores_table(corpus.test, score_R))
    state = model.training_state()
    if state:
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in state.items()},
            writer.folder / "training_state.safetensors",
        )
    if keep_weights:
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(_without_aliases(weights), writer.folder / "weights.safetensors")
    heartbeat.remove()
    writer.write_json(
        "meta.json",
        provenance(spec.device)
        | {
            "best_epoch": fitted.best_epoch,
            "best_dev": fitted.best_dev,
            "epochs": fitted.epochs,
            "steps": fitted.steps,
            "training_rows": fitted.rows,
            "parameters": sum(p.numel() for p in model.parameters()),
            "threads": config.threads,
            "data": {"label": corpus.label, "fingerprint": corpus.fingerprint, "synthetic": corpus.synthetic},
            "seconds": {
                "total": round(time.perf_counter() - started, 3),
                "cpu": round(time.process_time() - cpu, 3),
                "train": round(fitted.step_seconds, 3),
                "data_wait": round(fitted.data_seconds, 3),
                "test": round(trained.test_seconds, 3),
            },
        },
    )


def training_config(spec: RunSpec) -> TrainingConfig:
    from benchmark.engine.config import TrainingConfig

    return TrainingConfig(**spec.config["training"])


def build_model(spec: RunSpec, corpus: Corpus) -> RankingModel:
    """The spec's model with fresh weights, drawn from torch's generator as it stands."""
    model_class = models.load(spec.method)
    return model_class(from_json(model_class.config_class, spec.config["model"]), corpus.shape)


def from_json(config_class: type[Any], record: dict[str, Any]) -> Any:
    """A configuration dataclass from its JSON form (lists become tuples again)."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    return config_class(**values)


def make_collator(split: Split, *, model: RankingModel, corpus: Corpus, config: TrainingConfig) -> Any:
    """What turns review rows of a split into the batches that `model` wants."""
    from benchmark.data.collate import Collator

    tokens = None
    if model.tokenizer == "bert":
        tokens = corpus.encoder_tokens(model.tokenizer_source, max_tokens=config.max_tokens)
    return Collator(
        split,
        tokenizer=model.tokenizer,
        padding=model.padding,
        reads_images=model.reads_images,
        max_tokens=config.max_tokens,
        max_rois=config.max_rois,
        bert_tokens=tokens,
    )


@functools.lru_cache(maxsize=8)
def open_once(source: Source, dataset: str, category: str) -> Corpus:
    """The category, opened once per process."""
    return source.open(dataset, category)


def shuffled_labels(split: Split, seed: int) -> Split:
    """The negative control: the split with its labels permuted within each product, for each seed anew."""
    import numpy as np

    from benchmark.core.seeding import generator

    rng = generator(seed, "shuffled labels", split.name)
    # Sorting by (product, random) lists each product's rows in a random order.
    order = np.lexsort((rng.random(split.n_reviews), split.product_R))
    stable = np.argsort(split.product_R, kind="stable")
    label_R = np.empty_like(np.asarray(split.label_R))
    label_R[stable] = np.asarray(split.label_R)[order]
    return split.with_labels(label_R)


def _scores_table(split: Split, score_R: Any) -> Any:
    import numpy as np
    import pandas as pd

    product_ids = np.asarray(split.product_ids, dtype=object)
    return pd.DataFrame(
        {
            "review_id": split.review_ids,
            "product_id": product_ids[split.product_R],
            "label": split.label_R,
            # a float32 prints exactly as the shortest double that rounds back to it
            "score": [repr(float(score)) for score in score_R],
        }
    )


def _without_aliases(weights: dict[str, Any]) -> dict[str, Any]:
    """Tied tensors once each: safetensors refuses two names for one memory."""
    seen: dict[int, str] = {}
    return {name: value for name, value in weights.items() if seen.setdefault(value.data_ptr(), name) == name}


class _Heartbeat:
    """Writes where a run stands beside its files, for the process that shows the progress."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.written = 0.0

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if now - self.written >= HEARTBEAT_SECONDS:
            self.written = now
            files.write_atomically(self.file, json.dumps(vars(progress)))

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
