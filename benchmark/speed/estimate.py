"""What a plan would take: from finished runs of the same kind where there are any, else measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.words import count, duration
from benchmark.data.source import Source
from benchmark.engine.plan import Plan
from benchmark.runs import store

if TYPE_CHECKING:
    from benchmark.runs.spec import RunSpec
    from benchmark.runs.store import StoredRun


@dataclass(frozen=True)
class KindEstimate:
    """One (dataset, category, model): how many runs are to do and what one takes."""

    dataset: str
    category: str
    model: str
    runs: int
    seconds_per_run: float
    basis: str
    """`finished runs` or `measured` (a few steps timed now, all epochs assumed)."""


@dataclass(frozen=True)
class PlanEstimate:
    """The parts and, with `jobs` side by side, the whole."""

    kinds: tuple[KindEstimate, ...]
    jobs: int

    @property
    def seconds(self) -> float:
        return sum(kind.runs * kind.seconds_per_run for kind in self.kinds) / max(1, self.jobs)

    def to_json(self) -> dict[str, Any]:
        return {"seconds": round(self.seconds, 1), "kinds": [vars(kind) for kind in self.kinds]}

    def render(self) -> str:
        if not self.kinds:
            return "nothing to do."
        measured = sum(kind.basis == "measured" for kind in self.kinds)
        basis = f"{measured} of {count(len(self.kinds), 'kind')} of run measured now, the others known"
        if measured == len(self.kinds):
            basis = f"{count(measured, 'kind')} of run, measured now"
        elif not measured:
            basis = "from finished runs"
        return f"it would take about {duration(self.seconds)} with {self.jobs} at a time ({basis})."


def estimate_plan(plan: Plan, source: Source, results: Path, jobs: int) -> PlanEstimate:
    """Estimate what `plan.to_do` would take on this machine."""
    kinds: dict[tuple[str, str, str], list[RunSpec]] = {}
    for spec in plan.to_do:
        kinds.setdefault((spec.dataset, spec.category, spec.model), []).append(spec)
    finished = store.load_runs(results) if kinds else []
    estimates = []
    for (dataset, category, model), specs in kinds.items():
        seconds = _from_finished(specs[0], finished)
        basis = "finished runs"
        if seconds is None:
            from benchmark.speed.measure import seconds_per_run

            seconds, basis = seconds_per_run(specs[0], source.open(dataset, category)), "measured"
        estimates.append(KindEstimate(dataset, category, model, len(specs), round(seconds, 3), basis))
    return PlanEstimate(tuple(estimates), jobs)


def _from_finished(spec: RunSpec, finished: Sequence[StoredRun]) -> float | None:
    """Mean duration of finished runs that differ from `spec` in nothing but the seed."""
    alike = [
        run.provenance["seconds"]["total"]
        for run in finished
        if (run.spec.dataset, run.spec.category, run.spec.model, run.spec.fingerprint, run.spec.device)
        == (spec.dataset, spec.category, spec.model, spec.fingerprint, spec.device)
        and dict(run.spec.config) == dict(spec.config)
    ]
    return sum(alike) / len(alike) if alike else None
