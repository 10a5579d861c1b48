"""How many runs go on side by side: never more threads than processors."""

from __future__ import annotations

import pytest

from benchmark.core.errors import UsageError
from benchmark.engine import machine


@pytest.fixture(autouse=True)
def four_processors(monkeypatch):
    monkeypatch.setattr(machine, "processors", lambda: 4)


@pytest.mark.parametrize(
    ("asked", "threads", "jobs"), [(None, 1, 4), (None, 3, 1), (2, 2, 2), (4, 1, 4), (1, 4, 1)]
)
def test_what_fits_is_left_alone(asked, threads, jobs):
    assert machine.fitting_jobs(asked, threads) == (jobs, "")


def test_more_jobs_than_fit_are_capped_with_a_word():
    jobs, note = machine.fitting_jobs(4, 2)
    assert jobs == 2
    assert "--jobs 4 with 2 threads each exceeds 4 processors: 2 at a time" in note


def test_a_run_of_more_threads_than_processors_is_refused():
    with pytest.raises(UsageError, match=r"train\.threads=5, but this process may use 4"):
        machine.fitting_jobs(None, 5)
