"""What the page says beside tables and pictures: tests, claims, the paper, decisions, controls, provenance."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmark import models
from benchmark.core import decisions
from benchmark.data.dataset_file import from_record
from benchmark.data.published import METRIC_LABELS
from benchmark.report.compare import compare
from benchmark.report.facts import ablation_label
from benchmark.report.grid import Setting, manifests
from benchmark.report.html.cells import EMBEDDED
from benchmark.report.multiverse import Effect, effect, variants
from benchmark.report.significance import Finding, stats_report
from benchmark.runs.store import StoredRun


def tests_view(setting: Setting, worthwhile: float, proposed: str) -> dict[str, Any]:
    """Every comparison of the proposed method, with what must stand beside a p value."""
    report = stats_report(setting, "all", worthwhile=worthwhile, proposed=proposed)
    ties = [
        (setting.data_set.category_title(category), models.METHODS[one.method].title, f"{one.tied_pairs:.2%}",
         f"{100 * one.file_order_gain['map']:+.2f}")
        for category, found in report.ties.items()
        for one in found
    ]  # fmt: skip
    return {
        "dataset": setting.data_set.title,
        "rows": [_finding(setting, one) for one in report.findings],
        "sizes": ", ".join(f"{METRIC_LABELS[name]} {size}" for name, size in report.family_sizes.items()),
        "notes": report.notes,
        "ties": ties,
        "worthwhile": worthwhile,
    }


def _finding(setting: Setting, finding: Finding) -> dict[str, Any]:
    one = finding.comparison
    interval = one.result.interval
    return {
        "category": setting.data_set.category_title(one.category),
        "metric": METRIC_LABELS[one.metric],
        "against": models.METHODS[one.b.method].title,
        "difference": 100 * one.result.difference,
        "interval": "" if interval is None else "[{:+.2f}, {:+.2f}]".format(*(100 * x for x in interval)),
        "p": one.result.p_value,
        "p_holm": one.p_holm,
        "verdict": finding.verdict,
        "probability": finding.probability,
        "products": " / ".join(map(str, finding.products)),
        "n": f"{one.result.n_seeds[0]} × {one.result.n_products}",
    }


def paper_view(setting: Setting) -> dict[str, Any]:
    """The published values beside ours, or why no comparison is made."""
    report = compare(setting)
    return {
        "dataset": setting.data_set.title,
        "meaningless": report.meaningless,
        "counts": report.counts(),
        "notes": report.notes,
        "rows": [
            {
                "category": setting.data_set.category_title(one.category),
                "method": ablation_label(one.drop) if one.drop else models.METHODS[one.method].title,
                "metric": METRIC_LABELS[one.metric],
                "published": one.published.printed,
                "ours": one.ours,
                "interval": "" if one.interval is None else "[{:.1f}, {:.1f}]".format(*one.interval),
                "difference": one.difference,
                "verdict": one.verdict,
                "why": one.why,
            }
            for one in report.verdicts
        ],
    }


def decisions_view(runs: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """Every open decision: the question, what these runs took, the default and why, the other answers."""
    configs: dict[str, dict[str, Any]] = {}
    for run in runs:
        configs.setdefault(run.spec.method, dict(run.spec.config["model"]))
        configs.setdefault("train", dict(run.spec.config["training"]))
    return [
        {
            "id": one.id,
            "question": one.question,
            "where": one.where,
            "taken": _taken(one, configs),
            "default": str(one.default),
            "reason": one.reason,
            "options": [(str(option.value), option.meaning) for option in one.options],
            "set_by": ", ".join(one.fields) or one.how,
        }
        for one in decisions.all_decisions()
    ]


def _taken(one: decisions.Decision, configs: dict[str, dict[str, Any]]) -> str:
    if one.field is None:
        return ""
    scope, _, name = one.field.partition(".")
    return str(configs.get(scope, {}).get(name, ""))


def decision_effects(settings: Sequence[Setting], method: str = models.PROPOSED) -> list[Effect]:
    """What alternatives of open decisions moved for a method, from the settings that differ by overrides alone."""
    names = {tuple(sorted(one.overrides)): one.name for one in variants([], method, True)}
    plain = [setting for setting in settings if not setting.conditions.overrides]
    found = []
    for setting in settings:
        conditions = setting.conditions
        base = next((one for one in plain if _differ_by_overrides(one, setting)), None)
        if not conditions.overrides or conditions.shuffle_labels or base is None:
            continue
        name = names.get(conditions.overrides, " ".join(conditions.overrides))
        for category, _ in setting.fingerprints:
            changed = setting.cell(category, method)
            default = base.cell(category, method, seeds=[run.spec.seed for run in changed.runs])
            if changed.runs and default.runs and changed.runs[0].spec.overrides:
                found.append(effect(name, conditions.dataset, category, default.runs, changed.runs))
    return found


def _differ_by_overrides(a: Setting, b: Setting) -> bool:
    """Whether two settings are alike but for overrides, on the same data where both have some."""
    seen = dict(a.fingerprints)
    same_data = all(seen.get(category) == fingerprint for category, fingerprint in b.fingerprints)
    return same_data and a.conditions.without_overrides == b.conditions.without_overrides


def provenance_view(runs: Sequence[StoredRun]) -> dict[str, Any]:
    """Where the numbers come from: sources, machines, data, and the commands that were typed."""
    made = Counter(_made_by(run) for run in runs)
    seconds = [run.provenance.get("seconds", {}).get("total", 0.0) for run in runs]
    data = []
    for manifest in manifests(runs):
        test, train = manifest["splits"]["test"], manifest["splits"]["train"]
        data_set = from_record(manifest["data_set"], "manifest")
        data.append(
            {
                "place": f"{data_set.title} {data_set.category_title(manifest['category'])}",
                "corpus": manifest["label"] + (" (synthetic)" if manifest["synthetic"] else ""),
                "fingerprint": manifest["fingerprint"],
                "train": f"{train['products']:,} / {train['reviews']:,}",
                "test": f"{test['products']:,} / {test['reviews']:,}",
                "vectors": (manifest.get("vectors") or {}).get("file", "random"),
            }
        )
    return {
        "made": [dict(zip(MADE_BY, key, strict=True)) | {"runs": count} for key, count in made.most_common()],
        "names": MADE_BY,
        "data": data,
        "hours": sum(seconds) / 3600,
        "typed": typed(runs),
    }


MADE_BY = ("commit", "package", "python", "torch", "numpy", "platform", "device", "compiled kernels")


def _made_by(run: StoredRun) -> tuple[str, ...]:
    facts = run.provenance
    libraries = facts.get("libraries", {})
    values = (
        *(facts.get(name) for name in ("commit", "package", "python")),
        *(libraries.get(name) for name in ("torch", "numpy")),
        *(facts.get(name) for name in ("platform", "device", "compiled_kernels")),
    )
    return tuple("unknown" if value is None else str(value) for value in values)


def typed(runs: Sequence[StoredRun]) -> list[tuple[str, int]]:
    """The command lines that made the runs, as they were typed, and how many runs each made."""
    lines = Counter(shlex.join(map(str, run.provenance.get("argv") or ["unknown"])) for run in runs)
    return lines.most_common()


def remake(runs: Sequence[StoredRun], results: str, proposed: str = models.PROPOSED) -> list[str]:
    """Commands from a clone of the project to this page."""
    commits = Counter(str(run.provenance.get("commit") or "") for run in runs)
    commit = commits.most_common(1)[0][0].removesuffix("+changes")
    lines = [f"git checkout {commit}"] if commit else []
    lines += [
        "python3 -m venv .venv && . .venv/bin/activate",
        "pip install -c constraints.txt torch && pip install -c constraints.txt -e '.[plots]'",
    ]
    lines += [line for line, _ in typed(runs) if line != "unknown"]
    data = "" if all(run.spec.corpus == EMBEDDED for run in runs) else " --data ROOT"
    judged = "" if proposed == models.PROPOSED else f" --proposed {shlex.quote(proposed)}"
    return [*lines, f"bench report --results {shlex.quote(results)}{data}{judged} --out report.html"]
