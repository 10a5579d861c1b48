"""Results made on several machines become one results folder. Every file is checked before one is copied."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.core.errors import DataError
from benchmark.core.files import LARGEST_JSON, read_regular, write_atomically
from benchmark.runs.claims import Claim, write_owner
from benchmark.runs.files import DONE, checked, damage_of, data_folder, read_mark
from benchmark.runs.store import StoredRun, load_failures, load_runs

_log = logging.getLogger(__name__)
OLDER_RESULTS = ("scores.csv", "per_product.csv")


@dataclass
class Merged:
    """What came of a merge."""

    copied: list[StoredRun] = field(default_factory=list)
    present: int = 0
    """Runs that were there already, or in an earlier folder, with the same scores."""
    failures: int = 0
    """Failure records copied: of runs that no folder has done."""


def merge(folders: Sequence[Path], results: Path) -> Merged:
    """Copy into `results` what the folders hold and it lacks: runs, the data they saw, failure records.

    Raises DataError, and copies nothing, if a file is not what was written, if values per product are not those
    of the scores, or if two folders have one run with other scores or one data set with other reviews; all of
    these are named.
    """
    for folder in folders:
        if not (folder / "runs").is_dir():
            raise DataError(f"{folder}: no results folder (it has no runs/).")
    sources = [folder for folder in folders if os.path.realpath(folder) != os.path.realpath(results)]
    problems: list[str] = []
    known: dict[str, StoredRun] = {}
    merged, wanted = Merged(), list[StoredRun]()
    for folder in (results, *sources):
        for run in load_runs(folder):
            found = _damage(run)
            problems += found
            if found:
                continue
            # `results` was read first, so its own run is the one that others are compared with
            first = known.setdefault(run.id, run)
            if first is run:
                wanted += [run] if folder is not results else []
                continue
            merged.present += 1
            problems += _other_numbers(run, first)
    problems += _other_reviews(list(known.values()))
    if problems:
        raise DataError(
            f"nothing was merged: {len(problems)} problem(s). Remove the run folders that you do not trust, and "
            "merge again.",
            problems,
        )
    results.mkdir(parents=True, exist_ok=True)
    for run in wanted:
        # data first: a run that counts as done must find its data
        _copy_data(run, results)
        _copy_run(run, results)
        merged.copied.append(run)
    merged.failures = sum(_copy_failures(folder, results, set(known)) for folder in sources)
    return merged


def _damage(run: StoredRun) -> list[str]:
    """All that is wrong with a run and its data."""
    found = [why for name in run.sums if (why := damage_of(run.folder / name, run.sums))]
    if found:
        return found
    try:
        run.data_contents()
        why = run.contradiction()
    except DataError as error:
        return [str(error)]
    return [why] if why else []


def _other_numbers(run: StoredRun, first: StoredRun) -> list[str]:
    """Where two folders of one run differ: in what it scored, not in durations and machines."""
    if run.in_arrays != first.in_arrays:  # one of before scores were kept as arrays: the same numbers?
        same = run.scores.equals(first.scores)
        different = [] if same else ["scores.npy" if run.in_arrays else "scores.csv"]
    else:
        names = ("scores.npy", "parts.npy", "per_product.npy") if run.in_arrays else OLDER_RESULTS
        different = [name for name in names if run.sums.get(name) != first.sums.get(name)]
    return [
        f"{run.folder / name}: other numbers than in {first.folder} (another processor, or another library?)"
        for name in different
    ]


def _other_reviews(runs: Sequence[StoredRun]) -> list[str]:
    """Data folders of one fingerprint whose test reviews differ."""
    first: dict[tuple[str, str, str], tuple[Path, str]] = {}
    problems = []
    for run in runs:
        data = _data_of(run, run.results)
        if not (data / DONE).is_file():
            continue
        digest = read_mark(data)["test.csv"]
        where, known = first.setdefault(
            (run.spec.dataset, run.spec.category, run.spec.fingerprint), (data, digest)
        )
        if digest != known:
            problems.append(f"{data / 'test.csv'}: other reviews than in {where}")
    return list(dict.fromkeys(problems))


def _data_of(run: StoredRun, results: Path) -> Path:
    return data_folder(results, run.spec.dataset, run.spec.category, run.spec.fingerprint)


def _copy_data(run: StoredRun, results: Path) -> None:
    there = _data_of(run, results)
    # checked once more as they are read; without a mark in a folder of before there were any
    contents = run.data_contents()
    # a folder of before the order of the products was kept lacks what arrays of scores need
    if (there / DONE).is_file() and ("products.csv" in read_mark(there) or "products.csv" not in contents):
        return
    there.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():  # the mark last
        write_atomically(there / name, content)


def _copy_run(run: StoredRun, results: Path) -> None:
    """Under a hidden name, then into place, its mark last: as a run that is made there."""
    final = results / run.folder.relative_to(run.results)
    claim = Claim.take(results, run.id)
    if claim is None:
        raise DataError(f"{final}: another process carries this run out; merge again when it is done.")
    with claim:
        hidden = results / ".partial" / f"{run.id}-{uuid.uuid4().hex[:12]}"
        hidden.mkdir(parents=True)
        owner = hidden / "owner.json"
        write_owner(owner, hidden.name)
        try:
            for name in [name for name in run.sums if (run.folder / name).exists()]:
                shutil.copyfile(run.folder / name, hidden / name)
                checked(hidden / name, run.sums)
            owner.unlink()
            final.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(final, ignore_errors=True)  # without a mark: `results` was read first
            os.replace(hidden, final)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        write_atomically(final / DONE, (run.folder / DONE).read_bytes())
        final.with_name(final.name + ".failed.json").unlink(missing_ok=True)


def _copy_failures(folder: Path, results: Path, done: set[str]) -> int:
    present = {failure["identity"] for failure in load_failures(results)}
    copied = 0
    for file in sorted(folder.glob("runs/*/*/*/seed-*.failed.json")):
        identity = file.name.removesuffix(".failed.json").rpartition("-")[2]
        if identity not in done | present:
            try:
                content = read_regular(file, LARGEST_JSON)
            except OSError as error:  # no number depends on it
                _log.warning("%s: not copied (%s)", file, error.strerror)
                continue
            target = results / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content)
            copied += 1
    return copied
