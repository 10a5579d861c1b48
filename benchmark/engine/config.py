"""How a method is trained: one frozen dataclass, shared by all methods (torch-free)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmark.core.decisions import decided, validate
from benchmark.core.errors import UsageError

PRECISIONS = ("float32", "tf32", "bf16")
LEAST = {
    "epochs": 1,
    "patience": 0,
    "batch_size": 1,
    "negatives": 1,
    "label_gap": 0,
    "max_tokens": 1,
    "max_rois": 0,
    "threads": 1,
    "lists_per_batch": 1,
    "list_size": 2,
}
"""The smallest value of a field that can be trained with; no RoIs at all means no images."""


@dataclass(frozen=True)
class TrainingConfig:
    """The defaults are the `fair` protocol at full size: one budget for every method."""

    epochs: int = decided("D-EPOCHS")
    """Passes over the training pairs, at most (D-EPOCHS)."""
    patience: int = decided("D-EPOCHS", "patience")
    """Stop after this many epochs without a better dev MAP; 0: never stop early (D-EPOCHS)."""
    batch_size: int = 32
    """What a step holds, counted by `batch_unit`."""
    batch_unit: str = decided("D-BATCH")
    """`pairs`: ranking groups; `reviews`: review rows, so batch_size / (1 + negatives) groups (D-BATCH)."""
    negatives: int = decided("D-NEG")
    """Negatives per positive, K (D-NEG)."""
    label_gap: int = decided("D-GAP")
    """g: a negative's label is below the positive's by more than g (D-GAP)."""
    weighted_negatives: bool = decided("D-NEGWEIGHT")
    """Draw a negative with probability 1 - share of its label in the training set; else uniformly
    (D-NEGWEIGHT)."""
    loss: str = decided("D-MARGIN")
    """`hinge` (fixed margin), `label-gap` (the margin is the label difference), `point` (BCE on label > t)
    (D-MARGIN)."""
    target_reduction: str = decided("D-TARGETSUM")
    """`mean` or `sum` over the groups of a step (over its rows for `point`) (D-TARGETSUM)."""
    margin: float = 1.0
    """Margin of `hinge` (Eq. 13)."""
    point_threshold: int = 0
    """t of the `point` loss."""
    learning_rate: float = 1e-4
    """Adam's, for all parameters that a method does not set apart."""
    plateau: bool = False
    """Halve the learning rate after 4 epochs without a better dev MAP (the released schedule, which
    followed MRR; defect P3)."""
    max_tokens: int = decided("D-MAXLEN")
    """Tokens kept of a text (D-MAXLEN)."""
    max_rois: int = 128
    """RoIs kept of an item; at most 32 of one image."""
    relevance_threshold: int = decided("D-THRESHOLD")
    """A review is relevant if its label is above this: selection on dev and the primary metrics
    (D-THRESHOLD)."""
    precision: str = "float32"
    """`float32`; `tf32` or `bf16` where the device has it. Never changed without being asked."""
    threads: int = 1
    """CPU threads of one run. Part of a run's identity, since the order of a sum depends on it."""
    lists_per_batch: int = 2
    """Products per step of a listwise method."""
    list_size: int = 20
    """Reviews drawn of a product for a listwise step."""

    def __post_init__(self) -> None:
        """UsageError for a value that cannot be trained with, before any run starts."""
        validate(self)
        if self.precision not in PRECISIONS:
            raise UsageError(f"train.precision is {' or '.join(PRECISIONS)}, not {self.precision!r}.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if not value >= least:
                raise UsageError(f"train.{name} must be at least {least}, not {value}.")
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"train.learning_rate must be positive and finite, not {self.learning_rate}.")
