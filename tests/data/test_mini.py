"""The embedded corpus as files: format, determinism, cache, words, errors."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.core.errors import DataError, UsageError
from benchmark.data.mini import corpus, latent
from benchmark.data.mini.corpus import MiniSpec, ceilings, mini_root, write_corpus
from benchmark.data.mini.files import ColumnsFile
from benchmark.data.mini.words import N_ASPECTS, WORDS

SMALL = MiniSpec(
    train_products=6,
    dev_products=2,
    test_products=4,
    categories=("clothing",),
    products_with_images=0.6,
    reviews_with_images=0.6,
)
SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small") / "corpus"
    write_corpus(root, SMALL)
    return root


def digests(root: Path) -> dict[str, str]:
    """Path below root -> SHA-256 of the file."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def tokens(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def table(root: Path, dataset: str, category: str, kind: str, split: str) -> pd.DataFrame:
    return pd.read_json(root / dataset / category / f"{category}.{kind}.{split}")


def test_same_spec_same_bytes_in_another_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from benchmark.data.mini.corpus import MiniSpec, write_corpus;"
        "write_corpus(Path(sys.argv[1]), MiniSpec(train_products=4, dev_products=1, test_products=2,"
        " categories=('home',), datasets=('lazada',)))"
    )
    for name, hash_seed in (("a", "1"), ("b", "2")):
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert a == b
    assert any(path.endswith(".pth") for path in a)


def test_another_seed_gives_another_corpus(small: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "other", MiniSpec(**{**SMALL.__dict__, "seed": 7}))
    other = digests(tmp_path / "other")
    same = [path for path, digest in digests(small).items() if other.get(path) == digest]
    assert same == []


def test_a_larger_corpus_begins_with_the_same_products(small: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "larger", MiniSpec(**{**SMALL.__dict__, "train_products": 9}))
    for kind in ("prd", "rvw", "rel"):
        few = table(small, "amazon", "clothing", kind, "train")
        many = table(tmp_path / "larger", "amazon", "clothing", kind, "train")
        assert len(many) > len(few)
        pd.testing.assert_frame_equal(many.head(len(few)), few)


@pytest.mark.parametrize("dataset", SMALL.datasets)
@pytest.mark.parametrize("split", SPLITS)
def test_tables_are_a_release(small: Path, dataset: str, split: str) -> None:
    products = table(small, dataset, "clothing", "prd", split)
    reviews = table(small, dataset, "clothing", "rvw", split)
    relations = table(small, dataset, "clothing", "rel", split)
    assert {"product_id", "name", "description"} <= set(products)
    assert {"review_id", "content", "time"} <= set(reviews)
    assert list(relations) == ["product_id", "review_id", "upvotes"]
    assert len(products) == SMALL.products(split)
    assert products.product_id.is_unique
    assert reviews.review_id.is_unique
    assert list(relations.review_id) == list(reviews.review_id)
    assert set(relations.product_id) == set(products.product_id)
    assert relations.upvotes.dtype == np.int64
    assert relations.upvotes.between(0, 4).all()
    sizes = relations.groupby("product_id").size()
    assert sizes.between(SMALL.min_reviews, SMALL.max_reviews).all()
    assert (products.name.str.len() > 0).all()
    assert (reviews.content.str.len() > 0).all()
    assert pd.to_datetime(reviews.time, format="%m %d, %Y").notna().all()


def test_ids_are_unique_over_splits(small: Path) -> None:
    ids = [i for split in SPLITS for i in table(small, "lazada", "clothing", "rvw", split).review_id]
    assert len(ids) == len(set(ids))


