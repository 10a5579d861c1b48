"""Does a method keep its contract with the harness? Small random batches, a few seconds, and messages that name the
class and the line.

What is checked is what every run relies on: shapes, finite scores, repeatability, that a product's scores depend on
that product alone, that items without images are scored, and that training lowers the loss.
"""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark import models
from benchmark.core.model import RankingModel
from benchmark.core.surface import FEATURES
from benchmark.core.types import Batch, CorpusShape, Items
from benchmark.engine.config import TrainingConfig
from benchmark.engine.losses import ranking_loss

VOCABULARY, ROI_WIDTH = 40, 6
GROUPS, SIZE = 6, 4
STEPS = 20
LEARNING_RATE = 1e-2
TOLERANCE = 1e-4
"""How far a float32 score may move with what else is in its batch, relative to the largest score."""


class BrokenError(Exception):
    """A clause that is not kept; the message says how."""


@dataclass(frozen=True)
class Clause:
    """One clause of the contract and how a class did."""

    name: str
    problem: str = ""
    """Empty if it is kept."""


# Batches -----------------------------------------------------------------------------------------------------


@dataclass
class _Item:
    tokens: list[int]
    rois: Any


def _items(random: np.random.Generator, words: int, rois: int, first: int | None) -> _Item:
    tokens = random.integers(3, VOCABULARY, words).tolist()
    if first is not None:
        tokens[0] = first
    return _Item(tokens, random.normal(size=(rois, ROI_WIDTH)).astype(np.float32))


def _collate(items: list[_Item], model: RankingModel, more: int) -> Items:
    """Right-padded as the harness pads for the model, and by `more` further."""
    padding = model.padding
    longest = max(len(item.tokens) for item in items) + more
    token_NT = torch.zeros(
        len(items), padding.fixed_tokens or max(padding.min_tokens, longest), dtype=torch.int64
    )
    for row, item in enumerate(items):
        token_NT[row, : len(item.tokens)] = torch.tensor(item.tokens)
    count_N, row_N = torch.tensor([len(item.tokens) for item in items]), torch.arange(len(items))
    # hand-made features belong to an item, so they are drawn from its text
    surface_NS = (
        torch.stack([torch.from_numpy(_surface(item)) for item in items]) if model.reads_surface else None
    )
    if not model.reads_images:
        return Items(token_NT, count_N, None, None, row_N, surface_NS)
    n_rois = [len(item.rois) or padding.empty_rois for item in items]
    roi_NVF = torch.zeros(len(items), max(1, padding.min_rois, *n_rois) + more, ROI_WIDTH)
    for row, item in enumerate(items):
        roi_NVF[row, : len(item.rois)] = torch.from_numpy(item.rois)
    return Items(token_NT, count_N, roi_NVF, torch.tensor(n_rois), row_N, surface_NS)


def _surface(item: _Item) -> Any:
    return np.random.default_rng(item.tokens).normal(size=len(FEATURES)).astype(np.float32)


def example_batch(
    model: RankingModel, *, images: bool = True, more: int = 0, only: int | None = None
) -> Batch:
    """Six products with four reviews each, labels 3, 0, 1, 0; some items have no RoIs, or (`images=False`) none
    has. `only`: the product that is alone in the batch."""
    random = np.random.default_rng(5)
    first = None if model.tokenizer == "words" else 2  # [CLS]

    def item(words: int, rois: int) -> _Item:
        return _items(random, words, rois if images else 0, first)

    products = [item(3 + p, p % 3) for p in range(GROUPS)]
    reviews = [[item(4 + (r + p) % 3, (p + r) % 3) for r in range(SIZE)] for p in range(GROUPS)]
    if only is not None:
        products, reviews = [products[only]], [reviews[only]]
    return Batch(
        _collate(products, model, more),
        _collate([one for own in reviews for one in own], model, more),
        torch.arange(len(products)).repeat_interleave(SIZE),
        torch.arange(len(products) * SIZE),
        torch.tensor([3.0, 0.0, 1.0, 0.0]).repeat(len(products)),
        group_size=None if model.sampling == "lists" else SIZE,
    )


