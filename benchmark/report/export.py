"""A supplement that others can check: run folders, data manifests and tables in one zip, and back.

The archive holds no weights and no review texts. The same runs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import written_beside
from benchmark.runs import store
from benchmark.runs.files import DONE, data_folder
from benchmark.runs.store import StoredRun

RUN_FILES = ("config.json", "meta.json", "log.jsonl", "per_product.csv", "scores.csv", DONE)
EPOCH = (1980, 1, 1, 0, 0, 0)  # zip has no earlier date; a fixed one keeps the bytes the same


def export(runs: Sequence[StoredRun], tables: Mapping[str, str], out: Path) -> int:
    """Write the runs, the manifests of the data that they saw, and rendered tables; returns the file count."""
    if not runs:
        raise UsageError("there are no finished runs to export.")
    results = runs[0].results
    files: dict[str, bytes] = {}
    for run in runs:
        for name in RUN_FILES:
            path = run.folder / name
            files[path.relative_to(results).as_posix()] = path.read_bytes()
        data = data_folder(results, run.spec.dataset, run.spec.category, run.spec.fingerprint)
        for name in ("manifest.json", "test.csv"):
            files[(data / name).relative_to(results).as_posix()] = (data / name).read_bytes()
    for name, text in tables.items():
        files[f"tables/{name}"] = (text.rstrip("\n") + "\n").encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_beside(out) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    return len(files)


@contextmanager
def opened(file: Path) -> Iterator[Path]:
    """A results folder with what an export holds, for as long as the context lasts.

    DataError for an archive that is damaged, names a path outside itself, or holds a run whose files do
    not have the checksums of its `done` mark.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file. --from takes what `bench export --out` wrote.")
    with tempfile.TemporaryDirectory(prefix="mrhp-bench-") as folder:
        results = Path(folder)
        try:
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    _extract(archive, info, results, file)
        except zipfile.BadZipFile as error:
            raise DataError(f"{file}: not a zip archive that can be read ({error}).") from error
        for run in store.load_runs(results):
            _verify(run, file)
        yield results


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, results: Path, file: Path) -> None:
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in info.filename or ":" in info.filename:
        raise DataError(f"{file}: its entry {info.filename!r} would be written outside the folder; refused.")
    if info.is_dir():
        return
    target = results / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive.read(info))


def _verify(run: StoredRun, file: Path) -> None:
    mark = json.loads((run.folder / DONE).read_text())
    for name in RUN_FILES:
        if name == DONE:
            continue
        path = run.folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        if found != mark["files"].get(name):
            raise DataError(f"{file}: {name} of run {run.id} ({run.spec}) was changed after the run.")
