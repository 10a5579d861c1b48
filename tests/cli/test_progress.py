"""The estimate of the time left."""

from __future__ import annotations

import dataclasses

import pytest

from benchmark.cli.progress import Estimate
from benchmark.core.words import duration
from tests.runs.test_runs import SPEC


def specs(methods: str) -> list:  # type: ignore[type-arg]
    return [
        dataclasses.replace(SPEC, method=name, seed=seed) for seed in range(3) for name in methods.split()
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (8, "8 s"), (125, "2 min 05 s"), (12000, "3 h 20 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_nothing_is_claimed_before_anything_is_known() -> None:
    assert Estimate(specs("bimpm mcr"), jobs=2).left({}) is None


def test_each_method_counts_with_its_own_mean() -> None:
    todo = specs("bimpm mcr")
    estimate = Estimate(todo, jobs=2)
    estimate.observe(todo[0], 10.0)  # bimpm
    estimate.observe(todo[1], 100.0)  # mcr
    assert estimate.left({}) == pytest.approx((2 * 10 + 2 * 100) / 2)


def test_a_single_running_run_gives_an_estimate() -> None:
    todo = specs("bimpm")[:1]
    estimate = Estimate(todo, jobs=1)
    assert estimate.left({todo[0].identity: (0.25, 30.0)}) == pytest.approx(90.0)
