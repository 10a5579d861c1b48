"""The images of a category on disk, and what became of every address that was asked for. Torch-free.

    <root>/<dataset>/<category>/images/
        files/<ab>/<sha256 of the content>.jpg      named by what they hold: no part of an address is a path
        fetched.jsonl                               a line for each address, the last one counts
        coverage.json                               wanted, got, failed by reason, of each split

A line is written after its file is complete, and a line that a crash cut off counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from benchmark.core.errors import DataError
from benchmark.core.files import open_regular, read_regular, write_atomically

LEDGER = "fetched.jsonl"
COVERAGE = "coverage.json"


@dataclass(frozen=True)
class Got:
    """An image that is there."""

    file: str
    """`<ab>/<sha256>.<ending>`, below `files/`."""
    bytes: int
    width: int
    height: int
    format: str


@dataclass(frozen=True)
class Failed:
    """An image that was not got, by a reason of `benchmark.data.fetch.reasons`."""

    failed: str


class Album:
    """The images of one category. A context manager while images are added."""

    def __init__(self, category: Path, *, read: bool = True) -> None:
        """`read`: the ledger; without it only files can be asked for."""
        self.folder = category / "images"
        self.known: dict[str, Got | Failed] = {}
        self._ledger: IO[bytes] | None = None
        if read:
            self._read()
        self.bytes = sum(
            {one.file: one.bytes for one in self.known.values() if isinstance(one, Got)}.values()
        )
        """Of all files."""

    def _read(self) -> None:
        try:
            lines = open_regular(self.folder / LEDGER)
        except FileNotFoundError:
            return
        with lines:
            for line in lines:
                try:
                    record = json.loads(line)
                    url = record.pop("url")
                    self.known[url] = Failed(**record) if "failed" in record else _safe(Got(**record))
                except (
                    ValueError,
                    TypeError,
                    KeyError,
                    AttributeError,
                    RecursionError,
                ):  # cut off by a crash
                    continue

    def path(self, got: Got) -> Path:
        return self.folder / "files" / got.file

    def has(self, url: str) -> bool:
        """Whether the image is there, as large as it was."""
        got = self.known.get(url)
        if not isinstance(got, Got):
            return False
        try:
            return self.path(got).stat().st_size == got.bytes
        except OSError:
            return False

    def read_file(self, file: str) -> bytes:
        """The content of an image (`Got.file`); DataError if it is not what was fetched."""
        path = self.folder / "files" / file
        try:
            content = read_regular(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        if hashlib.sha256(content).hexdigest() != path.stem:
            raise DataError(f"{path}: damaged (its content is not what its name says).")
        return content

    def add(self, url: str, content: bytes, width: int, height: int, format_: str, ending: str) -> Got:
        """Keeps an image that was got."""
        digest = hashlib.sha256(content).hexdigest()
        got = Got(f"{digest[:2]}/{digest}.{ending}", len(content), width, height, format_)
        path = self.path(got)
        if not path.is_file() or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            self.bytes += len(content)
        self._write(url, got)
        return got

    def fail(self, url: str, reason: str) -> None:
        self._write(url, Failed(reason))

    def _write(self, url: str, what: Got | Failed) -> None:
        assert self._ledger is not None, "an album that was not opened for adding"
        self.known[url] = what
        self._ledger.write(json.dumps({"url": url, **asdict(what)}).encode() + b"\n")
        self._ledger.flush()

    def write_coverage(self, coverage: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / COVERAGE, json.dumps(coverage, indent=1) + "\n")

    def __enter__(self) -> Album:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ledger = (self.folder / LEDGER).open("a+b")
        if self._ledger.seek(0, os.SEEK_END):
            self._ledger.seek(-1, os.SEEK_END)
            if self._ledger.read(1) != b"\n":  # a line that a crash cut off stays by itself
                self._ledger.write(b"\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None


def _safe(got: Got) -> Got:
    """ValueError if the file lies elsewhere than a file of ours can."""
    folder, _, name = got.file.partition("/")
    stem, _, ending = name.partition(".")
    if not (len(stem) == 64 and stem[:2] == folder and stem.isalnum() and ending.isalnum()):
        raise ValueError(f"not a name of ours: {got.file!r}")
    return got
