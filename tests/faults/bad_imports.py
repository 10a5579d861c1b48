"""Bad files for `bench data import` and `bench rank`, bad ledgers of images and features."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from benchmark.data.catalog import SPLITS
from tests.faults.bad_data import HERE, NO_FILES
from tests.faults.cases import Case, import_words
from tests.fixtures_release import read_records, write_release, write_table

GOOD = {"product_id": "a", "review_id": "b", "content": "good phone", "votes": 3}
DIGITS = b"9" * 5_000
LINES: dict[str, bytes] = {
    "5,000 digits": b'{"product_id": ' + DIGITS + b', "content": "x", "votes": ' + DIGITS + b"}\n",
    "deep in a field": b'{"product_id": "a", "content": ' + b"[" * 5_000 + b"]" * 5_000 + b', "votes": 1}\n',
    "deep": b'{"product_id": "a", "content": "x", "votes": 1, "y": '
    + b'{"a":' * 9_000
    + b"1"
    + b"}" * 9_000
    + b"}\n",
    "lone surrogates": b'{"product_id": "\\ud83d", "content": "\\ud83d", "votes": 1}\n',
    "a zero character": b'{"product_id": "a\\u0000", "content": "x", "votes": 1}\n',
    "null everywhere": b'{"product_id": null, "content": null, "votes": null}\n',
    "lists": b'{"product_id": ["a"], "content": {"b": 1}, "votes": [1]}\n',
    "a list of lists": b"[[[1]]]\n",
    "a number": b"3\n",
    "keys twice": b'{"product_id": "a", "product_id": "b", "content": "x", "votes": 1}\n',
    "keys of two cases": b'{"product_id": "a", "Product_ID": "b", "content": "x", "votes": 1}\n',
    "no key": b'{"": "a", " ": "b", "content": "x", "votes": 1}\n',
    "2,000 keys": json.dumps(GOOD | {f"k{i}": i for i in range(2_000)}).encode() + b"\n",
    "a quote in a key": b'{"product_id": "a", "con\\"tent": "b", "content": "x", "vo\'tes": 1}\n',
    "votes that are none": b'{"product_id": "a", "content": "x", "votes": "NaN"}\n',
    "votes without end": b'{"product_id": "a", "content": "x", "votes": 1e400}\n',
    "votes below nothing": b'{"product_id": "a", "content": "x", "votes": -3}\n',
    "an endless line": b'{"product_id": "a", "content": "' + b"x" * 20_000_000 + b'", "votes": 1}\n',
    "an id that is a path": b'{"product_id": "../../x", "content": "x", "votes": 1}\n',
    "an endless id": b'{"product_id": "' + b"n" * 5_000 + b'", "content": "x", "votes": 1}\n',
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\n",
    "not UTF-8": b'{"product_id": "\xff", "content": "x", "votes": 1}\n',
    "zero bytes": b"\0" * 100_000,
    "of Python": b"{'product_id': 'a', 'content': " + b"(" * 3_000 + b")" * 3_000 + b", 'votes': 1}\n",
    "a product of Python": b"{'product_id': 'a', 'content': 'x' * 9999999999, 'votes': 1}\n",
    "times": b'{"product_id": "a", "content": "x", "votes": 1, "time": 99999999999999999999999}\n',
    "images of all kinds": b'{"product_id": "a", "content": "x", "image": [1, null, {"a": []}, "\\ud83d"]}\n',
    "U+2028": '{"product_id": "a", "content": "one\u2028two\x85three", "votes": 1}\n'.encode(),
}
TABLES: dict[str, bytes] = {
    "an endless field": b"product_id,content,votes\na," + b"x" * 3_000_000 + b",1\n",
    "a bad row after an endless one": b"product_id,content,votes\na,"
    + b"x" * 300_000
    + b",1\n,,\nb,c,many\n",
    "a name twice": b"product_id,content,content,votes\na,b,c,1\n",
    "no names": b",,,\na,b,c,1\n",
    "5,000 columns": b",".join(b"c%d" % i for i in range(5_000)) + b"\n" + b"1," * 4_999 + b"1\n",
    "quotes that do not close": b'product_id,content,votes\n"a,"b,"1\n"\n',
    "carriage returns": b"product_id,content,votes\ra,b,1\rc,d,2\r",
    "mixed endings": b"product_id,content,votes\na,b,1\r\nc,d,2\rd,e,3\n",
    "UTF-16": "product_id,content,votes\na,b,1\n".encode("utf-16"),
    "one column": b"product_id\na\n",
    "only a name": b"product_id,content,votes",
    "votes of 400 digits": b"product_id,content,votes\na,b," + b"9" * 400 + b"\n",
    "a formula": b"product_id,content,votes\n=1+1,=cmd|' /C calc'!A0,1\n",
}


def _import(make: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    return lambda place: import_words(place, *make(place))


def imports() -> Iterator[Case]:
    for name, content in LINES.items():
        for words in ((), ("--strict",), ("--duplicates", "text"), ("--min-reviews", "2")):

            def make(place: Path, c: bytes = content, w: tuple[str, ...] = words) -> list[str]:
                good = b"".join(
                    json.dumps(GOOD | {"product_id": f"p{n}", "review_id": f"r{n}"}).encode() + b"\n"
                    for n in range(30)
                )
                (place / "reviews.jsonl").write_bytes(c + good)
                return [str(place / "reviews.jsonl"), *w]

            yield Case("import lines", f"{name} {' '.join(words)}", _import(make), (0, 2, 3))
    for name, content in TABLES.items():
        for ending, pack in ((".csv", bytes), (".csv.gz", gzip.compress)):

            def table(place: Path, c: bytes = content, e: str = ending, p: Any = pack) -> list[str]:
                (place / f"reviews{e}").write_bytes(p(c))
                return [str(place / f"reviews{e}")]

            yield Case("import tables", name + ending, _import(table), (0, 2, 3))
    for what, put in NO_FILES.items():
        for ending in (".csv", ".jsonl", ".json", ".parquet", ".csv.gz", ".jsonl.zst"):

            def none(place: Path, e: str = ending, p: Any = put) -> list[str]:
                p(place / f"reviews{e}")
                return [str(place / f"reviews{e}")]

            yield Case("import", f"{what}{ending}", _import(none), (2, 3, 5), "reviews")
    for what, put in {
        **NO_FILES,
        "a file": lambda path: path.write_text("x"),
        "full": lambda path: (path.mkdir(), (path / "x").mkdir()),
    }.items():

        def target(place: Path, p: Any = put) -> list[str]:
            (place / "reviews.csv").write_text(
                "product_id,content,votes\n" + "".join(f"p{n},text,3\n" for n in range(20))
            )
            p(place / "out")
            return [str(place / "reviews.csv")]

        yield Case("import", f"out: {what}", _import(target), (0, 2, 3, 5))
    odd = {
        "--name": ("", "../x", "n" * 5_000, "\ud83d", "amazon", "a b", "\0"),
        "--language": ("", "x" * 5_000, "\ud83d"),
        "--memory": ("", "none", "1", "-1GB", "9" * 400, "1KB"),
        "--split": ("", "1,2,3", "0.5", "a,b,c", "nan,nan,nan", "1e400,1,1", "0.8,0.1,-0.1"),
        "--column": (
            "",
            "x",
            "=",
            "text=",
            "text=nothing",
            "nothing=text",
            "text=\ud83d",
            "votes=" + "x" * 5_000,
        ),
        "--category": ("", "..", "c" * 5_000, "a/b", "\ud83d", "\0"),
        "--seed": ("9" * 400, "-1"),
        "--labels": ("", "stars"),
        "--recipe": ("", "amazon-1999"),
        "--title": ("", "\n", "\ud83d", "t" * 100_000),
        "--licence": ("", "\ud83d", "a\nb"),
        "--features": ("", "/nowhere", "\0", "\ud83d"),
        "--min-characters": ("9" * 400,),
    }
    for option, values in odd.items():
        for value in values:

            def words(place: Path, o: str = option, v: str = value) -> list[str]:
                (place / "reviews.csv").write_text(
                    "product_id,content,votes\n" + "".join(f"p{n},text,3\n" for n in range(20))
                )
                return [str(place / "reviews.csv"), o, v]

            yield Case("import", f"{option} {value[:12]!r}", _import(words), (0, 2, 3, 5))


LEDGERS: dict[str, bytes] = {
    "empty": b"",
    "garbage": b"\xff\x00\n" * 50,
    "numbers": b"1\n[]\nnull\n",
    "deep": b"[" * 100_000 + b"\n",
    "of other kinds": b'{"url": [], "file": 1}\n{"url": {}, "failed": []}\n'
    b'{"split": [], "item": {}, "files": 3, "failed": 1}\n',
    "a path": b'{"url": "http://127.0.0.1:9/a.jpg", "file": "../../../etc/passwd", "bytes": 1, '
    b'"width": 1, "height": 1, "format": "JPEG"}\n',
    "5,000 digits": b'{"url": "http://127.0.0.1/a.jpg", "file": "a", "bytes": ' + DIGITS + b"}\n",
}


def _release(place: Path) -> Path:
    """With images whose addresses are refused: nothing is asked of any network."""
    root = write_release(place / "release", products=2, reviews=3, roi_width=4)
    for kind, split in product(("prd", "rvw"), SPLITS):
        records = read_records(root, *HERE, kind, split)
        for record in records:
            record["img_url"] = "http://127.0.0.1:9/a.jpg"
        write_table(root, *HERE, kind, split, records)
    return root


def ledgers() -> Iterator[Case]:
    puts: dict[str, Callable[[Path], object]] = {
        **NO_FILES,
        **{name: (lambda path, c=content: path.write_bytes(c)) for name, content in LEDGERS.items()},
    }
    from benchmark.data.features.descriptor import NAME
    from benchmark.data.features.extract import LEDGER as MADE
    from benchmark.data.fetch.album import COVERAGE
    from benchmark.data.fetch.album import LEDGER as GOT

    for what, put in puts.items():
        for folder, name in (
            ("images", GOT),
            ("images", COVERAGE),
            ("features", MADE),
            ("features", NAME),
            (".", "images"),
            (".", "features"),
        ):
            for words in (
                ("images", "--concurrent", "1", "--attempts", "1", "--timeout", "1"),
                ("features", "--extractor", "hf-detr:/nowhere"),
                ("check",),
            ):

                def command(
                    place: Path, f: str = folder, n: str = name, p: Any = put, w: tuple[str, ...] = words
                ) -> list[str]:
                    root = _release(place)
                    file = root / "amazon" / "electronics" / f / n
                    file.parent.mkdir(parents=True, exist_ok=True)
                    if os.path.lexists(file):
                        file.rename(file.with_name("aside"))
                    p(file)
                    return ["data", *w, "--data", str(root)]

                yield Case("ledger", f"{words[0]}: {folder}/{name}: {what}", command, (0, 1, 2, 3, 5))


def all_cases() -> list[Case]:
    return [*imports(), *ledgers()]
