"""Three containers' worth of process namespaces on one results folder, of which one is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import SAVED, Campaign
from tests.faults.containers import Containers, command

NONE = command()
pytestmark = pytest.mark.skipif(isinstance(NONE, str), reason=str(NONE))


def test_no_run_is_done_twice_and_none_is_lost(corpus: Path, cache: Path, tmp_path: Path) -> None:
    words = ("run", "--dataset", "amazon", "--seeds", "0-4", "--method", "egcnn", *SAVED, "0", "--jobs", "1")
    campaign = Campaign(tmp_path, corpus, cache, 0, (*words, "--set", "epochs=10"))
    counts = Containers(campaign, stale=8.0).carry_out(3, kill=True)
    assert counts["runs"] == 5
    assert counts["begun"] == 5 + counts["taken over from the one that was killed"]
