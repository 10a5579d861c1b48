"""Reviews of products that no pack holds, in memory, in the form that batches are made of. Torch-free.

Texts go the way that packing goes: the data set's tokenizer, the vocabulary, rare words deleted, or the encoder's own
tokenizer. R reviews and P products of a block.
"""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError
from benchmark.data import roi_worker as worker
from benchmark.data.catalog import joined_text, plain_text
from benchmark.data.corpus import Split
from benchmark.data.features import descriptor
from benchmark.data.fields import fault_of
from benchmark.data.imports.columns import RECIPES
from benchmark.data.pack_words import FIRST_WORD, delete_rare
from benchmark.data.roi_worker import RoiWorker
from benchmark.data.store import Ragged, offsets_of
from benchmark.data.text import word_tokenizer
from benchmark.data.times import parse_times
from benchmark.data.wordpieces import EncoderTokens, encode, load_tokenizer, pad_id_of

Int64 = npt.NDArray[np.int64]
_SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
"""What an import's `trim` takes from both ends of a text."""


@dataclass(frozen=True)
class Block:
    """Some products with all of their reviews, as they were given."""

    product_ids: Sequence[str]
    product_fields: Sequence[Mapping[str, Any]]
    """Of each product, what is known of it: `name`, `description`."""
    review_ids: Sequence[str]
    texts: Sequence[Any]
    product_R: Int64
    times: Sequence[Any]

    def __len__(self) -> int:
        return len(self.product_R)


@dataclass(frozen=True)
class Wording:
    """How a data set's texts become ids: what is known of it in an exported model."""

    tokenizer: str
    product_text: tuple[str, ...]
    recipe: str
    """By which an import read the data; empty where it read none: texts are taken as they are."""
    vocabulary: Mapping[str, Sequence[str]]

    @cached_property
    def _tokenize(self) -> Callable[[str], list[str]]:
        return word_tokenizer(self.tokenizer)

    @cached_property
    def _ids(self) -> dict[str, dict[str, int]]:
        return {
            name: {word: id_ for id_, word in enumerate(words, start=FIRST_WORD[name])}
            for name, words in self.vocabulary.items()
        }

    def text(self, value: Any) -> str:
        """A cell as text: as it is, or as an import would have written it."""
        text = plain_text(value)
        if not self.recipe:
            return text
        recipe = RECIPES.get(self.recipe)
        return (html.unescape(text) if recipe is not None and recipe.unescape else text).strip(_SPACES)

    def product(self, known: Mapping[str, Any]) -> str:
        fields = {name: known.get(name) for name in self.product_text}
        if self.recipe and "description" in fields:
            fields["description"] = _joined(fields["description"])
        return joined_text([self.text(value) for value in fields.values()])

    def words(self, texts: Sequence[str], vocabulary: str) -> Ragged:
        """int32 ids over a vocabulary, without those of rare words, as packs hold them."""
        ids, tokens = self._ids[vocabulary], [self._tokenize(text) for text in texts]
        flat = np.array([ids.get(token, 0) for own in tokens for token in own], dtype=np.int32)
        return delete_rare(flat, np.array([len(own) for own in tokens], dtype=np.int64))


