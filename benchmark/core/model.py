"""The contract between a method and the harness.

A method receives a `Batch` and returns one score per row; splits, pair sampling, early stopping and
metrics live outside. `score` and `config_class` are all that a simple method needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from benchmark.core.types import Batch, CorpusShape, Padding

RankingLoss = Callable[[Tensor, Batch], Tensor]
"""(score_B, batch) -> scalar: the objective that the protocol chose (benchmark.core.losses)."""

Tokenizer = Literal["words", "joint", "bert"]


@dataclass(frozen=True)
class Departure:
    """One place where our `fair` form differs from the released code, and why."""

    what: str
    why: str
    defects: tuple[str, ...] = ()
    """Numbers of the protocol's list of defects, e.g. ("P17",)."""


class RankingModel(nn.Module, ABC):
    """Base of every method. Class attributes say what it reads; `config` is its frozen dataclass."""

    title: ClassVar[str]
    """As the paper's tables print it, e.g. `Conv-KNRM`."""
    reference: ClassVar[str]
    """Authors, venue, year of the method's paper."""
    config_class: ClassVar[type[Any]]
    """Frozen dataclass; its defaults are the `fair` form at full size, every field documented."""
    quick: ClassVar[Mapping[str, Any]] = {}
    """Configuration fields of the `quick` preset: sizes, for a CPU. Dropout rates are cut by the harness, alike
    for every method."""
    quick_reasons: ClassVar[Mapping[str, str]] = {}
    """Field of `quick` that is no size -> why the preset sets it."""
    released: ClassVar[Mapping[str, Any] | None] = None
    """Configuration fields of the released form (`form="released"` and its sizes); None: no code released."""
    departures: ClassVar[Sequence[Departure]] = ()
    reference_names: ClassVar[Mapping[str, str] | None] = None
    """Reference parameter-name prefix -> our prefix (`*` in the pattern matches a number), as data: how a
    golden or a checkpoint trained with the original code is loaded."""
    reference_unused: ClassVar[Sequence[str]] = ()
    """Prefixes (same patterns) of reference parameters without effect on the score, which we do not hold."""
    reads_images: ClassVar[bool] = False
    reads_surface: ClassVar[bool] = False
    """True: batches hold the hand-made features of each review (`Items.surface_NS`, `benchmark.core.surface`)."""
    drops: ClassVar[Sequence[str]] = ()
    """Parts that an ablation can remove, in a table's order; the configuration then has a field
    `drop: tuple[str, ...] = ()`, set to those that are removed."""
    sampling: ClassVar[Literal["pairs", "lists"]] = "pairs"
    """What a training batch holds: ranking groups, or whole product lists (listwise methods)."""

    def __init__(self, config: Any, corpus: CorpusShape) -> None:
        super().__init__()
        self.config = config
        self.corpus = corpus

    @classmethod
    def config_from_reference(cls, config: Mapping[str, Any]) -> tuple[Any, CorpusShape]:
        """A golden's `config` (the reference's settings) as our released configuration and corpus shape."""
        raise NotImplementedError(f"{cls.title} has no released form")

    def reference_outputs(self, batch: Batch, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a golden records of a batch, by the golden's name (`score`, `scorer_input`, `nce`, ...).
        `inputs` are its inputs that a `Batch` has no place for (`attention_mask`, `target_indices`)."""
        outputs = {"score": self.score(batch)}
        scorer_input = getattr(self, "scorer_input", None)
        return outputs if scorer_input is None else {**outputs, "scorer_input": scorer_input(batch)}

    @classmethod
    def released_training(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """Fields of `benchmark.engine.config.TrainingConfig` that the released configuration of this method sets
        for a category. `dataset` is one of the paper's (of any other only if it says which of them it is
        like), `category` may be any. The relevance threshold is the data set's and not set here. The
        docstring of an override says where a released setting cannot be followed honestly."""
        return {}

    @classmethod
    def released_sizes(cls, dataset: str, category: str) -> Mapping[str, Any]:
        """Configuration fields whose released size depends on the category; they hold under every protocol,
        for a size is no matter of fairness. The `quick` preset has its own."""
        return {}

    @classmethod
    def files_read(cls, config: Any) -> Mapping[str, str]:
        """Name -> content hash of what a configuration reads beside the data (a pre-trained encoder): the
        files' content enters a run's identity, not only their name."""
        return {}

    @property
    def tokenizer(self) -> Tokenizer:
        """`words`: product and review ids over a vocabulary each; `joint`: ids over one word vocabulary,
        [CLS] first; `bert`: ids of a pre-trained encoder's own tokenizer, [CLS] first."""
        return "words"

    @property
    def tokenizer_source(self) -> str | Path:
        """Folder or hub name of the pre-trained tokenizer, for a model whose `tokenizer` is `bert`."""
        raise NotImplementedError(f"{type(self).__name__} reads no pre-trained tokenizer's ids")

    @property
    def padding(self) -> Padding:
        return Padding()

    @property
    def batch_invariant(self) -> bool:
        """True if a product's scores do not depend on what else is in the batch or how far it is padded.
        The released forms are not (defect P17)."""
        return getattr(self.config, "form", "fair") == "fair"

    @abstractmethod
    def score(self, batch: Batch) -> Tensor:
        """Helpfulness scores, `score_B`; only their order within a product counts."""

    def explain(self, batch: Batch) -> dict[str, Tensor]:
        """What the method says of each row beside its score, `[B]` each, by a name that can be a column's. It is
        stored with the test scores (`score_<name>`) and shown by `bench case`; it is no part of a score."""
        return {}

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """Scalar training loss. Override to add a method's own terms to the protocol's ranking loss."""
        return ranking_loss(self.score(batch), batch)

    def parameter_groups(self, learning_rate: float) -> Iterable[dict[str, Any]]:
        """Optimiser groups. The default is one group; MM-SS trains its encoder more slowly."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": learning_rate}]

    def start_training(self, review_label_R: Tensor) -> None:
        """Called once before the first epoch with the labels of the training reviews, in table order."""

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Called after epoch 1, 2, ...; what it returns (JSON values) is recorded in the run's log."""
        return {}

    def training_state(self) -> dict[str, Tensor]:
        """What training leaves behind beside the weights and is worth keeping, e.g. pseudo labels."""
        return {}

    def checkpoint_state(self) -> dict[str, Tensor]:
        """What decides later steps and is neither a parameter nor a buffer nor torch's generators, as it
        stands between two steps: whatever `start_training`, `loss` and `end_epoch` keep. Numbers go as
        tensors. Only then can an interrupted run go on where it stood; see `resumable`."""
        return {}

    def restore_checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `checkpoint_state` returned, on this model's device; after `start_training`."""

    @classmethod
    def resumable(cls) -> bool:
        """True if a checkpoint holds all of this method: it keeps nothing between steps, or says what."""
        keeps = any(
            getattr(cls, hook) is not getattr(RankingModel, hook)
            for hook in ("start_training", "end_epoch", "training_state")
        )
        return not keeps or cls.checkpoint_state is not RankingModel.checkpoint_state
