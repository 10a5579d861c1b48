"""More bad inputs: where files lie, what stands beside runs, imports, clusters, models, merging."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.command_line import bench
from tests.faults.bad_data import HERE, SPLIT, _cell, _checked, _features, _table
from tests.faults.cases import Case, import_words
from tests.fixtures_release import feature_path, write_release
from tests.fixtures_runs import make_consistent, write_run

LABELS: dict[str, Any] = {
    "five": 5,
    "full-width digit": "\uff13",
    "a half": "\u00bd",
    "a date": "2017-01-01",
    "hexadecimal": "0x3",
    "signed": "+3",
    "an exponent": "1e400",
    "underscores": "1_0",
}
IDS: dict[str, Any] = {
    "a zero-width space": "\u200b",
    "a dot": ".",
    "a slash": "a/b",
    "a newline": "a\nb",
    "right to left": "\u202ea",
    "a fraction": 0.5,
}
DOCUMENTS: dict[str, bytes] = {
    "a key twice": b'{"product_id": {"0": "a"}, "product_id": {"0": "b"}}',
    "columns of unequal length": b'{"product_id": {"0": "a", "1": "b"}, "review_id": {"0": "x"}}',
    "lines of unlike keys": b'{"product_id": "a"}\n{"review_id": "b"}\n',
    "a comma too many": b'{"product_id": {"0": "a",}}',
    "20,000 columns": json.dumps({f"c{i}": {} for i in range(20_000)}).encode(),
    "comments": b'/* a */ {"product_id": {"0": "a"}}',
    "an escape cut off": b'{"product_id": {"0": "\\u12"}}',
    "half of UTF-8": b'{"product_id": {"0": "\xe2\x82"}}',
}
ARRAYS: dict[str, Any] = {
    "complex": np.ones((2, 4), np.complex64),
    "bool": np.ones((2, 4), np.bool_),
    "three axes": np.ones((2, 4, 1), np.float32),
    "no width": np.ones((2, 0), np.float32),
    "objects": np.array([[None, 1]], dtype=object),
    "a scalar": np.float32(3),
    "strings": np.array([["a", "b"]]),
}


def data() -> Iterator[Case]:
    for name, value in LABELS.items():
        yield _checked(
            "more labels", name, _cell("rel", "upvotes", value), 3, f"electronics.rel.{SPLIT}", "row 1"
        )
    for name, value in IDS.items():
        yield _checked("more ids", name, _cell("rvw", "review_id", value), 3, f".{SPLIT}")
    for name, content in DOCUMENTS.items():
        yield _checked("more tables", name, _table("rel", content), 3, f"electronics.rel.{SPLIT}")
    for name, array in ARRAYS.items():
        yield _checked(
            "more features",
            name,
            _features(pickle.dumps([{"x": array}])),
            0,
            "0de0-0.pth" if name != "no width" else "",
        )


def places() -> Iterator[Case]:
    """A file where a folder should be, and the other way round."""

    def features(put: Callable[[Path], object]) -> Callable[[Path], None]:
        def change(root: Path) -> None:
            folder = feature_path(root, *HERE, SPLIT, "0de0-0").parents[1]
            folder.rename(folder.with_name("aside"))
            put(folder)

        return change

    yield _checked("more places", "features: a file", features(lambda path: path.write_text("x")), 0)
    yield _checked("more places", "features: a pipe", features(os.mkfifo), 0)
    yield _checked("more places", "features: a link to itself", features(lambda p: p.symlink_to(p.name)), 0)

    def instead(put: Callable[[Path], object]) -> Callable[[Path], None]:
        def change(root: Path) -> None:
            folder = feature_path(root, *HERE, SPLIT, "0de0-0").parent
            folder.rename(folder.with_name("aside"))
            put(folder)

        return change

    yield _checked("more places", "an item's features: a file", instead(lambda path: path.write_text("x")), 0)
    for name in ("packs", "lock"):

        def command(place: Path, n: str = name) -> list[str]:
            root = write_release(place / "release", products=2, reviews=3, roi_width=4)
            words = [
                "data",
                "pack",
                "--data",
                str(root),
                "--dataset",
                "amazon",
                "--cache",
                str(place / "cache"),
            ]
            if n == "packs":
                (place / "cache").mkdir()
                (place / "cache" / "packs").write_text("x")
            else:
                bench(*words)
                (lock,) = (place / "cache" / "packs").glob(".*.lock")
                lock.unlink()
                lock.mkdir()
                for pack in (place / "cache" / "packs").iterdir():
                    if pack.is_dir() and not pack.name.startswith("."):
                        (pack / "manifest.json").write_text("{}")
            return words

        yield Case("more places", f"cache: {name}", command, 5)


def beside_runs() -> Iterator[Case]:
    def command(put: Callable[[Path], object], *words: str) -> Callable[[Path], list[str]]:
        def prepared(place: Path) -> list[str]:
            root = write_release(place / "release", products=2, reviews=3, images=False)
            (place / "results").mkdir()
            put(place / "results")
            base = [
                "run",
                "--data",
                str(root),
                "--dataset",
                "amazon",
                "--cache",
                str(place / "cache"),
                "--method",
                "gbdt",
            ]
            return [*base, "--seeds", "0", "--jobs", "1", "--results", str(place / "results"), *words]

        return prepared

    for name in (".claims", ".partial", ".checkpoints", "data", "runs"):
        yield Case(
            "more results",
            f"{name}: a file",
            command(lambda path, n=name: (path / n).write_text("x")),
            (0, 1, 5),
            name if name != ".checkpoints" else (),
        )

    def strange(path: Path) -> None:
        (path / ".claims").mkdir()
        (path / ".claims" / ("0" * 16 + "." + "9" * 30)).write_text("{")

    yield Case("more results", ".claims: a claim of garbage", command(strange), 0)


def clusters() -> Iterator[Case]:
    def command(config: bytes | None, where: str) -> Callable[[Path], list[str]]:
        def prepared(place: Path) -> list[str]:
            root = write_release(place / "release", products=2, reviews=3, images=False)
            words = [
                "run",
                "--data",
                str(root),
                "--dataset",
                "amazon",
                "--cache",
                str(place / "cache"),
                "--method",
                "mcr",
            ]
            words += [
                "--device",
                "cpu",
                "--seeds",
                "0",
                "--results",
                str(place / "results"),
                "--cluster",
                where,
            ]
            if config is not None:
                (place / "cluster.toml").write_bytes(config)
                words += ["--cluster-config", str(place / "cluster.toml")]
            return words

        return prepared

    configs = {
        "garbage": b"\xff\x00",
        "deep": b"a = " + b"[" * 5_000,
        "ssh: no port": b"[ssh]\nport = 'x'",
        "ssh: a command": b"[ssh]\nproxy_command = 'sh'",
        "ssh: checks off": b"[ssh]\nknown_hosts = false",
        "time of two lines": b'time = "1:00\\nx"',
    }
    for name, content in configs.items():
        yield Case("cluster", name, command(content, "local"), (2, 3), "cluster.toml")
    for where in (
        "tcp://127.0.0.1:1",
        "tcp://127.0.0.1:99999999",
        "tcp://[::1",
        "ssh:" + "h" * 5_000,
        "ssh:-oProxyCommand=x",
    ):
        yield Case("cluster", where[:40], command(None, where), (2, 5), "--cluster")


def imports() -> Iterator[Case]:
    files: dict[str, bytes] = {
        "empty.csv": b"",
        "header.csv": b"product_id,review_id,content,votes\n",
        "zeros.csv": b"product_id,content\n" + b"\0" * 1000,
        "quote.csv": b'product_id,content,votes\na,"' + b"x" * 200_000,
        "ragged.csv": b"product_id,content,votes\na,b\nc,d,1,2,3\n",
        "cut.csv.gz": gzip.compress(b"product_id,content,votes\na,b,1\n")[:-10],
        "garbage.parquet": b"PAR1garbage",
        "deep.jsonl": b"[" * 100_000,
        "garbage.zst": b"\x28\xb5\x2f\xfdgarbage",
        "latin.csv": "product_id,content,votes\na,\u00e9,1\n".encode("latin-1"),
    }
    for name, content in files.items():

        def command(place: Path, n: str = name, c: bytes = content) -> list[str]:
            (place / n).write_bytes(c)
            return import_words(place, str(place / n))

        yield Case("import", name, command, (2, 3), name)


def others() -> Iterator[Case]:
    def merged(*names: str) -> Callable[[Path], list[str]]:
        def command(place: Path) -> list[str]:
            make_consistent(write_run(place / "one", "mcr", 0).parents[4])
            (place / "file").write_text("x")
            return ["merge", *(str(place / name) for name in names), "--results", str(place / "both")]

        return command

    yield Case("merge", "a folder with itself", merged("one", "one"), 0)
    yield Case("merge", "a file", merged("one", "file"), (2, 3, 5), "file")
    yield Case("merge", "nothing", merged("one", "none"), (2, 3, 5), "none")
    for name, content in {"empty": b"", "garbage": b"\xff\x00" * 9, "deep": b"[" * 100_000}.items():

        def rank(place: Path, c: bytes = content) -> list[str]:
            (place / "model").mkdir()
            (place / "model" / "provenance.json").write_bytes(c)
            (place / "reviews.csv").write_text("product_id,content\na,b\n")
            return ["rank", "--model", str(place / "model"), "--input", str(place / "reviews.csv")]

        yield Case("rank", f"a model: {name}", rank, (2, 3), "model")


def all_cases() -> list[Case]:
    return [*data(), *places(), *beside_runs(), *clusters(), *imports(), *others()]
