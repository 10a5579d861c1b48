"""Fetches the images of a category, and says what was got of what was wanted. Torch-free; needs httpx and Pillow."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tabulate import tabulate

from benchmark.data.catalog import SPLITS
from benchmark.data.fetch import reasons
from benchmark.data.fetch.album import Album, Got
from benchmark.data.fetch.limits import Limits
from benchmark.data.fetch.reasons import RefusedError, may_change
from benchmark.data.fetch.urls import urls_of
from benchmark.data.fields import Votes
from benchmark.data.findings import Findings
from benchmark.data.pictures import FORMATS, NotAPictureError, open_picture
from benchmark.data.release import CategoryFolder, read_split, sides

if TYPE_CHECKING:
    import ssl

Progress = Callable[[int, int, str], None]
"""(done, total, what)"""


@dataclass
class Wanted:
    """The images that the items of one side of a split list."""

    split: str
    side: str
    urls: dict[str, list[str]]
    """Item id -> its addresses, without items that list none; in the order in which items are packed."""
    items: int
    """All of them."""


def wanted_images(folder: CategoryFolder, votes: Votes = False, per_item: int = 0) -> list[Wanted]:
    """What each side of each split wants, the first `per_item` images of an item (0: all). DataError if the
    category's tables have problems."""
    findings = Findings()
    wanted = []
    for name in SPLITS:
        split = read_split(folder, name, findings, votes or folder.data_set.labels == "votes")
        for side, items in sides(split) if split is not None else ():
            cells = items.images or [None] * len(items.ids)
            listed = {
                item: urls_of(cell)[: per_item or None] for item, cell in zip(items.ids, cells, strict=True)
            }
            urls = {item: found for item, found in listed.items() if found}
            wanted.append(Wanted(name, side, urls, len(items.ids)))
    findings.raise_if_any(folder.path)
    return wanted


@dataclass
class Report:
    """What became of a category's images."""

    dataset: str
    category: str
    coverage: dict[str, Any]

    @property
    def wanted(self) -> int:
        return sum(side["wanted"] for split in self.coverage["splits"].values() for side in split.values())

    @property
    def got(self) -> int:
        return sum(side["got"] for split in self.coverage["splits"].values() for side in split.values())

    def to_json(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "category": self.category, **self.coverage}


def fetch_images(
    folder: CategoryFolder,
    limits: Limits,
    *,
    votes: Votes = False,
    per_item: int = 0,
    retry: bool = False,
    progress: Progress | None = None,
    verify: ssl.SSLContext | None = None,
) -> Report:
    """Fetches what is wanted and not there. What failed for good is not asked for again unless `retry`; what
    another time may mend is. Whatever ends it, the same call goes on from there.

    Raises DataError for a category whose tables have problems; OSError if the disk says no.
    """
    wanted = wanted_images(folder, votes, per_item)
    album = Album(folder.path)
    try:
        with album:
            urls = dict.fromkeys(url for side in wanted for found in side.urls.values() for url in found)
            missing = [url for url in urls if not _settled(album, url, retry, limits)]
            what = f"images of {folder.dataset}/{folder.category}"
            if missing:
                asyncio.run(_Fetch(album, limits, missing, verify, progress, what).run())
    finally:
        coverage = coverage_of(album, wanted)
        album.write_coverage(coverage)
    return Report(folder.dataset, folder.category, coverage)


def _settled(album: Album, url: str, retry: bool, limits: Limits) -> bool:
    known = album.known.get(url)
    if known is None or isinstance(known, Got):
        return album.has(url)
    allowed_now = limits.allow_private and known.failed == reasons.PRIVATE
    return not (retry or allowed_now or may_change(known.failed))


