"""Finished runs with chosen per-product values, written the way real ones are."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd

from benchmark.data.published import published_count
from benchmark.runs.files import data_folder, write_mark
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import load_runs
from benchmark.runs.writer import RunWriter, write_data_files

TRAINING = {"relevance_threshold": 0, "epochs": 3}
N_PRODUCTS = 30


def write_run(
    results,
    method="mcr",
    seed=0,
    *,
    dataset="lazada",
    category="clothing",
    value=0.5,
    spread=0.05,
    products=None,
    drop=(),
    corpus="toy",
    synthetic=False,
    fingerprint="f" * 64,
    commit="abc123",
    overrides=(),
    training=TRAINING,
    values=None,
    log=({"epoch": 1, "loss": 1.0},),
    papers_data=False,
    arrays=False,
    parts=(),
    **spec_fields,
):
    """One run whose metrics are `value` plus product and seed effects (or `values` as they are); its folder.

    It lies as runs of before scores were kept as arrays do, with tables of its own; with `arrays` as today's do,
    where the metrics are those of the scores. `parts`: names of what the method says beside its scores.
    """
    spec = RunSpec(
        dataset=dataset,
        category=category,
        method=method,
        seed=seed,
        config={"training": dict(training), "model": {"overrides": list(overrides)}},
        fingerprint=fingerprint,
        protocol=spec_fields.pop("protocol", "fair"),
        preset=spec_fields.pop("preset", "quick"),
        drop=tuple(drop),
        overrides=tuple(overrides),
        corpus=corpus,
        synthetic=synthetic,
        **spec_fields,
    )
    products = [f"P{i:03}" for i in range(N_PRODUCTS)] if products is None else products
    rng = np.random.default_rng([seed, *spec.model.encode(), *category.encode()])
    if values is None:
        values = np.clip(value + rng.normal(0, 0.004) + rng.normal(0, spread, len(products)), 0, 1)
    writer = RunWriter(spec, results)
    scores = review_scores(products, rng)
    meta = {"commit": commit, "package": "0.1.0", "seconds": {"total": rng.random()}}
    if arrays:
        split = split_of(products, scores)
        said = {name: rng.random(len(split.label_R)).astype(np.float32) for name in parts}
        score_R = scores["score"].astype(np.float32)
        meta["data"] = {
            "reviews": writer.write_scores(split, score_R, said, spec.relevance_threshold).reviews
        }
    else:
        writer.write_table("per_product.csv", per_product(products, np.asarray(values)))
        writer.write_table("scores.csv", pd.DataFrame(scores))
    writer.write_json("meta.json", meta)
    for entry in log:
        writer.log(entry)
    write_data(results, dataset, category, fingerprint, products, papers=papers_data)
    return writer.finish()


def split_of(products, scores):
    """What a run's writer asks of a corpus's split."""
    row = {product: number for number, product in enumerate(products)}
    return SimpleNamespace(
        review_ids=list(scores["review_id"]),
        product_ids=list(products),
        product_R=np.array([row[product] for product in scores["product_id"]]),
        label_R=np.asarray(scores["label"]),
        n_products=len(products),
    )


def reseal(folder):
    """The `done` mark of a run whose files a test has changed, as if they had been written so."""
    names = json.loads((folder / "done").read_text())
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names["files"]}
    write_mark(folder, names["identity"], sums)


def make_consistent(results):
    """Values per product of all runs as their scores give them, in place of the chosen ones."""
    for run in load_runs(results):
        if run.in_arrays:
            continue
        run.recomputed().to_csv(run.folder / "per_product.csv", index=False, lineterminator="\n")
        reseal(run.folder)
    return results


def per_product(products, values):
    return pd.DataFrame(
        {
            "product_id": products,
            "n_reviews": 4,
            "n_relevant": [0] + [2] * (len(products) - 1),
            "map": values,
            "ndcg@3": values * 0.9,
            "ndcg@5": values * 0.95,
            "mrr": values,
            "random_map": 0.3,
            "random_ndcg@3": 0.2,
            "random_ndcg@5": 0.25,
        }
    )


def review_scores(products, rng):
    """Four reviews per product, labels 2, 1, 0, 0 (all 0 for the first product)."""
    labels = np.tile([2, 1, 0, 0], (len(products), 1))
    labels[0] = 0
    return {
        "review_id": [f"R{i:04}" for i in range(4 * len(products))],
        "product_id": np.repeat(products, 4),
        "label": labels.ravel(),
        "score": rng.random(4 * len(products)),
    }


def write_data(
    results,
    dataset,
    category,
    fingerprint,
    products,
    *,
    images=True,
    times=True,
    papers=False,
    labels=None,
    features=None,
):
    """`papers`: the manifest counts what the paper's Table 3 does. `labels`: of a product's four reviews."""
    folder = data_folder(results, dataset, category, fingerprint)
    if folder.exists():
        return
    folder.mkdir(parents=True)
    n = len(products)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(review_scores(products, rng)).drop(columns="score")
    table["word_count"] = np.tile([40, 30, 20, 10], n)
    table["time"] = np.tile([400, 300, 200, 100], n) if times else ""
    table["has_image"] = np.tile([1, 1, 0, 0], n) if images else 0
    if labels is not None:
        table["label"] = np.tile(labels, n)
    seen = {"product": n, "review": 2 * n} if images else {"product": 0, "review": 0}
    split = {
        "products": n,
        "reviews": 4 * n,
        "images": {side: {"with_features": count} for side, count in seen.items()},
    }
    splits = {name: dict(split) for name in ("train", "dev", "test")}
    if papers:
        for name, counted in splits.items():
            for what in ("products", "reviews"):
                counted[what] = published_count(dataset, category, name, what)
    manifest = {"splits": splits, "features": features}
    test = table.to_csv(index=False, lineterminator="\n")
    ids = pd.DataFrame({"product_id": products}).to_csv(index=False, lineterminator="\n")
    write_data_files(folder, fingerprint, json.dumps(manifest), test, ids)


def write_grid(results, quality, seeds=range(5), *, categories=("clothing", "electronics", "home"), **fields):
    """Runs of every method in `quality` (name -> mean value), category and seed; all finished runs."""
    for method, value in quality.items():
        for category in categories:
            for seed in seeds:
                write_run(results, method, seed, category=category, value=value, **fields)
    return load_runs(results)
