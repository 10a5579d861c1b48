"""Near copies between splits, against a comparison of every pair."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.leaks import folded
from benchmark.data.near import SIMILAR, similarity
from tests.command_line import bench
from tests.fixtures_release import read_records, write_release, write_table

HERE = ("amazon", "electronics")


def jaccard(one: str, other: str) -> float:
    a, b = (set(zip(t.split(), t.split()[1:], t.split()[2:], strict=False)) for t in (one, other))
    return len(a & b) / len(a | b)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Reviews of 60 words; those of dev and test are those of train with 0 to 7 words exchanged."""
    root = write_release(tmp_path / "release", products=2, reviews=4, images=False)
    rng = np.random.default_rng(3)
    words = [f"w{n}" for n in range(3_000)]
    train = read_records(root, *HERE, "rvw", "train")
    for record in train:
        record["content"] = " ".join(rng.choice(words, 60))
    write_table(root, *HERE, "rvw", "train", train)
    for split in ("dev", "test"):
        records = read_records(root, *HERE, "rvw", split)
        for number, record in enumerate(records):
            copy = train[number]["content"].upper().split()
            for place in rng.choice(60, number, replace=False):
                copy[place] = str(rng.choice(words))
            record["content"] = "  ".join(copy)
        write_table(root, *HERE, "rvw", split, records)
    return root


def test_near_copies_are_those_of_a_full_comparison(root: Path) -> None:
    pytest.importorskip("datasketch")
    texts = {
        split: {r["review_id"]: folded(r["content"]) for r in read_records(root, *HERE, "rvw", split)}
        for split in ("train", "dev", "test")
    }
    notes = json.loads(bench("data", "check", "--data", str(root), "--deep", "--json").stdout)["notes"]
    for earlier, later in (("train", "dev"), ("train", "test")):
        near = {
            b
            for (_, one), (b, other) in product(texts[earlier].items(), texts[later].items())
            if one != other and jaccard(one, other) >= SIMILAR
        }
        assert 1 <= len(near) < len(texts[later]), "some are, some are not"
        (note,) = (note for note in notes if f"of {later} are near copies of one in {earlier}" in note)
        assert f": {len(near)} reviews of {later}" in note
        assert any(identifier in note for identifier in near)
    assert not any("near copies" in n for n in plain(root)), "only with --deep"


def plain(root: Path) -> list[str]:
    return list(json.loads(bench("data", "check", "--data", str(root), "--json").stdout)["notes"])


def test_similarity_is_the_jaccard_index_of_word_triples() -> None:
    assert similarity("a b c d e", "a b c d e") == 1
    assert similarity("a b c d e", "a b c d x") == pytest.approx(2 / 4)
    assert similarity("a b", "a b") == 0


def test_without_the_library_the_message_says_what_to_install(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasketch", None)
    said = bench("data", "check", "--data", str(root), "--deep", code=2).stderr
    assert "pip install 'mrhp-bench[deep]'" in said
