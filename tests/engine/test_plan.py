"""What a plan makes of the runs that are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmark.engine.plan import make_plan
from benchmark.runs.files import write_failure
from tests.runs.test_runs import SPEC, write


def test_of_two_that_ask_for_one_run_the_first_names_it(tmp_path: Path) -> None:
    """`--vary` asks for a value that is the default already: the run stays filed as the default's."""
    varied = replace(SPEC, overrides=("bimpm.hidden_size=8",))
    assert varied.identity == SPEC.identity, (
        "the configuration makes the run, not the words that asked for it"
    )
    for asked in ([SPEC, varied], [varied, SPEC]):
        plan = make_plan(asked, tmp_path)
        assert plan.specs == plan.to_do == (asked[0],)


def test_done_failed_and_to_do(tmp_path: Path) -> None:
    specs = [replace(SPEC, seed=seed) for seed in range(3)]
    write(specs[0], tmp_path)
    write_failure(specs[1], tmp_path, "out of memory", "")
    plan = make_plan(specs, tmp_path)
    assert (plan.done, plan.to_do) == ((specs[0],), (specs[1], specs[2]))
    assert plan.failed == ((specs[1], "out of memory"),)
    again = make_plan(specs, tmp_path, force=True)
    assert (again.done, again.to_do) == ((), tuple(specs))