@dataclass
class _Fetch:
    album: Album
    limits: Limits
    missing: Sequence[str]
    verify: ssl.SSLContext | None
    progress: Progress | None
    what: str
    done: int = 0
    pool: ThreadPoolExecutor = field(init=False)

    async def run(self) -> None:
        """Hosts side by side, each with a few workers of its own: a slow one holds up no other."""
        import httpx

        from benchmark.data.fetch.client import Client

        client = Client(self.limits, self.verify or httpx.create_ssl_context())
        by_host: dict[str, deque[str]] = defaultdict(deque)
        for url in self.missing:
            by_host[_host_of(url)].append(url)
        with ThreadPoolExecutor(os.cpu_count() or 1) as self.pool:
            try:
                async with asyncio.TaskGroup() as group:
                    for queue in by_host.values():
                        for _ in range(min(self.limits.per_host, len(queue))):
                            group.create_task(self._work(client, queue))
            except BaseExceptionGroup as group:  # such as OSError of the disk; the network's were dealt with
                raise _first(group) from None
            finally:
                await client.close()

    async def _work(self, client: Any, queue: deque[str]) -> None:
        while queue:
            url = queue.popleft()
            try:
                await self._one(client, url)
            except RefusedError as refused:
                self.album.fail(url, refused.reason)
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, len(self.missing), self.what)

    async def _one(self, client: Any, url: str) -> None:
        if self.album.bytes >= self.limits.disk:
            raise RefusedError(reasons.DISK)
        content = await client.get(url)
        looked = asyncio.get_running_loop().run_in_executor(self.pool, self._look, content)
        self.album.add(url, content, *await looked)

    def _look(self, content: bytes) -> tuple[int, int, str, str]:
        """(width, height, format, ending of its file), after decoding all of it."""
        try:
            picture = open_picture(content, self.limits.pixels)
        except NotAPictureError as error:
            reason = reasons.TOO_MANY_PIXELS if error.too_large else reasons.NOT_AN_IMAGE
            raise RefusedError(reason) from None
        format_ = str(picture.format)
        return (*picture.size, format_, FORMATS[format_])


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of the errors that ended several workers, one."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


# --- Coverage --------------------------------------------------------------------------------------------


def coverage_of(album: Album, wanted: Iterable[Wanted]) -> dict[str, Any]:
    """`{"bytes": ..., "splits": {split: {side: {"items", "items_that_list_images", "items_with_images", "wanted",
    "got", "failed": {reason: number}, "left"}}}}`; an image that several items list counts for each."""
    splits: dict[str, dict[str, Any]] = {}
    for side in wanted:
        urls = [url for found in side.urls.values() for url in found]
        states = [album.known.get(url) for url in urls]
        failed = Counter(state.failed for state in states if state is not None and not isinstance(state, Got))
        got = {url for url in urls if album.has(url)}
        n_got = sum(url in got for url in urls)
        splits.setdefault(side.split, {})[side.side] = {
            "items": side.items,
            "items_that_list_images": len(side.urls),
            "items_with_images": sum(any(url in got for url in found) for found in side.urls.values()),
            "wanted": len(urls),
            "got": n_got,
            "failed": dict(sorted(failed.items())),
            "left": len(urls) - n_got - failed.total(),
        }
    return {"bytes": album.bytes, "splits": splits}


def render(reports: Sequence[Report]) -> str:
    """A table of all splits, then why images are missing."""
    rows = []
    why: Counter[str] = Counter()
    for report in reports:
        for split, by_side in report.coverage["splits"].items():
            for side, counts in by_side.items():
                failed = sum(counts["failed"].values())
                why.update(counts["failed"])
                rows.append(
                    [
                        f"{report.dataset}/{report.category}",
                        split,
                        side,
                        counts["items"],
                        counts["items_that_list_images"],
                        counts["items_with_images"],
                        counts["wanted"],
                        counts["got"],
                        failed,
                        counts["left"],
                    ]
                )
    headers = [
        "category",
        "split",
        "side",
        "items",
        "list images",
        "have some",
        "images",
        "got",
        "failed",
        "left",
    ]
    table = tabulate(rows, headers, tablefmt="github")
    reasons_ = "\n".join(f"  {number:,} {reason}" for reason, number in why.most_common())
    return f"{table}\n\nFailed:\n{reasons_}" if reasons_ else table
