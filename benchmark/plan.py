"""From the command line's choices to a list of runs, and what of it is done, failed or to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import models, records, settings
from benchmark.core.errors import UsageError
from benchmark.data.catalog import CATEGORIES, DATASETS
from benchmark.records import RunSpec

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus

PARTS = ("ptrt", "pvrv", "ptrv", "pvrt", "rtrv", "d", "b")
"""What an ablation can drop, in the order of the paper's Table 4."""

PAPER_SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Source:
    """Where the data of a category comes from; small enough to hand to a worker process."""

    root: Path
    cache: Path | None = None
    vectors: Path | None = None
    labels_from_votes: bool = False

    def open(self, dataset: str, category: str, progress: Any = None) -> Corpus:
        """The packed category; packs it first if that was not done yet. Raises DataError."""
        from benchmark.data.corpus import open_corpus

        return open_corpus(
            self.root,
            dataset,
            category,
            cache=self.cache,
            vectors=self.vectors,
            labels_from_votes=self.labels_from_votes,
            progress=progress,
        )


@dataclass(frozen=True)
class Choices:
    """What the user asked for, before anything is resolved."""

    datasets: tuple[str, ...]
    categories: tuple[str, ...]
    methods: tuple[str, ...] = models.DEFAULT_METHODS
    seeds: tuple[int, ...] = PAPER_SEEDS
    preset: str = "quick"
    protocol: str = "fair"
    overrides: tuple[str, ...] = ()
    drops: tuple[tuple[str, ...], ...] = ((),)
    """For the proposed method: the sets of parts to drop, `()` being the full model."""
    device: str = "auto"
    shuffle_labels: bool = False


@dataclass(frozen=True)
class Plan:
    """Runs in the order in which they are carried out, and where each stands."""

    specs: tuple[RunSpec, ...]
    done: tuple[RunSpec, ...]
    failed: tuple[tuple[RunSpec, str], ...] = field(default=())
    """Runs that failed before, with the reason; they are tried again, so they are in `to_do` too."""
    to_do: tuple[RunSpec, ...] = field(default=())


def pick(kind: str, chosen: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The chosen names in the registry's order, each once; all if none was chosen."""
    for name in chosen:
        settings.check_choice(kind, name, known)
    return tuple(name for name in known if not chosen or name in chosen)


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0,1,2` or `0-4` -> seeds, each once, in order."""
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        try:
            seeds += range(int(low), int(high) + 1) if dash else [int(low)]
        except ValueError:
            raise UsageError(f"--seeds takes numbers such as 0,1,2 or 0-4, not {text!r}.") from None
    if not seeds:
        raise UsageError(f"--seeds {text!r} names no seed.")
    return tuple(dict.fromkeys(seeds))


def parse_drops(drops: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """`["ptrt", "rtrv"]` -> one ablation each; `all` -> the paper's seven; `ptrt+rtrv` drops both at once."""
    chosen: list[tuple[str, ...]] = []
    for drop in drops:
        if drop == "all":
            chosen += [(part,) for part in PARTS]
            continue
        names = drop.split("+")
        for name in names:
            settings.check_choice("part to drop", name, (*PARTS, "all"))
        chosen.append(tuple(part for part in PARTS if part in names))
    return tuple(dict.fromkeys(chosen))


def resolve_device(device: str) -> str:
    """`cpu` or `cuda`; UsageError if a GPU is asked for and there is none."""
    settings.check_choice("device", device, ("auto", "cpu", "cuda"))
    if device == "cpu":
        return "cpu"
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UsageError(
            "--device cuda: this machine has no CUDA device that torch can use. Use --device cpu."
        )
    return "cuda" if available else "cpu"


def available_categories(
    root: Path, datasets: Sequence[str], categories: Sequence[str]
) -> list[tuple[str, str]]:
    """The (dataset, category) pairs that have a folder below `root`, in the paper's order."""
    return [
        (dataset, category)
        for dataset in DATASETS
        for category in CATEGORIES
        if dataset in datasets and category in categories and (root / dataset / category).is_dir()
    ]


def expand(choices: Choices, corpora: Sequence[Corpus]) -> list[RunSpec]:
    """All runs of the choices on these categories, seed by seed: an interrupted job leaves whole tables
    of few seeds rather than a few full cells."""
    device = resolve_device(choices.device)
    overrides = settings.qualify_overrides(choices.overrides, choices.methods)
    return [
        _spec(choices, corpus, method, seed, drop, overrides, device)
        for seed in choices.seeds
        for corpus in corpora
        for method in choices.methods
        for drop in (choices.drops if method == models.PROPOSED else ((),))
    ]


def _spec(
    choices: Choices,
    corpus: Corpus,
    method: str,
    seed: int,
    drop: tuple[str, ...],
    overrides: dict[str, str],
    device: str,
) -> RunSpec:
    setting = settings.resolve(
        method,
        corpus.dataset,
        corpus.category,
        preset=choices.preset,
        protocol=choices.protocol,
        overrides=overrides,
    )
    config = setting.to_json()
    if method == models.PROPOSED:
        config["model"]["drop"] = list(drop)
    files = models.load(method).files_read(setting.model)
    if files:
        config["files"] = dict(files)  # their content, not only their name, enters the identity
    return RunSpec(
        dataset=corpus.dataset,
        category=corpus.category,
        method=method,
        seed=seed,
        config=config,
        fingerprint=corpus.fingerprint,
        protocol=choices.protocol,
        preset=choices.preset,
        drop=drop,
        device=device,
        shuffle_labels=choices.shuffle_labels,
        overrides=setting.overrides,
        corpus=corpus.label,
        synthetic=corpus.synthetic,
    )


def make_plan(specs: Sequence[RunSpec], results: Path, force: bool = False) -> Plan:
    """Sort runs into done, failed before and to do. `force` does the done ones again."""
    unique = {spec.identity: spec for spec in specs}
    done = [] if force else [spec for spec in unique.values() if records.is_done(spec, results)]
    finished = {spec.identity for spec in done}
    to_do = [spec for spec in unique.values() if spec.identity not in finished]
    failures = ((spec, records.read_failure(spec, results)) for spec in to_do)
    failed = [(spec, str(failure["reason"])) for spec, failure in failures if failure]
    return Plan(tuple(unique.values()), tuple(done), tuple(failed), tuple(to_do))


def default_jobs(threads: int) -> int:
    """As many runs side by side as the processors that this process may use can feed."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this operating system
        cores = os.cpu_count() or 1
    return max(1, cores // max(1, threads))
