"""The seal of a finished folder: the size and hash of each of its files, so that damage is seen. Torch-free.

Small files are hashed whenever the folder is opened; a large one once per machine, and again if its `stat` has
changed since. `thorough` hashes everything. Of a `deep` folder, one with thousands of files in folders of their own,
every file counts as large.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.core.files import LARGEST_JSON, open_regular, read_json, read_regular, write_atomically

SEAL = "seal.json"
LARGE = 32 << 20
"""Bytes from which on a file counts as large."""


def seal(folder: Path, deep: bool = False) -> None:
    """Writes the seal over the files that are in the folder itself now (`deep`: and in those below it); nothing may
    change afterwards."""
    paths = sorted(path for path in (folder.rglob("*") if deep else folder.iterdir()) if path.is_file())
    files: dict[str, tuple[int, str]] = {
        path.relative_to(folder).as_posix(): (path.stat().st_size, _sha256(path)) for path in paths
    }
    text = json.dumps(files, indent=1)
    # the seal's first line seals the seal
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / SEAL).write_text(f"{digest}\n{text}\n", encoding="utf-8")
    least = 0 if deep else LARGE
    _remember(folder, {name: _stat(folder / name) for name, (size, _) in files.items() if size >= least})


def damage_of(folder: Path, thorough: bool = False, deep: bool = False) -> str:
    """What is wrong with a sealed folder, naming the file; empty if nothing is."""
    least = 0 if deep else LARGE
    try:
        digest, _, text = read_regular(folder / SEAL, LARGEST_JSON).rstrip(b"\n").partition(b"\n")
    except OSError as error:
        return f"{SEAL} cannot be read ({error.strerror})"
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return f"{SEAL} is damaged"
    files: dict[str, list[Any]] = json.loads(text)
    known = _known(folder)
    hashed: dict[str, list[int]] = {}
    base = str(folder)
    for name, (size, sha256) in files.items():
        path = f"{base}/{name}"  # text: thousands of Path objects take longer than what is asked of them
        try:
            stat = _stat(path)
            if stat[1] != size:
                return f"{name} is damaged ({stat[1]:,} bytes, not {size:,})"
            if size >= least and known.get(name) == stat and not thorough:
                continue
            if _sha256(path) != sha256:
                return f"{name} is damaged (its content is not what was written)"
        except FileNotFoundError:
            return f"{name} is missing"
        if size >= least:
            hashed[name] = stat
    _remember(folder, {**known, **hashed} if hashed else {})
    return ""


def _stat(path: Path | str) -> list[int]:
    found = os.stat(path)
    # a list, as JSON gives it back: the two are compared
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _known_file(folder: Path) -> Path:
    # a folder on a shared disk may have other inodes and times on each machine
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return folder / f"hashed-{host}.json"


def _known(folder: Path) -> Mapping[str, Any]:
    """The large files that this machine has hashed, with their `stat` at that time."""
    try:
        known = read_json(_known_file(folder))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(folder: Path, stats: Mapping[str, Any]) -> None:
    if not stats:
        return
    try:
        write_atomically(_known_file(folder), json.dumps(stats))
    except OSError:  # a cache that cannot be written to: hashed again next time
        return


def _sha256(path: Path | str) -> str:
    with open_regular(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
