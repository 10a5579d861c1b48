"""An opened category: arrays that map into memory, the same pages for every process that opens it.

Torch-free except for `Corpus.shape`. R reviews and P products of a split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import read_regular
from benchmark.data.catalog import SPLITS
from benchmark.data.dataset_file import to_record
from benchmark.data.datasets import DataSet
from benchmark.data.fields import Votes
from benchmark.data.pack import ensure_pack
from benchmark.data.pack_words import FIRST_WORD, Progress
from benchmark.data.release import find_category
from benchmark.data.roi_worker import stat_of
from benchmark.data.store import Ragged, Strings, build_folder, cache_root, open_array
from benchmark.data.surface import surface_features

if TYPE_CHECKING:
    from benchmark.core.types import CorpusShape
    from benchmark.data.wordpieces import EncoderTokens

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
FIELDS = ("product", "review", "joint")
MAX_LETTERS = 16
"""Characters kept of a word."""
_LARGEST_JSON = 64 << 20


@dataclass(frozen=True)
class Split:
    """One split of a category. Reviews are in the relation table's order."""

    pack: Path
    name: str
    product_R: Int64
    """Review row -> product row."""
    label_R: Int64
    """Helpfulness 0..4."""
    n_products: int

    @property
    def n_reviews(self) -> int:
        return len(self.product_R)

    @cached_property
    def product_ids(self) -> list[str]:
        return list(Strings.open(self.pack / f"{self.name}.product.ids"))

    @cached_property
    def review_ids(self) -> list[str]:
        return list(Strings.open(self.pack / f"{self.name}.review.ids"))

    @cached_property
    def _texts(self) -> dict[str, Strings]:
        return {side: Strings.open(self.pack / f"{self.name}.{side}.text") for side in ("product", "review")}

    def product_text(self, row: int) -> str:
        return self._texts["product"][row]

    def review_text(self, row: int) -> str:
        return self._texts["review"][row]

    @cached_property
    def time_R(self) -> npt.NDArray[np.float64] | None:
        """Seconds since 1970, NaN where not known; None if no review has a time."""
        path = self.pack / f"{self.name}.times.npy"
        return np.load(path) if path.is_file() else None

    @cached_property
    def word_count_R(self) -> npt.NDArray[np.int32]:
        """Tokens of each review's text, rare words included."""
        count_R: npt.NDArray[np.int32] = np.load(self.pack / f"{self.name}.review.word_count.npy")
        return count_R

    @cached_property
    def has_image_R(self) -> npt.NDArray[np.bool_]:
        """Whether the review has at least one RoI."""
        return self.rois("review").count_N > 0

    @cached_property
    def surface_RS(self) -> Float32:
        """Hand-made features of the reviews (`benchmark.data.surface`)."""
        return surface_features(self)

    def words(self, side: str, joint: bool = False) -> Ragged:
        """int32 word ids of the `product` or `review` texts over the side's vocabulary, or over the joint
        one, there without [CLS]. Never an empty text."""
        return Ragged.open(self.pack / f"{self.name}.{side}.{'joint' if joint else 'words'}")

    def rois(self, side: str) -> Ragged:
        """float16 [RoIs of the category, F] with the offsets of this split's products or reviews."""
        offset_N1 = np.load(self.pack / f"{self.name}.{side}.roi_offsets.npy")
        return Ragged(open_array(self.pack / "rois.npy"), offset_N1)

    def with_labels(self, label_R: npt.NDArray[Any]) -> Split:
        """The same split with other labels, for controls."""
        if label_R.shape != self.label_R.shape:
            raise ValueError(f"{label_R.shape} labels for {self.n_reviews} reviews")
        return replace(self, label_R=np.asarray(label_R, dtype=np.int64))


