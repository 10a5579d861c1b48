"""A few kills (of workers: tests/cluster); `python -m tests.faults.campaign` makes more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import LONG, Campaign


@pytest.fixture(scope="module")
def campaign(corpus: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    words = ("run", "--dataset", "amazon", "--seeds", "0-2", "--method", "mmss", *LONG[:-1], "1")
    return Campaign(tmp_path_factory.mktemp("campaign"), corpus, cache, 0, words)


@pytest.mark.parametrize("part", ["main", "schedulers"])
def test_the_end_is_byte_identical(campaign: Campaign, part: str) -> None:
    assert getattr(campaign, part)(1)
