"""What a check of a claim finds, and on which settings (torch-free)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmark.data.datasets import rank
from benchmark.report.grid import (
    Setting,
)

ClaimVerdict = Literal["supported", "refuted", "undecided"]

Settings = Mapping[str, Setting]
"""Data set of the paper -> the setting that speaks for it."""


@dataclass(frozen=True)
class Finding:
    """What a check found, before the corpus is considered."""

    verdict: ClaimVerdict
    why: str
    numbers: tuple[str, ...] = ()


def ordered(settings: Settings) -> list[Setting]:
    return [settings[dataset] for dataset in sorted(settings, key=rank)]


def decide(supported: bool, refuted: bool) -> ClaimVerdict:
    return "supported" if supported else "refuted" if refuted else "undecided"
