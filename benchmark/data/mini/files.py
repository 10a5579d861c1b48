"""Writing a release: tables that grow record by record, and feature files (imports torch when it writes)."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

COPY_BYTES = 1 << 20


class ColumnsFile:
    """A table in pandas' "columns" orientation, `{column: {"0": value, "1": value, ...}, ...}`, written in
    constant memory: each column grows in a temporary file of its own, and they are joined at the end.

    A context manager; after an exception inside it no file appears."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.rows = 0
        self._parts: dict[str, IO[str]] = {
            name: tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
            for name in columns
        }

    def append(self, record: Mapping[str, Any]) -> None:
        """One more row; `record` has a JSON value for every column."""
        comma = "," if self.rows else ""
        for name, part in self._parts.items():
            part.write(f'{comma}"{self.rows}":{json.dumps(record[name], ensure_ascii=False)}')
        self.rows += 1

    def _join(self) -> None:
        with self.path.open("w", encoding="utf-8") as out:
            for i, (name, part) in enumerate(self._parts.items()):
                out.write(f"{',' if i else '{'}{json.dumps(name)}:{{")
                part.seek(0)
                shutil.copyfileobj(part, out, COPY_BYTES)
                out.write("}")
            out.write("}\n")

    def __enter__(self) -> ColumnsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._join()
        finally:
            for part in self._parts.values():
                part.close()


def write_features(folder: Path, item_id: str, images: Sequence[npt.NDArray[np.float32]]) -> None:
    """`<folder>/<id>/<id>.pth`: a list with one dict per image, key `x` float32 [n_roi, F].
    An item without images gets no file."""
    if not images:
        return
    import torch

    item = folder / item_id
    item.mkdir()
    file = item / f"{item_id}.pth"
    try:
        torch.save([{"x": torch.from_numpy(roi_VF)} for roi_VF in images], file)
    except RuntimeError as error:  # all that torch says of a full disk
        raise OSError(errno.EIO, f"cannot be written (is the disk full?): {error}", str(file)) from error


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
