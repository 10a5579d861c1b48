"""Feature files of other tools, written here as those tools write them, arrive in the pack."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from benchmark.core.errors import DataError
from benchmark.data.corpus import open_corpus
from tests.data.imports.test_import import counts, plain, run

pytest.importorskip("duckdb")


def rois(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


def packed(root: Path, cache: Path) -> dict[str, np.ndarray]:
    """Item id -> its RoIs as a run reads them."""
    corpus = open_corpus(root, "myshop", "all", cache=cache)
    found = {}
    for split in (corpus.train, corpus.dev, corpus.test):
        for side, ids in (("product", split.product_ids), ("review", split.review_ids)):
            found |= dict(zip(ids, split.rois(side), strict=True))
    return {item: rows for item, rows in found.items() if len(rows)}


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for item, rows in wanted.items():
        np.testing.assert_array_equal(found[item], rows.astype(np.float16))


def test_npz_and_npy_files(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    np.savez(folder / "p0.npz", x=rois(3, 1), bbox=np.zeros((3, 4)), image_h=3)
    np.savez(folder / "r0-1_10.npz", features=rois(2, 2))  # the second image of review r0-1
    np.save(folder / "r0-1_2.npy", rois(4, 3))
    np.save(folder / "nobody.npy", rois(4, 3))
    np.save(folder / "p1.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    np.savez(folder / "p2.npz", boxes=rois(1, 1))
    report = run([plain(tmp_path / "r.csv")], tmp_path / "root", features=(str(folder),))
    assert counts(report)["features: f: items with images"] == 2
    assert counts(report)["features: f: images of no item"] == 1
    assert [bad.file for bad in report.bad] == ["p1.npy", "p2.npz"]
    wanted = {"p0": rois(3, 1), "r0-1": np.concatenate([rois(4, 3), rois(2, 2)])}
    same(packed(tmp_path / "root", tmp_path / "c"), wanted)
    with pytest.raises(DataError, match="--strict: 2 bad"):
        run([tmp_path / "r.csv"], tmp_path / "strict", features=(str(folder),), strict=True)


def test_tsv_files(tmp_path: Path) -> None:
    def line(name: str, array: np.ndarray, boxes: int | None = None) -> str:
        coded = [
            base64.b64encode(part.tobytes()).decode() for part in (np.zeros((len(array), 4), "f4"), array)
        ]
        return "\t".join([name, "640", "480", str(len(array) if boxes is None else boxes), *coded])

    lines = [line("r1-0_0", rois(2, 4)), line("p3", rois(5, 5)), line("p4", rois(5, 5), 4), "p0\tbroken"]
    (tmp_path / "all.tsv").write_text("\n".join(lines) + "\n")
    report = run([plain(tmp_path / "r.csv")], tmp_path / "root", features=(str(tmp_path / "all.tsv"),))
    assert {bad.line for bad in report.bad} == {3, 4}
    same(packed(tmp_path / "root", tmp_path / "c"), {"r1-0": rois(2, 4), "p3": rois(5, 5)})
    with pytest.raises(DataError, match="--features takes"):
        run([tmp_path / "r.csv"], tmp_path / "other", features=(str(tmp_path / "none"),))
