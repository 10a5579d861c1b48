"""Images of a category -> its feature files, in processes side by side, and again from where it was left. Torch-free
until an extractor is built; needs Pillow.

    <root>/<dataset>/<category>/features/
        extractor.json                   what makes them (`benchmark.data.features.descriptor`)
        made.jsonl                       a line for each item: the images that its features are of
        <split>/<id>/<id>.pth            a list with a dict for each image, key `x` float16 [RoIs, F]

An item's line is written after its file, so whatever ends the work, what is there is whole.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

from tabulate import tabulate

from benchmark.core.errors import BenchError, DataError, UsageError
from benchmark.core.files import read_regular
from benchmark.data.features import descriptor
from benchmark.data.features.maker import Made, Maker, Task, start, work
from benchmark.data.features.registry import Choice
from benchmark.data.fetch.album import Album, Got
from benchmark.data.fetch.fetch import Progress, Wanted, wanted_images
from benchmark.data.fields import Votes
from benchmark.data.release import CategoryFolder

LEDGER = "made.jsonl"
_WORTH = 64
"""Images that make up for the start of another process."""
_AHEAD = 2
"""Chunks of work that wait for each process."""


@dataclass
class Report:
    """What became of a category's images."""

    dataset: str
    category: str
    extractor: Mapping[str, Any]
    items: dict[str, dict[str, Counter[str]]]
    """Split -> side -> counts: items, with images, with features, images, damaged."""
    damaged: dict[str, str] = field(default_factory=dict)
    """File -> why; the first of them."""

    def to_json(self) -> dict[str, Any]:
        items = {split: {side: dict(of) for side, of in sides.items()} for split, sides in self.items.items()}
        return {
            "dataset": self.dataset,
            "category": self.category,
            "extractor": dict(self.extractor),
            "items": items,
            "damaged": self.damaged,
        }


