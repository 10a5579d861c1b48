"""Ranks reviews of products that the model has never seen. Needs torch only when a ranker is loaded.

S seeds of an ensemble, R reviews of a block.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError, UsageError
from benchmark.rank import build, order
from benchmark.rank.folder import MODEL, WEIGHTS, ModelFolder, open_folder
from benchmark.rank.unseen import Block, Images, UnseenSplit, UnseenTokens, Wording, open_tokenizer
from benchmark.runs.spec import NUMERICS_VERSION

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.core.model import RankingModel
    from benchmark.data.roi_worker import RoiWorker
    from benchmark.engine.config import TrainingConfig

ALIKE = ("method", "config", "shape", "images", "text", "run")
"""Parts of `model.json` in which the seeds of one ensemble agree; of `run` all but the seed, its id and the device."""


@dataclass(frozen=True)
class Ranked:
    """What a ranker says of a block's reviews."""

    place_R: npt.NDArray[np.int64]
    """1 for the best of each product."""
    score_R: npt.NDArray[np.float64]
    """The model's score; of an ensemble the mean share of the product's other reviews that stand below."""
    parts: Mapping[str, npt.NDArray[np.float64]]
    """What the method says beside, by name."""


class Ranker:
    """One exported model, or several seeds of one method as an ensemble (the mean of their ranks).

    Raises DataError for a folder that is not what was written, UsageError for models that do not belong together, a
    method that is not here, a device that is not.
    """

    def __init__(self, folders: Sequence[Path], *, method: str | None = None, device: str = "auto") -> None:
        import torch

        from benchmark.engine.config import TrainingConfig

        self.folders = [open_folder(folder) for folder in folders]
        self.notes: list[str] = []
        """What a user must hear: other code, numerics or device than the run's."""
        check_alike(self.folders)
        first = self.folders[0]
        try:
            self.record = first.record
            self.notes += build.method_of(self.record["method"], method)
            self.training: TrainingConfig = TrainingConfig(**self.record["config"]["training"])
            text = self.record["text"]
            self.wording = Wording(
                text["tokenizer"], tuple(text["product_text"]), text["recipe"], first.vocabulary
            )
            self.roi_width = int(self.record["shape"]["roi_width"])
            self.device = torch.device(self._device(device))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{first.path / MODEL}: not of a model ({error}).") from error
        self.models = [self._model(folder) for folder in self.folders]
        self._tokenizer = open_tokenizer(first.encoder) if first.encoder is not None else None
        self._note_differences()

    @property
    def explains(self) -> bool:
        """Whether the method says more of a review than its score."""
        from benchmark.core.model import RankingModel

        return type(self.models[0]).explain is not RankingModel.explain

    def ranked(
        self,
        block: Block,
        images: Images | None = None,
        explain: bool = False,
        wording: Wording | None = None,
    ) -> Ranked:
        """Place and score of each review of some products, each of which is scored by itself: its scores are the same
        bits whatever else is ranked. `wording`: in place of the model's own, for texts of another recipe."""
        from benchmark.engine.evaluate import explain_split, score_split
        from benchmark.engine.runner import collator_of
        from benchmark.engine.steps import autocast

        split = UnseenSplit.of(block, wording or self.wording, images, self.roi_width)
        tokens = None
        if self._tokenizer is not None:
            tokens = UnseenTokens.of_split(split, self._tokenizer, self.training.max_tokens)
        scores, parts = [], []
        with _arithmetic_of(self.training), autocast(self.training, self.device):
            for model in self.models:
                collator = collator_of(split, model=model, config=self.training, tokens=tokens)
                scores.append(score_split(model, split, collator, self.device, alone=True))
                if explain:
                    parts.append(explain_split(model, split, collator, self.device, alone=True))
        score_R = scores[0].astype(np.float64)
        place_R = order.places(score_R, split.product_R)
        if len(self.models) > 1:
            mean_R = order.mean_places(np.stack(scores), split.product_R)
            place_R = order.places(-mean_R, split.product_R)
            score_R = order.shares(mean_R, split.product_R)
        names = parts[0] if parts else {}
        means = {name: np.mean([own[name].astype(np.float64) for own in parts], axis=0) for name in names}
        return Ranked(place_R, score_R, means)

    def rank(
        self,
        products: pd.DataFrame | Sequence[Mapping[str, Any]] | None,
        reviews: pd.DataFrame | Sequence[Mapping[str, Any]],
        *,
        images: str | Path | None = None,
        explain: bool = False,
        columns: Mapping[str, str] | None = None,
    ) -> pd.DataFrame:
        """`reviews` with two more columns, `rank` (1 for the most helpful review of its product) and `score`.

        Args:
            products: what is known of the products: `product_id`, `name`, `description`; None if the reviews say it.
            reviews: `product_id` and `content`, one row each; `review_id` and `time` are read where they are there.
                Labels and votes are not looked at. Other usual names of columns are recognised.
            images: a folder with RoI features, `<id>/<id>.pth`, by product and review ids; None: no images.
            explain: add `score_<part>` for what the method says beside its score (MM-SS: its five subtasks).
            columns: what -> name, for columns that are called otherwise: `{"text": "opinion"}`.

        A review without a product has no rank. Rows keep their order. Scores of different products do not compare.

        Raises UsageError for a column that is missing, DataError for image features that do not fit.
        """
        from benchmark.rank.frames import rank_frames

        return rank_frames(self, products, reviews, images=images, explain=explain, columns=columns or {})

    def images(self, folder: Path, reader: RoiWorker) -> Images:
        """RoI features in a folder. DataError if they are of another extractor than those that the model knows."""
        return Images(folder, self.roi_width, reader, self.record["images"]["features"])

    def _model(self, folder: ModelFolder) -> RankingModel:
        model = build.build(folder.record, folder.vocabulary, folder.encoder)
        build.fill(model, folder.content(WEIGHTS), str(folder.path / WEIGHTS))
        return model.to(self.device).eval()

    def _device(self, asked: str) -> str:
        from benchmark.engine.machine import resolve_device

        trained = str(self.record["run"]["device"])
        if asked != "auto":
            return resolve_device(asked)
        found = "cpu" if trained == "cpu" else resolve_device("auto")
        return found

    def _note_differences(self) -> None:
        from benchmark.kernels import native

        run, made = self.record["run"], self.folders[0].provenance.get("run", {})
        if run["numerics"] != NUMERICS_VERSION:
            self.notes.append(
                f"trained under numerics version {run['numerics']}, ranked under {NUMERICS_VERSION}: scores may differ "
                "from those of its run"
            )
        if run["device"] != self.device.type:
            self.notes.append(
                f"trained on {run['device']}, ranked on {self.device.type}: scores may differ in their last bits"
            )
        elif made.get("compiled_kernels") not in (None, native.available()):
            self.notes.append(
                "the compiled kernels are there for one of run and ranking only: scores may differ in their last bits"
            )
        if not self.models[0].batch_invariant:
            self.notes.append(
                "a released form: its scores depend on what else is in a batch, so they are not those of its run; each "
                "product is scored by itself"
            )


