"""The folder of an exported model: data alone, each file of it hashed. Torch-free.

    model.json            method, configuration, sizes, how texts become ids, and of which run it is
    weights.safetensors   the numbers
    vocabulary.json       the words of `product`, `review` and `joint` in the order of their ids
    dataset.json          the descriptor of the data set, as `dataset.toml` has it
    encoder/              configuration and tokenizer of a pre-trained encoder, where the method reads one
    README.md             the model card
    provenance.json       versions, the run's own numbers, and the SHA-256 of every other file

`provenance.json` carries a hash of itself, the model's id: whoever changes a file and its hash changes the id, which
`bench model export` and `bench rank` print.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import open_regular, read_regular

FORMAT = 1
MODEL, WEIGHTS, VOCABULARY, DATA_SET = (
    "model.json",
    "weights.safetensors",
    "vocabulary.json",
    "dataset.json",
)
CARD, PROVENANCE, ENCODER = "README.md", "provenance.json", "encoder"
REQUIRED = (MODEL, WEIGHTS, VOCABULARY, DATA_SET, CARD)
KEYS = {
    "method": ("name", "title", "modality", "class", "built_in", "code"),
    "config": ("training", "model"),
    "shape": ("product_vocabulary", "review_vocabulary", "joint_vocabulary", "roi_width", "n_train_reviews"),
    "images": ("features",),
    "text": ("tokenizer", "product_text", "recipe"),
    "run": ("id", "seed", "dataset", "category", "device", "numerics", "drop"),
}
"""What `model.json` has at least."""
_LARGEST = 1 << 30
"""Bytes of the largest JSON file that is read."""
_AGAIN = "Export it again from its run: bench model export."


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose files are what was written."""

    path: Path
    id: str
    """16 hexadecimal digits over all of its content."""
    provenance: Mapping[str, Any]

    @property
    def sums(self) -> Mapping[str, str]:
        """SHA-256 of each file by its path in the folder, `provenance.json` excepted."""
        sums: Mapping[str, str] = self.provenance["files"]
        return sums

    @cached_property
    def record(self) -> dict[str, Any]:
        """`model.json`, with all of `KEYS`."""
        found = dict(self._json(MODEL))
        for part, names in KEYS.items():
            for name in names:
                if not isinstance(found.get(part), dict) or name not in found[part]:
                    raise DataError(f"{self.path / MODEL}: not of a model (no {part}.{name}). {_AGAIN}")
        return found

    @cached_property
    def data_set(self) -> dict[str, Any]:
        """`dataset.json`."""
        return dict(self._json(DATA_SET))

    @cached_property
    def vocabulary(self) -> dict[str, list[str]]:
        return dict(self._json(VOCABULARY))

    @property
    def encoder(self) -> Path | None:
        """The folder of the pre-trained encoder's configuration and tokenizer."""
        has = any(name.startswith(f"{ENCODER}/") for name in self.sums)
        return self.path / ENCODER if has else None

    def content(self, name: str) -> bytes:
        """A file, hashed as it is read. DataError if it is not what was written."""
        try:
            found = read_regular(self.path / name)
        except OSError as error:
            raise DataError(f"{self.path / name}: cannot be read ({error.strerror}). {_AGAIN}") from error
        if hashlib.sha256(found).hexdigest() != self.sums[name]:
            raise DataError(f"{self.path / name}: its content is not what was written. {_AGAIN}")
        return found

    def _json(self, name: str) -> Any:
        try:
            found = json.loads(self.content(name))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path / name}: not JSON ({error}). {_AGAIN}") from error
        if not isinstance(found, dict):
            raise DataError(f"{self.path / name}: a JSON object was expected. {_AGAIN}")
        return found


def open_folder(path: Path) -> ModelFolder:
    """A model folder, every file of it but the weights checked (they are when they are read).

    Raises DataError, naming the file, for one that is damaged, missing, changed, or there though it is no part of
    the model, and for another version of the format.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder. `bench model export RUN --out DIR` makes one.")
    folder = ModelFolder(path, *_provenance(path / PROVENANCE))
    there = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    expected = {*folder.sums, PROVENANCE}
    if missing := sorted(expected - there):
        raise DataError(f"{path / missing[0]}: missing. {_AGAIN}")
    if strange := sorted(there - expected):
        raise DataError(f"{path / strange[0]}: no part of the model. Remove it, or export again.")
    for name in sorted(folder.sums.keys() - {WEIGHTS}):
        if _sha256(path / name) != folder.sums[name]:
            raise DataError(f"{path / name}: its content is not what was written. {_AGAIN}")
    return folder


def _provenance(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        record = json.loads(read_regular(file, _LARGEST))
        version = record["format"]
        if isinstance(version, int) and version != FORMAT:
            raise DataError(
                f"{file}: a model folder of format {version}; this version of mrhp-bench reads format {FORMAT}. "
                + ("Update mrhp-bench, or export again." if version > FORMAT else _AGAIN)
            )
        said, files = record.pop("id"), record["files"]
        if not all(isinstance(part, str) for pair in files.items() for part in pair):
            raise ValueError("a hash is no text")
        if absent := [name for name in REQUIRED if name not in files]:
            raise ValueError(f"it lists no {absent[0]}")
    except FileNotFoundError:
        raise DataError(
            f"{file}: missing, so this is no model folder. `bench model export` makes one."
        ) from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}). {_AGAIN}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{file}: damaged ({error}). {_AGAIN}") from None
    if said != _id(record):
        raise DataError(f"{file}: its id is not that of what it lists, so something was changed. {_AGAIN}")
    return said, record


def write_folder(out: Path, contents: Mapping[str, bytes], provenance: Mapping[str, Any]) -> ModelFolder:
    """A model folder with these files, written beside `out` and renamed: all of it is there, or nothing.

    UsageError if `out` exists and is no empty folder.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: a model needs a new or an empty folder; give another --out.")
    record = {
        "format": FORMAT,
        **provenance,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())},
    }
    # as JSON gives it back, for the id is taken of what is read
    record = json.loads(json.dumps(record))
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name[:100]}.{uuid.uuid4().hex[:8]}")
    try:
        for name, content in contents.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).write_bytes(content)
        text = json.dumps({"id": _id(record), **record}, indent=1)
        (unfinished / PROVENANCE).write_text(text + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return open_folder(out)


def _id(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {_AGAIN}") from error
