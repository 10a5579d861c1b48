"""Batches against plain loops over the split's items."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.core.errors import DataError, UsageError
from benchmark.core.types import Batch, Items, Padding
from benchmark.data.collate import SHORT_ITEM, Collator
from benchmark.data.corpus import Corpus, Split, open_corpus
from tests.fixtures_release import write_release


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("collate")
    return open_corpus(write_release(folder / "r", roi_width=5), "amazon", "electronics", cache=folder / "c")


def expected_items(
    split: Split, side: str, rows: list[int], joint: bool, padding: Padding, max_tokens: int, max_rois: int
) -> tuple[list[list[int]], list[np.ndarray]]:
    """Token ids and float32 RoIs of each item by plain loops, not padded."""
    tokens, rois = [], []
    for row in rows:
        ids = split.words(side, joint=joint)[row].tolist()[:max_tokens]
        ids = [2, *ids] if joint else ids
        tokens.append(ids[: padding.fixed_tokens] if padding.fixed_tokens else ids)
        features = split.rois(side)[row][:max_rois].astype(np.float32)
        rois.append(
            features if len(features) else np.zeros((padding.empty_rois, features.shape[1]), np.float32)
        )
    return tokens, rois


def check_items(items: Items, tokens: list[list[int]], rois: list[np.ndarray], padding: Padding) -> None:
    width = padding.fixed_tokens or max(padding.min_tokens, max(map(len, tokens)))
    assert items.token_NT.tolist() == [ids + [0] * (width - len(ids)) for ids in tokens]
    assert items.token_count_N.tolist() == [len(ids) for ids in tokens]
    assert items.token_NT.dtype == items.token_count_N.dtype == items.row_N.dtype == torch.int64
    height = max(padding.min_rois, max(map(len, rois)))
    assert items.roi_NVF is not None
    assert items.roi_count_N is not None
    assert items.roi_NVF.shape == (len(rois), height, 5)
    assert items.roi_NVF.dtype == torch.float32
    assert items.roi_count_N.tolist() == [len(features) for features in rois]
    for padded, features in zip(items.roi_NVF.numpy(), rois, strict=True):
        np.testing.assert_array_equal(padded[: len(features)], features)
        assert not padded[len(features) :].any()


@pytest.mark.parametrize(
    "padding",
    [
        Padding(),
        Padding(min_tokens=32, min_rois=16, empty_rois=16),
        Padding(fixed_tokens=10),
        Padding(fixed_tokens=64),
    ],
)
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("max_tokens", "max_rois"), [(128, 128), (7, 3)])
@pytest.mark.parametrize("short_item", [0, SHORT_ITEM])
def test_batches_by_plain_loops(
    corpus: Corpus,
    padding: Padding,
    joint: bool,
    max_tokens: int,
    max_rois: int,
    short_item: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Features item by item, or (SHORT_ITEM) all at once."""
    monkeypatch.setattr("benchmark.data.collate.SHORT_ITEM", short_item)
    split = corpus.train
    collator = Collator(
        split,
        tokenizer="joint" if joint else "words",
        padding=padding,
        reads_images=True,
        max_tokens=max_tokens,
        max_rois=max_rois,
    )
    review_B = np.array([7, 5, 5, 0, 33, 34, 59, 7])
    batch = collator.pairs(review_B, 4)
    products, reviews = sorted({int(split.product_R[r]) for r in review_B}), sorted(set(review_B.tolist()))
    assert batch.group_size == 4
    assert len(batch) == 8
    for items, side, rows in ((batch.products, "product", products), (batch.reviews, "review", reviews)):
        assert items.row_N.tolist() == rows, "each distinct item once"
        tokens, rois = expected_items(split, side, rows, joint, padding, max_tokens, max_rois)
        check_items(items, tokens, rois, padding)
    assert batch.reviews.row_N[batch.review_B].tolist() == review_B.tolist()
    assert batch.products.row_N[batch.product_B].tolist() == split.product_R[review_B].tolist()
    assert batch.label_B.tolist() == split.label_R[review_B].tolist()
    assert batch.label_B.dtype == torch.float32
    lengths = {r: int(n) for r, n in zip(reviews, batch.reviews.token_count_N, strict=True)}
    assert {r: int(collator.review_length_R[r]) for r in reviews} == lengths


def rows_of(batch: Batch) -> list[int]:
    rows: list[int] = batch.reviews.row_N[batch.review_B].tolist()
    return rows