# The contract ------------------------------------------------------------------------------------------------


def build(model_class: type[RankingModel], seed: int = 0) -> RankingModel:
    """With the sizes of the quick preset."""
    torch.manual_seed(seed)
    shape = CorpusShape(VOCABULARY, VOCABULARY, VOCABULARY, ROI_WIDTH, GROUPS * SIZE)
    return model_class(model_class.config_class(**model_class.quick), shape)


def _scores(model: RankingModel, batch: Batch) -> Tensor:
    model.eval()
    with torch.no_grad():
        score_B: Any = model.score(batch)
    name = type(model).__name__
    if not isinstance(score_B, Tensor):
        raise BrokenError(
            f"{name}.score returned {type(score_B).__name__}; it must return a tensor [{len(batch)}]"
        )
    if tuple(score_B.shape) != (len(batch),):
        raise BrokenError(f"{name}.score returned {list(score_B.shape)}; it must return [{len(batch)}]")
    if not score_B.is_floating_point():
        raise BrokenError(f"{name}.score returned {score_B.dtype}; scores are floating-point numbers")
    if not torch.isfinite(score_B).all():
        raise BrokenError(
            f"{name}.score returned {int((~torch.isfinite(score_B)).sum())} scores that are not finite"
        )
    return score_B.float()


def says_what_it_is(model_class: type[RankingModel]) -> None:
    name = model_class.__name__
    for attribute in ("title", "reference"):
        if not isinstance(getattr(model_class, attribute, None), str):
            raise BrokenError(f"{name}.{attribute} is missing: a text, as tables print it")
    config_class = getattr(model_class, "config_class", None)
    if not (isinstance(config_class, type) and dataclasses.is_dataclass(config_class)):
        raise BrokenError(f"{name}.config_class is missing: a frozen dataclass of the method's sizes")
    if not config_class.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise BrokenError(f"{config_class.__name__} must be frozen: @dataclass(frozen=True)")
    fields = {field.name for field in dataclasses.fields(config_class)}
    if unknown := sorted(set(model_class.quick) - fields):
        raise BrokenError(f"{name}.quick sets {unknown[0]!r}, which {config_class.__name__} does not have")
    if model_class.drops and "drop" not in fields:
        raise BrokenError(
            f"{name}.drops names parts, so {config_class.__name__} needs a field `drop: tuple[str, ...] = ()`"
        )


def scores_shape(model_class: type[RankingModel]) -> None:
    model = build(model_class)
    score_B = _scores(model, example_batch(model))
    if score_B.max() == score_B.min():
        raise BrokenError(f"{model_class.__name__}.score gives every review the same score")


def same_seed_same_scores(model_class: type[RankingModel]) -> None:
    first, again = (
        _scores(model, example_batch(model)) for model in (build(model_class), build(model_class))
    )
    if not torch.equal(first, again):
        raise BrokenError(
            f"{model_class.__name__}: two models of one seed score differently by up to "
            f"{(first - again).abs().max():.3g}; draw random numbers from torch's generator alone"
        )
    model = build(model_class)
    if not torch.equal(_scores(model, example_batch(model)), _scores(model, example_batch(model))):
        raise BrokenError(
            f"{model_class.__name__}.score gives another answer the second time, in evaluation mode"
        )


def batch_invariance(model_class: type[RankingModel]) -> None:
    model = build(model_class)
    if not model.batch_invariant:
        return
    together = _scores(model, example_batch(model))
    limit = TOLERANCE * max(1.0, float(together.abs().max()))
    alone = torch.cat([_scores(model, example_batch(model, only=p)) for p in range(GROUPS)])
    padded = _scores(model, example_batch(model, more=5))
    for other, what in ((alone, "the other products in its batch"), (padded, "how far the batch is padded")):
        moved = float((other - together).abs().max())
        if moved > limit:
            raise BrokenError(
                f"{model_class.__name__}.score: a score moves by {moved:.3g} with {what}; use the masks "
                "(token_mask_NT, roi_mask_NV), and nothing of the batch as a whole"
            )


