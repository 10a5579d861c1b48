"""The embedded corpus `mini`, and synthetic corpora of any size, in the published release's format.

What is planted and why the best attainable value is known: `mini_latent`. On disk:

    <root>/synthetic.json                                   {"name": "mini", "synthetic": true, ...}
    <root>/<dataset>/<category>/<category>.{prd,rvw,rel}.{train,dev,test}
    <root>/<dataset>/<category>/<category>.truth.json       the latent parts of every review
    <root>/<dataset>/<category>/features/<split>/<id>/<id>.pth

All tables, the truth included, are what `pandas.read_json` reads. Every product has its own random stream,
derived from (seed, data set, category, split, number), so a corpus with more products begins with the same
ones. The same spec gives the same bytes (for one version of torch, in whose container the features are).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import read_json
from benchmark.core.metrics import PAPER_METRICS, per_product_metrics
from benchmark.core.seeding import generator
from benchmark.data.mini.files import ColumnsFile, write_features, write_json
from benchmark.data.mini.latent import (
    PARTS,
    FloatArray,
    IntArray,
    MiniSpec,
    ProductPlan,
    ReviewPlan,
    Truth,
    label_cuts,
    plan_product,
    plan_reviews,
    signal,
)
from benchmark.data.mini.render import Detector, Writer
from benchmark.data.mini.words import WORDS
from benchmark.data.store import build_folder

__all__ = [
    "GENERATOR_VERSION",
    "PARTS",
    "SUBSETS",
    "MiniSpec",
    "cached_corpus",
    "ceilings",
    "mini_root",
    "write_corpus",
]

GENERATOR_VERSION = 1
"""To be raised by whoever changes what a spec generates: it is part of the cached corpus's name."""
SPLITS = ("train", "dev", "test")
SUBSETS: Mapping[str, tuple[str, ...]] = {
    "all": PARTS,
    "text": ("text", "detail"),
    "images": ("image_text", "image_image"),
    "text+image_text": ("text", "detail", "image_text"),
    "text+image_image": ("text", "detail", "image_image"),
    **{f"only {part}": (part,) for part in PARTS},
}
"""What a method makes use of -> the parts that it can rank by."""
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "prd": ("product_id", "name", "description", "img_url", "keyword", "brand_name"),
    "rvw": ("product_id", "review_id", "content", "img_url", "time"),
    "rel": ("product_id", "review_id", "upvotes"),
}
TRUTH_COLUMNS = (
    *("split", "product_id", "review_id", "has_image"),
    *PARTS,
    *("signal", "expected", "latent", "label"),
)
"""Of the truth file: `signal` is the noise-free latent, `expected` the expected label given the parts."""

Progress = Callable[[int, int, str], None]
"""(products written, products in all, "lazada/clothing train")"""


def mini_root(cache: Path, progress: Progress | None = None) -> Path:
    """Folder of `mini`, written below `cache` the first time."""
    return cached_corpus(cache, MiniSpec(), progress)


def cached_corpus(cache: Path, spec: MiniSpec, progress: Progress | None = None) -> Path:
    """Folder of the corpus that a spec describes, written below `cache` the first time.

    It appears under its final name only when complete; of two processes one waits for the other. A damaged one is
    named in a warning and written anew."""
    root = cache / f"mini-{spec_hash(spec)}"
    return build_folder(root, lambda out: write_corpus(out, spec, progress), deep=True)


