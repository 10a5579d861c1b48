"""Every command against a results folder, a model, a method's file or goldens that are not what they should be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.bad_data import NO_FILES
from tests.faults.bad_results import CONTENTS, results
from tests.faults.cases import Case
from tests.fixtures_runs import make_consistent, write_run

Put = Callable[[Path], object]
READERS: tuple[tuple[str, ...], ...] = (
    ("compare",),
    ("claims",),
    ("export", "--out", "never.zip", "--no-pictures"),
    ("export", "--format", "trec", "--out", "never-trec"),
    ("case",),
    ("plot", "results", "--out", "never.svg"),
    ("clean",),
    ("clean", "--yes"),
    ("diff", "abc", "def"),
    ("model", "export", "abc", "--out", "never"),
    ("model", "ensemble"),
    ("stats", "--robust"),
    ("stats", "--power"),
    ("report", "--no-pictures", "--out", "never.html"),
)
"""Commands that read results, beside those of `bad_results`."""
FOLDERS: dict[str, Put] = {
    **NO_FILES,
    "a file": lambda path: path.write_text("x"),
    "runs is a file": lambda path: (path.mkdir(), (path / "runs").write_text("x")),
    "runs is a pipe": lambda path: (path.mkdir(), os.mkfifo(path / "runs")),
    "runs is a link to itself": lambda path: (path.mkdir(), (path / "runs").symlink_to("runs")),
    "odd names": lambda path: (path / "runs" / "\udcff" / "a" / "b" / "seed-0-\udcff").mkdir(parents=True),
    "a run of nothing": lambda path: (path / "runs/lazada/home/mcr/seed-0-abc/done").mkdir(parents=True),
}


def readers() -> Iterator[Case]:
    for words in READERS:
        for what, put in FOLDERS.items():

            def command(place: Path, w=words, p=put) -> list[str]:  # type: ignore[no-untyped-def]
                p(place / "results")
                return [*w, "--results", str(place / "results")]

            yield Case("reader", f"{' '.join(words)[:30]}: {what}", command, (0, 2, 3, 5))


BESIDE = {
    ".claims": "0123456789abcdef.1",
    ".partial": "0123456789abcdef-000000000000/owner.json",
    ".partial/0123456789abcdef-000000000000": "progress.json",
    ".partial/0123456789abcdef-000000000001": "config.json",
    "data/lazada/clothing": "manifest.json",
}


def beside() -> Iterator[Case]:
    """What lies beside runs, as `status`, `clean` and `report` meet it."""
    for folder, name in BESIDE.items():
        for what, put in {**NO_FILES, **{k: _bytes(c) for k, c in CONTENTS.items()}}.items():
            for words in (("status",), ("clean", "--yes"), ("table", "--dataset", "lazada")):

                def command(place: Path, f=folder, n=name, p=put, w=words) -> list[str]:  # type: ignore[no-untyped-def]
                    make_consistent(results(place))
                    where = place / "results" / f
                    if f.startswith("data"):
                        (where,) = where.iterdir()
                    file = where / n
                    file.parent.mkdir(parents=True, exist_ok=True)
                    if f.startswith(".partial"):
                        for other in ("owner.json", "progress.json", "config.json"):
                            if other != file.name:
                                (file.parent / other).write_text("{}")
                    file.unlink(missing_ok=True)
                    p(file)
                    return [*w, "--results", str(place / "results")]

                yield Case("beside runs", f"{words[0]}: {folder}/{name}: {what}", command, (0, 3, 5))


def _bytes(content: bytes) -> Put:
    return lambda path: path.write_bytes(content) and None


def merges() -> Iterator[Case]:
    for what, put in {**NO_FILES, **{k: _bytes(c) for k, c in CONTENTS.items()}}.items():
        for name in ("config.json", "done", "scores.npy", "data", "failed"):

            def command(place: Path, p=put, n=name) -> list[str]:  # type: ignore[no-untyped-def]
                folder = write_run(place / "one", "mcl", 0, arrays=True)
                (data,) = (place / "one").glob("data/*/*/*/done")
                file = {"data": data, "failed": folder.with_name("seed-3-0123456789abcdef.failed.json")}.get(
                    n, folder / n
                )
                file.unlink(missing_ok=True)
                p(file)
                return ["merge", str(place / "one"), "--results", str(place / "both")]

            yield Case("merge", f"{name}: {what}", command, (0, 3, 5))
    for what, put in FOLDERS.items():

        def target(place: Path, p=put) -> list[str]:  # type: ignore[no-untyped-def]
            make_consistent(write_run(place / "one", "mcr", 0).parents[4])
            p(place / "both")
            return ["merge", str(place / "one"), "--results", str(place / "both")]

        yield Case("merge", f"target: {what}", target, (0, 3, 5))


METHODS: dict[str, bytes | Put] = {
    "empty": b"",
    "garbage": b"\xff\x00" * 99,
    "a zero byte": b"x = 1\0",
    "a syntax error": b"class A(:\n",
    "deep": b"x = " + b"(" * 5_000 + b")" * 5_000,
    "deep sums": b"x = " + b"1+" * 50_000 + b"1",
    "another encoding": b"# coding: nothing\nclass A: pass\n",
    "exits": b"import sys\nsys.exit(3)\n",
    "raises": b"raise RuntimeError('no')\n",
    "interrupts": b"raise GeneratorExit\n",
    "recursion": b"def f(): f()\nf()\n",
    "no method": b"A = 3\n",
    "a class of another kind": b"class A:\n    pass\n",
    "a bad import": b"import nothing_like_this\nclass A: pass\n",
    "5,000 digits": b"A = " + b"9" * 5_000 + b"\n",
    **NO_FILES,
}


def methods() -> Iterator[Case]:
    for what, given in METHODS.items():
        for words in (
            ("check-method",),
            ("models", "--method"),
            ("run", "--dry-run", "--dataset", "amazon", "--category", "home", "--method"),
        ):

            def command(place: Path, g=given, w=words) -> list[str]:  # type: ignore[no-untyped-def]
                file = place / "mine.py"
                if isinstance(g, bytes):
                    file.write_bytes(g)
                else:
                    g(file)
                return [*w, f"{file}:A"]

            yield Case("method", f"{words[0]}: {what}", command, (2, 3, 4, 5), "mine.py")


def goldens() -> Iterator[Case]:
    puts = {**NO_FILES, **{k: _bytes(c) for k, c in CONTENTS.items()}}
    for what, put in puts.items():
        for name in ("mcr.json", "mcr.npz"):

            def command(place: Path, p=put, n=name) -> list[str]:  # type: ignore[no-untyped-def]
                (place / "goldens").mkdir()
                (place / "goldens" / "mcr.json").write_text("{}")
                (place / "goldens" / n).unlink(missing_ok=True)
                p(place / "goldens" / n)
                return ["selfcheck", "--goldens", str(place / "goldens")]

            yield Case("golden", f"{name}: {what}", command, (0, 2, 3, 4, 5))

        def weights(place: Path, p=put) -> list[str]:  # type: ignore[no-untyped-def]
            p(place / "w.pth")
            return [
                "import-weights",
                "--method",
                "mcr",
                "--from",
                str(place / "w.pth"),
                "--to",
                str(place / "to"),
            ]

        yield Case("weights", f"import: {what}", weights, (2, 3, 5), "w.pth")


def all_cases() -> list[Case]:
    return [*readers(), *beside(), *merges(), *methods(), *goldens()]
