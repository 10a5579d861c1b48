"""One recorded output against ours: how far apart, and what is allowed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TOLERANCE = {"float64": 1e-8, "float32": 2e-5}
"""Absolute and relative: |ours - recorded| <= tolerance * (1 + |recorded|)."""
Recorded = tuple[str, Any, Any]
"""(what, ours, recorded)"""


@dataclass(frozen=True)
class CaseResult:
    """One golden case: one batch of a network, one set of rows of the losses, one file of metrics, ..."""

    case: str
    precision: str
    absolute: float
    """Largest absolute difference; NaN where nothing could be compared."""
    relative: float
    """Largest relative difference among recorded values that are not 0."""
    tolerance: float
    ok: bool
    note: str = ""
    """Why it failed, or what was not compared."""

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in values.items()
        }


@dataclass
class Comparison:
    """Collects differences of one case."""

    tolerance: float
    absolute: float = 0.0
    relative: float = 0.0
    notes: list[str] = field(default_factory=list)
    ok: bool = True
    compared: int = 0

    def fail(self, note: str) -> None:
        self.ok = False
        self.notes.append(note)

    def equal(self, what: str, ours: Any, recorded: Any) -> None:
        """For counts and sets, where nearly is not enough."""
        self.compared += 1
        if ours != recorded:
            self.fail(f"{what}: {ours}, recorded {recorded}")

    def close(self, what: str, ours: Any, recorded: Any) -> None:
        a, b = np.asarray(ours, dtype=np.float64), np.asarray(recorded, dtype=np.float64)
        if a.shape != b.shape:
            self.fail(f"{what}: shape {list(a.shape)}, recorded {list(b.shape)}")
            return
        self.compared += 1
        difference = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
        self.absolute = float(np.max(difference, initial=self.absolute))
        nonzero = (b != 0) & ~np.isnan(b)
        self.relative = float(np.max(difference[nonzero] / np.abs(b[nonzero]), initial=self.relative))
        # "not within" rather than "beyond", so that a NaN of ours fails
        if not np.all(difference <= self.tolerance * (1 + np.where(np.isnan(b), 0.0, np.abs(b)))):
            self.fail(f"{what} differs by up to {np.max(difference):.2g}")
