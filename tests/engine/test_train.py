"""A trainer goes on from its state as if nothing had happened, for every method, wherever it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark import models
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.pairs import training_groups, training_lists
from benchmark.engine.plan import Choices, expand
from benchmark.engine.train import Progress, Trainer, TrainingState
from benchmark.runs.spec import RunSpec

EPOCHS = 3


class StopTestError(Exception):
    pass


@pytest.fixture(scope="module")
def source(corpus: Path, cache: Path) -> Source:
    return Source(corpus, cache)


def spec_of(source: Source, method: str, *overrides: str) -> RunSpec:
    choices = Choices(
        ("amazon",),
        ("home",),
        (method,),
        (0,),
        overrides=(f"epochs={EPOCHS}", "train.patience=0", "train.plateau=true", *overrides),
        device="cpu",
    )
    (spec,) = expand(choices, [runner.open_once(source, "amazon", "home")])
    return spec


def trainer_of(source: Source, spec: RunSpec) -> Trainer:
    return runner.new_trainer(spec, runner.open_once(source, spec.dataset, spec.category))


def run_on(trainer: Trainer, calls: int | None = None) -> None:
    """Train to the end, or until `on_step` was called `calls` times."""
    left = [calls]

    def on_step(progress: Progress) -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] == 0:
                raise StopTestError

    while not trainer.finished:
        trainer.advance(on_step)


def without_durations(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if not key.endswith("seconds")} for entry in entries]


def all_bits(trainer: Trainer) -> dict[str, bytes]:
    """Everything a trainer holds, as bytes."""
    return {name: raw(value) for name, value in trainer.state().tensors.items()}


def raw(value: Tensor) -> bytes:
    return bytes(value.contiguous().view(-1).view(torch.uint8).numpy()) if value.numel() else b""


def copied(state: TrainingState) -> TrainingState:
    return TrainingState({name: value.clone() for name, value in state.tensors.items()}, state.record)


@pytest.mark.parametrize("method", models.METHODS)
def test_stopped_anywhere_every_method_goes_on_bit_for_bit(source: Source, method: str) -> None:
    spec = spec_of(source, method)
    whole = trainer_of(source, spec)
    calls = [0]

    def count(progress: Progress) -> None:
        calls[0] += 1

    while not whole.finished:
        whole.advance(count)
    for cut in np.random.default_rng(len(method)).integers(1, calls[0], size=2):
        stopped = trainer_of(source, spec)
        with pytest.raises(StopTestError):
            run_on(stopped, int(cut))
        state = copied(stopped.state())
        torch.manual_seed(1)  # whatever the next process draws before it restores
        resumed = trainer_of(source, spec)
        resumed.restore(state)
        run_on(resumed)
        assert all_bits(resumed) == all_bits(whole), f"stopped at call {cut} of {calls[0]}"
        assert without_durations(resumed.fitted.log) == without_durations(whole.fitted.log)
        assert resumed.finish().best_dev == whole.fitted.best_dev


@pytest.mark.parametrize(
    "override", ["mmss.label_update=batch", "mmss.covariance=euclidean", "mmss.distance_scale=rms"]
)
def test_so_do_the_variants_that_keep_more(source: Source, override: str) -> None:
    spec = spec_of(source, "mmss", override)
    whole = trainer_of(source, spec)
    run_on(whole)
    steps = whole.fitted.steps // EPOCHS
    stopped = trainer_of(source, spec)
    with pytest.raises(StopTestError):
        run_on(stopped, steps + steps // 2 + 2)  # inside the second epoch: labels have moved
    state = copied(stopped.state())  # before the next trainer is built, which seeds the generators
    resumed = trainer_of(source, spec)
    resumed.restore(state)
    run_on(resumed)
    assert all_bits(resumed) == all_bits(whole)


def test_a_stopped_trainer_can_also_go_on_itself(source: Source) -> None:
    spec = spec_of(source, "egcnn")
    whole, stopped = trainer_of(source, spec), trainer_of(source, spec)
    torch.set_rng_state(fresh_generator(spec))
    run_on(whole)
    torch.set_rng_state(fresh_generator(spec))
    with pytest.raises(StopTestError):
        run_on(stopped, 2)
    run_on(stopped)
    assert all_bits(stopped) == all_bits(whole)


def fresh_generator(spec: RunSpec) -> Tensor:
    from benchmark.engine.train import seed_everything

    seed_everything(spec.seed)
    return torch.get_rng_state()


def test_a_lost_generator_is_noticed(source: Source) -> None:
    """The comparison above can fail: without the generator's state, dropout is drawn anew."""
    spec = spec_of(source, "mcr")
    whole, stopped, resumed = (trainer_of(source, spec) for _ in range(3))
    with pytest.raises(StopTestError):
        run_on(stopped, 3)
    state = copied(stopped.state())
    state.tensors["generator/cpu"] = fresh_generator(spec)
    resumed.restore(state)
    run_on(resumed)
    torch.set_rng_state(fresh_generator(spec))
    run_on(whole)
    assert all_bits(resumed) != all_bits(whole)


def test_a_state_of_another_model_is_refused(source: Source) -> None:
    state = trainer_of(source, spec_of(source, "egcnn")).state()
    with pytest.raises(ValueError, match="another model"):
        trainer_of(source, spec_of(source, "prhnet")).restore(state)


def test_methods_that_keep_something_say_what() -> None:
    """A method that hooks into training without saving what it keeps would resume with other numbers."""
    for name in models.METHODS:
        assert models.load(name).resumable(), name
    mmss = models.load("mmss")
    forgetful = type("Forgetful", (mmss,), {"checkpoint_state": models.load("mcr").checkpoint_state})
    assert not forgetful.resumable()


@pytest.mark.parametrize(("method", "gap"), [("convknrm", 0), ("convknrm", 1), ("gbdt", 1)])
def test_an_epochs_entry_says_which_reviews_it_visited(source: Source, method: str, gap: int) -> None:
    """Against the draws themselves, in sets; and it goes on counting from a restored state."""
    spec = spec_of(source, method, f"train.label_gap={gap}")
    trainer = trainer_of(source, spec)
    run_on(trainer)
    train = runner.open_once(source, "amazon", "home").train
    seen: set[int] = set()
    for entry in trainer.fitted.log:
        draw = {"seed": 0, "epoch": entry["epoch"]}
        if method == "gbdt":
            drawn = training_lists(train.product_R, train.label_R, size=20, **draw)
            visited = {int(row) for rows in drawn for row in rows}
        else:
            groups = training_groups(train.product_R, train.label_R, gap=gap, negatives=1, **draw)
            visited = set(groups.ravel().tolist())
        seen |= visited
        assert entry["coverage"]["epoch"] == pytest.approx(len(visited) / train.n_reviews, abs=1e-6)
        assert entry["coverage"]["so_far"] == pytest.approx(len(seen) / train.n_reviews, abs=1e-6)
    half = trainer_of(source, spec)
    half.advance()
    state = half.state()
    resumed = trainer_of(source, spec)
    resumed.restore(state)
    run_on(resumed)
    assert [one["coverage"] for one in resumed.fitted.log] == [one["coverage"] for one in trainer.fitted.log]
