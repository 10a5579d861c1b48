"""Runs and judgements in TREC's formats, for trec_eval, ir_measures, ranx and all that reads them (torch-free).

OUT/<dataset>/<category>/
    <fingerprint>-above-<t>.gains.qrels    `topic 0 document gain`: gain 2^label - 1 where label > t, else 0
    <fingerprint>.labels.qrels             the same with the label 0..4
    <method>/seed-<n>-<identity>.run       `topic Q0 document rank score tag`
OUT/index.csv                              each run: what it is, which judgements are its, and our values

A topic is a test product, a document one of its reviews. Against the gains, AP(rel=1), nDCG@3, nDCG@5 and RR of
trec_eval are ours under the tie policy `file-order`: a file has one order only, in which tied reviews stand as they do
in the data.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.core.errors import UsageError
from benchmark.core.metrics import METRICS
from benchmark.runs.store import StoredRun, rescored

INDEX = "index.csv"
_UNFIT = re.compile(r"[\s%]")


def export_trec(runs: Sequence[StoredRun], out: Path) -> int:
    """Write all files into `out`, a new or an empty folder, which appears complete or not at all; returns their
    number. The same runs give the same bytes.

    UsageError if there are no runs, or something is in `out`.
    """
    if not runs:
        raise UsageError("there are no finished runs to export.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: a TREC export needs a new or an empty folder; give another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        root = work / "trec"
        count = _write_all(runs, root)
        if out.exists():
            out.rmdir()
        root.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return count


def _write_all(runs: Sequence[StoredRun], root: Path) -> int:
    written: set[str] = set()
    rows = []
    for run in rescored(runs, ties="file-order"):
        spec = run.spec
        place = f"{spec.dataset}/{spec.category}"
        threshold, data = run.relevance_threshold, spec.fingerprint[:16]
        gains, labels = f"{place}/{data}-above-{threshold}.gains.qrels", f"{place}/{data}.labels.qrels"
        label_R = run.test_reviews["label"].to_numpy(dtype=np.int64)
        judgements = {gains: np.where(label_R > threshold, 2**label_R - 1, 0), labels: label_R}
        for name, value_R in judgements.items():
            if name not in written:
                written.add(name)
                _write(root / name, qrels_text(run.test_reviews, value_R))
        name = f"{place}/{spec.model}/seed-{spec.seed}-{run.id}.run"
        written.add(name)
        _write(root / name, run_text(run.scores, f"{spec.model}-seed-{spec.seed}-{run.id}"))
        rows.append(_index_row(run) | {"run_file": name, "gains_file": gains, "labels_file": labels})
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(root / INDEX, buffer.getvalue())
    return len(written) + 1


def _index_row(run: StoredRun) -> dict[str, object]:
    """What the run is, and its means over products under `file-order`, 0..1."""
    spec = run.spec
    made = {"dataset": spec.dataset, "category": spec.category, "method": spec.model, "seed": spec.seed}
    means = {metric: repr(float(run.values(metric).mean())) for metric in METRICS}
    return {**made, "run": run.id, "conditions": str(run.conditions), **means}


def run_text(scores: pd.DataFrame, tag: str) -> str:
    """The reviews of every product, best first.

    Scores are the run's; where one is not below the one before it as a 32-bit number, which is how trec_eval reads it,
    it is the next number below. So no tie is left that a reader would resolve in its own way.

    Args:
        scores: one row per review: product_id, review_id, score. Tied reviews keep their order.
    """
    product_R = pd.factorize(scores["product_id"])[0]
    score_R = scores["score"].to_numpy(dtype=np.float32)
    lines = []
    for row_R in _by_product(product_R):
        ordered = row_R[np.argsort(-score_R[row_R], kind="stable")]
        values = strictly_decreasing(score_R[ordered])
        for rank, (row, value) in enumerate(zip(ordered, values, strict=True), start=1):
            topic, document = (_token(str(scores[name].iat[row])) for name in ("product_id", "review_id"))
            lines.append(f"{topic} Q0 {document} {rank} {float(value)!r} {tag}\n")
    return "".join(lines)


def qrels_text(reviews: pd.DataFrame, value_R: NDArray[np.int64]) -> str:
    """One line per review, in the data's order."""
    ids = zip(reviews["product_id"], reviews["review_id"], value_R, strict=True)
    return "".join(f"{_token(product)} 0 {_token(review)} {int(value)}\n" for product, review, value in ids)


def strictly_decreasing(score_R: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores that do not rise, float32 [R], each moved down by as little as makes it lower than the one before."""
    made = score_R.copy()
    with np.errstate(over="ignore"):
        for row in range(1, len(made)):
            if not made[row] < made[row - 1]:
                made[row] = np.nextafter(made[row - 1], np.float32(-np.inf))
    if len(made) and np.isneginf(made[-1]):  # no room below: places instead of scores
        made = np.arange(len(made), 0, -1, dtype=np.float32)
    return made


def _by_product(product_R: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Rows of each product, products in order of appearance."""
    order = np.argsort(product_R, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(product_R[order])) + 1)


def _token(text: str) -> str:
    """An id without blanks, which end a field: they are written as in an address, `%20`."""
    return _UNFIT.sub(lambda found: quote(found.group()), text)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
