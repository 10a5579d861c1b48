"""From the command line's choices to a list of runs, and what of it is done, failed or to do."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import models
from benchmark.core.words import check_choice
from benchmark.data.dataset_file import to_record
from benchmark.engine import resolve
from benchmark.engine.machine import resolve_device
from benchmark.engine.memo import Configured, Memo
from benchmark.runs.files import is_done, read_failure
from benchmark.runs.spec import RunSpec

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus
    from benchmark.data.datasets import DataSet

PARTS = ("ptrt", "pvrv", "ptrv", "pvrt", "rtrv", "d", "b")
"""What an ablation can drop, in the order of the paper's Table 4."""

PAPER_SEEDS = (0, 1, 2, 3, 4)


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
    proposed: str = models.PROPOSED
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


def expand(
    choices: Choices, corpora: Sequence[Corpus], *, elsewhere: bool = False, memo: Memo | None = None
) -> list[RunSpec]:
    """All runs of the choices on these categories, seed by seed: an interrupted job leaves whole tables
    of few seeds rather than a few full cells. `elsewhere`: other machines carry them out, which have the device.
    `memo`: configurations that were made before, which need no method's module."""
    device = (
        check_choice("device", choices.device, ("cpu", "cuda"))
        if elsewhere
        else resolve_device(choices.device)
    )
    # made once for all seeds: `configured` is the same for each of them
    configured = functools.cache(functools.partial(_configured, choices, memo))
    if memo is None:  # a key that names nothing is an error whatever else is wrong
        resolve.qualify_overrides(choices.overrides, choices.methods)
    specs = [
        _spec(
            choices,
            corpus,
            method,
            seed,
            drop,
            configured(method, corpus.data_set, corpus.category, drop),
            device,
        )
        for seed in choices.seeds
        for corpus in corpora
        for method in choices.methods
        for drop in (choices.drops if method == choices.proposed else ((),))
    ]
    if memo is not None:
        memo.save()
    return specs


def _configured(
    choices: Choices, memo: Memo | None, method: str, data_set: DataSet, category: str, drop: tuple[str, ...]
) -> Configured:
    """`config` of a RunSpec, and the overrides that it holds; from the memo where it knows them."""

    def make() -> Configured:
        return _configuration(
            method,
            data_set,
            category,
            preset=choices.preset,
            protocol=choices.protocol,
            overrides=resolve.qualify_overrides(choices.overrides, choices.methods),
            drop=drop,
        )

    if memo is None or not models.get(method).built_in:
        return make()
    request = {
        "method": method,
        "code": models.code_of(method),
        "data_set": to_record(data_set),
        "category": category,
        "preset": choices.preset,
        "protocol": choices.protocol,
        "overrides": choices.overrides,
        # a bare override goes to every selected method that has the field
        "methods": {name: models.code_of(name) for name in choices.methods} if choices.overrides else {},
        "drop": drop,
    }
    return memo.configured(request, make)


def _spec(
    choices: Choices,
    corpus: Corpus,
    method: str,
    seed: int,
    drop: tuple[str, ...],
    configured: Configured,
    device: str,
) -> RunSpec:
    config, applied = configured
    known = models.get(method)
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
        overrides=applied,
        corpus=corpus.label,
        synthetic=corpus.synthetic,
        code=models.code_of(method),
        target=known.target,
        title=known.title,
        modality=known.modality,
    )


def _configuration(
    method: str,
    data_set: DataSet,
    category: str,
    *,
    preset: str,
    protocol: str,
    overrides: dict[str, str],
    drop: tuple[str, ...],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """`config` of a RunSpec, and the overrides that it holds."""
    setting = resolve.resolve(
        method, data_set, category, preset=preset, protocol=protocol, overrides=overrides
    )
    config = setting.to_json()
    if "drop" in config["model"]:
        config["model"]["drop"] = list(drop)
    files = models.load(method).files_read(setting.model)
    if files:
        config["files"] = dict(files)  # their content, not only their name, enters the identity
    return config, setting.overrides


def asked_again(spec: RunSpec, data_set: DataSet) -> RunSpec:
    """What the request that made a stored run asks for today, of the same data: its configuration and code as they
    are now. UsageError if that cannot be asked for (an override's field is gone, say)."""
    config, _ = _configuration(
        spec.method,
        data_set,
        spec.category,
        preset=spec.preset,
        protocol=spec.protocol,
        overrides=resolve.qualify_overrides(spec.overrides, (spec.method,)),
        drop=spec.drop,
    )
    return replace(spec, config=config, code=models.code_of(spec.method))


def make_plan(specs: Sequence[RunSpec], results: Path, force: bool = False) -> Plan:
    """Sort runs into done, failed before and to do. `force` does the done ones again."""
    unique: dict[str, RunSpec] = {}
    for spec in specs:  # the first to ask for a run names it: a default is not refiled under an override
        unique.setdefault(spec.identity, spec)
    done = [] if force else [spec for spec in unique.values() if is_done(spec, results)]
    finished = {spec.identity for spec in done}
    to_do = [spec for spec in unique.values() if spec.identity not in finished]
    failures = ((spec, read_failure(spec, results)) for spec in to_do)
    failed = [(spec, str(failure["reason"])) for spec, failure in failures if failure]
    return Plan(tuple(unique.values()), tuple(done), tuple(failed), tuple(to_do))
