"""The model card: what a model is, what its run measured, on what it was trained, where its limits are. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.catalog import SPLITS
from benchmark.data.datasets import DataSet
from benchmark.data.features import descriptor
from benchmark.runs.store import StoredRun

NAMES = {"map": "MAP", "ndcg@3": "N@3", "ndcg@5": "N@5", "mrr": "MRR"}


def metrics(run: StoredRun) -> dict[str, dict[str, float]]:
    """The run's own numbers: means over the test products, 0..1, of the model and of a random order."""
    table = run.per_product
    found = {name: {"model": float(table[name].mean())} for name in (*PAPER_METRICS, "mrr")}
    for name, values in found.items():
        if f"random_{name}" in table:
            values["random_order"] = float(table[f"random_{name}"].mean())
    return found


def render(run: StoredRun, record: Mapping[str, Any], data_set: DataSet) -> str:
    """The card in Markdown."""
    spec, method = run.spec, record["method"]
    without = f" without {' '.join(spec.drop)}" if spec.drop else ""
    title = f"{method['title']}{without} on {data_set.title}, {data_set.category_title(spec.category)}"
    parts = [
        f"# {title}",
        f"Ranks the reviews of a product by how helpful its customers would find them. One run of {method['title']} "
        f"({method['modality']}), seed {spec.seed}; run {run.id}.",
        _warnings(run),
        "## Use",
        "```sh\nbench rank --model . --input reviews.csv --out ranked.csv\n```",
        '```python\nimport benchmark\n\nranked = benchmark.load_ranker(".").rank(products, reviews)\n```',
        _code(method),
        "## What the run measured",
        _numbers(run),
        "## What it was trained on",
        _data(run, data_set),
        "## How",
        _how(run, record),
        "## Limits",
        _limits(record, data_set),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _warnings(run: StoredRun) -> str:
    lines = []
    if run.spec.synthetic:
        lines.append(
            f"**Trained on synthetic data ({run.spec.corpus}).** It shows how things work and ranks no real reviews."
        )
    if run.spec.shuffle_labels:
        lines.append("**A negative control: its labels were shuffled.** It has learnt nothing, on purpose.")
    return "\n\n".join(lines)


def _code(method: Mapping[str, Any]) -> str:
    if method["built_in"]:
        own = f"the method `{method['name']}` is part of mrhp-bench (code {method['code']})"
        return f"The folder holds data alone; {own}."
    return (
        f"The folder holds data alone. The method is not part of mrhp-bench: class `{method['class']}`, code "
        f"{method['code']}. Where its package is not installed, give its file: `--method path/to/{method['class']}`; "
        "the hash of its code is compared."
    )


def _numbers(run: StoredRun) -> str:
    table, found = run.per_product, metrics(run)
    rows = [
        [
            NAMES[name],
            f"{100 * values['model']:.2f}",
            f"{100 * values['random_order']:.2f}" if "random_order" in values else "",
        ]
        for name, values in found.items()
    ]
    meta = run.provenance
    return (
        tabulate(rows, ["on test, in %", "this model", "random order"], "github", disable_numparse=True)
        + f"\n\nMeans over {len(table):,} products with {len(run.scores):,} reviews that were not trained on; a review "
        f"counts as relevant if its label is above {run.relevance_threshold}. One seed: another one differs. "
        f"Epoch {meta.get('best_epoch')} of {meta.get('epochs')} was best on dev "
        f"(MAP {100 * float(meta.get('best_dev', {}).get('map', float('nan'))):.2f}%)."
    )


def _data(run: StoredRun, data_set: DataSet) -> str:
    manifest, spec = run.manifest, run.spec
    counts = manifest["splits"]
    rows = [[name, counts[name]["products"], counts[name]["reviews"]] for name in SPLITS if name in counts]
    lines = [
        tabulate(rows, ["split", "products", "reviews"], "github", intfmt=","),
        f"Data set `{spec.dataset}`, category `{spec.category}`, language {data_set.language}; "
        f"labels: {manifest['labels']}. Fingerprint {spec.fingerprint[:16]}.",
        f"Generated in the likeness of: {data_set.source}."
        if spec.synthetic
        else f"Source: {data_set.source or 'not stated'}. Licence: {data_set.licence or 'not stated'}.",
        _images(manifest) if spec.modality != "text" else "",
    ]
    return "\n\n".join(line for line in lines if line)


def _images(manifest: Mapping[str, Any]) -> str:
    train = manifest["splits"]["train"]["images"]
    having = {side: coverage.get("with_features", 0) or 0 for side, coverage in train.items()}
    if not any(having.values()):
        return "No image features: the model has never seen an image."
    made = manifest.get("features")
    return (
        f"Image features in train: {having.get('product', 0):,} products, {having.get('review', 0):,} reviews."
        + (f" Made by {descriptor.title(made)}, not bottom-up attention." if made else "")
    )


def _how(run: StoredRun, record: Mapping[str, Any]) -> str:
    spec, made = run.spec, run.provenance
    libraries = made.get("libraries", {})
    lines = [
        f"protocol {spec.protocol}, preset {spec.preset}"
        + (f", {' '.join(spec.overrides)}" if spec.overrides else ""),
        f"device {made.get('device', spec.device)}, precision {record['config']['training']['precision']}, "
        f"{made.get('parameters', 0):,} parameters",
        f"mrhp-bench {made.get('package')}"
        + (f" (commit {made['commit']})" if made.get("commit") else "")
        + f", numerics version {run.numerics}, torch {libraries.get('torch')}, Python {made.get('python')}",
        "all fields: `model.json`; versions and hashes: `provenance.json`",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _limits(record: Mapping[str, Any], data_set: DataSet) -> str:
    lines = [
        "A score orders the reviews of one product; scores of different products do not compare.",
        f"It was trained on texts in {data_set.language}, cut at {record['config']['training']['max_tokens']} tokens; "
        "words that train held fewer than five times are not read.",
        "Votes say what was seen and liked, early reviews above all: what the model calls helpful is that.",
    ]
    if record["method"]["modality"] == "multimodal":
        lines.append(
            f"Image features must come from the same extractor ({record['shape']['roi_width']} wide); without any, a "
            "review has no image for it."
        )
    return "\n".join(f"- {line}" for line in lines)
