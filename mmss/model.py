"""MM-SS (Gong, Jia, Jing, 2024, arXiv 2402.18107). Equation numbers follow the paper, `D-..` are the open
decisions of `mmss.decisions`.

The code reads in the order the data flows: `bert` and `vision` (4.1) -> `interactions` (4.2) -> the target
task here (4.3) -> `subtasks` and `pseudo_labels` (4.4, A.1) -> the total loss here (4.5).

B rows, N distinct reviews of a batch, R training reviews, K tasks (the target, then S subtasks), D = d_t = d_v,
G = d_g.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmark.core.errors import UsageError
from benchmark.core.model import Departure, RankingLoss, RankingModel, Tokenizer
from benchmark.core.types import Batch, CorpusShape
from mmss.bert import TextEncoder, encoder_files, tokenizer_source
from mmss.config import INTERACTIONS, SCRATCH, Config
from mmss.interactions import Interactions
from mmss.pseudo_labels import PseudoLabels
from mmss.subtasks import Subtasks, subtask_losses
from mmss.vision import VisualEncoder


class MMSS(RankingModel):
    """Multimodal interactions, trained with self-supervised subtasks."""

    title = "MM-SS"
    reference = "Gong, Jia, Jing, 2024, arXiv 2402.18107"
    config_class = Config
    reads_images = True
    drops = (*INTERACTIONS, "d", "b")  # Table 4's rows
    quick: ClassVar[Mapping[str, Any]] = {
        "encoder": SCRATCH,
        "scratch_layers": 2,
        "scratch_width": 32,
        "scratch_feedforward": 64,
        "scratch_heads": 2,
        "encoder_learning_rate": 2e-3,
        "width": 32,
        "d_g": 32,
    }
    quick_reasons: ClassVar[Mapping[str, str]] = {
        "encoder": "a size: the pre-trained encoder is a download of 12 layers; this one reads words as the "
        "baselines do",
        "encoder_learning_rate": "an encoder trained from nothing takes the rate of all else; 5e-5 is for fine-tuning",
    }
    departures = (
        Departure(
            "no code was released", "everything follows the paper's equations and the decisions `D-..`"
        ),
        Departure("Eq. 13 has a max(0, .)", "without it the printed sum has no minimum"),
        Departure(
            "Eq. 21 by its first line (D-OFFSET)", "the second printed line does not equal the first line"
        ),
        Departure(
            "masked means, softmaxes and distances everywhere",
            "a product's scores must not depend on what else is in the batch",
            ("P16", "P17"),
        ),
        Departure(
            "a review that stands in several rows of a batch counts once in Eq. 14",
            "the mean is over reviews, and a negative drawn often is one review",
        ),
        Departure(
            "anchors and covariances (Eq. 17, 18) are taken over the reviews visited in the epoch",
            "a review that no training pair holds has no representation of that epoch",
        ),
    )

    def __init__(self, config: Config, corpus: CorpusShape) -> None:
        super().__init__(config, corpus)
        self.config: Config = config
        self.text_encoder = TextEncoder(config, corpus)
        self.product_vision = VisualEncoder(config, corpus.roi_width)
        # shared is one module under two names: parameters() has its weights once, state_dict() twice
        self.review_vision = (
            self.product_vision if config.visual_shared else VisualEncoder(config, corpus.roi_width)
        )
        self.interactions = Interactions(config) if config.has_interactions else None
        n_features = len(INTERACTIONS) if config.has_interactions else 4
        # Eq. 7 over Eq. 6's concatenation, 5 x 128 = 640 wide at the paper's size
        self.represent = nn.Linear(n_features * config.width, config.d_g)
        self.predict = nn.Linear(config.d_g, 1)
        self.subtasks = Subtasks(config) if config.subtasks else None
        self.pseudo_labels: PseudoLabels | None = None
        self._parts: Tensor | None = None
        """float64: the steps of this epoch, and their sums of the target's loss and of every L_s, unbalanced. On the
        model's device and never replaced: a step that is played back there adds to the same memory."""

    @property
    def tokenizer(self) -> Tokenizer:
        return "joint" if self.config.encoder == SCRATCH else "bert"

    @classmethod
    def files_read(cls, config: Config) -> dict[str, str]:
        return encoder_files(config)

    @property
    def tokenizer_source(self) -> Path:
        """Folder of the pre-trained encoder, whose own tokenizer makes the ids. UsageError for `scratch`."""
        folder = tokenizer_source(self.config)
        if folder is None:
            raise UsageError("mmss.encoder=scratch reads the joint word vocabulary, not a tokenizer's.")
        return folder

    def score(self, batch: Batch) -> Tensor:
        """yhat_g (Eq. 8), the only output at inference."""
        _, score_B = self.target(self.features(batch))
        return score_B

    def features(self, batch: Batch) -> dict[str, Tensor]:
        """What Eq. 6 concatenates, by name, `[B, D]` each: the five interactions, or without module (b) the
        four pooled modalities."""
        pt, rt = self.text_encoder(batch.products, batch.reviews)
        pv, rv = self.product_vision(batch.products), self.review_vision(batch.reviews)
        if self.interactions is not None:
            return self.interactions(pt, pv, rt, rv, batch.product_B, batch.review_B)  # type: ignore[no-any-return]
        return {
            "pt": pt.pooled()[batch.product_B],
            "pv": pv.pooled()[batch.product_B],
            "rt": rt.pooled()[batch.review_B],
            "rv": rv.pooled()[batch.review_B],
        }

    def _of_subtasks(self, features: dict[str, Tensor]) -> Tensor:
        """The interactions that the subtasks look at, `[S, B, D]`."""
        return torch.stack([features[name] for name in self.config.subtasks])

    def target(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Eq. 6-8: (f_g* `[B, G]`, yhat_g `[B]`)."""
        # Eq. 6: the order of the names is that of the columns of `represent`, so stored weights depend on it
        f_c_B = torch.cat(list(features.values()), dim=1)
        representation_BG = nn.functional.gelu(self.represent(f_c_B))
        return representation_BG, self.predict(representation_BG).squeeze(-1)

    def loss(self, batch: Batch, ranking_loss: RankingLoss) -> Tensor:
        """Eq. 16: the ranking loss of the target (Eq. 13) plus the balanced subtasks (Eq. 15).

        In training it also notes the representations, from which the pseudo labels move.
        """
        features = self.features(batch)
        representation_BG, score_B = self.target(features)
        target_loss = ranking_loss(score_B, batch)
        if self.subtasks is None or self.pseudo_labels is None:
            return target_loss
        # row_N: rows of the training split; kept_N: rows of this batch
        filled = batch.reviews.real_N is not None
        row_N, kept_N = batch.reviews.row_N, first_rows(batch.review_B, len(batch.reviews), filled)
        # a review always stands with its own product, so any of its rows has the same f_s
        own_SNG, prediction_SN = self.subtasks(self._of_subtasks(features).index_select(1, kept_N))
        # read before `observe`, which with label_update=batch moves the labels of first visits
        pseudo_SN, label_N = self.pseudo_labels.of(row_N)
        loss_S = subtask_losses(prediction_SN, pseudo_SN, label_N, batch.reviews.real_N)
        if self.training:
            # the target's representation first: chi_g is entry 0 of the tasks
            self.pseudo_labels.observe(row_N, torch.cat([representation_BG[None, kept_N], own_SNG]))
            # left on the device: reading a number here would make every step wait for it
            assert self._parts is not None
            parts = torch.cat([target_loss.detach()[None].float(), loss_S.detach().float()])
            self._parts[0] += 1
            self._parts[1:] += parts.double()
        return target_loss + self.subtasks.balanced(loss_S)

    def explain(self, batch: Batch) -> dict[str, Tensor]:
        """yhat_s (Eq. 9) of each subtask by its interaction's name, for Figure 4; none where nothing trained them."""
        if self.subtasks is None:
            return {}
        _, prediction_SB = self.subtasks(self._of_subtasks(self.features(batch)))
        return dict(zip(self.config.subtasks, prediction_SB, strict=True))

    def parameter_groups(self, learning_rate: float) -> Iterable[dict[str, Any]]:
        """The encoder at its own learning rate, all others at the given one (A.2)."""
        encoder = list(self.text_encoder.bert.parameters())
        # by identity: `in` on a list of tensors compares their values
        known = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [
            {"params": encoder, "lr": self.config.encoder_learning_rate},
            {"params": rest, "lr": learning_rate},
        ]

    def start_training(self, review_label_R: Tensor) -> None:
        """y_s^(1) = y_g for every review and subtask."""
        if self.subtasks is not None:
            device = self.predict.weight.device
            self.pseudo_labels = PseudoLabels(review_label_R, self.config, device)
            self._parts = torch.zeros(2 + len(self.config.subtasks), dtype=torch.float64, device=device)

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Move the pseudo labels; returns their trajectory's statistics, the sigmas of Eq. 15, and the mean
        losses by part (the total rises at epoch 2, where the subtasks enter it by construction)."""
        if self.subtasks is None or self.pseudo_labels is None:
            return {}
        report: dict[str, Any] = {}
        if self._parts is not None and self._parts[0]:
            target, *own = (self._parts[1:] / self._parts[0]).tolist()
            report["target_loss"] = target
            report["subtask_loss"] = dict(zip(self.config.subtasks, own, strict=True))
            self._parts.zero_()
        report["sigma"] = dict(zip(self.config.subtasks, self.subtasks.sigmas().tolist(), strict=True))
        report["pseudo_labels"] = self.pseudo_labels.end_epoch()
        return report

    def training_state(self) -> dict[str, Tensor]:
        """`label` `[R]` and `pseudo_label` `[S, R]` as training left them."""
        return {} if self.pseudo_labels is None else self.pseudo_labels.state()

    def checkpoint_state(self) -> dict[str, Tensor]:
        """The pseudo labels and what moves them; the losses by part of the epoch under way."""
        if self.pseudo_labels is None:
            return {}
        parts = {} if self._parts is None else {"parts": self._parts}
        return self.pseudo_labels.checkpoint() | parts

    def restore_checkpoint(self, state: Mapping[str, Tensor]) -> None:
        if self.pseudo_labels is not None:
            self.pseudo_labels.restore(state)
            if self._parts is not None and "parts" in state:
                self._parts.copy_(state["parts"])


def first_rows(review_B: Tensor, n_reviews: int, filled: bool = False) -> Tensor:
    """`[N]`: the first row of each distinct review, so that every review counts once. `filled`: behind the distinct
    reviews stand copies of the first one (`Items.real_N`)."""
    rows_B = torch.arange(len(review_B), device=review_B.device)
    unseen_N = torch.full((n_reviews,), len(review_B), device=review_B.device)
    # a minimum is the same in any order of writes; a plain scatter to repeated places is not
    first_N = unseen_N.scatter_reduce(0, review_B, rows_B, "amin")
    # no row points at what only fills the batch up, a copy of the first review: it takes that one's row
    return torch.where(first_N < len(review_B), first_N, first_N[0]) if filled else first_N
