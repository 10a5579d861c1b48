"""`bench data check`: everything that is wrong with a release, and its counts beside Table 3. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmark.data.catalog import SPLITS
from benchmark.data.corpus import identity
from benchmark.data.features import descriptor
from benchmark.data.fields import Votes
from benchmark.data.findings import Findings
from benchmark.data.images import image_warnings
from benchmark.data.leaks import Overlaps
from benchmark.data.near import NearCopies, need_library
from benchmark.data.pack import label_rule
from benchmark.data.published import expected_count
from benchmark.data.release import CategoryFolder, RawSplit, find_categories, read_split, sides
from benchmark.data.roi_crew import RoiCrew
from benchmark.data.roi_files import FeatureReader, coverage

Progress = Callable[[int, int, str], None]
_UNREADABLE_SHOWN = 5
_REPORT_EVERY = 500


@dataclass
class SplitReport:
    """What one split holds, and what it should: what the paper says, or the root's `dataset.toml`."""

    split: str
    products: int
    reviews: int
    labels: list[int]
    """Reviews with label 0, 1, 2, 3, 4."""
    dropped_without_votes: int
    paper_products: int | None
    paper_reviews: int | None
    images: dict[str, dict[str, int | None]]
    """`product` and `review` -> image coverage."""

    @property
    def as_published(self) -> bool | None:
        """Whether both counts are the expected ones; None if none are known."""
        if self.paper_products is None or self.paper_reviews is None:
            return None
        return (self.products, self.reviews) == (self.paper_products, self.paper_reviews)


@dataclass
class CategoryReport:
    dataset: str
    category: str
    title: str
    splits: list[SplitReport] = field(default_factory=list)
    """Those whose tables could be read."""
    labels: str = ""
    """In words, where the labels come from."""
    features: str = ""
    """What made them, in words; empty for the release's own."""
    roi_width: int | None = None
    unreadable: list[str] = field(default_factory=list)
    """Feature files that count as "no image", with the reason."""
    leaks: list[str] = field(default_factory=list)
    """Warnings of reviews that are trained on and judged."""


@dataclass
class Report:
    """A checked root."""

    root: str
    synthetic: bool
    categories: list[CategoryReport]
    problems: list[str]
    """What keeps the release from being used."""
    notes: list[str]
    """What deserves a look."""

    @property
    def ok(self) -> bool:
        return not self.problems


def check(
    root: Path, *, labels_from_votes: Votes = False, deep: bool = False, progress: Progress | None = None
) -> Report:
    """Reads every file of every category under `root` and collects all problems.

    `deep` also looks for near copies of reviews between splits, which needs datasketch (UsageError without it).
    DataError only if there is no category at all.
    """
    if deep:
        need_library()
    findings = Findings()
    folders = find_categories(root)
    categories: list[CategoryReport] = []
    readers: dict[str, FeatureReader] = {}
    with RoiCrew() as worker:
        for folder in folders:
            reader = FeatureReader(folder, findings, worker)
            if folder.dataset in readers:  # one width for a whole data set
                reader.width, reader.first = readers[folder.dataset].width, readers[folder.dataset].first
            categories.append(_check_category(folder, reader, labels_from_votes, progress, deep))
            readers[folder.dataset] = reader
    _, synthetic = identity(root)
    return Report(str(root), synthetic, categories, findings.problems, findings.notes)


def _check_category(
    folder: CategoryFolder,
    reader: FeatureReader,
    labels_from_votes: Votes,
    progress: Progress | None,
    deep: bool,
) -> CategoryReport:
    report = CategoryReport(folder.dataset, folder.category, folder.data_set.category_title(folder.category))
    labels_from_votes = labels_from_votes or folder.data_set.labels == "votes"
    overlaps, columns = Overlaps(), []
    near = NearCopies(progress) if deep else None
    for number, name in enumerate(SPLITS):
        if progress is not None:
            progress(number, len(SPLITS), f"checking {folder.dataset}/{folder.category}: {name}")
        split = read_split(folder, name, reader.findings, labels_from_votes)
        if split is not None:
            overlaps.add(split)
            if near is not None:
                near.add(split)
            columns.append(split.label_column)
            report.splits.append(_check_split(folder, split, reader, progress))
    overlaps.note(folder, reader.findings)
    report.leaks = overlaps.warnings()
    if near is not None:
        near.note(folder, reader.findings)
    report.labels = label_rule(labels_from_votes, columns)
    report.features = _features(folder, reader.findings)
    report.roi_width, report.unreadable = reader.width, reader.unreadable
    return report


