"""The list of planted faults fits the code, and a few of them are caught here; `make mutants` tries all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import run
from tests.mutations.fault import Fault
from tests.mutations.faults import FAULTS

FAST = [fault for fault in FAULTS if fault.fast]


def test_the_list_is_long_and_each_fault_has_a_name() -> None:
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_an_edit_fits_its_file_once(fault: Fault) -> None:
    assert (run.ROOT / fault.file).read_text().count(fault.old) == 1
    assert (run.ROOT / fault.test.partition("::")[0]).is_file()
    assert fault.old != fault.new


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.copy_tree(tmp_path_factory.mktemp("tree"))


@pytest.mark.parametrize("fault", FAST, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, tree: Path) -> None:
    outcome = run.try_out(fault, tree)
    assert outcome.caught, outcome.by


def test_a_change_that_harms_nothing_is_not_called_caught(tree: Path) -> None:
    harmless = Fault(
        "a comment",
        "benchmark/engine/pairs.py",
        "# rounding can",
        "# Rounding can",
        "tests/engine/test_pairs.py",
    )
    outcome = run.try_out(harmless, tree)
    assert not outcome.caught
    assert "nothing failed" in outcome.by
