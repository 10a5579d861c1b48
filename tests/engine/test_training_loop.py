"""The training loop does what the protocol says: a method that only records what it is asked, a dev split whose MAP
the test writes, and a second loop to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from benchmark.core.model import RankingLoss, RankingModel
from benchmark.core.seeding import generator
from benchmark.core.types import Batch
from benchmark.data.collate import Collator
from benchmark.data.corpus import Corpus, Split
from benchmark.data.source import Source
from benchmark.engine.config import TrainingConfig
from benchmark.engine.pairs import training_groups, training_lists
from benchmark.engine.steps import epoch_plan, make_optimiser
from benchmark.engine.train import Feed, Progress, Trainer

SEED = 3
QUICK = {"epochs": 3, "patience": 0, "batch_size": 4, "learning_rate": 1e-2}


@dataclass(frozen=True)
class Nothing:
    form: str = "fair"


class Recorder(RankingModel):
    """Scores by label, well or badly as `quality` says of each epoch, and writes down what it is asked."""

    title = "Recorder"
    reference = "this test"
    config_class = Nothing

    def __init__(self, quality: Iterable[float], corpus: Corpus, rates: tuple[float, ...] = ()) -> None:
        super().__init__(Nothing(), corpus.shape)
        self.quality = list(quality)
        self.weight = nn.Parameter(torch.zeros(1))
        self.slow = nn.Parameter(torch.zeros(1))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.rates = rates
        self.asked: list[tuple[str, Any]] = []
        self.batches: list[Batch] = []

    def score(self, batch: Batch) -> Tensor:
        self.asked.append(("score", (self.training, torch.is_grad_enabled())))
        if self.training:
            return self.weight + self.slow + 0.0 * batch.label_B
        return self.quality[int(self.epoch) - 1] * batch.label_B

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        self.batches.append(batch)
        assert self.training
        return (
            ranking_loss(self.score(batch), batch)
            + self.weight.square().sum()
            + self.weight.sum()
            + self.slow.sum()
        )

    def parameter_groups(self, learning_rate: float) -> Iterable[dict[str, Any]]:
        if not self.rates:
            return super().parameter_groups(learning_rate)
        return [{"params": [self.weight], "lr": self.rates[0]}, {"params": [self.slow], "lr": self.rates[1]}]

    def start_training(self, review_label_R: Tensor) -> None:
        self.asked.append(("start", review_label_R.clone()))

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        self.asked.append(("end", epoch))
        self.epoch.fill_(epoch)
        return {"said": epoch}

    def hooks(self, name: str) -> list[Any]:
        return [value for asked, value in self.asked if asked == name]


class ListRecorder(Recorder):
    sampling = "lists"

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        self.batches.append(batch)
        return self.weight.square().sum()


@pytest.fixture(scope="module")
def data(corpus: Path, cache: Path) -> Corpus:
    return Source(corpus, cache).open("amazon", "home")


def trainer_of(
    data: Corpus,
    quality: Iterable[float],
    kind: type[Recorder] = Recorder,
    rates: tuple[float, ...] = (),
    **fields: Any,
) -> tuple[Trainer, Recorder]:
    model = kind(quality, data, rates)
    config = TrainingConfig(**{**QUICK, **fields})

    def feed(split: Split) -> Feed:
        return Feed(
            split,
            Collator(
                split, tokenizer="words", padding=model.padding, reads_images=False, max_tokens=8, max_rois=0
            ),
        )

    trainer = Trainer(model, feed(data.train), feed(data.dev), config, seed=SEED, device=torch.device("cpu"))
    return trainer, model


def trained(trainer: Trainer) -> Trainer:
    while not trainer.finished:
        trainer.advance()
    return trainer


def test_the_best_epochs_weights_are_restored(data: Corpus) -> None:
    trainer, model = trainer_of(data, [0, 1, -1, -1], epochs=4)
    fitted = trained(trainer).finish()
    assert fitted.best_epoch == 2
    assert int(model.epoch) == 2
    assert fitted.best_dev["map"] == max(entry["dev_map"] for entry in fitted.log)
    assert fitted.epochs == 4


def test_a_restored_trainer_knows_the_best_epoch_before_it(data: Corpus) -> None:
    """The best epoch lies before the stop, and none after it is better: its weights come from the state alone."""
    first, _ = trainer_of(data, [0, 1, -1, -1], epochs=4)
    for _ in range(3):
        first.advance()
    second, model = trainer_of(data, [0, 1, -1, -1], epochs=4)
    second.restore(first.state())
    fitted = trained(second).finish()
    assert (fitted.best_epoch, fitted.epochs, int(model.epoch)) == (2, 4, 2)
    assert torch.equal(model.weight, first.best_weights["weight"])


def test_of_equal_epochs_the_first_is_kept(data: Corpus) -> None:
    trainer, model = trainer_of(data, [-1, 1, 1], epochs=3)
    assert trained(trainer).finish().best_epoch == 2
    assert int(model.epoch) == 2


@pytest.mark.parametrize(("patience", "epochs"), [(0, 9), (1, 3), (2, 4), (3, 8)])
def test_patience_counts_epochs_without_a_better_dev_map(data: Corpus, patience: int, epochs: int) -> None:
    quality = [0, 1, 0, -1, 2, -1, -1, -1, -1]
    if patience == 3:  # the fifth epoch comes in time, but equals the second: not better
        epochs = 5
    trainer, _ = trainer_of(data, quality, epochs=9, patience=patience)
    assert trained(trainer).fitted.epochs == epochs


def test_every_epoch_has_the_pairs_of_its_seed_and_number_in_its_own_order(data: Corpus) -> None:
    trainer, model = trainer_of(data, [0] * 3, negatives=2, label_gap=0)
    trained(trainer)
    seen = [batch.review_B for batch in model.batches]
    assert all(batch.group_size == 3 for batch in model.batches)
    rows = [batch.reviews.row_N[index] for batch, index in zip(model.batches, seen, strict=True)]
    per_epoch = np.array_split(np.concatenate([part.numpy() for part in rows]).reshape(-1, 3), 3)
    for epoch, given in enumerate(per_epoch, start=1):
        wanted = training_groups(
            data.train.product_R, data.train.label_R, gap=0, negatives=2, seed=SEED, epoch=epoch
        )
        wanted = wanted[generator(SEED, "order", epoch).permutation(len(wanted))]
        np.testing.assert_array_equal(given, wanted)
    assert not np.array_equal(per_epoch[0], per_epoch[1])
    labels = torch.cat([batch.label_B for batch in model.batches]).numpy()
    np.testing.assert_array_equal(labels, np.asarray(data.train.label_R)[np.concatenate(rows)])


def test_a_listwise_method_gets_whole_lists(data: Corpus) -> None:
    trainer, model = trainer_of(data, [0] * 2, ListRecorder, epochs=2, lists_per_batch=3, list_size=4)
    trained(trainer)
    wanted = [
        [
            training_lists(data.train.product_R, data.train.label_R, size=4, seed=SEED, epoch=epoch)[i]
            for i in order
        ]
        for epoch in (1, 2)
        for order in [
            generator(SEED, "order", epoch).permutation(
                len(training_lists(data.train.product_R, data.train.label_R, size=4, seed=SEED, epoch=epoch))
            )
        ]
    ]
    given = np.concatenate([batch.reviews.row_N[batch.review_B].numpy() for batch in model.batches])
    np.testing.assert_array_equal(given, np.concatenate([rows for lists in wanted for rows in lists]))
    assert {len(batch.products) for batch in model.batches[:-1]} <= {1, 2, 3}
    assert all(batch.group_size is None for batch in model.batches)


@pytest.mark.parametrize(("unit", "groups"), [("pairs", 8), ("reviews", 2)])
def test_a_step_holds_what_the_batch_unit_counts(data: Corpus, unit: str, groups: int) -> None:
    trainer, model = trainer_of(data, [0], epochs=1, batch_unit=unit, batch_size=8, negatives=3, label_gap=0)
    trained(trainer)
    assert {len(batch) for batch in model.batches[:-1]} == {groups * 4}
    assert trainer.fitted.rows == sum(len(batch) for batch in model.batches)
    assert trainer.fitted.steps == len(model.batches)


def test_hooks_come_in_order_and_scoring_is_evaluation(data: Corpus) -> None:
    trainer, model = trainer_of(data, [0, 1], epochs=2)
    entries = [trainer.advance(), trainer.advance()]
    (labels,) = model.hooks("start")
    np.testing.assert_array_equal(labels.numpy(), np.asarray(data.train.label_R))
    assert model.asked[0][0] == "start"
    assert model.hooks("end") == [1, 2]
    assert [entry["notes"] for entry in entries] == [{"said": 1}, {"said": 2}]
    kinds = [
        "end"
        if name == "end"
        else "train"
        if value == (True, True)
        else "dev"
        if value == (False, False)
        else "wrong"
        for name, value in model.asked[1:]
    ]
    changes = [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]
    assert changes == ["train", "end", "dev"] * 2
    assert model.training


def independent_map(split: Split, score_R: np.ndarray[Any, Any], threshold: int) -> float:
    """scikit-learn's average precision, product by product; 0 where nothing is relevant. No ties."""
    values = []
    for product in range(split.n_products):
        own = split.product_R == product
        relevant = np.asarray(split.label_R)[own] > threshold
        values.append(average_precision_score(relevant, score_R[own]) if relevant.any() else 0.0)
    return float(np.mean(values))


