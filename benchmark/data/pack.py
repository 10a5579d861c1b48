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
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.core.files import read_regular, write_atomically
from benchmark.data import sources
from benchmark.data.catalog import SIDES, SPLITS
from benchmark.data.datasets import BUILT_IN
from benchmark.data.features import descriptor
from benchmark.data.fields import Votes
from benchmark.data.findings import Findings
from benchmark.data.leaks import Overlaps
from benchmark.data.release import CategoryFolder, RawSplit, read_split, sides
from benchmark.data.roi_crew import RoiCrew
from benchmark.data.roi_files import FeatureReader, coverage
from benchmark.data.seal import damage_of
from benchmark.data.store import Ragged, RowWriter, Strings, build_folder, offsets_of
from benchmark.data.store import cache_root as cache_root
from benchmark.data.text import CLS, PAD, UNKNOWN, vocabulary, word_hashes, word_tokenizer

FORMAT = 3
"""Raised when the content of packs changes, so that older ones are made anew."""

Progress = Callable[[int, int, str], None]
"""(done, total, what)"""
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

FIRST_WORD = {"product": UNKNOWN + 1, "review": UNKNOWN + 1, "joint": CLS + 1}
"""Id of the most frequent word of each vocabulary."""
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
        with RoiCrew() as worker:
            ledger = sources.Ledger(self.folder, self.stats)
            self._pack(FeatureReader(self.folder, self.findings, worker, note=ledger.feature))
        ledger.write(self.out)

    def _pack(self, reader: FeatureReader) -> None:
        words = _Words(self.folder.data_set.word_tokenizer)
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
            self._pack_rois(split, reader, rois)
            self._tokenize(split, words)
        rois.close()
        overlaps.note(self.folder, self.findings)
        self.findings.raise_if_any(self.folder.path)
        sizes = words.write(self.out)
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

    def _tokenize(self, split: RawSplit, words: _Words) -> None:
        for side, items in sides(split):
            for row, text in enumerate(items.texts):
                words.add(split.name, side, text)
                if row % _REPORT_EVERY == 0:
                    self._report(row, len(items.texts), f"{split.name} {side} words")

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


# --- Words -----------------------------------------------------------------------------------------------


class _Words:
    """Numbers words as they come, then, when train has been read, by vocabulary.

    Every text is tokenized once; what follows is array work on the provisional numbers.
    """

    def __init__(self, tokenizer: str) -> None:
        self._tokenize = word_tokenizer(tokenizer)
        self._number: defaultdict[str, int] = defaultdict()
        self._number.default_factory = self._number.__len__
        self._flat: dict[tuple[str, str], array[int]] = defaultdict(lambda: array("i"))
        self._count: dict[tuple[str, str], array[int]] = defaultdict(lambda: array("i"))

    def add(self, split: str, side: str, text: str) -> None:
        tokens = self._tokenize(text)
        self._flat[split, side].extend(map(self._number.__getitem__, tokens))
        self._count[split, side].append(len(tokens))

    def write(self, out: Path) -> dict[str, int]:
        """Writes vocabularies and word ids; returns the number of ids of each vocabulary."""
        words = list(self._number)
        frequency = {side: self._frequency("train", side, len(words)) for side in SIDES}
        frequency["joint"] = frequency["product"] + frequency["review"]
        id_of = {
            name: self._number_vocabulary(name, count_W, words, out) for name, count_W in frequency.items()
        }
        for side in SIDES:
            kept = np.argsort(id_of[side], kind="stable")[np.sum(id_of[side] == PAD) :]
            special = np.arange(FIRST_WORD[side], dtype=np.int32)
            np.save(out / f"joint_of.{side}.npy", np.concatenate([special, id_of["joint"][kept]]))
        for (split, side), flat in self._flat.items():
            number_T, count_N = _view(flat), _view(self._count[split, side])
            np.save(out / f"{split}.{side}.word_count.npy", count_N)
            for name, vocabulary_name in (("words", side), ("joint", "joint")):
                delete_rare(id_of[vocabulary_name][number_T], count_N).save(out / f"{split}.{side}.{name}")
        return {name: int(ids.max(initial=FIRST_WORD[name] - 1)) + 1 for name, ids in id_of.items()}

    def _frequency(self, split: str, side: str, n_words: int) -> Int64:
        return np.bincount(_view(self._flat[split, side]), minlength=n_words).astype(np.int64)

    def _number_vocabulary(self, name: str, count_W: Int64, words: list[str], out: Path) -> Int32:
        """int32, provisional number -> id, 0 for words outside of the vocabulary."""
        counts = Counter({words[number]: int(count_W[number]) for number in np.flatnonzero(count_W).tolist()})
        kept = vocabulary(counts)
        Strings.save(kept, out / f"vocabulary.{name}")
        np.save(out / f"vocabulary.{name}.hash.npy", word_hashes(kept))
        ids = np.zeros(len(words), dtype=np.int32)
        ids[[self._number[word] for word in kept]] = np.arange(len(kept), dtype=np.int32) + FIRST_WORD[name]
        return ids


def _view(numbers: array[int]) -> Int32:
    return np.frombuffer(numbers, dtype=np.int32) if len(numbers) else np.zeros(0, dtype=np.int32)


def delete_rare(id_T: Int32, count_N: npt.NDArray[Any]) -> Ragged:
    """Word ids without those of rare words (id 0), which the field deletes; a text of which nothing is left
    becomes a single unknown token, so that no review is ever dropped (defect P24).

    `id_T` are the ids of all texts one after another, `count_N` the tokens of each.
    """
    kept_T = id_T != PAD
    ends_N1 = np.concatenate([[0], np.cumsum(kept_T)])[offsets_of(count_N)]
    left_N = np.diff(ends_N1)
    offset_N1 = offsets_of(np.maximum(left_N, 1))
    flat = np.full(int(offset_N1[-1]), UNKNOWN, dtype=np.int32)
    shift_N = offset_N1[:-1] - ends_N1[:-1]
    flat[np.arange(int(left_N.sum())) + np.repeat(shift_N, left_N)] = id_T[kept_T]
    return Ragged(flat, offset_N1)
