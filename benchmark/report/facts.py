"""What is said of a setting or a comparison in JSON and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmark import models
from benchmark.data.published import (
    PART_LABELS,
)
from benchmark.report.grid import (
    Comparison,
    Setting,
    commits_of,
)


def significance(p: float | None) -> str:
    """`**` below 0.01, `*` below 0.05, else empty; None (no test) is empty."""
    return "" if p is None else "**" if p < 0.01 else "*" if p < 0.05 else ""


def method_title(name: str) -> str:
    """As the tables print it; the name itself for a method that this installation does not know."""
    known = models.METHODS.get(name)
    return name if known is None else known.title


def setting_facts(setting: Setting) -> dict[str, Any]:
    """The setting as JSON values."""
    return {
        **asdict(setting.conditions),
        "overrides": list(setting.conditions.overrides),
        "relevance_threshold": [setting.conditions.relevance_threshold],
        "fingerprints": dict(setting.fingerprints),
        "ties": " and ".join(sorted({run.ties for run in setting.runs})),
        "commits": commits_of(setting.runs),
    }


def comparison_facts(one: Comparison, **more: Any) -> dict[str, Any]:
    """A test as JSON values; differences and intervals in points."""
    result = one.result
    return {
        "dataset": one.a.runs[0].spec.dataset,
        "category": one.category,
        "metric": one.metric,
        "a": variant_name(one.a.method, one.a.drop),
        "b": variant_name(one.b.method, one.b.drop),
        "difference": 100 * result.difference,
        "interval": None if result.interval is None else [100 * bound for bound in result.interval],
        "p": result.p_value,
        "p_holm": one.p_holm,
        "df": result.df,
        "n_seeds": list(result.n_seeds),
        "n_products": result.n_products,
        "paired": result.paired,
        "reason": result.reason,
        **more,
    }


def ablation_label(drop: Sequence[str], method: str = models.PROPOSED) -> str:
    """As Table 4 prints it: `w/o intra-modal-ptrt`; the full model is the method's name. The parts of a method
    that is not the paper's stand under their own names."""
    labels = PART_LABELS if method == models.PROPOSED else {}
    return "w/o " + " + ".join(labels.get(part, part) for part in drop) if drop else models.get(method).title


def variant_name(method: str, drop: Sequence[str]) -> str:
    return "-".join([method, *(f"no-{part}" for part in drop)])
