"""What a request's configurations came to before, so that the methods need not be imported to plan it again.

A method's defaults stand in its class, whose module imports torch: a second and a half to find that nothing is to do.
An entry is found by everything that decides a configuration: the request, the method's code, and the harness's files as
they are. Only built-in methods are kept, and no configuration that names files, whose content may change.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.core.files import read_regular, write_atomically

MOST_ENTRIES = 4096
_LARGEST = 64 << 20
_PACKAGE = Path(__file__).parents[1]

Configured = tuple[dict[str, Any], tuple[str, ...]]
"""`config` of a RunSpec, and the overrides that it holds."""


class Memo:
    """Configurations in a file of the cache folder. A file that cannot be read, or an entry that is not what was
    written, counts as not there; one that cannot be written is left."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._new = False
        try:
            entries = json.loads(read_regular(file, _LARGEST))
            self._entries = entries if isinstance(entries, dict) else {}
        except (OSError, ValueError, RecursionError):
            self._entries = {}

    def configured(self, request: Mapping[str, Any], make: Callable[[], Configured]) -> Configured:
        """From the file, else made; either way as JSON gives it back, lists in place of tuples."""
        key = _digest([request, _harness()])
        entry = self._entries.get(key)
        if not (isinstance(entry, list) and len(entry) == 2 and entry[0] == _digest([key, entry[1]])):
            config, overrides = make()
            value = json.loads(json.dumps([config, overrides]))
            entry = [_digest([key, value]), value]
            if "files" not in config:
                self._new = True
                self._entries[key] = entry
        config, overrides = json.loads(json.dumps(entry[1]))
        return config, tuple(overrides)

    def save(self) -> None:
        if not self._new:
            return
        kept = dict(list(self._entries.items())[-MOST_ENTRIES:])
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, json.dumps(kept) + "\n")
        except OSError:
            return  # it saves time, no more
        self._new = False


@functools.cache
def _harness() -> list[Any]:
    """The harness's own files that a configuration may depend on: their names, sizes and times."""
    files = [file for part in ("core", "data", "engine") for file in sorted((_PACKAGE / part).glob("*.py"))]
    return [[str(file), *_stamp(file)] for file in (_PACKAGE / "models.py", *files)]


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