def check_alike(folders: Sequence[ModelFolder]) -> None:
    """UsageError, naming what differs, unless the models are seeds of one method trained alike on the same data."""
    if not folders:
        raise UsageError("no model folder was given.")
    first = folders[0]
    for other in folders[1:]:
        for part in ALIKE:
            one, two = _comparable(first, part), _comparable(other, part)
            for name in sorted(one.keys() | two.keys()):
                if one.get(name) != two.get(name):
                    raise UsageError(
                        f"{first.path} and {other.path} are no seeds of one method: {part}.{name} is "
                        f"{one.get(name)!r} in one and {two.get(name)!r} in the other."
                    )
        if first.sums["vocabulary.json"] != other.sums["vocabulary.json"]:
            raise UsageError(
                f"{first.path} and {other.path} are no seeds of one method: they know other words."
            )
    seeds = [folder.record["run"]["seed"] for folder in folders]
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise UsageError(f"seed {twice[0]} is there twice: an ensemble is of different seeds.")


def _comparable(folder: ModelFolder, part: str) -> dict[str, Any]:
    found = dict(folder.record[part])
    for name in ("seed", "id", "device") if part == "run" else ():
        found.pop(name, None)
    return found


@contextmanager
def _arithmetic_of(training: TrainingConfig) -> Iterator[None]:
    """Torch as a run sets it up, for as long as something is ranked: threads and algorithms decide the bits."""
    import torch

    from benchmark.engine.machine import set_deterministic

    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        torch.set_num_threads(training.threads)
        set_deterministic(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.set_float32_matmul_precision("high" if training.precision == "tf32" else "highest")
        yield
    finally:
        torch.set_num_threads(threads)
        set_deterministic(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
        torch.set_float32_matmul_precision(precision)


def load_ranker(
    folder: str | Path | Sequence[str | Path], *, method: str | None = None, device: str = "auto"
) -> Ranker:
    """A ranker of an exported model (`bench model export`): `load_ranker("model").rank(products, reviews)`.

    Args:
        folder: the model's folder; several, of seeds of one method, make an ensemble (the mean of their ranks).
        method: `path/to/file.py:Class`, for a model whose method is neither built in nor installed.
        device: `auto` is the one that the model was trained on if it is here, else the CPU.

    Raises DataError for a folder that is damaged or of another version, UsageError if the method is not here or the
    models of an ensemble do not belong together. What may move a score (other code than the run's, say) is a warning.
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    ranker = Ranker([Path(one) for one in folders], method=method, device=device)
    for note in ranker.notes:
        warnings.warn(note, stacklevel=2)
    return ranker
