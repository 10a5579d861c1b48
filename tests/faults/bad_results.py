"""Bad results folders, failure records and exports."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark.report.export import INDEX
from tests.command_line import bench
from tests.faults.bad_data import NO_FILES
from tests.faults.cases import Case
from tests.fixtures_runs import make_consistent, write_run

TABLE = ["table", "--dataset", "lazada"]
EXPORT, FILE_ORDER = ["export", "--out", "never.zip"], [*TABLE, "--ties", "file-order"]
READER = {"log.jsonl": EXPORT, "parts.npy": EXPORT, "scores.csv": FILE_ORDER, "scores.npy": FILE_ORDER}
"""Who reads a file, where it is not the plain table."""
RUN_FILES = ("config.json", "meta.json", "log.jsonl", "per_product.csv", "scores.csv", "done")
ARRAYS = ("per_product.npy", "scores.npy", "parts.npy")
"""Of today's runs, in place of the tables."""
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "garbage": b"\x00\xff garbage \x80" * 50,
    "null": b"null",
    "deep": b"[" * 100_000,
    "an object of lists": b'{"files": [], "identity": [], "spec": {}}',
    "5,000 digits": b'{"files": ' + b"9" * 5_000 + b"}",
}


def results(place: Path) -> Path:
    """Three finished runs; one of the first two is changed."""
    folder = place / "results"
    write_run(folder, "mcr", 0)
    write_run(folder, "mcl", 0, arrays=True, parts=("one",))
    write_run(folder, "mmss", 0)
    return folder


def changed_run(path: str, change: Callable[[Path], object], words: list[str]) -> Callable[[Path], list[str]]:
    def command(place: Path) -> list[str]:
        method = "mcl" if path in ARRAYS else "mcr"
        (file,) = results(place).glob(f"runs/lazada/clothing/{method}/*/{path}")
        change(file)
        return [*words, "--results", str(place / "results")]

    return command


