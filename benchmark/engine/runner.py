"""One RunSpec -> a trained model and its test scores: all of a run that makes numbers."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark import models
from benchmark.core.errors import BenchError, DataError, StoppedError
from benchmark.data.source import Source
from benchmark.engine.machine import prepare_process
from benchmark.engine.stop import Stop
from benchmark.runs.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.core.model import RankingModel
    from benchmark.data.collate import Collator
    from benchmark.data.corpus import Corpus, Split
    from benchmark.data.wordpieces import EncoderTokens
    from benchmark.engine.checkpoint import Checkpoint
    from benchmark.engine.config import TrainingConfig
    from benchmark.engine.train import Fitted, Progress, Trainer


@dataclass(frozen=True)
class Trained:
    """What one run's training left."""

    model: RankingModel
    """With the weights of the selected epoch."""
    fitted: Fitted
    score_R: NDArray[np.float32]
    """Of every test review, in the data's order."""
    test_seconds: float
    parts: Mapping[str, NDArray[np.float32]]
    """What the method says of every test review beside its score, by name; empty for most methods."""


def train_and_score(
    spec: RunSpec,
    corpus: Corpus,
    *,
    on_model: Callable[[RankingModel], None] = lambda model: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda entry: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    checkpoint: Checkpoint | None = None,
    stop: Stop | None = None,
) -> Trained:
    """Build the model, fit it, score the test split once: all of a run that makes numbers.

    With a `checkpoint` that an earlier process left it goes on from there, to the same numbers; `on_epoch`
    is called for the epochs before it too.

    Raises:
        BenchError: the corpus is not the one that the spec names.
        StoppedError: `stop` was requested; the checkpoint holds where it stands.
    """
    if corpus.fingerprint != spec.fingerprint:
        raise BenchError("the data changed between planning and this run; start the command again")
    ensure_method(spec)
    stop = stop or Stop()
    if checkpoint is not None and not models.load(spec.method).resumable():
        checkpoint = None
    trainer = _resumed(spec, corpus, checkpoint) or new_trainer(spec, corpus)
    on_model(trainer.model)
    for entry in trainer.fitted.log:
        on_epoch(entry)

    def on_step(progress: Progress) -> None:
        on_progress(progress)
        stop.check()

    try:
        while not trainer.finished:
            on_epoch(trainer.advance(on_step))
            if checkpoint is not None and checkpoint.due:
                checkpoint.save(trainer.state())
        return _test(trainer, spec, corpus, stop)
    except StoppedError:
        if checkpoint is not None:
            checkpoint.save(trainer.state())
        raise


def _test(trainer: Trainer, spec: RunSpec, corpus: Corpus, stop: Stop) -> Trained:
    """Score the test split, once, after the epoch was selected."""
    from benchmark.engine.evaluate import explain_split, score_split
    from benchmark.engine.resident import Resident, fits
    from benchmark.engine.steps import autocast

    started = time.perf_counter()
    fitted, model, config = trainer.finish(), trainer.model, trainer.config
    collator: Any = make_collator(corpus.test, model=model, corpus=corpus, config=config)
    if fits([collator], trainer.device):
        collator = Resident(collator, trainer.device)
    # so that the exported model can give the same bits to the same product, whatever it is ranked with; the
    # released forms follow their release, where a score depends on the batch
    alone = model.batch_invariant
    with autocast(config, trainer.device):
        score_R = score_split(model, corpus.test, collator, trainer.device, on_batch=stop.check, alone=alone)
        seconds = time.perf_counter() - started
        parts = explain_split(model, corpus.test, collator, trainer.device, on_batch=stop.check, alone=alone)
    return Trained(model, fitted, score_R, seconds, parts)


def _resumed(spec: RunSpec, corpus: Corpus, checkpoint: Checkpoint | None) -> Trainer | None:
    """The trainer that the checkpoint was taken from; None without a checkpoint that can be used, of which a
    damaged one is named."""
    if checkpoint is None:
        return None
    try:
        state = checkpoint.load()
        if state is None:
            return None
        trainer = new_trainer(spec, corpus)
        trainer.restore(state)
    except (DataError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error) if isinstance(error, DataError) else f"{checkpoint.folder}: {error!r}"
        print(f"note: {spec} starts from the beginning: {reason}", file=sys.stderr, flush=True)
        checkpoint.remove()
        return None
    return trainer


def new_trainer(spec: RunSpec, corpus: Corpus, on_device: bool | None = None) -> Trainer:
    """The run's trainer before its first step, in a process that is set up for it; `on_device`: see `Trainer`."""
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
    return Trainer(
        model, feed["train"], feed["dev"], config, seed=spec.seed, device=device, on_device=on_device
    )


def ensure_method(spec: RunSpec) -> None:
    """Register the run's method in this process if it is somebody's own; BenchError if its code is not that of
    which the run was planned."""
    known = models.METHODS.get(spec.method)
    if spec.target and (known is None or not known.installed):
        models.register(spec.target, spec.method)
    if spec.code and models.code_of(spec.method) != spec.code:
        raise BenchError(
            f"the code of {spec.method} changed between planning and this run; start the command again"
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


def make_collator(split: Split, *, model: RankingModel, corpus: Corpus, config: TrainingConfig) -> Collator:
    """What turns review rows of a split into the batches that `model` wants."""
    tokens = None
    if model.tokenizer == "bert":
        tokens = corpus.encoder_tokens(model.tokenizer_source, max_tokens=config.max_tokens)
    return collator_of(split, model=model, config=config, tokens=tokens)


def collator_of(
    split: Split, *, model: RankingModel, config: TrainingConfig, tokens: EncoderTokens | None
) -> Collator:
    """`make_collator`, its word pieces made already where the model reads some."""
    from benchmark.data.collate import Collator

    return Collator(
        split,
        tokenizer=model.tokenizer,
        padding=model.padding,
        reads_images=model.reads_images,
        reads_surface=model.reads_surface,
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
