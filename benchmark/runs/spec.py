"""What a run is: everything that decides its numbers, and the identity made of it (torch-free)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

NUMERICS_VERSION = 2
"""Part of every run's identity: raised when a change of ours changes the numbers that a run gives."""


@dataclass(frozen=True)
class RunSpec:
    """One run. Everything that changes its numbers is here and enters its identity; nothing else is."""

    dataset: str
    category: str
    method: str
    seed: int
    config: Mapping[str, Any]
    """The resolved configuration, `{"training": {...}, "model": {...}}`."""
    fingerprint: str
    """SHA-256 over the content of the data."""
    protocol: str
    preset: str
    drop: tuple[str, ...] = ()
    """Parts removed in an ablation, in the paper's order."""
    device: str = "cpu"
    """`cpu` or `cuda`: the order of a sum differs between them."""
    shuffle_labels: bool = False
    """Negative control: labels permuted within each product, in all that training sees (train and dev)."""
    overrides: tuple[str, ...] = ()
    """The `--set` values behind `config`, for naming; not part of the identity."""
    corpus: str = ""
    """Name of the corpus, for captions; not part of the identity (the fingerprint is)."""
    synthetic: bool = False

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits: a hash of everything that changes the run's numbers."""
        content = {
            "numerics": NUMERICS_VERSION,
            "dataset": self.dataset,
            "category": self.category,
            "method": self.method,
            "seed": self.seed,
            "config": self.config,
            "fingerprint": self.fingerprint,
            "protocol": self.protocol,
            "preset": self.preset,
            "drop": self.drop,
            "device": self.device,
            "shuffle_labels": self.shuffle_labels,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def model(self) -> str:
        """The method with its dropped parts: `mmss-no-ptrt`."""
        return "-".join([self.method, *(f"no-{part}" for part in self.drop)])

    def folder(self, results: Path) -> Path:
        name = f"seed-{self.seed}-{self.identity}"
        return results / "runs" / self.dataset / self.category / self.model / name

    def __str__(self) -> str:
        return f"{self.dataset}/{self.category} {self.model} seed {self.seed}"


def spec_from_json(record: Mapping[str, Any]) -> RunSpec:
    known = {name: record[name] for name in RunSpec.__dataclass_fields__ if name in record}
    known["drop"] = tuple(known.get("drop", ()))
    known["overrides"] = tuple(known.get("overrides", ()))
    return RunSpec(**known)