def replaced(put: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(file: Path) -> object:
        file.unlink()
        return put(file)

    return change


def runs() -> Iterator[Case]:
    for name in (*RUN_FILES, *ARRAYS):
        # a run without a readable mark is not done: no number of it is shown, and it is done again
        code, says = ((0, 3), ()) if name == "done" else (3, (name,))
        words = READER.get(name, TABLE)
        for what, content in CONTENTS.items():
            change = lambda file, c=content: file.write_bytes(c)  # noqa: E731
            yield Case("run", f"{name}: {what}", changed_run(name, change, words), code, says)
        for what, put in NO_FILES.items():
            # values per product that are not there are made of the scores
            codes = (0, 3) if name == "per_product.npy" else code
            says = () if name == "per_product.npy" else says
            yield Case("run", f"{name}: {what}", changed_run(name, replaced(put), words), codes, says)


def records() -> Iterator[Case]:
    def command(put: Callable[[Path], object]) -> Callable[[Path], list[str]]:
        def prepared(place: Path) -> list[str]:
            (done,) = results(place).glob("runs/lazada/clothing/mcr/*/done")
            put(done.parent.with_name(done.parent.name + ".failed.json"))
            return ["status", "--results", str(place / "results")]

        return prepared

    wrong = {**CONTENTS, "another shape": b'{"spec": {"dataset": 1}, "identity": 2}', "a list": b"[1]"}
    for what, content in wrong.items():
        put = lambda file, c=content: file.write_bytes(c)  # noqa: E731
        yield Case("failure record", what, command(put), (0, 3))
    for what, put_ in NO_FILES.items():
        yield Case("failure record", what, command(put_), (0, 3))


def folders() -> Iterator[Case]:
    def command(words: list[str], put: Callable[[Path], object]) -> Callable[[Path], list[str]]:
        def prepared(place: Path) -> list[str]:
            put(place / "results")
            return [*words, "--results", str(place / "results")]

        return prepared

    puts: dict[str, Callable[[Path], object]] = {
        **NO_FILES,
        "a file": lambda path: path.write_text("x"),
        "runs is a file": lambda path: (path.mkdir(), (path / "runs").write_text("x")),
        "a stray file among runs": lambda path: (
            (path / "runs/lazada/clothing").mkdir(parents=True),
            (path / "runs/lazada/clothing/mcr").write_text("x"),
        ),
        "odd names": lambda path: (path / "runs" / "\udcff" / "a" / "b" / "c").mkdir(parents=True),
    }
    for words in (TABLE, ["status"], ["stats"], ["show", "abc"], ["report", "--out", "report.html"]):
        for what, put in puts.items():
            yield Case("results folder", f"{words[0]}: {what}", command(words, put), (0, 2, 3, 5))
    odd = changed_run("config.json", lambda file: file.parent.rename(file.parent.with_name("x y")), TABLE)
    yield Case("results folder", "a renamed run", odd, (0, 3))


# Exports ------------------------------------------------------------------------------------------------


def exported(place: Path) -> Path:
    make_consistent(results(place))
    bench("export", "--results", str(place / "results"), "--out", str(place / "whole.zip"))
    return place / "whole.zip"


def _entries(whole: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(whole) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _with(**more: bytes) -> Callable[[Path], bytes]:
    return lambda whole: _zip([*_entries(whole).items(), *more.items()])


def _zip(entries: list[tuple[str, bytes]]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return held.getvalue()


def _twice(whole: Path) -> bytes:
    """An entry twice: written under another name of the same length, which is then changed."""
    name = next(name for name in _entries(whole) if name.endswith("scores.csv"))
    other = name[:-1] + "w"
    return _zip([*_entries(whole).items(), (other, b"1")]).replace(other.encode(), name.encode())


def _encrypted(whole: Path) -> bytes:
    content = bytearray(whole.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = content.find(mark) + offset
        content[at : at + 2] = struct.pack("<H", struct.unpack("<H", content[at : at + 2])[0] | 1)
    return bytes(content)


def _changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], bytes]:
    def make(whole: Path) -> bytes:
        entries = _entries(whole)
        return _zip([(n, change(c) if n.endswith(name) else c) for n, c in entries.items()])

    return make


def _lacking(word: str) -> Callable[[Path], bytes]:
    return lambda whole: _zip([(n, c) for n, c in _entries(whole).items() if word not in n])


def _index(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        record = json.loads(content)
        change(record)
        return json.dumps(record).encode()

    return changed


ARCHIVES: dict[str, tuple[Callable[[Path], bytes], int | tuple[int, ...]]] = {
    "empty": (lambda whole: b"", 3),
    "garbage": (lambda whole: b"PK\x03\x04garbage" * 99, 3),
    "an empty zip": (lambda whole: _zip([]), 3),
    "half": (lambda whole: whole.read_bytes()[: whole.stat().st_size // 2], 3),
    "without its end": (lambda whole: whole.read_bytes()[:-30], 3),
    "encrypted": (_encrypted, 3),
    "an entry twice": (_twice, 3),
    "an unknown entry": (_with(**{"notes.txt": b"hello"}), (0, 3)),
    "an entry outside": (_with(**{"../victim": b"x"}), 3),
    "an absolute entry": (_with(**{"/tmp/victim": b"x"}), 3),
    "a backslash": (_with(**{"..\\victim": b"x"}), 3),
    "600 MB of zeros": (_with(zeros=bytes(600_000_000)), 3),
    "scores changed": (_changed("scores.csv", lambda c: c.replace(b"0.1", b"0.2", 1)), 3),
    "an array changed": (_changed("scores.npy", lambda c: c[:-1] + bytes([c[-1] ^ 1])), 3),
    "log changed": (_changed("log.jsonl", lambda c: c + b" "), 3),
    "data changed": (_changed("test.csv", lambda c: c + b" "), 3),
    "without a run": (_lacking("/mcr/"), 3),
    "without data": (_lacking("manifest.json"), 3),
    "without its index": (_lacking(INDEX), 3),
    "an index of garbage": (_changed(INDEX, lambda c: b"\xff" * 9), 3),
    "a deep index": (_changed(INDEX, lambda c: b"[" * 100_000), 3),
    "an index of other kinds": (_changed(INDEX, _index(lambda r: r.update(runs=[1], files={"a": 2}))), 3),
    "an index without a run": (_changed(INDEX, _index(lambda r: r.update(runs=[]))), 3),
}


def archives() -> Iterator[Case]:
    def command(make: Callable[[Path], bytes]) -> Callable[[Path], list[str]]:
        def prepared(place: Path) -> list[str]:
            (place / "bad.zip").write_bytes(make(exported(place)))
            return [*TABLE, "--from", str(place / "bad.zip")]

        return prepared

    def put_at(put: Callable[[Path], object]) -> Callable[[Path], list[str]]:
        def prepared(place: Path) -> list[str]:
            put(place / "bad.zip")
            return [*TABLE, "--from", str(place / "bad.zip")]

        return prepared

    for what, (make, code) in ARCHIVES.items():
        yield Case("export", what, command(make), code, "bad.zip" if code == 3 else ())
    for what, put in NO_FILES.items():
        yield Case("export", what, put_at(put), (2, 3, 5), "bad.zip")


def outputs() -> Iterator[Case]:
    """Where a result cannot be written."""
    targets: dict[str, Callable[[Path], Path]] = {
        "a folder": lambda place: (place / "out").mkdir() or place / "out",
        "below a file": lambda place: (place / "out").write_text("x") and place / "out" / "t",
        "a name too long": lambda place: place / ("n" * 300),
        "a device's folder": lambda place: Path("/proc/nothing/t"),
        "a zero in it": lambda place: place / "a\0b",
        "half an emoji": lambda place: place / "a\ud83db",
    }
    commands = {"table": (TABLE, ".md"), "export": (["export"], ".zip"), "report": (["report"], ".html")}
    commands["plot"] = (["plot", "results"], ".svg")
    for name, (words, ending) in commands.items():
        for what, target in targets.items():

            def prepared(place: Path, w=words, e=ending, t=target) -> list[str]:  # type: ignore[no-untyped-def]
                folder = make_consistent(results(place))
                out = t(place)
                out = out if os.path.isdir(out) else out.with_name(out.name + e)
                return [*w, "--results", str(folder), "--out", str(out)]

            yield Case("output", f"{name}: {what}", prepared, (2, 5))


def all_cases() -> list[Case]:
    return [*runs(), *records(), *folders(), *archives(), *outputs()]