def spec_hash(spec: MiniSpec) -> str:
    """Twelve hexadecimal digits that change with the generator's version and with every field."""
    text = json.dumps([GENERATOR_VERSION, spec.as_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_corpus(out: Path, spec: MiniSpec, progress: Progress | None = None) -> None:
    """Write a synthetic release into `out`, which must be new or empty; `synthetic.json` comes last.

    Memory does not grow with the corpus, but for a few numbers per review of the test split.

    Raises:
        UsageError: `out` holds something, or the spec names an unknown data set or category.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: a synthetic corpus needs a new or an empty folder; give another --out")
    categories = [(d, c) for d in spec.datasets for c in spec.categories]
    for dataset, category in categories:
        _check_category(dataset, category)
    tick = _Ticker(len(categories) * sum(map(spec.products, SPLITS)), progress)
    planted = {f"{d}/{c}": _write_category(out / d / c, spec, d, c, tick) for d, c in categories}
    write_json(
        out / "synthetic.json",
        {
            "name": "mini" if spec == MiniSpec() else f"synthetic-{spec_hash(spec)}",
            "synthetic": True,
            "generator_version": GENERATOR_VERSION,
            "parameters": spec.as_json(),
            "categories": planted,
        },
    )


def ceilings(root: Path, dataset: str, category: str, threshold: int = 0) -> dict[str, dict[str, float]]:
    """Planted ceilings, the test metrics attainable from the inputs, by what a method makes use of: subset (a
    key of `SUBSETS`) -> metric -> mean over the test products, in [0, 1].

    A subset ranks by its terms of the signal: the best order in expectation. Reviews that it cannot tell
    apart count with the mean over their orders. On one test split a lucky method may exceed it a little.

    Raises:
        DataError: the corpus has no truth file or no `synthetic.json`, so this package did not generate it.
    """
    about, truth = root / "synthetic.json", root / dataset / category / f"{category}.truth.json"
    for path in (about, truth):
        if not path.is_file():
            raise DataError(
                f"{path}: missing; ceilings are known only for corpora of `bench data make` and mini"
            )
    try:
        parameters = read_json(about)["parameters"]
        weights = {part: float(parameters[f"weight_{part}"]) for part in PARTS}
        table = {k: list(column.values()) for k, column in read_json(truth).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{about}, {truth}: not those of a generated corpus ({error}).") from error
    test_R = np.array(table["split"]) == "test"
    products = np.array(table["product_id"])[test_R].tolist()
    number = {product: i for i, product in enumerate(dict.fromkeys(products))}
    product_R = np.array([number[product] for product in products])
    shares = {part: np.array(table[part], np.float64)[test_R] for part in PARTS}
    return _ceilings(shares, np.array(table["label"])[test_R], product_R, weights, threshold)


def _ceilings(
    shares: Mapping[str, FloatArray],
    label_R: IntArray,
    product_R: npt.NDArray[np.intp],
    weights: Mapping[str, float],
    threshold: int,
) -> dict[str, dict[str, float]]:
    best: dict[str, dict[str, float]] = {}
    for subset, parts in SUBSETS.items():
        # Rounded, so that equal sums of different terms are ties and not ordered by their last bit.
        score_R = np.round(signal(shares, weights, parts), 9)
        values = per_product_metrics(
            label_R, score_R, product_R, int(product_R.max()) + 1, threshold=threshold
        )
        best[subset] = {metric: float(values[metric].mean()) for metric in PAPER_METRICS}
    return best


def _check_category(dataset: str, category: str) -> None:
    if dataset not in WORDS or category not in WORDS[dataset][1]:
        raise UsageError(
            f"synthetic corpus: no words for {dataset}/{category}; data sets are {', '.join(WORDS)}, "
            f"categories {', '.join(WORDS['amazon'][1])}"
        )


class _Ticker:
    """Counts products for the progress callback."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self, what: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, what)


@dataclass(frozen=True)
class _Product:
    """One product with its reviews, everything drawn."""

    id: str
    name: str
    description: str
    brand: str
    rois: list[npt.NDArray[np.float32]]
    review_text_R: list[str]
    review_rois_R: list[list[npt.NDArray[np.float32]]]
    review_time_R: list[str]
    truth: Truth


def _products(
    spec: MiniSpec, dataset: str, category: str, split: str, cuts: FloatArray
) -> Iterable[_Product]:
    """The products of a split, one at a time."""
    writer, detector = Writer(dataset, category), Detector(spec, dataset, category)
    for number in range(spec.products(split)):
        rng = generator(spec.seed, "mini product", dataset, category, split, number)
        plan = plan_product(rng, spec)
        reviews, truth = plan_reviews(rng, spec, plan, cuts)
        brand, name = writer.name(rng, plan)
        yield _Product(
            id=f"{dataset[0]}{category[0]}-{split}-{number}",
            name=name,
            description=writer.description(rng, plan),
            brand=brand,
            rois=_product_rois(rng, detector, plan),
            review_text_R=[writer.review(rng, spec, review) for review in reviews],
            review_rois_R=[_review_rois(rng, detector, review) for review in reviews],
            review_time_R=[_date(rng) for _ in reviews],
            truth=truth,
        )


def _product_rois(
    rng: np.random.Generator, detector: Detector, plan: ProductPlan
) -> list[npt.NDArray[np.float32]]:
    return [
        detector.rois(rng, subject_V, np.full(len(subject_V), plan.look)) for subject_V in plan.roi_subjects
    ]


def _review_rois(
    rng: np.random.Generator, detector: Detector, plan: ReviewPlan
) -> list[npt.NDArray[np.float32]]:
    images = zip(plan.roi_subjects, plan.roi_looks, strict=True)
    return [detector.rois(rng, subject_V, look_V) for subject_V, look_V in images]


def _date(rng: np.random.Generator) -> str:
    """ "MM D, YYYY" as in the published files, unrelated to helpfulness."""
    return f"{rng.integers(1, 13):02d} {rng.integers(1, 29)}, {rng.integers(2016, 2020)}"


def _write_category(
    folder: Path, spec: MiniSpec, dataset: str, category: str, tick: _Ticker
) -> dict[str, Any]:
    """All files of a category; returns what `synthetic.json` says about it."""
    folder.mkdir(parents=True)
    cuts = label_cuts(spec, dataset, category)
    test: list[Truth] = []
    with ColumnsFile(folder / f"{category}.truth.json", TRUTH_COLUMNS) as truth_file:
        for split in SPLITS:
            features = folder / "features" / split
            features.mkdir(parents=True)
            with ExitStack() as stack:
                tables = {
                    kind: stack.enter_context(ColumnsFile(folder / f"{category}.{kind}.{split}", columns))
                    for kind, columns in COLUMNS.items()
                }
                for product in _products(spec, dataset, category, split, cuts):
                    _write_product(tables, truth_file, features, split, product)
                    if split == "test":
                        test.append(product.truth)
                    tick(f"{dataset}/{category} {split}")
    return {
        "weights": spec.weights,
        "noise": spec.noise,
        "label_cuts": cuts.tolist(),
        "test_ceilings": {f"threshold {t}": _test_ceilings(test, spec, t) for t in (0, 1)},
    }


def _test_ceilings(test: list[Truth], spec: MiniSpec, threshold: int) -> dict[str, dict[str, float]]:
    shares = {part: np.concatenate([truth.shares[part] for truth in test]) for part in PARTS}
    label_R = np.concatenate([truth.label_R for truth in test])
    product_R = np.repeat(np.arange(len(test)), [len(truth.label_R) for truth in test])
    return _ceilings(shares, label_R, product_R, spec.weights, threshold)


def _write_product(
    tables: Mapping[str, ColumnsFile], truth_file: ColumnsFile, features: Path, split: str, product: _Product
) -> None:
    """A product's rows in all tables, and its feature files."""
    tables["prd"].append(
        {
            "product_id": product.id,
            "name": product.name,
            "description": product.description,
            "img_url": _image_names(product.id, len(product.rois)),
            "keyword": [],
            "brand_name": product.brand,
        }
    )
    write_features(features, product.id, product.rois)
    truth = product.truth
    for r, text in enumerate(product.review_text_R):
        ids = {"product_id": product.id, "review_id": f"{product.id}-{r}"}
        rois = product.review_rois_R[r]
        images = _image_names(ids["review_id"], len(rois))
        tables["rvw"].append({**ids, "content": text, "img_url": images, "time": product.review_time_R[r]})
        label = int(truth.label_R[r])
        tables["rel"].append({**ids, "upvotes": label})
        truth_file.append(
            {
                **ids,
                "split": split,
                "has_image": bool(truth.has_image_R[r]),
                **{part: float(truth.shares[part][r]) for part in PARTS},
                "signal": float(truth.signal_R[r]),
                "expected": float(truth.expected_R[r]),
                "latent": float(truth.latent_R[r]),
                "label": label,
            }
        )
        write_features(features, ids["review_id"], rois)


def _image_names(item_id: str, n: int) -> list[str]:
    return [f"synthetic/{item_id}-{i}.jpg" for i in range(n)]
