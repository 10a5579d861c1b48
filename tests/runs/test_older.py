"""Runs of before a field or a mark was kept stay readable, and are what they were."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmark.core.errors import DataError
from benchmark.runs.files import is_done, write_mark
from benchmark.runs.store import load_run, load_runs
from tests.fixtures_runs import reseal, write_run


def aged(folder, numerics):
    """The folder as an earlier version wrote it: no `numerics`, `code`, `target`, ... in its record, the identity
    of that version, no mark in the data's folder."""
    run = load_run(folder)
    identity = replace(run.spec, code="").identity_under(numerics)
    record = json.loads((folder / "config.json").read_text())
    for name in ("numerics", "code", "target", "title", "modality"):
        record.pop(name, None)
    (folder / "config.json").write_text(json.dumps(record | {"identity": identity}))
    reseal(folder)
    moved = folder.rename(folder.with_name(f"seed-{run.spec.seed}-{identity}"))
    sums = json.loads((moved / "done").read_text())["files"]
    write_mark(moved, identity, sums)
    (run.data_folder / "done").unlink(missing_ok=True)
    return moved


@pytest.mark.parametrize("numerics", [1, 2])
def test_a_folder_of_an_earlier_version_is_read(tmp_path, numerics):
    folder = write_run(tmp_path, seed=1, code="c0ffee")
    before = load_run(folder).per_product
    aged(folder, numerics)
    (run,) = load_runs(tmp_path)
    assert run.numerics == numerics
    assert run.folder.name.endswith(run.id)
    assert run.id != run.spec.identity  # which is today's
    assert run.per_product.equals(before)
    assert len(run.test_reviews)
    assert run.manifest
    assert not is_done(run.spec, tmp_path)  # today's numbers are others: to do again


def test_an_old_record_that_was_changed_is_refused(tmp_path):
    folder = aged(write_run(tmp_path), 2)
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(record | {"seed": 7}))
    reseal(folder)
    with pytest.raises(DataError, match=r"config\.json"):
        load_run(folder)


def test_a_changed_method_is_another_run_and_the_old_one_stays(tmp_path):
    old = load_run(write_run(tmp_path, code="a" * 16))
    new = replace(old.spec, code="b" * 16)
    assert new.identity != old.id
    assert is_done(old.spec, tmp_path)
    assert not is_done(new, tmp_path)
    assert old.spec.identity == load_run(old.folder).id


def test_where_a_method_lies_is_no_part_of_the_identity(tmp_path):
    spec = load_run(write_run(tmp_path, code="a" * 16)).spec
    assert replace(spec, target="/x/y.py:Z", title="Z", modality="text").identity == spec.identity