def _features(folder: CategoryFolder, findings: Findings) -> str:
    features = folder.path / "features"
    try:
        record = descriptor.read(features)
    except ValueError as error:
        findings.problem(features / descriptor.NAME, "", str(error))
        return ""
    return descriptor.title(record) if record is not None else ""


def _check_split(
    folder: CategoryFolder, split: RawSplit, reader: FeatureReader, progress: Progress | None
) -> SplitReport:
    where = (folder.dataset, folder.category, split.name)
    expected = (folder.data_set, folder.category, split.name)
    images: dict[str, dict[str, int | None]] = {}
    for side, items in sides(split):
        outcomes: list[str] = []
        for outcome, _ in reader.items(split.name, items.ids):
            outcomes.append(outcome)
            if progress is not None and len(outcomes) % _REPORT_EVERY == 0:
                progress(len(outcomes), len(items.ids), f"checking {'/'.join(where)}: {side} features")
        images[side] = coverage(items, outcomes)
    return SplitReport(
        split.name,
        len(split.products.ids),
        len(split.reviews.ids),
        np.bincount(split.labels, minlength=5).tolist(),
        split.dropped_without_votes,
        expected_count(*expected, "products"),
        expected_count(*expected, "reviews"),
        images,
    )


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    document = asdict(report) | {"ok": report.ok}
    for category, shown in zip(report.categories, document["categories"], strict=True):
        for split, record in zip(category.splits, shown["splits"], strict=True):
            record["as_published"] = split.as_published
    return document


def render(report: Report) -> str:
    """The report for people: counts beside Table 3, image coverage, notes, problems, verdict."""
    parts = [f"{report.root}{' (synthetic: a comparison with the paper is meaningless)' * report.synthetic}"]
    parts.append(_counts_table(report))
    parts.append(_images_table(report))
    for category in report.categories:
        where = f"{category.dataset}/{category.category}"
        if category.labels.startswith("from votes"):
            parts.append(f"{where}: labels {category.labels}")
        if category.features:
            parts.append(f"{where}: image features: {category.features}, not bottom-up attention")
        if category.unreadable:
            more = len(category.unreadable) - _UNREADABLE_SHOWN
            lines = [f"{len(category.unreadable)} unreadable feature files in {where} count as no image:"]
            lines += category.unreadable[:_UNREADABLE_SHOWN] + [f"... {more} more"] * (more > 0)
            parts.append("\n".join(lines))
    if report.notes:
        parts.append("\n".join(["Notes:", *report.notes]))
    if report.problems:
        parts.append("\n".join([f"Problems ({len(report.problems)}):", *report.problems]))
    warnings = [
        f"{category.dataset}/{category.category}: {warning}"
        for category in report.categories
        for warning in (
            *category.leaks,
            *image_warnings({split.split: split.images for split in category.splits}),
        )
    ]
    if not report.problems:
        parts.append("\n".join(["No problem found, but:", *warnings]) if warnings else "No problem found.")
    elif warnings:
        parts.append("\n".join(warnings))
    return "\n\n".join(parts)


def _counts_table(report: Report) -> str:
    rows = [
        [
            f"{category.dataset}/{category.category} ({category.title})",
            split.split,
            split.products,
            "-" if split.paper_products is None else split.paper_products,
            split.reviews,
            "-" if split.paper_reviews is None else split.paper_reviews,
            {True: "yes", False: "no", None: "-"}[split.as_published],
            " / ".join(map(str, split.labels)),
            split.dropped_without_votes,
        ]
        for category in report.categories
        for split in category.splits
    ]
    headers = [
        "category",
        "split",
        "products",
        "expected",
        "reviews",
        "expected",
        "equal",
        "label 0/1/2/3/4",
        "dropped, no vote",
    ]
    return tabulate(rows, headers, tablefmt="github")


def _images_table(report: Report) -> str:
    rows: list[list[str | int]] = [
        [
            f"{category.dataset}/{category.category}",
            split.split,
            side,
            *("-" if count is None else count for count in counts.values()),
        ]
        for category in report.categories
        for split in category.splits
        for side, counts in split.images.items()
    ]
    headers = [
        "category",
        "split",
        "side",
        "want images",
        "want, no RoI",
        "with",
        "without",
        "unreadable",
        "zero RoIs",
    ]
    return tabulate(rows, headers, tablefmt="github")