def test_features_are_lists_of_images(small: Path) -> None:
    seen = 0
    for split in SPLITS:
        features = small / "amazon" / "clothing" / "features" / split
        items: dict[str, list[str]] = {}
        for kind, key in (("prd", "product_id"), ("rvw", "review_id")):
            frame = table(small, "amazon", "clothing", kind, split)
            items |= dict(zip(frame[key], frame.img_url, strict=True))
        assert {path.name for path in features.iterdir()} == {i for i, images in items.items() if images}
        for item, names in items.items():
            if not names:
                continue
            seen += 1
            images = torch.load(features / item / f"{item}.pth", weights_only=True)
            assert len(images) == len(names)
            for image in images:
                assert list(image) == ["x"]
                assert image["x"].dtype == torch.float32
                assert image["x"].shape[1] == SMALL.roi_width
                assert SMALL.min_rois <= len(image["x"]) <= SMALL.max_rois
                assert torch.isfinite(image["x"]).all()
    assert seen > 30


def test_about_file_says_synthetic(small: Path) -> None:
    about = json.loads((small / "synthetic.json").read_text())
    assert about["synthetic"] is True
    assert about["name"].startswith("synthetic-")  # only the default spec is called mini
    assert about["parameters"] == SMALL.as_json()
    assert set(about["categories"]) == {"lazada/clothing", "amazon/clothing"}


# The cache of mini


def stand_in(author: str, written: list[str]):
    """A writer that leaves two files."""

    def write(out: Path, spec: MiniSpec, progress: object) -> None:
        written.append(author)
        (out / "features" / "a").mkdir(parents=True)
        (out / "features" / "a" / "a.pth").write_bytes(b"features")
        (out / "synthetic.json").write_text("{}")

    return write


def shown(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if not path.name.endswith(".lock")]


def test_mini_root_writes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(corpus, "write_corpus", stand_in("one", written))
    first = mini_root(tmp_path / "cache")
    assert mini_root(tmp_path / "cache") == first
    assert written == ["one"]
    assert shown(tmp_path / "cache") == [first.name]


def test_mini_root_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(out: Path, spec: MiniSpec, progress: object) -> None:
        (out / "half").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "write_corpus", write)
    with pytest.raises(KeyboardInterrupt):
        mini_root(tmp_path)
    assert shown(tmp_path) == []


