"""Batches drawn on the device from features that lie there, exercised on a CPU: the same numbers as collated ones,
whatever fills them up, in a few shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import models
from benchmark.core.types import Batch, Items
from benchmark.data.corpus import Corpus
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.buckets import MOST_SHAPES, Shape, choose, cost, fitting
from benchmark.engine.evaluate import score_split
from benchmark.engine.losses import ranking_loss
from benchmark.engine.plan import Choices, expand
from benchmark.engine.resident import Resident
from benchmark.engine.stepping import DeviceSteps, DrawnStep, HostSteps
from benchmark.engine.steps import collate, epoch_plan
from benchmark.engine.train import Feed, Trainer, seed_everything
from benchmark.kernels.packing import fixed_shapes
from benchmark.runs.spec import RunSpec

CPU = torch.device("cpu")
FORMS = [
    (name, form)
    for name in models.METHODS
    for form in ("fair", "released")
    if form == "fair" or models.load(name).released is not None
]


@pytest.fixture(scope="module")
def opened(corpus: Path, cache: Path) -> Corpus:
    return Source(corpus, cache).open("amazon", "home")


def spec_of(opened: Corpus, name: str, form: str = "fair", *overrides: str) -> RunSpec:
    dropout = (f"{name}.{field.name}=0" for field in dataclasses.fields(models.load(name).config_class))
    chosen = [item for item in dropout if "dropout" in item]
    choices = Choices(
        *(("amazon",), ("home",), (name,), (0,)),
        protocol=form,
        overrides=(*chosen, "train.batch_size=7", "train.epochs=2", *overrides),
        device="cpu",
    )
    (spec,) = expand(choices, [opened])
    return spec


def trainer_of(spec: RunSpec, opened: Corpus, on_device: bool | None = None) -> Trainer:
    """As `runner.new_trainer` makes it, with a say in where the features lie."""
    config = runner.training_config(spec)
    seed_everything(spec.seed)
    model = runner.build_model(spec, opened)
    train, dev = (
        Feed(split, runner.make_collator(split, model=model, corpus=opened, config=config))
        for split in (opened.train, opened.dev)
    )
    return Trainer(model, train, dev, config, seed=spec.seed, device=CPU, on_device=on_device)


@pytest.fixture(params=FORMS, ids="-".join)
def spec(request: pytest.FixtureRequest, opened: Corpus) -> RunSpec:
    name, form = request.param
    # the released form reads no spellings
    spellings = ("egcnn.char_filters=0",) if request.param == ("egcnn", "released") else ()
    return spec_of(opened, name, form, *spellings)


def tensors(items: Items) -> Iterator[torch.Tensor | None]:
    return (getattr(items, field.name) for field in dataclasses.fields(items))


def assert_same(one: Batch, other: Batch) -> None:
    assert one.group_size == other.group_size
    for a, b in ((one.products, other.products), (one.reviews, other.reviews)):
        for x, y in zip(tensors(a), tensors(b), strict=True):
            assert (x is None) == (y is None)
            assert x is None or (x.dtype == y.dtype and torch.equal(x, y))
    for name in ("product_B", "review_B", "label_B"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_batch_at_its_own_size_is_the_collators_bit_for_bit(spec: RunSpec, opened: Corpus) -> None:
    trainer = trainer_of(spec, opened)
    resident = Resident(trainer.train.collator, CPU)
    plan = epoch_plan(trainer.model, opened.train, trainer.config, 0, 1)
    for part in (plan[0], plan[-1]):
        batch = collate(trainer.model, trainer.train.collator, part, trainer.config)
        rows = part.reshape(-1) if isinstance(part, np.ndarray) else np.concatenate(part)
        assert_same(resident.pairs(rows, batch.group_size), batch)


def test_what_fills_a_batch_up_changes_neither_scores_nor_loss(spec: RunSpec, opened: Corpus) -> None:
    trainer = trainer_of(spec, opened, on_device=True)
    steps = trainer.steps
    assert isinstance(steps, DeviceSteps)
    plan = epoch_plan(trainer.model, opened.train, trainer.config, 0, 1)[:4]
    if steps._buckets:  # larger in every way than any batch
        largest = steps.resident.largest(7, 7 * (1 + trainer.config.negatives))
        steps._shapes = [
            Shape(*(size + more for size, more in zip(largest, (2, 3, 5, 7, 3, 4), strict=True)))
        ]
    model, objective = trainer.model.eval(), ranking_loss(trainer.config)
    filled = {"items": 0, "positions": 0}
    for part, drawn in zip(plan, list(steps.batches(plan)), strict=True):
        plain = collate(model, trainer.train.collator, part, trainer.config)
        padded = steps.batch(drawn)
        real_N = padded.reviews.real_N
        assert real_N is not None
        assert int(real_N.sum()) == len(plain.reviews)
        filled["items"] += len(padded.reviews) - len(plain.reviews)
        filled["positions"] += padded.reviews.token_NT.shape[1] - plain.reviews.token_NT.shape[1]
        with torch.no_grad(), fixed_shapes():
            torch.testing.assert_close(model.score(padded), model.score(plain), rtol=1e-5, atol=1e-6)
            model.start_training(torch.from_numpy(np.array(opened.train.label_R, dtype=np.float32)))
            losses = [model.loss(batch, objective) for batch in (padded, plain)]
        torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    if model.batch_invariant and model.sampling == "pairs":
        assert all(filled.values()), "the test has nothing to show"
    else:
        assert not any(filled.values())


@pytest.mark.parametrize("name", ["mmss", "mcl", "ssecross", "gbdt"])
def test_training_there_is_training_here(opened: Corpus, name: str) -> None:
    """Two epochs, resident and filled up against collated, without dropout: to rounding."""
    if name not in models.METHODS:
        pytest.skip(f"{name} is not registered")
    overrides = ("ssecross.swap_text=0", "ssecross.swap_image=0") if name == "ssecross" else ()
    spec = spec_of(opened, name, "fair", *overrides)
    fitted = []
    for on_device in (False, True):
        trainer = trainer_of(spec, opened, on_device)
        with fixed_shapes():
            entries = [trainer.advance(), trainer.advance()]
        fitted.append(([entry["loss"] for entry in entries], entries))
        trainer.finish()
        assert trainer.dev_resident is None, "its memory is given back"
    assert fitted[0][0] == pytest.approx(fitted[1][0], rel=2e-3)
    assert "features on the device" in fitted[1][1][0]["steps_made"]
    assert "steps_made" not in fitted[0][1][0]
    if name == "mmss":
        notes = [entries[0]["notes"]["pseudo_labels"]["reviews_visited"] for _, entries in fitted]
        assert notes[0] == notes[1], "what fills a batch up is no review"


def test_a_cpu_collates_unless_it_is_told_otherwise(opened: Corpus) -> None:
    assert isinstance(trainer_of(spec_of(opened, "mcr"), opened).steps, HostSteps)


def test_scores_of_a_split_are_the_same_from_the_device(spec: RunSpec, opened: Corpus) -> None:
    trainer = trainer_of(spec, opened, on_device=False)
    model, collator = trainer.model, trainer.dev.collator
    here = score_split(model, opened.dev, collator, CPU)
    there = score_split(model, opened.dev, Resident(collator, CPU), CPU)
    assert np.array_equal(here, there)


def test_its_memory_is_known_beforehand(opened: Corpus) -> None:
    trainer = trainer_of(spec_of(opened, "mcr"), opened)
    collator = trainer.train.collator
    resident = Resident(collator, CPU)
    held = sum(
        x.numel() * x.element_size()
        for side in (resident._products, resident._reviews)
        for x in (side.token_Z, side.roi_XF)
        if x is not None
    )
    assert resident.bytes_of(collator) == pytest.approx(held, rel=0.01)
    features = resident._reviews.roi_XF
    assert features is not None
    assert features.dtype == torch.float16


def lengths(random: np.random.Generator, steps: int) -> np.ndarray:
    """Shapes as those of a real epoch: 32 products, repeated reviews, texts and images of many lengths."""
    return np.stack(
        [
            random.integers(24, 33, steps), random.integers(50, 65, steps), random.integers(70, 129, steps),
            random.integers(90, 129, steps), random.integers(20, 129, steps), random.integers(40, 129, steps),
        ],
        axis=1,
    )  # fmt: skip


def test_few_shapes_hold_every_step_of_every_epoch() -> None:
    random = np.random.default_rng(0)
    limit = Shape(32, 64, 128, 128, 128, 128)
    first, later = lengths(random, 500), lengths(random, 500)
    shapes = choose(first, limit)
    assert limit in shapes
    assert 1 < len(shapes) <= MOST_SHAPES
    number_S = fitting(shapes, later)
    chosen = np.array(shapes)[number_S]
    assert (chosen >= later).all()
    assert cost(chosen).sum() < cost(np.array([limit] * len(later))).sum()


def test_shapes_are_worth_their_while() -> None:
    limit = Shape(8, 16, 32, 32, 32, 32)
    assert choose(np.array([limit] * 10), limit) == [limit]
    half = Shape(8, 16, 16, 16, 16, 16)
    assert choose(np.array([limit] * 10 + [half] * 10), limit) == [limit, half]
    assert choose(np.array([limit] * 10 + [half] * 10), limit, most=1) == [limit]
    with pytest.raises(ValueError, match="none of the shapes"):
        fitting([half], np.array([limit]))


def test_an_epochs_steps_have_few_shapes(opened: Corpus) -> None:
    trainer = trainer_of(spec_of(opened, "mmss"), opened, on_device=True)
    shapes: set[Shape] = set()
    for epoch in (1, 2, 3):
        plan = epoch_plan(trainer.model, opened.train, trainer.config, 0, epoch)
        drawn: list[DrawnStep] = list(trainer.steps.batches(plan))
        assert sum(map(len, drawn)) == sum(part.size for part in plan)
        shapes |= {step.shape for step in drawn if step.repeated}
        assert [step.repeated for step in drawn[:-1]] == [True] * (len(drawn) - 1)
    assert 0 < len(shapes) <= MOST_SHAPES