def test_whole_products_and_lists(corpus: Corpus) -> None:
    split = corpus.dev
    shuffled = Split(split.pack, split.name, split.product_R[::-1].copy(), split.label_R, split.n_products)
    for one in (split, shuffled):
        collator = Collator(one)
        batch = collator.products(np.array([2, 0]))
        expected = [r for p in (2, 0) for r in range(one.n_reviews) if one.product_R[r] == p]
        assert rows_of(batch) == expected == collator.product_reviews(np.array([2, 0])).tolist()
        assert batch.group_size is None
    lists = Collator(split).lists([np.array([3, 1]), np.array([19])])
    assert rows_of(lists) == [3, 1, 19]


def test_no_images_are_read_unless_asked_for(corpus: Corpus) -> None:
    batch = Collator(corpus.train).pairs(np.arange(3))
    assert batch.products.roi_NVF is None
    assert batch.reviews.roi_count_N is None


def test_rows_must_fill_their_groups(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="5 rows are not groups of 4"):
        Collator(corpus.train).pairs(np.arange(5), 4)


def test_a_batch_may_be_written_to_without_harm_to_the_pack(corpus: Corpus) -> None:
    collator = Collator(corpus.train, reads_images=True)
    first = collator.pairs(np.arange(4))
    assert first.reviews.roi_NVF is not None
    before = first.reviews.roi_NVF.clone()
    first.reviews.roi_NVF.fill_(7)
    first.reviews.token_NT.fill_(7)
    again = collator.pairs(np.arange(4))
    assert torch.equal(again.reviews.roi_NVF, before)  # type: ignore[arg-type]
    assert not (again.reviews.token_NT == 7).all()


def test_large_features_are_read_by_position(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batches, also from several threads at once, and no page of the file stays mapped."""
    padding = Padding(min_rois=2, empty_rois=2)
    parts = [np.arange(start, start + 12) for start in range(0, 48, 4)]
    mapped = Collator(corpus.train, reads_images=True, max_rois=3, padding=padding)
    expected = [mapped.pairs(part) for part in parts]
    assert mapped._items["review"]._rois._rows._file is None  # type: ignore[union-attr]
    monkeypatch.setattr("benchmark.data.collate.MAPPED_BYTES", 0)
    positioned = Collator(corpus.train, reads_images=True, max_rois=3, padding=padding)
    assert (positioned._items["review"]._rois._rows._file is not None) == hasattr(os, "preadv")  # type: ignore[union-attr]
    with ThreadPoolExecutor(4) as threads:
        batches = list(threads.map(positioned.pairs, parts * 20))
    for batch, one in zip(batches, expected * 20, strict=True):
        for items, others in ((batch.products, one.products), (batch.reviews, one.reviews)):
            assert torch.equal(items.roi_NVF, others.roi_NVF)  # type: ignore[arg-type]
            assert torch.equal(items.roi_count_N, others.roi_count_N)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="features are always mapped here")
def test_a_feature_file_that_was_cut_short(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.data.collate.MAPPED_BYTES", 0)
    copy = replace(corpus.train, pack=shutil.copytree(corpus.pack, tmp_path / "pack"))
    collator = Collator(copy, reads_images=True)
    os.truncate(copy.pack / "rois.npy", 200)
    with pytest.raises(DataError, match=r"rois.npy: cut short"):
        collator.pairs(np.arange(60))


def test_word_pieces_in_batches(corpus: Corpus, tmp_path: Path) -> None:
    from transformers import BertTokenizerFast

    pieces = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "the", "phone", "battery", "well", "died"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    tokens = corpus.encoder_tokens(tmp_path, max_tokens=20)
    with pytest.raises(UsageError, match="max_tokens 21, but 20 word pieces"):
        Collator(corpus.train, tokenizer="bert", bert_tokens=tokens, max_tokens=21)
    with pytest.raises(ValueError, match="needs bert_tokens"):
        Collator(corpus.train, tokenizer="bert")
    batch = Collator(corpus.train, tokenizer="bert", bert_tokens=tokens, max_tokens=9).pairs(np.arange(10))
    stored = tokens.of("train", "review")
    expected = [stored[row].tolist()[:10] for row in range(10)]  # [CLS] and nine word pieces
    width = max(map(len, expected))
    assert batch.reviews.token_NT.tolist() == [ids + [4] * (width - len(ids)) for ids in expected]
    assert batch.reviews.token_count_N.tolist() == [len(ids) for ids in expected]
    assert (batch.reviews.token_NT[:, 0] == 1).all()


def test_a_split_without_any_image(tmp_path: Path) -> None:
    root = write_release(tmp_path / "r", images=False)
    corpus = open_corpus(root, "amazon", "electronics", cache=tmp_path / "c")
    batch = Collator(corpus.train, reads_images=True, padding=Padding(min_rois=2)).pairs(np.arange(4))
    assert batch.reviews.roi_NVF is not None
    assert batch.reviews.roi_NVF.shape == (4, 2, 1)
    assert batch.reviews.roi_count_N.tolist() == [0, 0, 0, 0]  # type: ignore[union-attr]
