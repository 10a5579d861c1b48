"""SSP-Label (4.4, A.1): one pseudo label per (training review, subtask), derived from the representations.

In the order of the paper: anchor (Eq. 17), distance (Eq. 18), estimate (Eq. 19-21), update (Eq. 11-12),
then the store that carries them through training.

R training reviews, N some of them, K tasks (the target first, then the S subtasks), G = d_g.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.core.errors import TrainingError
from mmss.config import Config
from mmss.distances import Chunks, Distribution, Spread, fit_distribution

LABEL_LIMIT = 4.0
"""Bound of the symmetric clamp (D-CLAMP): the largest helpfulness label."""
CHUNK_REVIEWS = 16_384
"""Reviews that are brought to float64 at a time."""
FULL_PRECISION_BYTES = 512 * 2**20
"""Stored representations above this size are kept in float16: half the memory, and a relative error of
5e-4 is far below what an epoch of training moves them."""


def estimate(label_N: Tensor, chi_s_N: Tensor, chi_g_N: Tensor, config: Config) -> Tensor:
    """The offset label `[N]` of one subtask.

    `derived` is the mean of the ratio (Eq. 19) `alpha1 chi_s / (chi_g + e) y_g` and the difference (Eq. 20)
    `y_g + alpha2 (chi_s - chi_g)`, which is Eq. 21's first line. `printed` is its second line,
    `y_g + (2 chi_s - alpha1 (chi_g + e) y_g) / (2 (chi_g + e))`, which does not follow from it.
    """
    # a review at the target's anchor has chi_g near 0, and e = 1e-8 hardly bounds the ratio (D-CLAMP does)
    denominator_N = chi_g_N + config.offset_epsilon
    if config.offset == "derived":
        # Eq. 19: a human label of 0 stays 0 here, only the difference can move it
        ratio_N = config.alpha1 * chi_s_N / denominator_N * label_N
        # Eq. 20, with chi where the paper prints `rel`
        difference_N = label_N + config.alpha2 * (chi_s_N - chi_g_N)
        value_N = (ratio_N + difference_N) / 2
    else:
        value_N = label_N + (2 * chi_s_N - config.alpha1 * denominator_N * label_N) / (2 * denominator_N)
    return value_N.clamp(-LABEL_LIMIT, LABEL_LIMIT) if config.label_clamp == "symmetric" else value_N


# Update, Eq. 11-12


def smoothed(previous: Tensor, value: Tensor, epoch: int) -> Tensor:
    """Eq. 12: the labels of epoch i > 1, `b value + (1 - b) previous` with `b = 2 / (i + 1)`."""
    # b falls with the epoch: labels settle even where the estimates do not, so settling proves little
    weight = 2.0 / (epoch + 1)
    return weight * value + (1 - weight) * previous


class PseudoLabels:
    """The labels of all training reviews and what is needed to move them.

    The labels of epoch 1 are the human ones. With `label_update=epoch` the labels of epoch i + 1 are set at
    the end of epoch i from the representations last seen in it; with `batch`, at a review's first visit in
    epoch i + 1, from its representation then and the anchors and covariances of epoch i. Either way a review
    that is not visited keeps its label, and anchors are taken over the reviews visited in the epoch.

    Everything lives on the model's device, so that observing a batch never waits for a transfer.
    """

    def __init__(self, label_R: Tensor, config: Config, device: torch.device | str) -> None:
        self.config = config
        self.tasks = ("g", *config.subtasks)
        self.epoch = 1
        n_reviews = len(label_R)
        # a copy: the caller's tensor may share its memory with the split's own array
        self.label_R = label_R.detach().to(device=device, dtype=torch.float32, copy=True)
        # Eq. 11; repeat copies, where expand would give all subtasks one memory
        self.pseudo_SR = self.label_R.repeat(len(config.subtasks), 1)
        size = len(self.tasks) * n_reviews * config.d_g
        storage = torch.float32 if 4 * size <= FULL_PRECISION_BYTES else torch.float16
        self.representation_KRG = torch.zeros(
            len(self.tasks), n_reviews, config.d_g, dtype=storage, device=device
        )
        self.visited_R = torch.zeros(n_reviews, dtype=torch.bool, device=device)
        self.distributions: dict[str, Distribution] = {}
        self._before_SR = self.pseudo_SR.clone()
        self._sample_rows = _spread_rows(self.label_R, config.sample_reviews)

    def of(self, row_N: Tensor) -> tuple[Tensor, Tensor]:
        """(pseudo labels `[S, N]`, human labels `[N]`) of review rows."""
        return self.pseudo_SR[:, row_N], self.label_R[row_N]

    @torch.no_grad()
    def observe(self, row_N: Tensor, representation_KNG: Tensor) -> None:
        """Note the representations of distinct review rows, as the model has them in this step."""
        # before visited_R is set, which tells a first visit; epoch 1 has no anchors to move towards
        if self.config.label_update == "batch" and self.distributions:
            self._update_batch(row_N, representation_KNG)
        # with a row twice it would be undefined which one stays
        self.representation_KRG[:, row_N] = representation_KNG.detach().to(self.representation_KRG.dtype)
        self.visited_R[row_N] = True

    @torch.no_grad()
    def end_epoch(self) -> dict[str, Any]:
        """Fit anchors and covariances to this epoch, move the labels, and say how they moved (JSON values).

        Raises TrainingError naming epoch and task where a value is not finite.
        """
        rows_N = self.visited_R.nonzero().squeeze(1)
        report: dict[str, Any] = {
            "reviews_visited": len(rows_N),
            "share_visited": len(rows_N) / len(self.label_R),
        }
        if len(rows_N):
            for index, task in enumerate(self.tasks):
                self.distributions[task] = self._fit(task, self._chunks(index, rows_N))
            # after the loop: every anchor is weighted by this epoch's labels, none by moved ones
            mean_chi = self._update_epoch(rows_N)
            report["tasks"] = {
                task: self._task_report(task, index, rows_N, mean_chi[index])
                for index, task in enumerate(self.tasks)
            }
        report["samples"] = self._sample_report()
        self._before_SR.copy_(self.pseudo_SR)
        self.visited_R.zero_()
        self.epoch += 1
        return report

    def state(self) -> dict[str, Tensor]:
        """Labels as they stand, on the CPU: `label` `[R]` and `pseudo_label` `[S, R]`."""
        return {"label": self.label_R.cpu(), "pseudo_label": self.pseudo_SR.cpu()}

    def checkpoint(self) -> dict[str, Tensor]:
        """All that later epochs depend on, as it stands between two steps: of the representations those of
        the reviews visited in this epoch, which are the only ones that its end will read."""
        state = {
            "pseudo": self.pseudo_SR,
            "before": self._before_SR,
            "visited": self.visited_R,
            "representation": self.representation_KRG[:, self.visited_R],
            "epoch": torch.tensor(self.epoch),
        }
        for task, fitted in self.distributions.items():
            state[f"anchor.{task}"] = fitted.anchor_G
            if fitted.spread.factor_GG is not None:
                state[f"factor.{task}"] = fitted.spread.factor_GG
            numbers = (fitted.scale, fitted.spread.shrinkage, fitted.spread.ridge)
            state[f"numbers.{task}"] = torch.tensor(numbers, dtype=torch.float64)
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `checkpoint` returned."""
        self.pseudo_SR.copy_(state["pseudo"])
        self._before_SR.copy_(state["before"])
        self.visited_R.copy_(state["visited"])
        # after visited_R, which says where they belong
        self.representation_KRG[:, self.visited_R] = state["representation"]
        self.epoch = int(state["epoch"])
        self.distributions = {}
        for task in self.tasks:
            if f"anchor.{task}" in state:
                scale, shrinkage, ridge = state[f"numbers.{task}"].tolist()
                spread = Spread(state.get(f"factor.{task}"), shrinkage, ridge)
                self.distributions[task] = Distribution(state[f"anchor.{task}"], spread, scale)

    def _update_epoch(self, rows_N: Tensor) -> list[float]:
        """Distances of all visited reviews, and with `label_update=epoch` their new labels; the mean
        distance of each task."""
        totals = torch.zeros(len(self.tasks), dtype=torch.float64)
        for rows in torch.split(rows_N, CHUNK_REVIEWS):
            chi_KN = self._distances(self.representation_KRG[:, rows])
            totals += chi_KN.sum(dim=1).cpu()
            if self.config.label_update == "epoch":
                # Eq. 12's i is the epoch that the labels are for, not the one that just ended
                self._move(rows, chi_KN, self.epoch + 1)
        return [float(total) / len(rows_N) for total in totals]

    def _update_batch(self, row_N: Tensor, representation_KNG: Tensor) -> None:
        fresh_N = ~self.visited_R[row_N]
        # here the labels are for the epoch under way, its anchors from the one before
        self._move(row_N[fresh_N], self._distances(representation_KNG[:, fresh_N].detach()), self.epoch)

    def _distances(self, representation_KNG: Tensor) -> Tensor:
        """chi `[K, N]` in float64."""
        return torch.stack(
            [
                self.distributions[task].distance(f)
                for task, f in zip(self.tasks, representation_KNG, strict=True)
            ]
        )

    def _move(self, row_N: Tensor, chi_KN: Tensor, epoch: int) -> None:
        """Set the labels of `epoch` for these reviews (Eq. 19-21, then 12)."""
        # estimates start from the human label every time; only Eq. 12 looks at the last pseudo label
        label_N = self.label_R[row_N].double()
        for index, task in enumerate(self.tasks[1:]):
            value_N = estimate(label_N, chi_KN[1 + index], chi_KN[0], self.config)
            moved_N = smoothed(self.pseudo_SR[index, row_N].double(), value_N, epoch)
            if not bool(torch.isfinite(moved_N).all()):
                raise TrainingError(
                    f"epoch {self.epoch}, subtask {task}: a pseudo label is not finite "
                    f"(largest distance {float(chi_KN.max()):.3g}). {_ADVICE}"
                )
            self.pseudo_SR[index, row_N] = moved_N.float()

    def _chunks(self, task: int, rows_N: Tensor) -> Chunks:
        """Current labels and stored representations of one task, block by block in float64."""
        # a view: blocks read the labels as they are when they are asked for
        label_R = self.label_R if task == 0 else self.pseudo_SR[task - 1]

        def blocks() -> Iterator[tuple[Tensor, Tensor]]:
            for rows in torch.split(rows_N, CHUNK_REVIEWS):
                yield label_R[rows].double(), self.representation_KRG[task, rows].double()

        return blocks

    def _fit(self, task: str, chunks: Chunks) -> Distribution:
        try:
            return fit_distribution(chunks, self.config)
        except ValueError as error:
            name = "target task" if task == "g" else f"subtask {task}"
            raise TrainingError(f"epoch {self.epoch}, {name}: {error}. {_ADVICE}") from error

    def _task_report(self, task: str, index: int, rows_N: Tensor, mean_chi: float) -> dict[str, Any]:
        fitted = self.distributions[task].spread
        report: dict[str, Any] = {
            "mean_chi": mean_chi,
            "shrinkage": fitted.shrinkage,
            "ridge_raised_to": fitted.ridge,
        }
        if index:
            moved_N = self.pseudo_SR[index - 1, rows_N] - self._before_SR[index - 1, rows_N]
            # Of the visited reviews only: the others stand where they were, some of them at their true label.
            report |= summary(self.pseudo_SR[index - 1, rows_N]) | {
                "mean_change": float(moved_N.abs().mean())
            }
        return report

    def _sample_report(self) -> dict[str, Any]:
        rows = self._sample_rows
        return {
            "row": rows.tolist(),
            "label": self.label_R[rows].tolist(),
            **{task: self.pseudo_SR[index, rows].tolist() for index, task in enumerate(self.tasks[1:])},
        }


_ADVICE = "Lower the learning rate (--set train.learning_rate=..., mmss.encoder_learning_rate=...)."


def summary(label_R: Tensor) -> dict[str, float]:
    """Mean, standard deviation, extremes and quartiles of one subtask's labels."""
    values = label_R.double()
    # torch.quantile takes at most 2^24 values
    low, median, high = torch.quantile(
        values, torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype, device=values.device)
    ).tolist()
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(correction=0)),
        "min": float(values.min()),
        "q25": low,
        "median": median,
        "q75": high,
        "max": float(values.max()),
    }


def _spread_rows(label_R: Tensor, count: int) -> Tensor:
    """Up to `count` review rows whose labels cover the range: evenly spaced in the order of the labels."""
    # stable, so that ties give the same samples on every device
    order = torch.argsort(label_R, stable=True)
    if count <= 0:
        return order[:0]
    places = torch.linspace(0, len(order) - 1, min(count, len(order)), dtype=torch.float64)
    return order[places.round().long().to(order.device)]
