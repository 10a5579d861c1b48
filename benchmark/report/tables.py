"""The paper's tables, from finished runs (torch-free): what stands in each cell, and the caption.

A table is content only; `benchmark.report.formats` turns it into Markdown, LaTeX, CSV or JSON. It is a
function of the runs' per-product values and provenance alone: no dates, no durations, so the same results
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.core.errors import UsageError
from benchmark.data.catalog import SPLITS
from benchmark.data.dataset_file import from_record
from benchmark.data.datasets import BUILT_IN
from benchmark.data.published import published_count
from benchmark.report.ablation import ablation_table
from benchmark.report.captions import feature_sentences, paper_sentence, place, split_count
from benchmark.report.results import results_table
from benchmark.report.table import STATISTICS_TABLE_NUMBER, Column, Entry, Row, Table

__all__ = ["ablation_table", "results_table", "statistics_table"]


def statistics_table(corpora: Sequence[Mapping[str, Any]], *, with_paper: bool = False) -> Table:
    """Table 3: products and reviews of every split, from the corpora's manifests.

    UsageError if there are none.
    """
    if not corpora:
        raise UsageError("no corpus to count: run something first, or name one with --data.")
    columns = [
        Column(split.capitalize(), what.capitalize(), {"split": split, "what": what})
        for split in SPLITS
        for what in ("products", "reviews")
    ]

    def entry(manifest: Mapping[str, Any], column: Column) -> Entry:
        split, what = column.keys["split"], column.keys["what"]
        count = published_count(manifest["dataset"], manifest["category"], split, what)
        return Entry(
            value=float(split_count(manifest, split, what)),
            decimals=0,
            published=f"{count:,}" if with_paper and count is not None else "",
        )

    with_paper = with_paper and any(manifest["dataset"] in BUILT_IN for manifest in corpora)
    rows = [
        Row(
            from_record(manifest["data_set"], "manifest").title,
            place(manifest),
            f"{manifest['dataset']}/{manifest['category']}",
            tuple(entry(manifest, column) for column in columns),
        )
        for manifest in corpora
    ]
    synthetic = any(manifest["synthetic"] for manifest in corpora)
    names = ", ".join(
        f"{m['dataset']}/{m['category']} {m['label']}{' (synthetic)' if m['synthetic'] else ''} "
        f"{m['fingerprint'][:12]}"
        for m in corpora
    )
    return Table(
        kind="statistics",
        number=STATISTICS_TABLE_NUMBER if any(m["dataset"] in BUILT_IN for m in corpora) else None,
        title=f"Sizes of the data sets{' (synthetic corpus)' if synthetic else ''}",
        headers=("Data set", "Category"),
        columns=tuple(columns),
        rows=tuple(rows),
        caption=(
            "Numbers of products and reviews as packed; no review of any split is dropped.",
            f"Corpora and fingerprints: {names}.",
            *feature_sentences(corpora),
            *paper_sentence(with_paper, STATISTICS_TABLE_NUMBER),
        ),
        facts={"corpora": [dict(manifest) for manifest in corpora]},
    )
