"""Texts and images of test items, from where the data set lies locally; a report without them has ids only.

Images are looked for beside the features, in a folder of the same form:
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
from benchmark.data.mini.corpus import spec_hash
from benchmark.data.mini.latent import MiniSpec
from benchmark.data.source import Source
from benchmark.data.store import cache_root
from benchmark.runs.store import StoredRun

if TYPE_CHECKING:
    from benchmark.data.corpus import Split


THUMBNAIL = 96
"""Pixels of the longer side."""
PER_ITEM = 2
MOST_PIXELS = 40_000_000
"""An image that says it has more is not decoded."""


@dataclass(frozen=True)
class Texts:
    """Of one category's test split, by id; an unknown id has an empty text and no images."""

    split: Split
    images: Path
    """Folder with one folder of images per item; need not exist."""

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

    def thumbnails(self, item_id: str) -> list[str]:
        """Up to PER_ITEM small JPEGs of a product or review as `data:` addresses; without Pillow none."""
        folder = self.images / item_id
        elsewhere = item_id in ("", "..") or folder.name != item_id
        if elsewhere or not folder.is_dir():
            return []
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _ENDINGS)
        return [address for file in files[:PER_ITEM] if (address := thumbnail(file))]


_ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


def thumbnail(file: Path) -> str:
    """A small JPEG as a `data:` address; empty if the file is no image that can be decoded."""
    try:
        from PIL import Image
    except ImportError:
        return ""
    try:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                return ""
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            small = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=70)
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
        images = folder / run.spec.dataset / run.spec.category / "images" / "test"
        return Texts(corpus.test, images) if corpus.fingerprint == seen else None

    return texts_of
