"""Packs one category of a release into a folder of flat arrays that runs map into memory. Torch-free.

The raw files are read once; afterwards an unchanged release is recognised by the sizes and modification
times of its tables and feature folders. Names in a pack, `<split>` one of train, dev, test and `<side>`
one of product, review:

    manifest.json                       counts, fingerprint, image coverage, vocabulary sizes
    <split>.<side>.{ids,text}.*         item ids and texts, UTF-8
    <split>.<side>.words.*              int32 word ids over the side's vocabulary
    <split>.<side>.joint.*              int32 word ids over the joint vocabulary, without [CLS]
    <split>.<side>.word_count.npy       int32 tokens before rare words are deleted
    <split>.<side>.roi_offsets.npy      int64, where an item's RoIs begin in rois.npy
    <split>.{labels,products,times}.npy of the reviews
    vocabulary.{product,review,joint}.* the words; joint_of.{product,review}.npy their joint ids
    rois.npy                            float16 [total RoIs, F]

N items, T their tokens, W words of a vocabulary, F width of a RoI feature.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.files import read_regular, write_atomically
from benchmark.data import sources
from benchmark.data.catalog import SPLITS
from benchmark.data.datasets import BUILT_IN
from benchmark.data.features import descriptor
from benchmark.data.fields import Votes
from benchmark.data.findings import Findings
from benchmark.data.leaks import Overlaps
from benchmark.data.pack_words import Progress, TextWorker
from benchmark.data.release import CategoryFolder, RawSplit, read_split, sides
from benchmark.data.roi_crew import RoiCrew
from benchmark.data.roi_files import FeatureReader, coverage
from benchmark.data.seal import damage_of
from benchmark.data.store import RowWriter, Strings, build_folder, offsets_of
from benchmark.data.store import cache_root as cache_root

FORMAT = 3
"""Raised when the content of packs changes, so that older ones are made anew."""


_REPORT_EVERY = 500


def pack_key(folder: CategoryFolder, labels_from_votes: Votes) -> str:
    """Start of the names of all packs of a category that are made in one way, whatever its files hold."""
    data_set = folder.data_set
    parts: list[Any] = [
        FORMAT,
        str(folder.root.resolve()),
        folder.dataset,
        folder.category,
        labels_from_votes,
        data_set.word_tokenizer,
        data_set.category(folder.category).product_text,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def ensure_pack(
    folder: CategoryFolder,
    cache: Path,
    *,
    labels_from_votes: Votes = False,
    progress: Progress | None = None,
    thorough: bool = False,
) -> Path:
    """The pack's folder, `<cache>/packs/<key>-<state of the sources>`; packed now unless it is there, whole,
    and made of what is there now. `thorough` reads all of it to be sure, large files too.

    Raises DataError that lists every problem of the category's files.
    """
    labels_from_votes = labels_from_votes or folder.data_set.labels == "votes"
    key, stats = _key_and_sources(folder, labels_from_votes)
    target = _made_of_the_same(cache / "packs", key, folder, stats)

    def build(out: Path) -> None:
        sources.settle(stats)
        _Packer(folder, out, labels_from_votes, progress, stats).pack()

    return build_folder(target, build, thorough=thorough)


def pack_damage(folder: CategoryFolder, cache: Path, labels_from_votes: Votes = False) -> str | None:
    """What a read of the whole pack of these sources finds damaged, empty if nothing; None without such a pack."""
    key, stats = _key_and_sources(folder, labels_from_votes)
    target = _made_of_the_same(cache / "packs", key, folder, stats)
    return damage_of(target, thorough=True) if target.is_dir() else None


def _key_and_sources(folder: CategoryFolder, labels_from_votes: Votes) -> tuple[str, sources.Sources]:
    votes = labels_from_votes or folder.data_set.labels == "votes"
    return pack_key(folder, votes), sources.scan(folder)


def _made_of_the_same(packs: Path, key: str, folder: CategoryFolder, stats: sources.Sources) -> Path:
    """Where the pack of these sources is, or is to be: a pack never changes its sources, so that whoever has it
    open reads on undisturbed. One whose sources were only touched, not changed, is used on; a link says so."""
    target = packs / f"{key}-{sources.state_of(stats)}"
    link = target.with_suffix(".same")
    if target.is_dir():
        return target
    with contextlib.suppress(OSError, UnicodeDecodeError):
        other = packs / read_regular(link, 4096).decode().strip()
        if other.parent == packs and other.name.startswith(key) and other.is_dir():
            return other
    for other in sorted(packs.glob(f"{key}-*")):
        if other.is_dir() and sources.same_content(other, folder, stats):
            write_atomically(link, other.name)
            return other
    return target


@dataclass
class _Packer:
    folder: CategoryFolder
    out: Path
    labels_from_votes: Votes
    progress: Progress | None
    stats: sources.Sources
    """As they were before anything was read."""
    findings: Findings = field(default_factory=Findings)
    digest: Any = field(default_factory=hashlib.sha256)
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    label_columns: list[str] = field(default_factory=list)

    def pack(self) -> None:
        """Reads the splits one after the other, then numbers the words, then writes the manifest."""
        ledger = sources.Ledger(self.folder, self.stats)
        texts = TextWorker(self.out, self.folder.data_set.word_tokenizer, self._report)
        with RoiCrew() as crew, texts:
            self._pack(FeatureReader(self.folder, self.findings, crew, note=ledger.feature), texts)
        ledger.write(self.out)

    def _pack(self, reader: FeatureReader, texts: TextWorker) -> None:
        if self.folder.dataset not in BUILT_IN:  # the paper's have a fixed one, and older fingerprints
            self._hash("tokenizer", self.folder.data_set.word_tokenizer)
        extractor = self._extractor()
        rois = RowWriter(self.out / "rois.npy", np.float16)
        overlaps = Overlaps()
        for split_name in SPLITS:
            self._report(0, 1, f"{split_name} tables")
            split = read_split(self.folder, split_name, self.findings, self.labels_from_votes)
            if split is None:
                continue
            overlaps.add(split)
            self.label_columns.append(split.label_column)
            self._write_items(split)
            for side, _ in sides(split):
                texts.add(split.name, side, sum(len(items.texts) for _, items in sides(split)))
            self._pack_rois(split, reader, rois)
        rois.close()
        overlaps.note(self.folder, self.findings)
        self.findings.raise_if_any(self.folder.path)
        sizes = texts.write()
        self._write_manifest(sizes, rois.rows, reader, extractor)

    def _report(self, done: int, total: int, what: str) -> None:
        if self.progress is not None:
            self.progress(done, total, f"packing {self.folder.dataset}/{self.folder.category}: {what}")

    def _write_items(self, split: RawSplit) -> None:
        name = split.name
        for side, items in sides(split):
            Strings.save(items.ids, self.out / f"{name}.{side}.ids")
            Strings.save(items.texts, self.out / f"{name}.{side}.text")
            self._hash(f"{name} {side}", *items.ids, *items.texts)
        np.save(self.out / f"{name}.products.npy", split.product_of_review)
        np.save(self.out / f"{name}.labels.npy", split.labels)
        if split.times is not None:
            np.save(self.out / f"{name}.times.npy", split.times)
        self._hash(f"{name} labels", split.product_of_review.tobytes(), split.labels.tobytes())
        self.counts[name] = {
            "products": len(split.products.ids),
            "reviews": len(split.reviews.ids),
            "labels": np.bincount(split.labels, minlength=5).tolist(),
            "dropped_without_votes": split.dropped_without_votes,
            "images": {},
        }

    def _pack_rois(self, split: RawSplit, reader: FeatureReader, rois: RowWriter) -> None:
        for side, items in sides(split):
            count_N = np.zeros(len(items.ids), dtype=np.int64)
            outcomes: list[str] = []
            for row, (outcome, roi_VF) in enumerate(reader.items(split.name, items.ids)):
                outcomes.append(outcome)
                if roi_VF is not None:
                    count_N[row] = len(roi_VF)
                    rois.append(roi_VF)
                    self._hash("rois", roi_VF.data.cast("B"))
                if row % _REPORT_EVERY == 0:
                    self._report(row, len(items.ids), f"{split.name} {side} features")
            offset_N1 = rois.rows - count_N.sum() + offsets_of(count_N)
            np.save(self.out / f"{split.name}.{side}.roi_offsets.npy", offset_N1)
            self._hash(f"{split.name} {side} rois", count_N.tobytes())
            self.counts[split.name]["images"][side] = coverage(items, outcomes)

    def _hash(self, section: str, *parts: str | bytes | memoryview) -> None:
        """Adds content to the fingerprint; lengths keep neighbours apart."""
        self.digest.update(f"{section} {len(parts)}\n".encode())
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self.digest.update(len(raw).to_bytes(8, "little"))
            self.digest.update(raw)

    def _extractor(self) -> dict[str, Any] | None:
        """What made the features, if it was no one of the release; part of the fingerprint then."""
        features = self.folder.path / "features"
        try:
            record = descriptor.read(features)
        except ValueError as error:
            self.findings.problem(features / descriptor.NAME, "", str(error))
            return None
        if record is not None:
            self._hash("extractor", descriptor.canonical(record))
        return record

    def _write_manifest(
        self, sizes: dict[str, int], n_rois: int, reader: FeatureReader, extractor: dict[str, Any] | None
    ) -> None:
        manifest = {
            "format": FORMAT,
            "dataset": self.folder.dataset,
            "category": self.folder.category,
            "fingerprint": self.digest.hexdigest(),
            "splits": self.counts,
            "rois": n_rois,
            "roi_width": reader.width or 1,
            "features": extractor,
            "unreadable_files": len(reader.unreadable),
            "unreadable_examples": reader.unreadable[:20],
            "labels": label_rule(self.labels_from_votes, self.label_columns),
            "language": self.folder.data_set.language,
            "tokenizer": self.folder.data_set.word_tokenizer,
            "vocabulary": sizes,
            "notes": self.findings.notes,
        }
        (self.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def label_rule(votes: Votes, columns: Sequence[str]) -> str:
    """In words, where the labels come from."""
    taken = " and ".join(dict.fromkeys(columns)) or "none read"
    if not votes:
        return f"as released, column {taken}"
    return f"from votes, column {taken}: min(4, floor(log2 v)), relations with v = 0 dropped"
