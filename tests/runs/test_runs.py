"""Run folders: identity, atomic publication, reading back."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.core.errors import DataError
from benchmark.runs import files, store
from benchmark.runs.spec import RunSpec
from benchmark.runs.writer import RunWriter, sweep_partial

SPEC = RunSpec(
    dataset="amazon",
    category="home",
    method="bimpm",
    seed=3,
    config={"training": {"relevance_threshold": 0, "epochs": 2}, "model": {"hidden_size": 8}},
    fingerprint="f" * 64,
    protocol="fair",
    preset="quick",
    corpus="mini",
    synthetic=True,
)


def write(spec: RunSpec, results: Path) -> Path:
    writer = RunWriter(spec, results)
    writer.write_json("meta.json", {"commit": "abc"})
    writer.log({"epoch": 1})
    writer.log({"epoch": 2})
    writer.write_table("per_product.csv", pd.DataFrame({"product_id": ["007"], "map": [1 / 3]}))
    writer.write_table(
        "scores.csv", pd.DataFrame({"review_id": ["01"], "product_id": ["007"], "score": ["0.1"]})
    )
    return writer.finish()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", "lazada"),
        ("category", "clothing"),
        ("method", "mcr"),
        ("seed", 4),
        ("config", {"training": {"epochs": 3}, "model": {"hidden_size": 8}}),
        ("fingerprint", "e" * 64),
        ("protocol", "released"),
        ("preset", "paper"),
        ("drop", ("ptrt",)),
        ("device", "cuda"),
        ("shuffle_labels", True),
    ],
)
def test_everything_that_changes_the_numbers_changes_the_identity(field: str, value: object) -> None:
    assert dataclasses.replace(SPEC, **{field: value}).identity != SPEC.identity


def test_names_alone_do_not_change_the_identity() -> None:
    renamed = dataclasses.replace(SPEC, corpus="other", overrides=("train.epochs=2",))
    assert renamed.identity == SPEC.identity


@given(st.permutations(["a", "b", "c"]))
def test_identity_ignores_the_order_of_configuration_keys(order: list[str]) -> None:
    config = {"training": dict.fromkeys(order, 1), "model": {}}
    assert dataclasses.replace(SPEC, config=config).identity == (
        dataclasses.replace(SPEC, config={"training": {"a": 1, "b": 1, "c": 1}, "model": {}}).identity
    )


def test_a_finished_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    folder = write(SPEC, tmp_path)
    assert files.is_done(SPEC, tmp_path)
    (run,) = store.load_runs(tmp_path)
    assert run.spec == SPEC
    assert run.folder == folder
    assert run.results == tmp_path
    assert [entry["epoch"] for entry in run.log] == [1, 2]
    assert run.per_product["product_id"].tolist() == ["007"]
    assert run.per_product["map"].tolist() == [1 / 3]
    assert run.scores["review_id"].tolist() == ["01"]
    assert run.provenance["commit"] == "abc"


def test_the_done_mark_holds_a_checksum_of_every_other_file(tmp_path: Path) -> None:
    folder = write(SPEC, tmp_path)
    mark = json.loads((folder / "done").read_text())
    assert set(mark["files"]) == {path.name for path in folder.iterdir()} - {"done"}


def test_a_run_that_did_not_finish_is_not_done(tmp_path: Path) -> None:
    writer = RunWriter(SPEC, tmp_path)
    writer.log({"epoch": 1})
    assert not files.is_done(SPEC, tmp_path)
    assert store.load_runs(tmp_path) == []


@pytest.mark.parametrize("lost", ["done", "done-is-garbage"])
def test_a_folder_without_a_valid_mark_is_not_done(tmp_path: Path, lost: str) -> None:
    mark = write(SPEC, tmp_path) / "done"
    if lost == "done":
        mark.unlink()
    else:
        mark.write_text("{")
    assert not files.is_done(SPEC, tmp_path)
    write(SPEC, tmp_path)  # done again over the broken folder
    assert files.is_done(SPEC, tmp_path)


@pytest.mark.parametrize("damage", ["unnamed", "changed", "lost"])
def test_a_folder_whose_tables_are_not_what_its_mark_says_is_not_done(tmp_path: Path, damage: str) -> None:
    folder = write(SPEC, tmp_path)
    assert files.is_done(SPEC, tmp_path)
    if damage == "unnamed":  # the file is there, but nobody can say that it is what was written
        sums = files.read_mark(folder)
        del sums["per_product.csv"]
        files.write_mark(folder, SPEC.identity, sums)
    elif damage == "changed":
        table = folder / "per_product.csv"
        table.write_text(table.read_text().replace("0.333", "0.444"))
    else:
        (folder / "log.jsonl").unlink()
    assert not files.is_done(SPEC, tmp_path)


def test_a_finished_run_is_moved_not_copied(tmp_path: Path) -> None:
    """What stays behind would be taken for a run under way, and a copy is seen half-written."""
    write(SPEC, tmp_path)
    assert list((tmp_path / ".partial").iterdir()) == []


def test_sweeping_removes_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    mine = RunWriter(SPEC, tmp_path)
    dead, elsewhere, silent, unknown, forgotten = (RunWriter(SPEC, tmp_path) for _ in range(5))
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    change_owner(dead.owner, process=ended.pid)
    # The same host name, but other containers: this process's number means another process there.
    change_owner(elsewhere.owner, namespace="pid:[1]")
    change_owner(silent.owner, namespace="pid:[1]")
    unknown.owner.unlink()
    forgotten.owner.unlink()
    long_ago = time.time() - 3600
    # A file that it wrote after its last sign of life is none: the folder's own time stays that of a moment ago.
    for file in (silent.owner, forgotten.folder):
        os.utime(file, (long_ago, long_ago))
    assert sweep_partial(tmp_path) == 3
    left = {folder.name for folder in (tmp_path / ".partial").iterdir()}
    assert left == {writer.folder.name for writer in (mine, elsewhere, unknown)}


def change_owner(file: Path, **fields: object) -> None:
    record = json.loads(file.read_text())
    record["owner"] |= fields
    file.write_text(json.dumps(record))


def test_a_failure_is_recorded_with_its_reason_and_forgotten_after_success(tmp_path: Path) -> None:
    files.write_failure(SPEC, tmp_path, "no pairs", "trace")
    recorded = files.read_failure(SPEC, tmp_path)
    assert recorded is not None
    assert recorded["reason"] == "no pairs"
    assert len(store.load_failures(tmp_path)) == 1
    write(SPEC, tmp_path)
    assert files.read_failure(SPEC, tmp_path) is None


def test_a_damaged_run_folder_is_named(tmp_path: Path) -> None:
    folder = write(SPEC, tmp_path)
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match=str(folder.name)):
        store.load_runs(tmp_path)


def test_records_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, benchmark.runs.store, benchmark.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
