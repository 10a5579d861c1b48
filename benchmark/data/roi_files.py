"""RoI features of a release's items: reads them, checks them, counts who has any. Torch-free.

V RoIs of an item, F width of a RoI feature.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data import pth
from benchmark.data.findings import Findings
from benchmark.data.release import CategoryFolder, RawItems

ROIS_PER_IMAGE = 32
ROIS_PER_ITEM = 128
"""The field's released limits."""

Float16 = npt.NDArray[np.float16]

HAS, NONE, UNREADABLE, EMPTY = "with_features", "without_features", "unreadable", "zero_rois"
"""What became of an item's features."""


class _MixedWidthsError(Exception):
    """Images of one item whose features differ in width."""


@dataclass
class FeatureReader:
    """Reads the RoIs of the items of one category, and checks that all have one width."""

    folder: CategoryFolder
    findings: Findings
    width: int | None = None
    """F, set by the first item that has features."""
    unreadable: list[str] = field(default_factory=list)
    """Files that are there but cannot be used, with the reason."""
    _present: dict[str, frozenset[str]] = field(default_factory=dict)
    first: Path | None = None

    def read(self, split: str, item_id: str) -> tuple[str, Float16 | None]:
        """(what became of it, float16 [V, F] if it has RoIs): the first 32 RoIs of each image in file order,
        at most 128. Features that are not finite, also only as float16, and a width that differs are
        problems; so is a file that asks for more than arrays."""
        if item_id not in self._items(split):
            return NONE, None
        path = self.folder.features(split) / item_id / f"{item_id}.pth"
        if not path.is_file():
            return NONE, None
        try:
            rois = _rois_of(pth.load(path))
        except pth.UnsafeFileError as error:
            self.findings.problems.append(str(error))
            return UNREADABLE, None
        except _MixedWidthsError as error:
            self.findings.problem(path, f"item {item_id!r}", str(error))
            return UNREADABLE, None
        except pth.UnreadableFileError as error:
            self.unreadable.append(f"{path}: {error}")
            return UNREADABLE, None
        if rois is None:
            return EMPTY, None
        return (HAS, rois) if self._valid(rois, path, item_id) else (UNREADABLE, None)

    def _items(self, split: str) -> frozenset[str]:
        if split not in self._present:
            folder = self.folder.features(split)
            names = os.listdir(folder) if folder.is_dir() else []
            self._present[split] = frozenset(names)
        return self._present[split]

    def _valid(self, rois: Float16, path: Path, item_id: str) -> bool:
        if self.width is None:
            self.width, self.first = rois.shape[1], path
        if rois.shape[1] != self.width:
            message = f"RoI features {rois.shape[1]} wide, but {self.width} in {self.first}"
            self.findings.problem(path, f"item {item_id!r}", message)
            return False
        finite_V = np.isfinite(rois).all(axis=1)
        if not finite_V.all():
            message = "NaN or infinity in RoI features (or a value beyond float16's 65504)"
            self.findings.problem(path, f"item {item_id!r}, RoI {int(np.argmin(finite_V))}", message)
            return False
        return True


def _rois_of(images: Any) -> Float16 | None:
    """float16 [V, F] of a feature file's content; None if it has no RoI. UnreadableFileError if it is not a
    list with one dict per image whose `x` is a matrix."""
    if not isinstance(images, list | tuple):
        raise pth.UnreadableFileError("not a list with one dict per image")
    kept: list[npt.NDArray[Any]] = []
    for number, image in enumerate(images):
        x = image.get("x") if isinstance(image, dict) else None
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
            raise pth.UnreadableFileError(f"image {number} is not a dict with a numeric array `x`")
        if x.size == 0:
            continue
        if x.ndim != 2:
            raise pth.UnreadableFileError(f"`x` of image {number} has shape {x.shape}, not [RoIs, features]")
        kept.append(x[:ROIS_PER_IMAGE])
    if not kept:
        return None
    if len({x.shape[1] for x in kept}) > 1:
        raise _MixedWidthsError(f"RoI features of different widths: {sorted({x.shape[1] for x in kept})}")
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which is reported as such
        return np.concatenate(kept)[:ROIS_PER_ITEM].astype(np.float16)


def coverage(items: RawItems, outcomes: list[str]) -> dict[str, int | None]:
    """How many items want images (None without column `img_url`), have features, lack them, or have a file
    that is unreadable or holds no RoI; and how many want images but have no RoI."""
    counted = Counter(outcomes)
    wants = items.wants_image
    missed = None if wants is None else sum(w and o != HAS for w, o in zip(wants, outcomes, strict=True))
    return {
        "want_images": None if wants is None else sum(wants),
        "want_images_but_have_no_roi": missed,
        **{outcome: counted[outcome] for outcome in (HAS, NONE, UNREADABLE, EMPTY)},
    }