def _joined(value: Any) -> Any:
    """A description that is a list of texts, or JSON of one, as one text: as an import writes it."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return value
    if isinstance(value, list | tuple):
        return " ".join(plain_text(part) for part in value if part is not None)
    return value


def _same_extractor(folder: Path, wanted: Mapping[str, Any] | None) -> None:
    """By the descriptor in the folder, or in the one above it, where a data set has it; without one nothing is said."""
    for place in (folder, folder.parent):
        try:
            found = descriptor.read(place)
        except ValueError as error:
            raise DataError(f"{place / descriptor.NAME}: {error}") from error
        if found is not None:
            if wanted is None or descriptor.canonical(found) != descriptor.canonical(wanted):
                known = "features of the release" if wanted is None else descriptor.title(wanted)
                raise DataError(
                    f"{folder}: made by {descriptor.title(found)}, but the model was trained on {known}."
                )
            return


class Images:
    """RoI features in a folder, `<id>/<id>.pth` of each product and review; an item without a file has no image.

    `extractor`: what made the features that the model was trained on (`benchmark.data.features.descriptor`); None for a
    release's own. DataError if the folder's are said to be of another one.
    """

    def __init__(
        self, folder: Path, width: int, reader: RoiWorker, extractor: Mapping[str, Any] | None = None
    ) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: no folder with RoI features.")
        _same_extractor(folder, extractor)
        self.folder, self.width, self._reader = folder, width, reader
        self._present = frozenset(os.listdir(folder))
        self.counts: Counter[str] = Counter()
        self.unreadable: list[str] = []
        """The first files that are there but cannot be used, with the reason."""

    def rois(self, ids: Sequence[str]) -> Ragged:
        """float16 `[RoIs, F]` of the items. DataError for features of another width, or not finite, and for a file that
        asks for more than arrays; an unreadable one counts as no image."""
        paths = [self.folder / one / f"{one}.pth" for one in ids if self._has(one)]
        replies = iter(zip(paths, self._reader.read(paths), strict=True))
        found = [self._judged(*next(replies)) if self._has(one) else None for one in ids]
        self.counts["items"] += len(ids)
        self.counts["with features"] += sum(one is not None for one in found)
        none = np.zeros((0, self.width), dtype=np.float16)
        parts = [none if one is None else one for one in found]
        return Ragged(np.concatenate([none, *parts]), offsets_of([len(part) for part in parts]))

    def _has(self, one: str) -> bool:
        return one in self._present and fault_of(one) is None

    def _judged(self, path: Path, reply: worker.Reply) -> npt.NDArray[np.float16] | None:
        if reply.kind in (worker.MISSING, worker.EMPTY):
            return None
        if reply.kind == worker.UNREADABLE or (reply.kind == worker.ROIS and reply.rois_VF is None):
            self.counts["unreadable"] += 1
            self.unreadable += [f"{path}: {reply.message}"] * (len(self.unreadable) < 5)
            return None
        if reply.kind != worker.ROIS or reply.rois_VF is None:
            raise DataError(f"{path}: {reply.message}")
        if reply.rois_VF.shape[1] != self.width:
            raise DataError(
                f"{path}: RoI features {reply.rois_VF.shape[1]} wide, but the model was trained on {self.width}. "
                "They must come from the same extractor."
            )
        if reply.not_finite >= 0:
            raise DataError(f"{path}: RoI {reply.not_finite}: NaN or infinity in RoI features")
        return reply.rois_VF


@dataclass(frozen=True)
class UnseenSplit(Split):
    """A block as a split: all that the collator and the hand-made features ask of one. Labels are zero."""

    block: Block
    wording: Wording
    images: Images | None
    roi_width: int
    _rois: dict[str, Ragged] = field(default_factory=dict)
    _words: dict[tuple[str, bool], Ragged] = field(default_factory=dict)
    """What several models of an ensemble ask for is made once."""

    @classmethod
    def of(cls, block: Block, wording: Wording, images: Images | None, roi_width: int) -> UnseenSplit:
        product_R = np.asarray(block.product_R, dtype=np.int64)
        labels = np.zeros_like(product_R)
        return cls(
            Path(), "given", product_R, labels, len(block.product_ids), block, wording, images, roi_width
        )

    @cached_property
    def own_texts(self) -> dict[str, list[str]]:
        return {
            "product": [self.wording.product(known) for known in self.block.product_fields],
            "review": [self.wording.text(text) for text in self.block.texts],
        }

    def review_text(self, row: int) -> str:
        return self.own_texts["review"][row]

    @cached_property
    def time_R(self) -> npt.NDArray[np.float64] | None:
        return parse_times(self.block.times)

    def words(self, side: str, joint: bool = False) -> Ragged:
        if (side, joint) not in self._words:
            made = self.wording.words(self.own_texts[side], "joint" if joint else side)
            self._words[side, joint] = made
        return self._words[side, joint]

    def rois(self, side: str) -> Ragged:
        if side not in self._rois:
            ids = self.block.product_ids if side == "product" else self.block.review_ids
            empty = Ragged(np.zeros((0, self.roi_width), dtype=np.float16), offsets_of([0] * len(ids)))
            self._rois[side] = empty if self.images is None else self.images.rois(ids)
        return self._rois[side]


@dataclass(frozen=True)
class UnseenTokens(EncoderTokens):
    """Word pieces of a block's texts."""

    sides: Mapping[str, Ragged]

    @classmethod
    def of_split(cls, split: UnseenSplit, tokenizer: Any, max_tokens: int) -> UnseenTokens:
        sides = {side: encode(tokenizer, texts, max_tokens) for side, texts in split.own_texts.items()}
        return cls(Path(), max_tokens, 1, pad_id_of(tokenizer), len(tokenizer), sides)

    def of(self, split: str, side: str) -> Ragged:
        return self.sides[side]


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of an exported model's encoder."""
    return load_tokenizer(folder)