def make_features(
    folder: CategoryFolder,
    choice: Choice,
    *,
    device: str = "cpu",
    batch_size: int = 1,
    jobs: int = 1,
    votes: Votes = False,
    per_item: int = 0,
    replace: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Features of every item whose images are there and whose features are not.

    On the CPU an image's features are the same bits whatever `jobs` is, and with `batch_size` 1 however often the
    work was interrupted. Raises UsageError if other features are there and `replace` is not set (which moves them
    aside), or if the extractor does not keep its contract; DataError for tables with problems.
    """
    wanted = wanted_images(folder, votes, per_item)
    album = Album(folder.path)
    if not any(isinstance(known, Got) for known in album.known.values()):
        raise DataError(f"{album.folder}: no images. First: bench data images --data {folder.root}")
    maker = Maker(choice, device, batch_size, folder.path)
    record = choice.record(maker.extractor)
    _settle(folder.path / "features", record, device, replace)
    tasks = list(_tasks(wanted, album))
    ledger = _Ledger(folder.path / "features")
    ahead = [task for task in tasks if not ledger.has(task)]
    total = sum(len(task.files) for task in ahead)
    done = 0
    jobs = max(1, min(jobs, total // _WORTH))
    try:
        with ledger, _pool(maker, device, jobs) as (pool, run):
            for made in _carried_out(pool, run, _chunks(ahead, max(batch_size, 8)), jobs):
                for one in made:
                    ledger.write(one)
                    done += len(one.files)
                if progress is not None:
                    progress(done, total, f"features of {folder.dataset}/{folder.category}")
    except BrokenExecutor:
        raise BenchError(
            f"a process that makes features died (out of memory?) after {done:,} of {total:,} images. The same "
            "command goes on from there; --jobs 1 takes the least memory."
        ) from None
    return _report(folder, record, wanted, album, ledger)


def _settle(features: Path, record: Mapping[str, Any], device: str, replace: bool) -> None:
    """The descriptor stands beside what it describes, and nothing else's features do."""
    try:
        there = descriptor.read(features)
    except ValueError as error:
        raise DataError(f"{features / descriptor.NAME}: {error}") from error
    if there == record:
        return
    if features.is_dir() and any(features.iterdir()):
        whose = descriptor.title(there) if there else "features of another origin (no extractor.json)"
        if not replace:
            raise UsageError(
                f"{features} holds {whose}, not {descriptor.title(record)}. --replace moves them aside."
            )
        number = 1
        while (aside := features.with_name(f"features.old-{number}")).exists():
            number += 1
        features.rename(aside)
    descriptor.write(features, record, _made_with(device))


def _made_with(device: str) -> dict[str, str]:
    found = {"device": device.partition(":")[0]}
    for package in ("torch", "transformers", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _tasks(wanted: Sequence[Wanted], album: Album) -> Iterator[Task]:
    """Every item that has an image, once."""
    seen = set()
    for side in wanted:
        for item, urls in side.urls.items():
            got = [album.known[url] for url in urls if album.has(url)]
            files = tuple(dict.fromkeys(one.file for one in got if isinstance(one, Got)))
            if files and (side.split, item) not in seen:
                seen.add((side.split, item))
                yield Task(side.split, item, files)


def _chunks(tasks: Sequence[Task], images: int) -> Iterator[list[Task]]:
    """Tasks of about so many images together."""
    chunk: list[Task] = []
    held = 0
    for task in tasks:
        chunk.append(task)
        held += len(task.files)
        if held >= images:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


Run = Callable[[Sequence[Task]], list[Made]]


@contextmanager
def _pool(maker: Maker, device: str, jobs: int) -> Iterator[tuple[Executor, Run]]:
    """Processes of one thread each on the CPU; on a GPU one thread, beside which the next images are decoded."""
    if device == "cpu" and jobs > 1:
        arguments = (maker.choice, device, maker.batch_size, maker.category)
        with _stopping(ProcessPoolExecutor(jobs, get_context("spawn"), start, arguments)) as pool:
            yield pool, work
    else:
        with _stopping(ThreadPoolExecutor(1)) as pool:
            yield pool, maker


@contextmanager
def _stopping(pool: Executor) -> Iterator[Executor]:
    """What has not begun when something goes wrong, or Ctrl-C is pressed, does not begin."""
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _carried_out(pool: Executor, run: Run, chunks: Iterator[list[Task]], jobs: int) -> Iterator[list[Made]]:
    """Results in the order of the chunks, with a few always on their way."""
    waiting: deque[Future[list[Made]]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(run, chunk))
        if len(waiting) > _AHEAD * jobs:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Ledger:
    """`made.jsonl`: of each item the images that its features are of. A context manager while it is written."""

    def __init__(self, features: Path) -> None:
        self.features = features
        self.known: dict[tuple[str, str], Made] = {}
        self._file: IO[bytes] | None = None
        try:
            lines = read_regular(features / LEDGER).split(b"\n")
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                record = json.loads(line)
                made = Made(record["split"], record["item"], tuple(record["files"]), dict(record["failed"]))
                self.known[made.split, made.item] = made
            except (ValueError, KeyError, TypeError, RecursionError):  # cut off by a crash
                continue

    def has(self, task: Task) -> bool:
        """Whether the item's features are there, of these images."""
        made = self.known.get((task.split, task.item))
        if made is None or made.files != task.files:
            return False
        path = self.features / task.split / task.item / f"{task.item}.pth"
        return len(made.failed) == len(made.files) or path.is_file()

    def write(self, made: Made) -> None:
        assert self._file is not None
        self.known[made.split, made.item] = made
        self._file.write(json.dumps(asdict(made)).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> _Ledger:
        self._file = (self.features / LEDGER).open("a+b")
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


# --- What was made -----------------------------------------------------------------------------------------


def _report(
    folder: CategoryFolder, record: Mapping[str, Any], wanted: Sequence[Wanted], album: Album, ledger: _Ledger
) -> Report:
    report = Report(folder.dataset, folder.category, record, {})
    for side in wanted:
        counts: Counter[str] = Counter({"items": side.items})
        for item in side.urls:
            made = ledger.known.get((side.split, item))
            if made is None:
                continue
            counts["with_images"] += 1
            counts["with_features"] += len(made.failed) < len(made.files)
            counts["images"] += len(made.files)
            counts["damaged"] += len(made.failed)
            report.damaged |= made.failed if len(report.damaged) < 20 else {}
        report.items.setdefault(side.split, {})[side.side] = counts
    return report


def render(reports: Sequence[Report]) -> str:
    """A table of all splits, what made the features, then the images that cost themselves."""
    kinds = ("items", "with_images", "with_features", "images", "damaged")
    rows = [
        [f"{report.dataset}/{report.category}", split, side, *(counts[kind] for kind in kinds)]
        for report in reports
        for split, sides in report.items.items()
        for side, counts in sides.items()
    ]
    headers = ["category", "split", "side", *(kind.replace("_", " ") for kind in kinds)]
    parts = [tabulate(rows, headers, tablefmt="github")]
    parts += dict.fromkeys(f"Features: {descriptor.title(report.extractor)}." for report in reports)
    damaged = [f"  {file}: {why}" for report in reports for file, why in report.damaged.items()]
    if damaged:
        parts.append("\n".join(["Images left out, the first of them:", *damaged[:20]]))
    return "\n\n".join(parts)
