"""The rounds of a job, wherever its runs are carried out: all of them, then those that died, then others'."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from benchmark.engine.execute import Outcome, RunOptions, record_failure, settled_by_another
from benchmark.engine.stop import Stop
from benchmark.runs.claims import Claim, is_claimed
from benchmark.runs.spec import RunSpec

POLL_SECONDS = 0.5
"""How often to look whether a run that another scheduler has is done, or free again."""
END_SECONDS = 20.0
"""What a worker gets to end its step and write a checkpoint."""


class Crew(Protocol):
    """Who carries out runs."""

    def carry_out_all(self, specs: Sequence[RunSpec]) -> Iterator[Outcome]:
        """Each run's outcome as it ends: `claimed` if it is to be tried again, `died` if its process did, and
        `stopped` once the job is."""

    def close(self, patience: float = END_SECONDS) -> None:
        """End all that is under way; what cannot save itself within `patience` seconds by force."""


def rounds(
    crew: Crew, specs: Sequence[RunSpec], results: Path, options: RunOptions, stop: Stop
) -> Generator[Outcome, None, None]:
    """Carry out the runs and yield each as it ends (in no fixed order).

    A failure is recorded and yielded like a success. A run whose process dies is tried once more when no other
    runs beside it, and is a failure if that dies too. Runs that another scheduler has are waited for last, and
    taken over if it dies. When `stop` is requested, runs under way are saved and every run that is not done is
    yielded as `stopped`.
    """
    ahead, suspects = list(specs), list[RunSpec]()
    try:
        while ahead:
            elsewhere = []
            for outcome in crew.carry_out_all(ahead):
                if outcome.state == "died":
                    suspects.append(outcome.spec)
                elif outcome.state == "claimed":
                    elsewhere.append(outcome.spec)
                else:
                    yield outcome
            for spec in suspects:
                last = _last_try(crew, spec, results)
                if last.state == "claimed":
                    elsewhere.append(spec)
                else:
                    yield last
            suspects.clear()
            ahead = []
            while elsewhere and not ahead:
                settled = [settled_by_another(spec, results, options) for spec in elsewhere]
                yield from (outcome for outcome in settled if outcome is not None)
                elsewhere = [s for s, outcome in zip(elsewhere, settled, strict=True) if outcome is None]
                # once the job is stopped all go ahead: the crew answers `stopped` for each
                ahead = [spec for spec in elsewhere if stop.reason or not is_claimed(results, spec.identity)]
                if elsewhere and not ahead:
                    time.sleep(POLL_SECONDS)
            # those still claimed come along: they are free by then, or come back as `claimed` at once
            ahead += [spec for spec in elsewhere if spec not in ahead]
    except KeyboardInterrupt:  # asked twice
        crew.close(patience=0.0)
        raise
    finally:
        crew.close()


def _last_try(crew: Crew, spec: RunSpec, results: Path) -> Outcome:
    """The run alone; a second death is recorded as its failure."""
    (outcome,) = crew.carry_out_all([spec])
    if outcome.state != "died":
        return outcome
    reason = f"{outcome.reason}; it was tried twice, the second time with no other run beside it"
    # under a claim: if another scheduler has the run by now, its outcome is the one that counts
    claim = Claim.take(results, spec.identity)
    if claim is not None:
        with claim:
            reason = record_failure(spec, results, reason, "")
    return replace(outcome, reason=reason, state="failed")
