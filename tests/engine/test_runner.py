"""From one RunSpec to scores: the seed draws the weights, the selected epoch scores the test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.corpus import Corpus
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.evaluate import score_split
from benchmark.engine.plan import Choices, expand
from benchmark.engine.train import seed_everything
from benchmark.runs.spec import RunSpec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(corpus: Path, cache: Path) -> Corpus:
    return Source(corpus, cache).open("amazon", "home")


def spec_of(data: Corpus, method: str = "egcnn", seed: int = 0, *overrides: str) -> RunSpec:
    choices = Choices(("amazon",), ("home",), (method,), (seed,), overrides=overrides, device="cpu")
    (spec,) = expand(choices, [data])
    return spec


def test_the_seed_draws_the_initial_weights(data: Corpus) -> None:
    spec = spec_of(data, seed=4)
    torch.manual_seed(99)
    drawn = runner.new_trainer(spec, data).model.state_dict()
    seed_everything(4)
    wanted = runner.build_model(spec, data).state_dict()
    other = runner.new_trainer(spec_of(data, seed=5), data).model.state_dict()
    assert all(torch.equal(drawn[name], wanted[name]) for name in wanted)
    assert not all(torch.equal(drawn[name], other[name]) for name in wanted)


def test_the_stored_scores_are_those_of_the_selected_epoch(data: Corpus) -> None:
    """A rate so high that the last epoch is not the best one."""
    spec = spec_of(data, "egcnn", 0, "epochs=8", "train.patience=0", "learning_rate=0.05")
    done = runner.train_and_score(spec, data)
    assert done.fitted.best_epoch < done.fitted.epochs, "choose another rate: this shows nothing"
    again = runner.new_trainer(spec, data)
    weights = {}
    while not again.finished:
        entry = again.advance()
        weights[entry["epoch"]] = {name: value.clone() for name, value in again.model.state_dict().items()}
    collator = runner.make_collator(data.test, model=again.model, corpus=data, config=again.config)

    def scores_of(epoch: int) -> np.ndarray:  # type: ignore[type-arg]
        again.model.load_state_dict(weights[epoch])
        return score_split(again.model, data.test, collator, CPU, alone=True)

    np.testing.assert_array_equal(done.score_R, scores_of(done.fitted.best_epoch))
    assert not np.array_equal(done.score_R, scores_of(done.fitted.epochs))


def test_a_corpus_that_changed_is_refused(data: Corpus) -> None:
    from dataclasses import replace

    from benchmark.core.errors import BenchError

    with pytest.raises(BenchError, match="changed"):
        runner.train_and_score(replace(spec_of(data), fingerprint="0" * 64), data)
