"""RoI features of a release's items: reads them, checks them, counts who has any. Torch-free.

V RoIs of an item, F width of a RoI feature.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.data import roi_worker as worker
from benchmark.data.findings import Findings
from benchmark.data.release import CategoryFolder, RawItems
from benchmark.data.roi_crew import RoiCrew
from benchmark.data.roi_worker import Float16, Reply, RoiWorker

HAS, NONE, UNREADABLE, EMPTY = "with_features", "without_features", "unreadable", "zero_rois"
"""What became of an item's features."""


@dataclass
class FeatureReader:
    """Reads the RoIs of the items of one category, and checks that all have one width."""

    folder: CategoryFolder
    findings: Findings
    worker: RoiWorker | RoiCrew
    width: int | None = None
    """F, set by the first item that has features."""
    unreadable: list[str] = field(default_factory=list)
    """Files that are there but cannot be used, with the reason."""
    note: Callable[[str, str, Reply], None] | None = None
    """Told of every file that was there: split, item, what became of it."""
    first: str | None = None

    def items(self, split: str, item_ids: Sequence[str]) -> Iterator[tuple[str, Float16 | None]]:
        """Of each item (what became of it, float16 [V, F] if it has RoIs): the first 32 RoIs of each image in
        file order, at most 128. Features that are not finite, also only as float16, and a width that differs
        are problems; so is a file that asks for more than arrays."""
        folder = self.folder.features(split)
        present = frozenset(os.listdir(folder) if folder.is_dir() else ())
        # text, as it is needed: a category may have hundreds of thousands, and a Path takes half a kilobyte
        paths = (self._file(folder, item_id) for item_id in item_ids if item_id in present)
        replies = self.worker.read(paths)
        for item_id in item_ids:
            reply = next(replies) if item_id in present else None
            if reply is None or reply.kind == worker.MISSING:
                yield NONE, None
                continue
            if self.note is not None:
                self.note(split, item_id, reply)
            yield self._judge(self._file(folder, item_id), reply, item_id)

    @staticmethod
    def _file(folder: Path, item_id: str) -> str:
        return f"{folder}/{item_id}/{item_id}.pth"

    def _judge(self, path: str, reply: Reply, item_id: str) -> tuple[str, Float16 | None]:
        rois_VF = reply.rois_VF
        if reply.kind == worker.EMPTY:
            return EMPTY, None
        if reply.kind == worker.UNSAFE:
            self.findings.problem(path, "", reply.message)
        elif reply.kind == worker.MACHINE:
            self.findings.problem(path, "", f"cannot be read ({reply.message})")
        elif reply.kind == worker.INVALID:
            self.findings.problem(path, f"item {item_id!r}", reply.message)
        elif rois_VF is None:
            self.unreadable.append(f"{path}: {reply.message}")
        elif self._valid(rois_VF, reply.not_finite, path, item_id):
            return HAS, rois_VF
        return UNREADABLE, None

    def _valid(self, rois_VF: Float16, not_finite: int, path: str, item_id: str) -> bool:
        if self.width is None:
            self.width, self.first = rois_VF.shape[1], path
        if rois_VF.shape[1] != self.width:
            message = f"RoI features {rois_VF.shape[1]} wide, but {self.width} in {self.first}"
            self.findings.problem(path, f"item {item_id!r}", message)
            return False
        if not_finite >= 0:
            message = "NaN or infinity in RoI features (or a value beyond float16's 65504)"
            self.findings.problem(path, f"item {item_id!r}, RoI {not_finite}", message)
            return False
        return True


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