class Labelled(Recorder):
    """Ranks reviews of label 1 first, the rest by label: good with threshold 0, bad with threshold 1."""

    def score(self, batch: Batch) -> Tensor:
        if self.training:
            return super().score(batch)
        row = batch.reviews.row_N[batch.review_B]
        return torch.where(batch.label_B == 1, 9.0, batch.label_B) + 1e-4 * row


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_the_relevance_threshold_counts_on_dev(data: Corpus, threshold: int) -> None:
    trainer, _ = trainer_of(data, [0], Labelled, epochs=1, relevance_threshold=threshold)
    entry = trainer.advance()
    label = np.asarray(data.dev.label_R, dtype=float)
    score = np.where(label == 1, 9.0, label) + 1e-4 * np.arange(len(label))
    assert len(np.unique(rankdata(score))) == len(score)
    assert entry["dev_map"] == pytest.approx(independent_map(data.dev, score, threshold))
    others = [independent_map(data.dev, score, other) for other in range(3) if other != threshold]
    assert all(abs(entry["dev_map"] - other) > 1e-3 for other in others)


@pytest.mark.parametrize(("quality", "halvings"), [([1] + [-1] * 10, 2), ([-1] * 3 + [1] * 4, 0)])
def test_the_plateau_schedule_follows_dev_map(data: Corpus, quality: list[float], halvings: int) -> None:
    """After 4 epochs without a better one the fifth halves the rate; each entry shows the rate of its epoch."""
    trainer, _ = trainer_of(data, quality, epochs=len(quality), plateau=True)
    trained(trainer)
    rate = trainer.optimiser.param_groups[0]["lr"]
    assert rate == pytest.approx(QUICK["learning_rate"] / 2**halvings)
    assert trainer.fitted.log[0]["learning_rate"] == QUICK["learning_rate"]


