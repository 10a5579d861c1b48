"""The claims C1-C7 of the MM-SS paper (arXiv 2402.18107) as checks on finished runs (torch-free).

Each gives `supported`, `refuted` or `undecided`, the numbers behind it, and the command that would decide
it. "Undecided" whenever runs are missing, the corpus is synthetic, or an interval holds both answers. What a
claim's loose words ("about", "stable") are taken to mean stands in its check.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from benchmark.report.claim_checks import CHECKS, PROPOSED
from benchmark.report.claim_finding import ClaimVerdict, Finding, Settings
from benchmark.report.grid import (
    Setting,
)


@dataclass(frozen=True)
class Claim:
    """One claim and what our runs say of it."""

    id: str
    statement: str
    verdict: ClaimVerdict
    why: str
    numbers: tuple[str, ...] = ()
    command: str = ""
    """What would decide it; empty if it is decided."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"numbers": list(self.numbers)}


STATEMENTS = {
    "C1": "MM-SS is best in every cell of Tables 1 and 2, p < 0.01 against the best baseline.",
    "C2": "Every multimodal system beats every text-only one.",
    "C3": "EG-CNN is the worst baseline.",
    "C4": "The gain over the best baseline is larger on Amazon than on Lazada.",
    "C5": "Removing any one subtask lowers every metric; rtrv costs most; ptrt and pvrv cost least.",
    "C6": "Removing module (d) costs about 2 MAP points; removing module (b) about 6.",
    "C7": "Pseudo labels become stable after about 15 epochs.",
}
_GRID = "bench run --all-categories"
_ABLATIONS = "bench ablate --drop all"
_COMMANDS = {
    "C1": _GRID,
    "C2": _GRID,
    "C3": _GRID,
    "C4": _GRID,
    "C5": _ABLATIONS,
    "C6": _ABLATIONS,
    "C7": f"bench run --all-categories --method {PROPOSED} --set train.epochs=30 --set train.patience=0",
}


def check_claims(settings: Sequence[Setting], *, seeds: Sequence[int] | None = None) -> list[Claim]:
    """All claims from the settings, at most one per data set and alike in all but the data. Those of data sets that
    are not in the paper are left out: it claims nothing about them."""
    settings = [setting for setting in settings if setting.data_set.in_paper]
    by_dataset = {setting.conditions.dataset: setting for setting in settings}
    if len(by_dataset) != len(settings):
        raise ValueError("at most one setting per data set")
    return [_claim(name, check(by_dataset, seeds), by_dataset) for name, check in CHECKS.items()]


def render(claims: Iterable[Claim]) -> str:
    """Markdown."""
    claims = list(claims)
    blocks = [summary(claims)]
    for claim in claims:
        lines = [f"**{claim.id}** {claim.statement}", "", f"- {claim.verdict.upper()}: {claim.why}"]
        lines += [f"- {number}" for number in claim.numbers]
        lines += [f"- To decide it: `{claim.command}`"] if claim.command else []
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def summary(claims: Sequence[Claim]) -> str:
    """One line: how many claims are supported, refuted and undecided, and which."""
    parts = []
    for verdict in get_args(ClaimVerdict):
        ids = [claim.id for claim in claims if claim.verdict == verdict]
        parts.append(f"{len(ids)} {verdict}" + (f" ({', '.join(ids)})" if ids else ""))
    return f"Of {len(claims)} claims: {', '.join(parts)}."


def _claim(name: str, finding: Finding, settings: Settings) -> Claim:
    synthetic = sorted(
        {setting.conditions.corpus for setting in settings.values() if setting.conditions.synthetic}
    )
    if synthetic:
        why = f"the corpus {', '.join(synthetic)} is synthetic, and the claim is about real reviews"
        leaning = "" if finding.verdict == "undecided" else f"; on it alone it would be {finding.verdict}"
        finding = replace(finding, verdict="undecided", why=f"{why}{leaning} ({finding.why})")
    shuffled = any(setting.conditions.shuffle_labels for setting in settings.values())
    if shuffled:
        finding = replace(
            finding, verdict="undecided", why="training labels were shuffled: a negative control"
        )
    undecided = finding.verdict == "undecided"
    command = _COMMANDS[name] + (" --data ROOT --preset paper" if undecided else "")
    return Claim(
        name, STATEMENTS[name], finding.verdict, finding.why, finding.numbers, command if undecided else ""
    )
