"""The work of one process: reads images, asks the extractor, writes feature files.

V RoIs of an image, F the extractor's width.
"""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.core.code import locate
from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import write_atomically
from benchmark.core.plugins import line_of
from benchmark.data.features.extractor import MOST_ROIS, Float32
from benchmark.data.features.registry import Choice
from benchmark.data.fetch.album import Album
from benchmark.data.pictures import NotAPictureError, as_rgb, open_picture

if TYPE_CHECKING:
    from PIL import Image

_FLOAT16 = 65504.0


@dataclass(frozen=True)
class Task:
    """An item and the files of its images, in their order."""

    split: str
    item: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """What became of a task; `failed`: file -> why it has no features."""

    split: str
    item: str
    files: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)


class Maker:
    """Carries out tasks with an extractor of its own."""

    def __init__(self, choice: Choice, device: str, batch_size: int, category: Path) -> None:
        self.choice, self.device, self.batch_size, self.category = choice, device, batch_size, category
        self.album = Album(category, read=False)
        self.width: int | None = None
        with one_thread(device):
            self.extractor = choice.build(device)

    def __call__(self, tasks: Sequence[Task]) -> list[Made]:
        with one_thread(self.device):
            files = list(dict.fromkeys(file for task in tasks for file in task.files))
            failed: dict[str, str] = {}
            found: dict[str, Float32] = {}
            for start in range(0, len(files), self.batch_size):
                self._batch(files[start : start + self.batch_size], found, failed)
            return [self._write(task, found, failed) for task in tasks]

    def _batch(self, files: Sequence[str], found: dict[str, Float32], failed: dict[str, str]) -> None:
        images: dict[str, Image.Image] = {}
        for file in files:
            try:
                images[file] = as_rgb(open_picture(self.album.read_file(file)))
            except (NotAPictureError, DataError) as error:
                failed[file] = str(error)
        if not images:
            return
        try:
            found |= zip(images, self._features(list(images.values())), strict=True)
        except UsageError:
            raise
        except Exception:  # one of them, perhaps: each by itself then
            for file, image in images.items():
                try:
                    (found[file],) = self._features([image])
                except UsageError:
                    raise
                except Exception as error:
                    failed[file] = self._reason(error)

    def _reason(self, error: Exception) -> str:
        """Why an image has no features; UsageError if no image would have any."""
        from PIL import Image

        where = line_of(error, place := locate(self.choice.target))
        what = f"{type(error).__name__}: {error}"
        if self.width is None:
            try:
                self._features([Image.new("RGB", (64, 64), "gray")])
            except Exception:
                raise UsageError(
                    f"{place.file}{where}: {self.choice.name} fails on any image ({what})"
                ) from error
        return f"{self.choice.name}{where}: {what}"[:500]

    def _features(self, images: Sequence[Image.Image]) -> list[Float32]:
        made = self.extractor.rois(images)
        name = self.choice.name
        if len(made) != len(images):
            raise UsageError(f"{name}.rois returned {len(made)} arrays for {len(images)} images.")
        checked = []
        for roi_VF in (np.asarray(one) for one in made):
            if roi_VF.ndim != 2 or roi_VF.dtype.kind != "f" or not 1 <= len(roi_VF) <= MOST_ROIS:
                raise UsageError(
                    f"{name}.rois returned {list(roi_VF.shape)} of {roi_VF.dtype}; of each image it must return "
                    f"[V, F] of float32, V 1 to {MOST_ROIS}."
                )
            if roi_VF.shape[1] != (self.width or roi_VF.shape[1]):
                raise UsageError(
                    f"{name}.rois returned features {roi_VF.shape[1]} wide, and {self.width} before."
                )
            if not (np.abs(roi_VF) <= _FLOAT16).all():
                raise ValueError("NaN, infinity or a value beyond float16's in its features")
            self.width = roi_VF.shape[1]
            checked.append(roi_VF.astype(np.float32))
        return checked

    def _write(self, task: Task, found: dict[str, Float32], failed: dict[str, str]) -> Made:
        import torch

        folder = self.category / "features" / task.split / task.item
        rois = [torch.from_numpy(found[file].astype(np.float16)) for file in task.files if file in found]
        if rois:
            folder.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            torch.save([{"x": roi_VF} for roi_VF in rois], content)
            write_atomically(folder / f"{task.item}.pth", content.getvalue())
        elif folder.is_dir():  # of images that were there before
            (folder / f"{task.item}.pth").unlink(missing_ok=True)
        return Made(task.split, task.item, task.files, {f: failed[f] for f in task.files if f in failed})


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """On the CPU a sum's order depends on the number of threads: one, whatever else the process does."""
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_here: Maker | None = None


def start(choice: Choice, device: str, batch_size: int, category: Path) -> None:
    """Prepares a worker process."""
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    _here = Maker(choice, device, batch_size, category)


def work(tasks: Sequence[Task]) -> list[Made]:
    """Carries out tasks in a worker process."""
    assert _here is not None
    return _here(tasks)
