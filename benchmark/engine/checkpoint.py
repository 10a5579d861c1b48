"""Checkpoints of a run under way, so that a killed run goes on where it stood.

<results>/.checkpoints/<identity>/
    <hash>.safetensors   the numbers of a `benchmark.engine.train.TrainingState`
    state.json           the rest of it, and which tensor file belongs to it; replaced last, in one move

A checkpoint that is there is whole: the tensor file is named after its own SHA-256, and the old pair stays
until the new one is complete. Neither file can hold code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import DataError, refusal
from benchmark.core.files import open_regular, read_regular, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.engine.train import TrainingState

CHECKPOINT_SECONDS = 60.0
"""A checkpoint is written after an epoch if the last one is older than this."""
SHARE = 0.02
"""Writing checkpoints takes at most this share of a run's time, unless more were asked for."""
FORMAT = 2


class Checkpoint:
    """The one checkpoint of a run. `every`: seconds between two; 0: after every epoch."""

    def __init__(self, folder: Path, every: float, versions: Mapping[str, Any]) -> None:
        self.folder = folder
        self.every = every
        # as JSON gives it back (a tuple becomes a list), for it is compared with what was read
        self.versions = json.loads(json.dumps(versions))
        self._saved = time.monotonic()
        self._cost = 0.0
        self._refused = False

    @property
    def due(self) -> bool:
        age = time.monotonic() - self._saved
        # what took c seconds to write is not written again before c / SHARE: slow disks get fewer
        return not self.every or age >= max(self.every, self._cost / SHARE)

    def save(self, state: TrainingState) -> None:
        """Replace the checkpoint by this one. Where it cannot be written (the disk is full, say) a word on standard
        error tells so, and the run goes on: it needs its checkpoint only if it is killed."""
        started = time.monotonic()
        try:
            self._write(state)
        except OSError as error:
            if not self._refused:
                print(f"note: {self.folder}: no checkpoint ({refusal(error)})", file=sys.stderr, flush=True)
            self._refused = True
        self._saved = time.monotonic()
        self._cost = self._saved - started

    def _write(self, state: TrainingState) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        written = self.folder / f".{uuid.uuid4().hex}"
        try:
            save_tensors(state.tensors, written)
            digest = _sha256(written)
            file = self.folder / f"{digest}.safetensors"
            written.replace(file)
        finally:
            written.unlink(missing_ok=True)
        body = json.dumps(
            {
                "format": FORMAT,
                "run": self.folder.name,
                "versions": self.versions,
                "tensors": file.name,
                "record": state.record,
            }
        )
        seal = hashlib.sha256(body.encode()).hexdigest()
        write_atomically(self.folder / "state.json", f"{seal}\n{body}\n")
        # only now: until state.json was replaced, it named the old tensor file
        for other in self.folder.iterdir():
            if other.name not in (file.name, "state.json"):
                other.unlink(missing_ok=True)

    def load(self) -> TrainingState | None:
        """The state, or None where there is none.

        Raises DataError for a checkpoint that is damaged, or that other versions of the program wrote: their
        arithmetic may differ, and half a run of each is no run of either.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from benchmark.engine.train import TrainingState

        try:
            seal, _, body = read_regular(self.folder / "state.json").decode().partition("\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error
        if hashlib.sha256(body.rstrip("\n").encode()).hexdigest() != seal:
            raise self._damaged("state.json does not have the hash that it states")
        try:
            content = json.loads(body)
            if content["format"] != FORMAT or content["versions"] != self.versions:
                raise DataError(f"{self.folder}: a checkpoint of another version of the program")
            if content["run"] != self.folder.name:
                raise DataError(f"{self.folder}: the checkpoint of another run, {content['run']}")
            file = self.folder / content["tensors"]
            if _sha256(file) != file.stem:
                raise self._damaged(f"{file.name} does not have the hash that it is named after")
            return TrainingState(load_file(file), content["record"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise self._damaged(error) from error

    def _damaged(self, why: object) -> DataError:
        return DataError(f"{self.folder}: a damaged checkpoint ({why})")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """A safetensors file. OSError where it cannot be written, which the library tells in words of its own."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    except SafetensorError as error:
        number = re.search(r"I/O error.*\(os error (\d+)\)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(file)) from error


def checkpoint_folder(results: Path, identity: str) -> Path:
    return results / ".checkpoints" / identity


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
