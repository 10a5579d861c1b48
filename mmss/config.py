"""Configuration of MM-SS (torch-free). A field of an open decision takes its default from the registry."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from benchmark.core.decisions import decided, validate
from benchmark.core.errors import UsageError

INTERACTIONS = ("ptrt", "pvrv", "ptrv", "pvrt", "rtrv")
"""Product text-review text, product vision-review vision, ..., in this order everywhere."""
MODULES = ("b", "d")
DROPPABLE = (*INTERACTIONS, *MODULES)
"""The ablations of Table 4."""
SCRATCH = "scratch"


@dataclass(frozen=True)
class Config:
    """The defaults are the paper's full size, and the registry's answers where it is silent."""

    encoder: str = decided("D-BERT")
    """Text encoder: a model folder, a hub name, or `scratch` (D-BERT)."""
    scratch_layers: int = 2
    """Layers of the `scratch` encoder."""
    scratch_width: int = 128
    """Hidden width of the `scratch` encoder."""
    scratch_feedforward: int = 512
    """Width of its feed-forward layers."""
    scratch_heads: int = 2
    """Attention heads of the `scratch` encoder."""
    scratch_positions: int = 512
    """Longest text of the `scratch` encoder, [CLS] included."""
    scratch_init: float = 0.02
    """Standard deviation of the `scratch` encoder's initial weights."""
    encoder_learning_rate: float = 5e-5
    """Adam's, for the text encoder's parameters (A.2); all others take the training configuration's."""
    encoder_dropout: float = decided("D-DROPOUT")
    """Dropout inside the text encoder while training (D-DROPOUT)."""
    width: int = 128
    """d_t = d_v, the width of text and RoI states (4.1)."""
    visual_order: str = decided("D-VISORDER")
    """`attend-then-project` or `project-then-attend` (D-VISORDER)."""
    visual_shared: bool = decided("D-VISSHARE")
    """One visual encoder for product and review (D-VISSHARE)."""
    attention_heads: int = decided("D-ATT")
    """Heads of every Self-ATT (D-ATT)."""
    attention_residual: bool = decided("D-ATT", "attention_residual")
    """Residual connection and LayerNorm around Self-ATT (D-ATT)."""
    attention_shared: bool = decided("D-ATTSHARE")
    """One Self-ATT for all five interactions (D-ATTSHARE)."""
    d_g: int = decided("D-DG")
    """Width of the task representations f_g* and f_s* (D-DG)."""
    subtask_mlp: str = decided("D-SUBMLP")
    """`hidden` or `linear` (D-SUBMLP)."""
    anchor: str = decided("D-EPS")
    """eps_k of the anchor (D-EPS)."""
    covariance: str = decided("D-COV")
    """Sigma_k: `ledoit-wolf`, `ridge`, `diagonal`, `euclidean` (D-COV)."""
    ridge: float = 1e-3
    """Ridge of `covariance=ridge`, as a share of the mean variance."""
    distance_scale: str = decided("D-SCALE")
    """s_k: `dim`, `rms`, `one` (D-SCALE)."""
    offset: str = decided("D-OFFSET")
    """Form of Eq. 21: `derived` or `printed` (D-OFFSET)."""
    alpha1: float = decided("D-ALPHA")
    """Weight of the ratio (D-ALPHA)."""
    alpha2: float = decided("D-ALPHA", "alpha2")
    """Weight of the difference (D-ALPHA)."""
    offset_epsilon: float = decided("D-ALPHA", "offset_epsilon")
    """e, which keeps the ratio finite (D-ALPHA)."""
    label_clamp: str = decided("D-CLAMP")
    """`none` or `symmetric` at 4 (D-CLAMP)."""
    label_update: str = decided("D-UPDATE")
    """`epoch` or `batch` (D-UPDATE)."""
    uncertainty: str = decided("D-UNCERT")
    """`kendall` or `log1p` (D-UNCERT)."""
    sample_reviews: int = 8
    """Training reviews whose labels are logged one by one, for Figure 4."""
    drop: tuple[str, ...] = ()
    """Removed parts: subtasks by their interaction's name; `d`: all subtasks; `b`: interactions and subtasks."""

    def __post_init__(self) -> None:
        validate(self)
        unknown = [part for part in self.drop if part not in DROPPABLE]
        if unknown:
            raise UsageError(f"mmss.drop: unknown part {unknown[0]!r}. Known: {' '.join(DROPPABLE)}.")
        if self.width < 1 or self.width % self.attention_heads:
            raise UsageError(
                f"mmss.width={self.width} must be a multiple of mmss.attention_heads={self.attention_heads}."
            )
        if self.encoder == SCRATCH and self.scratch_width % self.scratch_heads:
            raise UsageError(
                f"mmss.scratch_width={self.scratch_width} must be a multiple of "
                f"mmss.scratch_heads={self.scratch_heads}."
            )
        if not 0 <= self.encoder_dropout < 1:
            raise UsageError(f"mmss.encoder_dropout={self.encoder_dropout} must be in [0, 1).")
        if not self.ridge > 0:
            raise UsageError(f"mmss.ridge={self.ridge} must be above 0.")

    @property
    def has_interactions(self) -> bool:
        """False for the ablation of module (b)."""
        return "b" not in self.drop

    @property
    def subtasks(self) -> tuple[str, ...]:
        """Subtasks that take part in Eq. 14 and 15, in the paper's order."""
        if "b" in self.drop or "d" in self.drop:
            return ()
        return tuple(name for name in INTERACTIONS if name not in self.drop)


def without(config: Config, *parts: str) -> Config:
    """The ablation that lacks `parts` too (`ptrt` ... `rtrv`, `b`, `d`); the order given does not matter."""
    dropped: set[Any] = {*config.drop, *parts}
    unknown = sorted(dropped - set(DROPPABLE))
    if unknown:
        raise UsageError(f"mmss: nothing named {unknown[0]!r} can be dropped. Known: {' '.join(DROPPABLE)}.")
    return dataclasses.replace(config, drop=tuple(part for part in DROPPABLE if part in dropped))
