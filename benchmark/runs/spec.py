"""What a run is: everything that decides its numbers, and the identity made of it (torch-free)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

NUMERICS_VERSION = 6
"""Part of every run's identity: raised when a change of ours changes the numbers that a run gives."""


@dataclass(frozen=True, order=True)
class Conditions:
    """What two runs must share before their numbers are compared; every reader groups by it.

    The data's fingerprint is not here: it differs by category, and a table spans several. It sorts as tables are
    listed: real corpora first, by name; without overrides before with.
    """

    dataset: str
    synthetic: bool
    corpus: str
    shuffle_labels: bool
    protocol: str
    preset: str
    device: str
    relevance_threshold: int
    """A review is relevant if its label is above this: another threshold is another metric."""
    overrides: tuple[str, ...] = ()
    """Of a run: the `--set` values that apply to its method. Of a table: all of them, see `for_method`."""

    @property
    def without_overrides(self) -> Conditions:
        return replace(self, overrides=())

    @property
    def of_any_dataset(self) -> Conditions:
        """For tables over several data sets, each of which may have a relevance threshold of its own."""
        return replace(self, dataset="", relevance_threshold=-1)

    def __str__(self) -> str:
        """`mini 1.2 (synthetic), protocol fair, preset quick, device cpu, overrides train.epochs=3`."""
        synthetic = " (synthetic)" if self.synthetic else ""
        overrides = f", overrides {' '.join(self.overrides)}" if self.overrides else ""
        how = f"protocol {self.protocol}, preset {self.preset}, device {self.device}{overrides}"
        return f"{self.corpus}{synthetic}, {how}"

    def for_method(self, method: str) -> Conditions:
        """What a run of the method carries of these: the overrides of training and its own."""
        own = tuple(sorted(one for one in self.overrides if one.partition(".")[0] in ("train", method)))
        return replace(self, overrides=own)


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
    code: str = ""
    """Hash of what the method's source means; empty in runs of before it was kept, whose identity lacks it."""
    target: str = ""
    """Where the method's class lies (`module:Class`, `/path/to/file.py:Class`), for other processes; not part of
    the identity, and neither are the next two, for tables where the method is not installed."""
    title: str = ""
    modality: str = ""

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits: a hash of everything that changes the run's numbers."""
        return self.identity_under(NUMERICS_VERSION)

    def identity_under(self, numerics: int) -> str:
        """The identity that a version of ours gave, or gives, to the same run."""
        content = {
            "numerics": numerics,
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
        } | ({"code": self.code} if self.code else {})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def relevance_threshold(self) -> int:
        """t of the run: it selected the epoch on dev by it, and its values per product were made with it."""
        return int(self.config["training"]["relevance_threshold"])

    @property
    def conditions(self) -> Conditions:
        return Conditions(
            dataset=self.dataset,
            synthetic=self.synthetic,
            corpus=self.corpus,
            shuffle_labels=self.shuffle_labels,
            protocol=self.protocol,
            preset=self.preset,
            device=self.device,
            relevance_threshold=self.relevance_threshold,
            overrides=self.overrides,
        )

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