def no_images(model_class: type[RankingModel]) -> None:
    model = build(model_class)
    _scores(model, example_batch(model, images=False))


def learns(model_class: type[RankingModel]) -> None:
    model, name = build(model_class), model_class.__name__
    batch = example_batch(model)
    objective = ranking_loss(TrainingConfig(negatives=SIZE - 1))
    model.start_training(batch.label_B)
    model.train()
    optimiser = torch.optim.Adam(list(model.parameter_groups(LEARNING_RATE)))
    losses: list[float] = []
    torch.manual_seed(10)  # dropout's draws
    for step in range(STEPS):
        optimiser.zero_grad()
        loss: Any = model.loss(batch, objective)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.ndim:
            shape = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise BrokenError(f"{name}.loss returned {shape}; it must return a scalar tensor []")
        if not torch.isfinite(loss):
            raise BrokenError(f"{name}.loss is {loss.item()} at step {step + 1}")
        if not loss.requires_grad:
            raise BrokenError(f"{name}.loss does not depend on any parameter")
        loss.backward()  # type: ignore[no-untyped-call]
        for key, parameter in model.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                raise BrokenError(f"{name}: the gradient of {key} is not finite at step {step + 1}")
        optimiser.step()
        losses.append(loss.item())
    if not isinstance(model.end_epoch(1), dict):
        raise BrokenError(f"{name}.end_epoch must return a dict of JSON values")
    best = float(np.mean(losses[-3:]))
    if not best < 0.95 * losses[0]:
        raise BrokenError(
            f"{name} learns nothing: its loss is {losses[0]:.4g} at the first step and {best:.4g} after {STEPS} on one "
            "batch"
        )


CLAUSES: dict[str, tuple[str, Callable[[type[RankingModel]], None]]] = {
    "says what it is": ("", says_what_it_is),
    "scores have shape [B] and are finite": ("score", scores_shape),
    "same seed, same scores": ("score", same_seed_same_scores),
    "scores do not depend on the rest of the batch": ("score", batch_invariance),
    "items without images": ("score", no_images),
    f"learns in {STEPS} steps": ("loss", learns),
}
"""Clause -> the method whose line a problem points at, and the check."""


def check_method(name: str) -> Iterator[Clause]:
    """Judge a registered method, clause by clause. UsageError if its class cannot be imported."""
    model_class = models.load(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for clause, (method, check) in CLAUSES.items():
            problem = _problem(model_class, method, check)
            yield Clause(clause, problem)
            if problem and not method:
                return  # without a configuration nothing else can be tried
    finally:
        torch.set_num_threads(threads)


def _problem(
    model_class: type[RankingModel], method: str, check: Callable[[type[RankingModel]], None]
) -> str:
    try:
        check(model_class)
    except BrokenError as error:
        return f"{_place(model_class, method)}: {error}"
    except Exception as error:  # whatever a method of somebody's does
        file = inspect.getfile(model_class)
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f"{file}:{own[-1].lineno}" if own else _place(model_class, method)
        inside = f".{own[-1].name}" if own else ""
        return f"{where}: {model_class.__name__}{inside} raised {type(error).__name__}: {error}"
    return ""


def _place(model_class: type[RankingModel], method: str) -> str:
    """`file:line` of one of its methods; of the class if that is inherited from the harness."""
    found: Any = model_class
    if method and getattr(model_class, method) is not getattr(RankingModel, method):
        found = getattr(model_class, method)
    return f"{inspect.getsourcefile(found)}:{inspect.getsourcelines(found)[1]}"
