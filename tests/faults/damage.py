"""Every file of runs, packs and exports, damaged in five ways: noticed and named, or no number changes.

`python -m tests.faults.damage`: all files, in a temporary folder; prints the counts. The suite damages some.
A file is flipped in one bit, cut to half, emptied, deleted, or swapped with the one of another run, split or
time. Afterwards `bench` must either end with an error (or a warning, for a pack, which is made anew) that names
the file, or print, to the letter, what it printed before.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.report import cell
from benchmark.runs import reviews, stored
from tests.faults.cases import SECONDS, HangError, limited
from tests.fixtures_release import write_release
from tests.fixtures_runs import make_consistent, write_run

LOG = (
    {"epoch": 1, "loss": 1.0, "dev_map": 0.5, "dev_ndcg@3": 0.4, "dev_ndcg@5": 0.5, "train_seconds": 1.0}
    | {"dev_seconds": 0.1, "learning_rate": 0.1},
)
Damage = Callable[[Path, Path, random.Random], None]
"""(the file, another file of its kind, random numbers)"""


def _flip(file: Path, other: Path, numbers: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
    file.write_bytes(content)


DAMAGES: dict[str, Damage] = {
    "bit flipped": _flip,
    "cut to half": lambda file, other, _: (
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]) and None
    ),
    "emptied": lambda file, other, _: file.write_bytes(b"") and None,
    "deleted": lambda file, other, _: file.unlink(),
    "swapped": lambda file, other, _: shutil.copy(other, file) and None,
}


@dataclass(frozen=True)
class Outcome:
    kind: str
    file: str
    damage: str
    verdict: str
    """noticed, harmless, or what went wrong"""

    @property
    def fault(self) -> bool:
        return self.verdict not in ("noticed", "harmless")


class Bench:
    """Calls that are compared with what the same words printed before."""

    def __init__(self, *commands: list[str]) -> None:
        self.commands = commands
        self.before = [self.call(words).stdout for words in commands]

    @staticmethod
    def call(words: list[str]) -> Result:
        # as a new process, which has read nothing yet
        for kept in (stored._VALUES, stored._TABLES, stored._DATA, reviews._KNOWN, cell._SIDES):
            kept.clear()
        with limited(SECONDS):
            return CliRunner().invoke(app, words)

    def verdict(self, file: Path) -> str:
        """`file` is noticed if it is named; of what stands for its folder, if the folder is."""
        name = file.parent.name if file.name in ("done", "seal.json") else file.name
        noticed = False
        for words, before in zip(self.commands, self.before, strict=True):
            try:
                heard = Heard()
                with heard:
                    result = self.call(words)
            except HangError:
                return "hangs"
            output = result.stdout + result.stderr + heard.text
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                return f"a traceback: {result.exception!r}"
            if name in output and (result.exit_code or heard.text):
                noticed = True
            elif result.exit_code:
                return (
                    f"{' '.join(words[:2])} ends with {result.exit_code}, without naming it: {output[-300:]}"
                )
            elif result.stdout != before:
                return f"{' '.join(words[:2])} prints something else, without a word"
        return "noticed" if noticed else "harmless"


class Heard(logging.Handler):
    """What was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"

    def __enter__(self) -> None:
        logging.getLogger("benchmark").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("benchmark").removeHandler(self)


def _each(
    kind: str, files: list[Path], place: Path, bench: Bench, numbers: random.Random
) -> Iterator[Outcome]:
    """Each file in each way, one at a time; `place` is put back afterwards."""
    whole = place.with_name(place.name + "-whole")
    shutil.copytree(place, whole)
    for number, file in enumerate(files):
        others = [one for one in files if one.name == file.name and one != file]
        other = others[0] if others else files[number - 1]
        for name, damage in DAMAGES.items():
            if not file.stat().st_size and name in ("bit flipped", "emptied", "cut to half"):
                continue
            before = file.read_bytes()
            damage(file, other, numbers)
            if file.exists() and file.read_bytes() == before:
                continue
            yield Outcome(kind, str(file.relative_to(place)), name, bench.verdict(file))
            shutil.rmtree(place)
            shutil.copytree(whole, place)


def _two_of_each(results: Path) -> None:
    """Runs of today, and of before scores were kept as arrays."""
    for method, arrays in (("mcr", False), ("mmss", False), ("mcl", True), ("bimpm", True)):
        write_run(results, method, 0, category="home", log=LOG, arrays=arrays, parts=("one", "two"))
    make_consistent(results)


