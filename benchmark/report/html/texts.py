"""Texts and images of test items, from where the data set lies locally; a report without them has ids only.

Images are those that `bench data images` fetched, and what lies beside the features in a folder of the same form:
`<root>/<dataset>/<category>/images/<split>/<id>/*.jpg` (or .jpeg, .png, .webp).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import DataError
from benchmark.core.files import read_regular
from benchmark.data.fetch.album import Album, Got
from benchmark.data.fetch.urls import urls_of
from benchmark.data.findings import Findings
from benchmark.data.mini.corpus import spec_hash
from benchmark.data.mini.latent import MiniSpec
from benchmark.data.pictures import NotAPictureError, as_rgb, open_picture
from benchmark.data.release import CategoryFolder, find_category, read_split, sides
from benchmark.data.source import Source
from benchmark.data.store import cache_root
from benchmark.runs.store import StoredRun

if TYPE_CHECKING:
    from benchmark.data.corpus import Split


THUMBNAIL = 96
"""Pixels of the longer side."""
PER_ITEM = 2
MOST_BYTES = 50_000_000
"""Of an image's file."""


@dataclass(frozen=True)
class Texts:
    """Of one category's test split, by id; an unknown id has an empty text and no images."""

    split: Split
    images: Path
    """Folder with one folder of images per item; need not exist."""
    folder: CategoryFolder | None = None
    """Of the category, where images may have been fetched."""

    @cached_property
    def _product_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.split.product_ids)}

    @cached_property
    def _review_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.split.review_ids)}

    def product(self, product_id: str) -> str:
        row = self._product_rows.get(product_id)
        return "" if row is None else self.split.product_text(row)

    def review(self, review_id: str) -> str:
        row = self._review_rows.get(review_id)
        return "" if row is None else self.split.review_text(row)

    @cached_property
    def _fetched(self) -> dict[str, list[Path]]:
        return fetched_images(self.folder) if self.folder is not None else {}

    def thumbnails(self, item_id: str) -> list[str]:
        """Up to PER_ITEM small JPEGs of a product or review as `data:` addresses; without Pillow none."""
        folder = self.images / item_id
        elsewhere = item_id in ("", "..") or folder.name != item_id
        files = [] if elsewhere or not folder.is_dir() else sorted(folder.iterdir())
        files = [file for file in files if file.suffix.lower() in _ENDINGS]
        files += self._fetched.get(item_id, [])
        return [address for file in files[:PER_ITEM] if (address := thumbnail(file))]


_ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


def fetched_images(folder: CategoryFolder) -> dict[str, list[Path]]:
    """Item of the test split -> its images of `bench data images`, of those that are here."""
    album = Album(folder.path)
    split = read_split(folder, "test", Findings(), folder.data_set.labels == "votes") if album.known else None
    found: dict[str, list[Path]] = {}
    for _, items in sides(split) if split is not None else ():
        for item, cell in zip(items.ids, items.images or [None] * len(items.ids), strict=True):
            got = [album.known.get(url) for url in urls_of(cell)]
            files = [album.path(one) for one in got if isinstance(one, Got)]
            if files:
                found[str(item)] = files
    return found


def thumbnail(file: Path) -> str:
    """A small JPEG as a `data:` address; empty if the file is no image that can be decoded, or without Pillow."""
    try:
        picture = as_rgb(open_picture(read_regular(file, MOST_BYTES)))
    except (ImportError, OSError, NotAPictureError):
        return ""
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


TextSource = Callable[[StoredRun], Texts | None]
"""A run -> texts of the data it was tested on, or None where they are not here."""


def embedded_corpus(cache: Path | None = None) -> Path | None:
    """Root of the embedded corpus if this machine has it; nothing is written."""
    folder = cache_root(cache) / f"mini-{spec_hash(MiniSpec())}"
    return folder if folder.is_dir() else None


def local_texts(root: Path | None, cache: Path | None = None) -> TextSource:
    """From the release at `root`, else from the embedded corpus if this machine has it; only where the data
    are those of the run. A data set that `root` should hold and cannot be read raises DataError."""
    folder = root if root is not None else embedded_corpus(cache)

    def texts_of(run: StoredRun) -> Texts | None:
        if folder is None or not (folder / run.spec.dataset / run.spec.category).is_dir():
            return None
        try:
            corpus = Source(folder, cache).open(run.spec.dataset, run.spec.category)
        except (DataError, OSError):
            if root is not None:
                raise
            return None
        # with a vector file, the run's fingerprint is of the data and of the vectors
        seen = run.manifest.get("data_fingerprint", run.spec.fingerprint)
        if corpus.fingerprint != seen:
            return None
        place = find_category(folder, run.spec.dataset, run.spec.category)
        return Texts(corpus.test, place.path / "images" / "test", place)

    return texts_of
