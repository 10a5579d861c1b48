"""Packs and opened corpora against the raw files read with pandas and torch; caching; word pieces."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.core.errors import DataError, UsageError
from benchmark.data.corpus import Corpus, open_corpus
from benchmark.data.pack_words import delete_rare
from benchmark.data.store import RowWriter, Strings, build_folder, cache_root
from benchmark.data.text import word_tokenizer
from tests.fixtures_release import (
    feature_path,
    read_records,
    table_path,
    write_features,
    write_release,
    write_table,
)

HERE = ("amazon", "electronics")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(
        tmp_path_factory.mktemp("data") / "mine", ("amazon", "lazada"), ("electronics", "clothing")
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpus(root: Path, cache: Path) -> Corpus:
    return open_corpus(root, *HERE, cache=cache)


def frame(root: Path, kind: str, split: str) -> pd.DataFrame:
    return pd.read_json(table_path(root, *HERE, kind, split), dtype=False)


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_a_split_is_what_pandas_reads(root: Path, corpus: Corpus, name: str) -> None:
    split = getattr(corpus, name)
    prd, rvw, rel = (frame(root, kind, name) for kind in ("prd", "rvw", "rel"))
    assert split.product_ids == prd.product_id.tolist()
    assert split.review_ids == rel.review_id.tolist()
    assert split.label_R.tolist() == rel.upvotes.tolist()
    assert [split.product_ids[row] for row in split.product_R] == rel.product_id.tolist()
    assert (split.n_products, split.n_reviews) == (len(prd), len(rel))
    content = rvw.set_index("review_id").content
    assert [split.review_text(row) for row in range(split.n_reviews)] == content[rel.review_id].tolist()
    assert split.product_text(1) == f"{prd.name[1]} {prd.description[1]}"
    dates = rvw.set_index("review_id").time[rel.review_id]
    assert split.time_R.tolist() == [pd.to_datetime(date, format="%m %d, %Y").timestamp() for date in dates]


def reference_ids(corpus: Corpus, field: str) -> tuple[list[str], dict[str, list[list[str]]]]:
    """(vocabulary, tokenized train texts per side) by plain loops."""
    tokenize = word_tokenizer(corpus.data_set.language)
    texts = {
        "product": [tokenize(corpus.train.product_text(i)) for i in range(corpus.train.n_products)],
        "review": [tokenize(corpus.train.review_text(i)) for i in range(corpus.train.n_reviews)],
    }
    counts: Counter[str] = Counter()
    for side in ("product", "review") if field == "joint" else (field,):
        for tokens in texts[side]:
            counts.update(tokens)
    words = sorted((word for word in counts if counts[word] >= 5), key=lambda word: (-counts[word], word))
    return words, texts


@pytest.mark.parametrize(
    ("side", "field"),
    [("product", "product"), ("review", "review"), ("product", "joint"), ("review", "joint")],
)
@pytest.mark.parametrize("where", [HERE, ("lazada", "clothing")])
def test_word_ids_by_plain_loops(
    root: Path, cache: Path, where: tuple[str, str], side: str, field: str
) -> None:
    corpus = open_corpus(root, *where, cache=cache)
    words, texts = reference_ids(corpus, field)
    assert list(corpus.vocabulary(field)) == words
    first = 3 if field == "joint" else 2
    assert corpus.manifest["vocabulary"][field] == len(words) + first
    id_of = {word: number + first for number, word in enumerate(words)}
    stored = corpus.train.words(side, joint=field == "joint")
    assert len(stored) == len(texts[side])
    for row, tokens in enumerate(texts[side]):
        assert stored[row].tolist() == ([id_of[word] for word in tokens if word in id_of] or [1])
    if side == "review":
        assert corpus.train.word_count_R.tolist() == [len(tokens) for tokens in texts["review"]]


def test_the_vocabulary_is_from_train_only(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    records = read_records(copy, *HERE, "rvw", "dev")
    for record in records:
        record["content"] = "zebra zebra"
    records[0]["content"] = ""
    write_table(copy, *HERE, "rvw", "dev", records)
    corpus = open_corpus(copy, *HERE, cache=tmp_path / "cache")
    assert "zebra" not in corpus.vocabulary("review")
    assert corpus.dev.n_reviews == 20, "an empty text stays"
    assert all(ids.tolist() == [1] for ids in map(corpus.dev.words("review").__getitem__, range(20)))
    assert corpus.dev.word_count_R.tolist() == [0] + [2] * 19


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6))
def test_rare_words_are_deleted_by_plain_loops(rows: list[list[int]]) -> None:
    flat = np.array([value for row in rows for value in row], dtype=np.int32)
    left = delete_rare(flat, np.array([len(row) for row in rows], dtype=np.int64))
    assert [left[i].tolist() for i in range(len(rows))] == [[v for v in row if v] or [1] for row in rows]


def test_rois_are_those_of_torch_in_float16(root: Path, corpus: Corpus) -> None:
    for split in (corpus.train, corpus.dev, corpus.test):
        for side, ids in (("product", split.product_ids), ("review", split.review_ids)):
            stored = split.rois(side)
            for row, item_id in enumerate(ids):
                path = feature_path(root, *HERE, split.name, item_id)
                images = torch.load(path) if path.is_file() else []
                expected = (
                    torch.cat([image["x"] for image in images]).half().numpy() if images else np.zeros((0, 6))
                )
                np.testing.assert_array_equal(stored[row], expected)
        assert split.has_image_R.tolist() == [int(i.rsplit("-")[1]) < 3 for i in split.review_ids]


def test_limits_of_rois_and_items_that_count_as_no_image(tmp_path: Path) -> None:
    root = write_release(tmp_path / "r", roi_width=4)
    image = [np.full((50, 4), number) for number in range(6)]
    write_features(root, *HERE, "dev", "0de0-0", image)
    write_features(root, *HERE, "dev", "0de0-1", [])
    write_features(root, *HERE, "dev", "0de0-2", [np.zeros((0, 4)), np.zeros(0)])
    feature_path(root, *HERE, "dev", "0de1-0").write_bytes(b"damaged")
    torch.save({"x": torch.ones(2, 4)}, feature_path(root, *HERE, "dev", "0de1-1"))
    torch.save([{"x": torch.ones(4)}], feature_path(root, *HERE, "dev", "0de1-2"))
    corpus = open_corpus(root, *HERE, cache=tmp_path / "c")
    rois = corpus.dev.rois("review")
    assert rois[0][:, 0].tolist() == [0] * 32 + [1] * 32 + [2] * 32 + [3] * 32  # 32 of an image, 128 in all
    assert corpus.dev.has_image_R[[1, 2, 5, 6, 7]].tolist() == [False] * 5
    coverage = corpus.manifest["splits"]["dev"]["images"]["review"]
    assert (coverage["zero_rois"], coverage["unreadable"], coverage["with_features"]) == (2, 3, 7)
    assert corpus.manifest["unreadable_files"] == 3
    assert any(
        "0de1-2.pth: `x` of image 0 has shape (4,)" in line for line in corpus.manifest["unreadable_examples"]
    )


def test_a_corpus_without_any_image(tmp_path: Path) -> None:
    corpus = open_corpus(write_release(tmp_path / "r", images=False), *HERE, cache=tmp_path / "c")
    assert corpus.shape.roi_width == 1
    assert not corpus.train.has_image_R.any()
    assert corpus.manifest["rois"] == 0


# --- Cache -----------------------------------------------------------------------------------------------


def test_an_unchanged_release_is_not_read_again(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_corpus(root, *HERE, cache=cache)
    for reader in ("tables.read_regular", "roi_worker.open_regular", "sources.open_regular"):
        monkeypatch.setattr(f"benchmark.data.{reader}", lambda path: pytest.fail(f"{path} was read"))
    again = open_corpus(root, *HERE, cache=cache)
    assert again.pack == first.pack
    assert again.train.product_ids == first.train.product_ids


def test_a_changed_table_is_packed_anew(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    before = open_corpus(copy, *HERE, cache=tmp_path / "c")
    records = read_records(copy, *HERE, "rel", "test")
    records[0]["upvotes"] = (records[0]["upvotes"] + 1) % 5
    write_table(copy, *HERE, "rel", "test", records)
    os.utime(table_path(copy, *HERE, "rel", "test"), ns=(1, 1))
    after = open_corpus(copy, *HERE, cache=tmp_path / "c")
    assert after.fingerprint != before.fingerprint
    assert after.test.label_R[0] == (before.test.label_R[0] + 1) % 5


def test_the_fingerprint_is_of_content_only(root: Path, corpus: Corpus, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    other = open_corpus(copy, *HERE, cache=tmp_path / "c")
    assert other.pack != corpus.pack
    assert other.fingerprint == corpus.fingerprint
    path = write_features(copy, *HERE, "test", "0te0-0", [np.ones((1, 6))])
    os.utime(path.parent.parent, ns=(1, 1))
    assert open_corpus(copy, *HERE, cache=tmp_path / "c").fingerprint != corpus.fingerprint


def slow_build(target: Path, log: Path) -> None:
    def build(folder: Path) -> None:
        with log.open("a") as lines:
            lines.write("built\n")
        time.sleep(0.3)
        (folder / "content").write_text("complete")

    build_folder(target, build)
    assert (target / "content").read_text() == "complete"


def test_two_processes_build_a_folder_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=slow_build, args=(tmp_path / "t", tmp_path / "log")) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    assert (tmp_path / "log").read_text() == "built\n"


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    stale = tmp_path / ".t.tmp-123"
    stale.mkdir()
    with pytest.raises(ZeroDivisionError):
        build_folder(tmp_path / "t", lambda folder: 1 // 0)  # type: ignore[arg-type, return-value]
    assert not (tmp_path / "t").exists()
    assert not stale.exists()
    assert build_folder(tmp_path / "t", lambda folder: None).is_dir()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root(tmp_path) == tmp_path
    monkeypatch.setenv("MRHP_BENCH_CACHE", str(tmp_path / "env"))
    assert cache_root() == tmp_path / "env"
    monkeypatch.delenv("MRHP_BENCH_CACHE")
    assert cache_root().name == "mrhp-bench"


def test_strings_and_rows_survive_the_disk(tmp_path: Path) -> None:
    texts = ["", "a", "\u2028 \ud800 é😀", "", "b"]
    Strings.save(texts, tmp_path / "s")
    opened = Strings.open(tmp_path / "s")
    assert list(opened) == texts
    assert [opened[i] for i in range(5)] == texts
    assert opened[1:3] == texts[1:3]
    assert opened[-1] == "b"
    writer = RowWriter(tmp_path / "rows.npy", np.float16)
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 7)).astype(np.float16) for n in (3, 0, 40)]
    for part in parts:
        writer.append(part)
    writer.close()
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy", mmap_mode="r"), np.concatenate(parts))


# --- Labels, names, vectors, word pieces -------------------------------------------------------------------


def test_labels_from_votes(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    for split in ("train", "dev", "test"):
        records = read_records(copy, *HERE, "rel", split)
        records[3]["votes"] = 0
        write_table(copy, *HERE, "rel", split, records)
    corpus = open_corpus(copy, *HERE, cache=tmp_path / "c", labels_from_votes=True)
    votes = [record["votes"] for record in read_records(copy, *HERE, "rel", "dev") if record["votes"]]
    assert corpus.dev.label_R.tolist() == [min(4, int(np.log2(v))) for v in votes]
    assert corpus.manifest["splits"]["dev"]["dropped_without_votes"] == 1
    assert "v = 0 dropped" in corpus.manifest["labels"]
    assert open_corpus(copy, *HERE, cache=tmp_path / "c").dev.n_reviews == 20


def test_labels_from_votes_in_the_label_column(tmp_path: Path) -> None:
    root = write_release(tmp_path / "r", images=False)
    for split in ("train", "dev", "test"):
        records = read_records(root, *HERE, "rel", split)
        raw = [
            {"product_id": r["product_id"], "review_id": r["review_id"], "upvotes": 3 * i}
            for i, r in enumerate(records)
        ]
        write_table(root, *HERE, "rel", split, raw)
    corpus = open_corpus(root, *HERE, cache=tmp_path / "c", labels_from_votes=True)
    assert corpus.dev.label_R.tolist()[:6] == [1, 2, 3, 3, 3, 4]  # 3, 6, 9, 12, 15, 18 votes


def test_names(root: Path, cache: Path, corpus: Corpus, tmp_path: Path) -> None:
    assert (corpus.label, corpus.synthetic, corpus.dataset, corpus.category) == ("mine", False, *HERE)
    copy = shutil.copytree(root, tmp_path / "copy")
    (copy / "synthetic.json").write_text(json.dumps({"name": "mini", "synthetic": True}))
    generated = open_corpus(copy, *HERE, cache=cache)
    assert (generated.label, generated.synthetic) == ("mini", True)
    (copy / "synthetic.json").write_text("[")
    with pytest.raises(DataError, match="expected a JSON object"):
        open_corpus(copy, *HERE, cache=cache)


def test_word_vectors(root: Path, cache: Path, corpus: Corpus, tmp_path: Path) -> None:
    random_WD = corpus.word_vectors("review", 4)
    assert random_WD.shape == (corpus.manifest["vocabulary"]["review"], 4)
    assert not random_WD[0].any()
    assert np.abs(random_WD).max() <= 0.25
    path = tmp_path / "words.vec"
    path.write_text("3 4\nbattery 1 2 3 4\nphone 5 6 7 8\nnowhere 9 9 9 9\n")
    informed = open_corpus(root, *HERE, cache=cache, vectors=path)
    for field, first in (("product", 2), ("review", 2), ("joint", 3)):
        words = list(informed.vocabulary(field))
        vector_WD = informed.word_vectors(field, 4)
        assert vector_WD[words.index("battery") + first].tolist() == [1, 2, 3, 4]
        assert vector_WD[words.index("phone") + first].tolist() == [5, 6, 7, 8]
        np.testing.assert_array_equal(
            vector_WD[words.index("the") + first],
            random_WD[list(corpus.vocabulary("review")).index("the") + 2],
        )
    assert informed.manifest["vectors"]["coverage"] == pytest.approx(2 / len(informed.vocabulary("joint")))
    assert informed.manifest["data_fingerprint"] == corpus.fingerprint != informed.fingerprint
    assert torch.equal(
        informed.shape.word_vectors("joint", 4), torch.from_numpy(informed.word_vectors("joint", 4))
    )
    with pytest.raises(UsageError, match=r"words\.vec are 4 wide, but the model wants 5"):
        informed.word_vectors("review", 5)


def test_shape(corpus: Corpus) -> None:
    shape = corpus.shape
    assert (shape.roi_width, shape.n_train_reviews) == (6, 60)
    assert shape.joint_vocabulary == len(corpus.vocabulary("joint")) + 3


def test_with_labels(corpus: Corpus) -> None:
    other = corpus.dev.with_labels(4 - corpus.dev.label_R)
    assert other.label_R.tolist() == (4 - corpus.dev.label_R).tolist()
    assert other.review_ids == corpus.dev.review_ids
    with pytest.raises(ValueError, match="labels for 20 reviews"):
        corpus.dev.with_labels(np.zeros(3))


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT tokenizer."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "phone",
        "case",
        "##s",
        "fit",
        "bat",
        "##tery",
        "well",
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("separator", [False, True])
def test_word_pieces(corpus: Corpus, tokenizer_folder: Path, separator: bool) -> None:
    from transformers import AutoTokenizer

    reference: Any = AutoTokenizer.from_pretrained(str(tokenizer_folder))
    tokens = corpus.encoder_tokens(tokenizer_folder, max_tokens=6, separator=separator)
    stored = tokens.of("dev", "review")
    for row in range(corpus.dev.n_reviews):
        ids = reference.convert_tokens_to_ids(reference.tokenize(corpus.dev.review_text(row)))[:6]
        assert stored[row].tolist() == [
            reference.cls_token_id,
            *ids,
            *([reference.sep_token_id] if separator else []),
        ]
    assert corpus.encoder_tokens(tokenizer_folder, max_tokens=6, separator=separator).folder == tokens.folder
    assert corpus.encoder_tokens(tokenizer_folder, max_tokens=5, separator=separator).folder != tokens.folder


def test_a_tokenizer_that_is_not_there(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no tokenizer could be loaded"):
        corpus.encoder_tokens(tmp_path)
