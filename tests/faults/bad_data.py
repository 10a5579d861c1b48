"""Bad releases: tables, cells, feature files, `dataset.toml`, and files that are none."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.pth_readers import hostile
from tests.faults.cases import Case, zipped
from tests.fixtures_release import feature_path, read_records, table_path, write_release, write_table

HERE = ("amazon", "electronics")
Change = Callable[[Path], None]
SPLIT = "dev"

CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "a number": b"3",
    "a text": b'"review"',
    "a list of numbers": b"[1, 2, 3]",
    "a list in lists": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
    "closed and deep": b"[" * 50_000 + b"]" * 50_000,
    "deep inside a cell": b'{"product_id": {"0": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
    "not UTF-8": b'{"product_id": {"0": "\xff"}}',
    "UTF-16": '{"product_id": {"0": "a"}}'.encode("utf-16"),
    "cut off": b'{"product_id": {"0": "a", "1": "b',
    "zero bytes": b"\0" * 1000,
    "a byte order mark only": b"\xef\xbb\xbf",
    "a bare NaN": b"NaN",
    "5,000 digits": b'{"product_id": {"0": ' + b"9" * 5_000 + b"}}",
    "an exponent": b'{"product_id": {"0": 1e999999999}}',
    "a second document": b'{"product_id": {"0": "a"}} {"x"',
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0",
    "columns of different kinds": b'{"product_id": [1], "review_id": "x", "upvotes": {"0": 1}}',
    "JSON lines, the third broken": b'{"product_id": "a"}\n{"product_id": "b"}\n{"product_id": \n',
    "split orientation, ragged": b'{"columns": ["product_id", "name"], "data": [[1], [1, 2, 3]]}',
}

LONE = "\ud83d"
CELLS: dict[str, Any] = {
    "null": None,
    "true": True,
    "a fraction": 1.5,
    "negative": -1,
    "blank": "  ",
    "a path": "../../victim",
    "a folder": "..",
    "a zero": "a\0b",
    "a carriage return": "a\rb",
    "half an emoji": LONE,
    "400 digits": 10**400,
    "a list": [1],
    "an object": {"a": 1},
    "NaN": float("nan"),
    "infinite": float("inf"),
    "a text of digits": "3",
    "an endless name": "n" * 5_000,
}
"""Of an id or a label; each stops the data from being used."""

TEXTS: dict[str, Any] = {
    "half an emoji, often": f"good {LONE}{LONE} phone",
    "5 million letters": "a" * 5_000_000,
    "U+2028": "one\u2028two\u2029three\x85four",
    "control characters": "".join(map(chr, range(32))),
    "an object": {"a": [1]},
    "a list": ["a", 2],
    "a number": 10**400,
    "null": None,
    "combining marks": "e" + "\u0301" * 20_000,
    "right to left": "\u202e\u202b" * 100,
}
"""Of a review: text like any other."""

TIMES: dict[str, Any] = {
    "400 digits": 10**400,
    "infinite": float("inf"),
    "not a number": float("nan"),
    "a list": [2017],
    "year 99999": "01 1, 99999",
    "half an emoji": LONE,
    "true": True,
    "an object": {"$date": 3},
}


def release(place: Path, change: Change) -> list[str]:
    root = write_release(place / "release", products=2, reviews=3, roi_width=4)
    change(root)
    return ["data", "check", "--data", str(root)]


def _table(kind: str, content: bytes) -> Change:
    return lambda root: table_path(root, *HERE, kind, SPLIT).write_bytes(content) and None


def _cell(kind: str, column: str, value: Any, every: bool = False) -> Change:
    def change(root: Path) -> None:
        for split in ("train", "dev", "test") if every else (SPLIT,):
            records = read_records(root, *HERE, kind, split)
            for record in records if every else records[1:2]:
                record[column] = value
            write_table(root, *HERE, kind, split, records)

    return change


def _in_place(path: Callable[[Path], Path], put: Callable[[Path], object]) -> Change:
    """Something else where a file of the release is."""

    def change(root: Path) -> None:
        file = path(root)
        file.unlink(missing_ok=True)
        put(file)

    return change


NO_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


def _checked(kind: str, name: str, change: Change, code: int | tuple[int, ...], *says: str) -> Case:
    return Case(kind, name, lambda place: release(place, change), code, says)


def tables() -> Iterator[Case]:
    for kind in ("prd", "rvw", "rel"):
        for name, content in CONTENTS.items():
            yield _checked(
                "table", f"{kind}: {name}", _table(kind, content), 3, f"electronics.{kind}.{SPLIT}"
            )
        for name, put in NO_FILES.items():
            change = _in_place(lambda root, k=kind: table_path(root, *HERE, k, SPLIT), put)  # type: ignore[misc]
            yield _checked("no file", f"{kind}: {name}", change, 3, f"electronics.{kind}.{SPLIT}")
    lines = _table("rel", b'{"product_id": "a"}\n\n{"product_id": "b"}\n{"product_id": \n')
    yield _checked("JSON lines", "the line in the message", lines, 3, "line 4")


def cells() -> Iterator[Case]:
    file = f"electronics.rel.{SPLIT}"
    for name, value in CELLS.items():
        yield _checked("cell", f"label: {name}", _cell("rel", "upvotes", value), 3, file, "row 1")
        yield _checked("cell", f"product of a review: {name}", _cell("rel", "product_id", value), 3, file)
        yield _checked("cell", f"id of a review: {name}", _cell("rvw", "review_id", value), 3, f".{SPLIT}")
    for name, value in TEXTS.items():
        yield _checked("text", name, _cell("rvw", "content", value, every=True), 0)
    for name, value in TIMES.items():
        yield _checked("time", name, _cell("rvw", "time", value, every=True), 0)


def _features(content: bytes) -> Change:
    return lambda root: _feature(root).write_bytes(content) and None


def _feature(root: Path) -> Path:
    return feature_path(root, *HERE, SPLIT, "0de0-0")


def features() -> Iterator[Case]:
    contents = {
        "empty": b"",
        "garbage": b"garbage" * 100,
        "a zip of nothing": zipped({}),
        "half a pickle": pickle.dumps([{"x": np.ones((2, 4))}])[:-20],
        "a huge memo index": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "not a list": pickle.dumps({"x": 1}),
        "texts": pickle.dumps([{"x": "features"}]),
        "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    }
    for name, content in contents.items():
        yield _checked("features", name, _features(content), 0, "0de0-0.pth", "unreadable")
    for name, put in NO_FILES.items():
        code = 0 if "pipe" in name or name not in ("a device",) else (0, 3)
        says = () if name in ("missing", "a link to nowhere") else ("0de0-0.pth",)
        yield _checked("features", name, _in_place(_feature, put), code, *says)
    for name, write in hostile(Path("victim-of-a-feature-file")).items():
        change = _in_place(_feature, write)
        yield _checked("hostile features", name, change, (0, 3), "0de0-0.pth")
    wrong = {
        "not finite": np.full((2, 4), np.nan, np.float32),
        "too large for float16": np.full((2, 4), 1e9, np.float32),
        "another width": np.ones((2, 5), np.float32),
    }
    for name, array in wrong.items():
        change = _features(pickle.dumps([{"x": array}]))
        yield _checked("features", name, change, 3, "0de0-0.pth")


TOML = 'name = "mine"\nlanguage = "en"\n'
CATEGORY = '[[category]]\nname = "electronics"\n'
TOMLS: dict[str, tuple[str, str]] = {
    "not TOML": ("name = ", "TOML"),
    "empty": ("", "name"),
    "an unknown key": (TOML + "colour = 1\n" + CATEGORY, "colour"),
    "a number for a name": ("name = 3\nlanguage = 'en'\n" + CATEGORY, "name"),
    "a name of the paper": (TOML.replace("mine", "amazon") + CATEGORY, "amazon"),
    "a path for a name": (TOML.replace("mine", "../x") + CATEGORY, "name"),
    "an endless name": (TOML.replace("mine", "m" * 5_000) + CATEGORY, "5000"),
    "no category": (TOML, "category"),
    "an empty list of categories": (TOML + "category = []\n", "category"),
    "a text for categories": (TOML + 'category = "home"\n', "category"),
    "a category twice": (TOML + CATEGORY + CATEGORY, "electronics"),
    "a category without a name": (TOML + "[[category]]\ntitle = 'x'\n", "name"),
    "an unknown label rule": (TOML + 'labels = "stars"\n' + CATEGORY, "labels"),
    "an unknown tokenizer": (TOML + 'tokenizer = "wordy"\n' + CATEGORY, "tokenizer"),
    "an unknown text field": (TOML + 'product_text = ["prize"]\n' + CATEGORY, "product_text"),
    "nested deep": (TOML + "imported = " + "[" * 5_000 + "]" * 5_000 + "\n" + CATEGORY, "dataset.toml"),
    "5,000 digits": (TOML + "title = " + "9" * 5_000 + "\n" + CATEGORY, "dataset.toml"),
    "counts below nothing": (TOML + CATEGORY + "expected.dev = {products = -1, reviews = 2}\n", "expected"),
    "counts as text": (TOML + CATEGORY + 'expected.dev = {products = "a", reviews = 2}\n', "expected"),
    "a title of two lines": (TOML + 'title = "a\\nb"\n' + CATEGORY, "title"),
}


def descriptors() -> Iterator[Case]:
    for name, (text, said) in TOMLS.items():
        change = lambda root, t=text: (root / "dataset.toml").write_text(t) and None  # noqa: E731
        yield _checked("dataset.toml", name, change, 3, "dataset.toml", said)  # type: ignore[arg-type]
    bytes_ = lambda root: (root / "dataset.toml").write_bytes(b"name = '\xff'") and None  # noqa: E731
    yield _checked("dataset.toml", "not UTF-8", bytes_, 3, "dataset.toml")  # type: ignore[arg-type]
    for name, put in NO_FILES.items():
        if name not in ("missing", "a link to nowhere"):
            change = _in_place(lambda root: root / "dataset.toml", put)
            yield _checked("dataset.toml", name, change, (3, 5), "dataset.toml")
    for name, content in (("garbage", "["), ("a list", "[]"), ("deep", "[" * 100_000)):
        change = lambda root, c=content: (root / "synthetic.json").write_text(c) and None  # noqa: E731
        yield _checked("synthetic.json", name, change, 3, "synthetic.json")  # type: ignore[arg-type]


def roots() -> Iterator[Case]:
    def command(make: Callable[[Path], Path]) -> Callable[[Path], list[str]]:
        return lambda place: ["data", "check", "--data", str(make(place))]

    def file(place: Path) -> Path:
        (place / "file").write_text("x")
        return place / "file"

    def pipe(place: Path) -> Path:
        os.mkfifo(place / "pipe")
        return place / "pipe"

    yield Case("root", "missing", command(lambda place: place / "none"), 3, "none")
    yield Case("root", "a file", command(file), (3, 5), "file")
    yield Case("root", "below a file", command(lambda place: file(place) / "x"), (3, 5), "file")
    yield Case("root", "a pipe", command(pipe), (3, 5), "pipe")
    yield Case("root", "empty", command(lambda place: place), 3, "holds no data set")
    yield Case("root", "a name too long", command(lambda place: place / ("n" * 300)), (3, 5), "nnn")


def all_cases() -> list[Case]:
    return [*tables(), *cells(), *features(), *descriptors(), *roots()]