def test_mini_root_is_written_by_one_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(corpus, "write_corpus", stand_in("one", written))
    threads = [threading.Thread(target=mini_root, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == ["one"]


@pytest.mark.parametrize("name", ["features/a/a.pth", "synthetic.json", "seal.json"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_mini_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    written: list[str] = []
    monkeypatch.setattr(corpus, "write_corpus", stand_in("one", written))
    file = mini_root(tmp_path) / name
    before = file.read_bytes()
    file.unlink()
    if damage == "changed":
        file.write_bytes(bytes([before[0] ^ 1]) + before[1:])  # of the same size
    root = mini_root(tmp_path)
    assert len(written) == 2
    assert f"{root}: {name} " in caplog.text
    assert file.read_bytes() == before
    mini_root(tmp_path)
    assert len(written) == 2


def test_hash_follows_every_field_and_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {corpus.spec_hash(MiniSpec()), corpus.spec_hash(MiniSpec(noise=0.31)), corpus.spec_hash(SMALL)}
    monkeypatch.setattr(corpus, "GENERATOR_VERSION", corpus.GENERATOR_VERSION + 1)
    assert len(hashes | {corpus.spec_hash(MiniSpec())}) == 4


# Any size


def test_progress_counts_products(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    write_corpus(tmp_path / "c", SMALL, lambda *call: calls.append(call))
    total = 2 * (6 + 2 + 4)
    assert [done for done, _, _ in calls] == list(range(1, total + 1))
    assert {n for _, n, _ in calls} == {total}
    assert calls[0][2] == "lazada/clothing train"


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "CALIBRATION_DRAWS", 1000)  # else they are the peak

    def peak(products: int) -> int:
        spec = MiniSpec(
            train_products=products,
            dev_products=1,
            test_products=1,
            min_reviews=3,
            max_reviews=3,
            roi_width=256,
            datasets=("amazon",),
            categories=("home",),
        )
        gc.collect()
        tracemalloc.start()
        write_corpus(tmp_path / str(products), spec)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)  # imports
    few, many = peak(20), peak(160)
    # the features of the larger one alone are seven times `few`; garbage that waits for its collection varies
    assert many < 2 * few


def test_columns_file_is_pandas_columns_json(tmp_path: Path) -> None:
    rows = [{"a": 'q"uote\n', "b": 1.5, "c": ["x"]}, {"a": "ünï", "b": 2.5, "c": []}]
    with ColumnsFile(tmp_path / "t", ("a", "b", "c")) as columns:
        for row in rows:
            columns.append(row)
    assert json.loads((tmp_path / "t").read_text()) == json.loads(pd.DataFrame(rows).to_json())
    with ColumnsFile(tmp_path / "empty", ("a",)):
        pass
    assert json.loads((tmp_path / "empty").read_text()) == {"a": {}}


def test_columns_file_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), ColumnsFile(tmp_path / "t", ("a",)) as columns:
        columns.append({})
    assert list(tmp_path.iterdir()) == []


def test_import_is_torch_free() -> None:
    code = "import sys, benchmark.data.mini; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Words


@pytest.mark.parametrize("dataset", WORDS)
def test_words_keep_aspects_apart(dataset: str) -> None:
    """An aspect's word is found in no other list, or reviews would name aspects by accident."""
    language, topics = WORDS[dataset]
    lists = [language.brands, language.audiences, language.opinions, language.mentions, language.features]
    lists += [language.off_topic, language.fillers, language.openings]
    shared = " ".join(text for texts in lists for text in texts)
    for topic in topics.values():
        assert len(topic.aspects) == N_ASPECTS
        companions = " ".join(word for pair in topic.aspects.values() for word in pair)
        others = tokens(" ".join([shared, companions, *topic.kinds, *topic.details]))
        assert not set(topic.aspects) & set(others)
        assert not any(character.isdigit() for character in shared)
        assert all("{n}" in detail for detail in topic.details)
    n_words = len(
        {w for t in topics.values() for w in tokens(" ".join([shared, *t.kinds, *t.aspects, *t.details]))}
    )
    assert n_words > 150


# Errors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_reviews": 5, "max_reviews": 4}, "min_reviews"),
        ({"min_images": 0}, "min_images"),
        ({"train_products": 0}, "train_products must be at least 1"),
        ({"roi_width": 8}, "roi_width must be at least 16"),
        ({"own_aspects": 2}, "own_aspects"),
        ({"own_aspects": 8}, "own_aspects"),
        ({"clutter_share": 1.5}, r"clutter_share must be in \[0, 1\]"),
        ({"reviews_with_images": -0.1}, "reviews_with_images"),
        ({"noise": float("nan")}, "noise must be finite"),
        ({"weight_text": -1.0}, "weight_text must be finite and not negative"),
        ({"label_shares": (0.5, 0.5)}, "label_shares"),
        ({"label_shares": (0.5, 0.5, 0.5, 0.1, 0.1)}, "label_shares"),
    ],
)
def test_impossible_specs_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MiniSpec(**fields)  # type: ignore[arg-type]


def test_unknown_category_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no words for amazon/toys"):
        write_corpus(tmp_path / "c", MiniSpec(datasets=("amazon",), categories=("toys",)))
    assert not (tmp_path / "c").exists()


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="new or an empty folder"):
        write_corpus(tmp_path, SMALL)
    with pytest.raises(UsageError, match="new or an empty folder"):
        write_corpus(tmp_path / "note.txt", SMALL)
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_ceilings_need_a_synthetic_corpus(small: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"synthetic\.json: missing"):
        ceilings(tmp_path, "amazon", "clothing")
    with pytest.raises(DataError, match=r"home\.truth\.json: missing"):
        ceilings(small, "amazon", "home")