def test_without_a_plateau_the_rate_stays(data: Corpus) -> None:
    trainer, _ = trainer_of(data, [1] + [-1] * 10, epochs=11)
    assert {entry["learning_rate"] for entry in trained(trainer).fitted.log} == {QUICK["learning_rate"]}


def test_each_parameter_group_has_its_own_rate(data: Corpus) -> None:
    """Adam's first step is its learning rate long, whatever the gradient."""
    trainer, model = trainer_of(data, [0], epochs=1, rates=(1e-2, 1e-4), batch_size=10_000)
    trainer.advance()
    assert trainer.fitted.steps == 1
    assert model.weight.item() == pytest.approx(-1e-2, rel=1e-3)
    assert model.slow.item() == pytest.approx(-1e-4, rel=1e-3)


class Linear(Recorder):
    """A score with a gradient: from the first word of a review."""

    def score(self, batch: Batch) -> Tensor:
        first = batch.reviews.token_NT[:, 0].float()[batch.review_B] / 100
        return self.weight * first + self.slow * first.square()

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        return ranking_loss(self.score(batch), batch)


@pytest.mark.parametrize("loss", ["hinge", "label-gap", "point"])
def test_a_loop_written_anew_ends_at_the_same_weights(data: Corpus, loss: str) -> None:
    """Gradients are not carried over, nothing is scaled, every step is made once, in the plan's order."""
    fields = {"epochs": 3, "loss": loss, "margin": 0.7, "negatives": 2, "label_gap": 0, "point_threshold": 1}
    trainer, model = trainer_of(data, [0] * 3, Linear, **fields)
    config = trainer.config
    everything = trainer.train.collator.pairs(np.arange(data.train.n_reviews), None)
    word = everything.reviews.token_NT[everything.review_B, 0].double()
    label = torch.from_numpy(np.asarray(data.train.label_R, dtype=np.float64))
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    mean, square, step = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 0
    for epoch in (1, 2, 3):
        for part in epoch_plan(model, data.train, config, SEED, epoch):
            x = word[part] / 100
            score, y = weights[0] * x + weights[1] * x**2, label[part]
            gap, wanted = score[:, :1] - score[:, 1:], y[:, :1] - y[:, 1:]
            if loss == "point":
                value = -(
                    (y > 1) * torch.log(torch.sigmoid(score)) + (y <= 1) * torch.log(1 - torch.sigmoid(score))
                ).mean()
            else:
                margin = torch.full_like(gap, 0.7) if loss == "hinge" else wanted
                value = torch.where(margin - gap > 0, margin - gap, 0).sum() / len(part)
            (gradient,) = torch.autograd.grad(value, weights)
            step += 1  # Adam (Kingma and Ba, 2015)
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            change = (
                config.learning_rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            )
            weights = (weights - change).detach().requires_grad_()
    trained(trainer)
    assert trainer.fitted.steps == step
    np.testing.assert_allclose([model.weight.item(), model.slow.item()], weights.detach().numpy(), rtol=1e-3)


def test_progress_is_told_after_every_step(data: Corpus) -> None:
    trainer, _ = trainer_of(data, [0], epochs=1)
    told: list[Progress] = []
    trainer.advance(lambda progress: told.append(replace(progress)))
    steps = trainer.fitted.steps
    assert [one.step for one in told[:steps]] == list(range(1, steps + 1))
    assert {(one.epoch, one.epochs, one.steps) for one in told} == {(1, 1, steps)}


def test_adam_is_given_the_configured_rate(data: Corpus) -> None:
    optimiser = make_optimiser(Recorder([0], data), TrainingConfig(learning_rate=0.25))
    assert [group["lr"] for group in optimiser.param_groups] == [0.25]
    assert isinstance(optimiser, torch.optim.Adam)
