"""A few kills of each kind; `python -m tests.faults.campaign` makes more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import Campaign


@pytest.fixture(scope="module")
def campaign(corpus: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("campaign"), corpus, cache, seed=0)


@pytest.mark.parametrize("part", ["main", "workers", "schedulers"])
def test_the_end_is_byte_identical(campaign: Campaign, part: str) -> None:
    done = getattr(campaign, part)(2)
    assert done
