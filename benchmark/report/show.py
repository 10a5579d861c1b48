"""Finding one run, printing all about it, and what differs between two. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmark.core.errors import UsageError
from benchmark.core.metrics import PAPER_METRICS
from benchmark.runs import store
from benchmark.runs.files import failure_record
from benchmark.runs.store import StoredRun

EPOCH_FORMATS = ("d", ".4f", ".2f", ".2f", ".2f", ".1f", ".1f", ".2f")
MOST_PRODUCTS = 10
"""Products listed by `render_difference`: those whose MAP differs most."""
RUN_BY = ("package", "commit", "python", "platform", "device", "torch_threads", "compiled_kernels")
VERSION_KEYS = (*RUN_BY, "libraries")


def find_run(results: Path, given: str) -> StoredRun:
    """The run that `given` names: its folder, the beginning of its identity, or what it is of,
    `amazon/home/mmss/0` (data set, category, method with what it drops, seed).

    UsageError if there is none, or more than one.
    """
    folder = Path(given)
    if (folder / "config.json").is_file():
        return store.load_run(folder)
    runs = store.load_runs(results)
    found = [run for run in runs if run.id.startswith(given)] or [run for run in runs if _place(run) == given]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no run {given!r} in {results}. `bench status --json` lists the identities.")
    listed = ", ".join(f"{run.id} ({run.spec})" for run in found[:5])
    raise UsageError(f"{given!r} names {len(found)} runs: {listed}. Give their identity, or more of it.")


def _place(run: StoredRun) -> str:
    return f"{run.spec.dataset}/{run.spec.category}/{run.spec.model}/{run.spec.seed}"


def find_failure(results: Path, given: str) -> dict[str, Any] | None:
    """The record of the failed run that `given` names (its `.failed.json`, or the beginning of its identity); None if
    that is not one run that failed."""
    if given.endswith(".failed.json") and Path(given).is_file():
        return failure_record(Path(given))
    found = [one for one in store.load_failures(results) if str(one["identity"]).startswith(given)]
    return found[0] if given and len(found) == 1 else None


def render_failure(failure: Mapping[str, Any]) -> str:
    """A failed run in words: which, why, and its full traceback."""
    spec = failure["spec"]
    dropped = f" without {' '.join(spec['drop'])}" if spec.get("drop") else ""
    name = f"{spec['dataset']}/{spec['category']} {spec['method']}{dropped} seed {spec['seed']}"
    details = str(failure.get("details") or "").rstrip()
    return f"FAILED: {name} ({failure['identity']})\n{failure['reason']}" + (
        f"\n\n{details}" if details else ""
    )


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{name}.")
        else:
            flat[name] = item
    return flat


def describe(run: StoredRun) -> dict[str, Any]:
    """Everything about one run, as JSON values."""
    means = {name: float(run.values(name).mean()) for name in PAPER_METRICS}
    return {
        "id": run.id,
        "folder": str(run.folder),
        "dataset": run.spec.dataset,
        "category": run.spec.category,
        "method": run.spec.method,
        "seed": run.spec.seed,
        "drop": list(run.spec.drop),
        "protocol": run.spec.protocol,
        "preset": run.spec.preset,
        "overrides": list(run.spec.overrides),
        "shuffle_labels": run.spec.shuffle_labels,
        "corpus": run.spec.corpus,
        "synthetic": run.spec.synthetic,
        "fingerprint": run.spec.fingerprint,
        "config": dict(run.spec.config),
        "provenance": dict(run.provenance),
        "test": {"products": len(run.products), "reviews": len(run.score_R), **means},
        "log": run.log,
    }


def render(run: StoredRun) -> str:
    """All about one run, for a person."""
    described = describe(run)
    test = described["test"]
    corpus = run.spec.corpus + (" (synthetic)" if run.spec.synthetic else "")
    head = [
        ("run", f"{run.id}  {run.spec}"),
        ("folder", run.folder),
        ("data", f"{corpus}, fingerprint {run.spec.fingerprint[:16]}"),
        ("protocol, preset", f"{run.spec.protocol}, {run.spec.preset}"),
        ("overrides", " ".join(run.spec.overrides) or "none"),
        ("test", f"{test['products']} products, {test['reviews']} reviews"),
        *((f"test {name}", f"{100 * test[name]:.2f}") for name in PAPER_METRICS),
    ]
    provenance = [(key, value) for key, value in flatten(run.provenance).items()]
    configuration = [(key, value) for key, value in flatten(run.spec.config).items()]
    epochs = [
        [
            entry["epoch"],
            entry["loss"],
            *(100 * entry[f"dev_{name}"] for name in PAPER_METRICS),
            *(100 * entry["coverage"][part] if "coverage" in entry else None for part in ("epoch", "so_far")),
            entry["train_seconds"],
        ]
        for entry in run.log
    ]
    columns = ["epoch", "loss", *(f"dev {name}" for name in PAPER_METRICS), "% seen", "% so far", "seconds"]
    return "\n\n".join(
        [
            tabulate(head, tablefmt="plain"),
            "provenance\n" + tabulate(provenance, tablefmt="plain", disable_numparse=True),
            "configuration\n" + tabulate(configuration, tablefmt="plain", disable_numparse=True),
            tabulate(epochs, columns, tablefmt="github", floatfmt=EPOCH_FORMATS),
        ]
    )


def differences(a: StoredRun, b: StoredRun) -> dict[str, Any]:
    """What differs between two runs: what was asked, data, versions, and values per product."""
    asked = (
        "dataset",
        "category",
        "method",
        "seed",
        "drop",
        "protocol",
        "preset",
        "fingerprint",
        "corpus",
        "device",
    )
    what = {name: (getattr(a.spec, name), getattr(b.spec, name)) for name in asked}
    versions = [{key: run.provenance.get(key) for key in VERSION_KEYS} for run in (a, b)]
    return {
        "runs": [a.id, b.id],
        "asked": {name: list(pair) for name, pair in what.items() if pair[0] != pair[1]},
        "configuration": _unequal(flatten(a.spec.config), flatten(b.spec.config)),
        "versions": _unequal(*(flatten(side) for side in versions)),
        "results": _result_differences(a, b),
    }


def _unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    keys = dict.fromkeys([*a, *b])
    return {key: [a.get(key), b.get(key)] for key in keys if a.get(key) != b.get(key)}


def _result_differences(a: StoredRun, b: StoredRun) -> dict[str, Any]:
    if a.products != b.products:
        return {"comparable": False, "why": "the runs were tested on different products"}
    score_a, score_b = (run.score_R.astype(np.float64) for run in (a, b))
    means = {name: [float(run.values(name).mean()) for run in (a, b)] for name in PAPER_METRICS}
    gap = b.values("map") - a.values("map")
    order = np.argsort(-np.abs(gap), kind="stable")[:MOST_PRODUCTS]
    products = [
        {
            "product_id": a.products[i],
            "map": [float(run.values("map")[i]) for run in (a, b)],
        }
        for i in order
        if gap[i] != 0
    ]
    return {
        "comparable": True,
        "scores_identical": bool(np.array_equal(score_a, score_b)),
        "scores_that_differ": int(np.sum(score_a != score_b)),
        "largest_score_difference": float(np.max(np.abs(score_a - score_b), initial=0.0)),
        "means": means,
        "products_that_differ": int(np.sum(gap != 0)),
        "products": products,
    }


def render_difference(a: StoredRun, b: StoredRun) -> str:
    """`differences`, for a person."""
    found = differences(a, b)
    parts = [f"a: {a.id}  {a.spec}\nb: {b.id}  {b.spec}"]
    for name in ("asked", "configuration", "versions"):
        rows = [(key, *pair) for key, pair in found[name].items()]
        table = tabulate(rows, [name, "a", "b"], tablefmt="github", disable_numparse=True)
        parts.append(table if rows else f"{name}: no difference")
    results = found["results"]
    if not results["comparable"]:
        return "\n\n".join([*parts, f"results: {results['why']}"])
    if results["scores_identical"]:
        return "\n\n".join([*parts, "results: every test score is identical, bit for bit"])
    means = [(name, 100 * x, 100 * y, 100 * (y - x)) for name, (x, y) in results["means"].items()]
    parts.append(
        f"results: {results['scores_that_differ']} of {len(a.score_R)} test scores differ, by at most "
        f"{results['largest_score_difference']:.3g}; MAP differs on {results['products_that_differ']} of "
        f"{len(a.products)} products"
    )
    parts.append(tabulate(means, ["test mean", "a", "b", "b - a"], tablefmt="github", floatfmt=".2f"))
    rows = [(row["product_id"], *(100 * x for x in row["map"])) for row in results["products"]]
    if rows:
        parts.append(
            tabulate(rows, ["most different products", "MAP a", "MAP b"], tablefmt="github", floatfmt=".1f")
        )
    return "\n\n".join(parts)