def runs(place: Path, numbers: random.Random, most: int) -> Iterator[Outcome]:
    results = place / "results"
    _two_of_each(results)
    words = ["--results", str(results)]
    (first,) = [file.parent.name for file in results.glob("runs/*/*/mcr/*/done")]
    commands = [
        ["table", "--dataset", "lazada", *words],
        ["table", "--dataset", "lazada", "--ties", "file-order", "--sentinels", *words],
        ["show", first.rpartition("-")[2], *words],
        ["export", "--no-pictures", "--out", str(place / "again.zip"), *words],
    ]
    files = sorted(file for file in results.rglob("*") if file.is_file())
    yield from _each("run", _some(files, most), results, Bench(*commands), numbers)


def packs(place: Path, numbers: random.Random, most: int) -> Iterator[Outcome]:
    root, cache = write_release(place / "release", products=2, reviews=4, roi_width=4), place / "cache"
    words = ["--data", str(root), "--cache", str(cache), "--dataset", "amazon"]
    commands = [["data", "pack", *words], ["data", "stats", *words]]
    bench = Bench(*commands)
    (pack,) = (path for path in (cache / "packs").iterdir() if path.is_dir())
    files = sorted(file for file in pack.iterdir() if file.is_file())
    yield from _each("pack", _some(files, most), cache, bench, numbers)


def exports(place: Path, numbers: random.Random, most: int) -> Iterator[Outcome]:
    """Entries of an archive: each changed within a new archive; and the archive itself, byte by byte."""
    results, out = place / "exported", place / "exports"
    _two_of_each(results)
    out.mkdir()
    Bench.call(["export", "--no-pictures", "--results", str(results), "--out", str(out / "whole.zip")])
    bench = Bench(["table", "--dataset", "lazada", "--from", str(out / "whole.zip")])
    with zipfile.ZipFile(out / "whole.zip") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    whole = (out / "whole.zip").read_bytes()
    for name in _some(sorted(entries), most):
        others = [one for one in entries if one != name and Path(one).name == Path(name).name]
        swapped = entries[others[0] if others else sorted(entries)[0]]
        content = bytearray(entries[name])
        content[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
        changed = {
            "bit flipped": bytes(content),
            "cut to half": entries[name][: len(content) // 2],
            "emptied": b"",
            "deleted": None,
            "swapped": swapped,
        }
        for damage, new in changed.items():
            if new == entries[name]:
                continue
            with zipfile.ZipFile(out / "whole.zip", "w") as archive:
                for one, kept in entries.items():
                    if (written := new if one == name else kept) is not None:
                        archive.writestr(one, written)
            yield Outcome("export's entry", name, damage, bench.verdict(out / "whole.zip"))
    for number in range(most):
        raw = bytearray(whole)
        raw[numbers.randrange(len(raw))] ^= 1 << numbers.randrange(8)
        (out / "whole.zip").write_bytes(raw)
        yield Outcome("export's bytes", f"flip {number}", "bit flipped", bench.verdict(out / "whole.zip"))
    for damage in ("cut to half", "emptied", "deleted"):
        (out / "whole.zip").write_bytes(whole)
        DAMAGES[damage](out / "whole.zip", out / "whole.zip", numbers)
        yield Outcome("export", "whole.zip", damage, bench.verdict(out / "whole.zip"))


def _some(files: list, most: int) -> list:  # type: ignore[type-arg]
    """At most so many, spread evenly."""
    step = max(1, len(files) // most)
    return files[::step]


Part = Callable[[Path, random.Random, int], Iterator[Outcome]]
PARTS: tuple[Part, ...] = (runs, packs, exports)


def campaign(place: Path, seed: int, most: int) -> Iterator[Outcome]:
    numbers = random.Random(seed)
    for part in PARTS:
        folder = place / part.__name__
        folder.mkdir()
        yield from part(folder, numbers, most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=1000, help="files of each part")
    chosen = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    harmless: Counter[str] = Counter()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        for outcome in campaign(Path(folder), chosen.seed, chosen.most):
            counts[outcome.kind, "FAULT" if outcome.fault else outcome.verdict] += 1
            if outcome.verdict == "harmless":
                harmless[f"{outcome.kind}: {Path(outcome.file).name}"] += 1
            if outcome.fault:
                faults += 1
                print(f"FAULT {outcome.kind} {outcome.file} {outcome.damage}: {outcome.verdict}", flush=True)
    for (kind, verdict), count in sorted(counts.items()):
        print(f"{kind}: {count} {verdict}")
    print("harmless:", dict(harmless))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
