"""`bench show` finds a run that failed, by its identity or its record, with the full traceback."""

from __future__ import annotations

import json

from benchmark.report.show import find_failure, find_run
from benchmark.runs.files import failure_file, write_failure
from benchmark.runs.store import load_run
from tests.command_line import bench
from tests.fixtures_runs import write_run


def test_a_failed_run_is_shown_with_its_reason_and_traceback(tmp_path):
    done = load_run(write_run(tmp_path, "mcl", 0))
    spec = load_run(write_run(tmp_path / "elsewhere", "mcr", 3)).spec
    write_failure(spec, tmp_path, "ValueError: not today", "Traceback ...\n  line 12\n")
    for given in (spec.identity[:8], str(failure_file(spec, tmp_path))):
        text = bench("show", given, "--results", str(tmp_path)).stdout
        assert "FAILED: lazada/clothing mcr seed 3" in text
        assert "ValueError: not today" in text
        assert "line 12" in text
    found = json.loads(bench("show", spec.identity, "--json", "--results", str(tmp_path)).stdout)
    assert found["reason"] == "ValueError: not today"
    assert find_failure(tmp_path, done.id[:8]) is None
    assert find_run(tmp_path, done.id[:8]).id == done.id
