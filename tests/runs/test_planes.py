"""An array in planes comes back byte for byte, by NumPy alone too; nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.core.errors import DataError
from benchmark.runs import planes
from benchmark.runs.arrays import to_npy

RNG = np.random.default_rng(0)
RECORDS = np.zeros(20_000, dtype=[("score_one", "<f4"), ("score_two", "<f8")])
RECORDS["score_one"], RECORDS["score_two"] = RNG.normal(size=(2, 20_000))


@pytest.mark.parametrize(
    "array", [RNG.normal(size=30_000).astype(np.float32), RNG.normal(size=9_000), RECORDS]
)
def test_back_again(array: Any) -> None:
    content = to_npy(array)
    made = planes.to_planes(content, array)
    assert made is not None
    stored, descr = made
    as_json = [list(one) for one in descr] if isinstance(descr, list) else descr
    assert planes.from_planes(stored, as_json, Path("x")) == content


def test_numpy_alone_reads_it(tmp_path: Path) -> None:
    array = RNG.normal(size=30_000).astype(np.float32)
    made = planes.to_planes(to_npy(array), array)
    assert made is not None
    (tmp_path / "scores.planes.npy").write_bytes(made[0])
    # as the README of an export says it
    np.testing.assert_array_equal(np.load(tmp_path / "scores.planes.npy").T.copy().view("<f4")[:, 0], array)


def test_small_or_otherwise_written_arrays_are_left_alone() -> None:
    few, many = np.zeros(100, np.float32), np.zeros(30_000, np.float32)
    assert planes.to_planes(to_npy(few), few) is None
    assert planes.to_planes(to_npy(many) + b" ", many) is None
    integers = np.zeros(30_000, np.int64)
    assert planes.to_planes(to_npy(integers), integers) is None


@pytest.mark.parametrize(
    "descr",
    ["<f8", "<i4", "O", "", None, 4, {}, [], ["<f4"], [["a", "<f4"], ["a", "<f4"]], [["a", "O"]], [[1, "<f4"]], [3],
     [["a", "<f4", [9999]]], "f4,f4"],
)  # fmt: skip
def test_another_description_is_refused(descr: object) -> None:
    array = RNG.normal(size=30_000).astype(np.float32)
    made = planes.to_planes(to_npy(array), array)
    assert made is not None
    with pytest.raises(DataError, match="x: not an array that can be read"):
        planes.from_planes(made[0], descr, Path("x"))


@pytest.mark.parametrize("content", [b"", b"PK", to_npy(np.zeros(9, np.float32)), to_npy(np.zeros((4, 3)))])
def test_what_is_no_plane_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="not an array"):
        planes.from_planes(content, "<f4", Path("x"))