@dataclass(frozen=True)
class Corpus:
    """One category of one root, packed."""

    pack: Path
    label: str
    """Name of the root, for people."""
    synthetic: bool
    manifest: dict[str, Any]
    """The pack's manifest; with `vectors` (file, sha256, width, coverage) if a vector file was given."""
    train: Split
    dev: Split
    test: Split
    data_set: DataSet
    """The descriptor; `manifest` has it too, as `data_set`."""
    vectors: Path | None = None
    """Folder of the packed vector file."""

    @property
    def dataset(self) -> str:
        return str(self.manifest["dataset"])

    @property
    def category(self) -> str:
        return str(self.manifest["category"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the content that a run's numbers depend on: ids, texts, labels, features, and the
        vector file if one is used; not over paths and times."""
        return str(self.manifest["fingerprint"])

    @cached_property
    def shape(self) -> CorpusShape:
        """What a model must know to be built. Imports torch."""
        import torch

        from benchmark.core.types import CorpusShape

        vocabulary = self.manifest["vocabulary"]
        return CorpusShape(
            product_vocabulary=vocabulary["product"],
            review_vocabulary=vocabulary["review"],
            joint_vocabulary=vocabulary["joint"],
            roi_width=self.manifest["roi_width"],
            n_train_reviews=self.train.n_reviews,
            word_vectors=lambda field, width: torch.from_numpy(self.word_vectors(field, width)),
            spellings=self._spelled,
        )

    def vocabulary(self, field: str) -> Sequence[str]:
        """Words of `product`, `review` or `joint`, the first of which has id 2, 2 or 3."""
        return Strings.open(self.pack / f"vocabulary.{_checked(field)}")

    def word_vectors(self, field: str, width: int) -> Float32:
        """float32 [ids, width], initial vectors of a vocabulary: those of the vector file, else uniform in
        [-0.25, 0.25] and a function of the word alone, so that `product` and `review` agree. Row 0
        (padding) is zero.

        Raises UsageError if the vector file has another width.
        """
        from benchmark.data.text import random_vectors, word_hashes

        special = word_hashes(["<pad>", "<unk>", "<cls>"][: FIRST_WORD[_checked(field)]])
        hash_W = np.concatenate([special, np.load(self.pack / f"vocabulary.{field}.hash.npy")])
        vector_WD = random_vectors(hash_W, width)
        vector_WD[0] = 0
        if self.vectors is not None:
            file_width = self.manifest["vectors"]["width"]
            if file_width != width:
                raise UsageError(
                    f"the word vectors of {self.manifest['vectors']['file']} are {file_width} wide, but the "
                    f"model wants {width}: give another file, or set the model's width of word vectors"
                )
            joint_W = self._joint_of(field)
            found_W = np.load(self.vectors / "found.npy")[joint_W]
            vector_WD[found_W] = open_array(self.vectors / "vectors.npy")[joint_W[found_W]]
        return vector_WD

    def spellings(self, field: str) -> tuple[npt.NDArray[np.int64], int]:
        """(int64 [ids, MAX_LETTERS], number of character ids): the characters of each word of a vocabulary, cut
        at `MAX_LETTERS`. Character 0 is padding, 1 stands for the ids that are no words, then come the
        characters of the joint vocabulary in order, so that `product` and `review` agree."""
        return spelled(self.vocabulary("joint"), self.vocabulary(field), FIRST_WORD[_checked(field)])

    def _spelled(self, field: str) -> Any:
        import torch

        spelled_WL, n_ids = self.spellings(field)
        return torch.from_numpy(spelled_WL), n_ids

    def _joint_of(self, field: str) -> npt.NDArray[Any]:
        """Id in a field's vocabulary -> id in the joint one, which holds every word of both."""
        if field == "joint":
            return np.arange(self.manifest["vocabulary"]["joint"])
        joint_W: npt.NDArray[Any] = np.load(self.pack / f"joint_of.{field}.npy")
        return joint_W

    def encoder_tokens(
        self,
        source: str | Path,
        *,
        max_tokens: int = 128,
        separator: bool = False,
        progress: Progress | None = None,
    ) -> EncoderTokens:
        """The texts as token ids of a pre-trained encoder's tokenizer (see benchmark.data.wordpieces)."""
        from benchmark.data.wordpieces import pack_tokens

        return pack_tokens(self.pack, source, max_tokens=max_tokens, separator=separator, progress=progress)


def spelled(joint: Sequence[str], words: Sequence[str], first: int) -> tuple[npt.NDArray[np.int64], int]:
    """`Corpus.spellings` of the words of a vocabulary, the first of which has id `first`; `joint`: the words of both
    fields."""
    characters = sorted(set().union(*joint))
    number = {character: id_ for id_, character in enumerate(characters, start=2)}
    spelled_WL = np.zeros((first + len(words), MAX_LETTERS), dtype=np.int64)
    spelled_WL[1:first, 0] = 1
    for row, word in enumerate(words, start=first):
        ids = [number[character] for character in word[:MAX_LETTERS]]
        spelled_WL[row, : len(ids)] = ids
    return spelled_WL, len(number) + 2


def _checked(field: str) -> str:
    if field not in FIELDS:
        raise ValueError(f"no vocabulary {field!r}; there are {', '.join(FIELDS)}")
    return field


def open_corpus(
    root: Path,
    dataset: str,
    category: str,
    *,
    cache: Path | None = None,
    vectors: Path | None = None,
    labels_from_votes: Votes = False,
    progress: Progress | None = None,
) -> Corpus:
    """A category of a release, packed first if that was not done yet.

    `vectors` is a word-vector text file; `cache` is where packs are kept ($MRHP_BENCH_CACHE or the user's
    cache folder if None). Raises DataError with all problems of the files.
    """
    folder = find_category(root, dataset, category)
    pack = ensure_pack(folder, cache_root(cache), labels_from_votes=labels_from_votes, progress=progress)
    manifest = json.loads((pack / "manifest.json").read_text(encoding="utf-8"))
    manifest["data_set"] = to_record(folder.data_set)
    vector_folder = None
    if vectors is not None:
        vector_folder = _ensure_vectors(pack, vectors, progress)
        manifest["vectors"] = json.loads((vector_folder / "info.json").read_text(encoding="utf-8"))
        both = manifest["fingerprint"] + manifest["vectors"]["sha256"]
        manifest |= {
            "data_fingerprint": manifest["fingerprint"],
            "fingerprint": hashlib.sha256(both.encode()).hexdigest(),
        }
    label, synthetic = identity(root)
    train, dev, test = (_open_split(pack, name, manifest) for name in SPLITS)
    return Corpus(pack, label, synthetic, manifest, train, dev, test, folder.data_set, vector_folder)


def _open_split(pack: Path, name: str, manifest: dict[str, Any]) -> Split:
    products, labels = np.load(pack / f"{name}.products.npy"), np.load(pack / f"{name}.labels.npy")
    return Split(pack, name, products, labels, manifest["splits"][name]["products"])


def identity(root: Path) -> tuple[str, bool]:
    """(name, synthetic) by `<root>/synthetic.json`, which a generated corpus carries, else by the path."""
    file = root / "synthetic.json"
    try:
        record = json.loads(read_regular(file, _LARGEST_JSON))
        return str(record.get("name", root.resolve().name)), bool(record.get("synthetic", True))
    except FileNotFoundError:
        return root.resolve().name, False
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{file}: expected a JSON object such as {{'name': 'mini', 'synthetic': true}}"
        ) from error


def _ensure_vectors(pack: Path, file: Path, progress: Progress | None) -> Path:
    """The rows of a vector file that the joint vocabulary needs, packed once per file."""
    try:
        status = file.stat()
    except OSError as error:
        raise UsageError(f"cannot read word vectors from {file}: {error.strerror}") from error
    known = json.dumps([str(file.resolve()), *stat_of(status)])
    key = hashlib.sha256(known.encode()).hexdigest()[:24]

    def build(out: Path) -> None:
        from benchmark.data.text import read_vectors

        if progress is not None:
            progress(0, 1, f"word vectors of {file.name}")
        words = list(Strings.open(pack / "vocabulary.joint"))
        read = read_vectors(file, words)
        special = FIRST_WORD["joint"]
        np.save(out / "vectors.npy", np.pad(read.vector_WD, ((special, 0), (0, 0))))
        np.save(out / "found.npy", np.pad(read.found_W, (special, 0)))
        info = {
            "file": file.name,
            "sha256": read.sha256,
            "width": read.vector_WD.shape[1],
            "coverage": read.coverage,
        }
        (out / "info.json").write_text(json.dumps(info), encoding="utf-8")

    return build_folder(pack / "vectors" / key, build)
