"""What the cluster's libraries may not do to the process that uses them."""

from __future__ import annotations

import signal
import sys

import pytest

from benchmark.cluster import places


def test_a_library_that_takes_ctrl_c_for_itself_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """dask_jobqueue answers SIGINT by leaving, from its import on."""
    before = signal.getsignal(signal.SIGINT)
    for name in [name for name in sys.modules if name.partition(".")[0] == "dask_jobqueue"]:
        monkeypatch.delitem(sys.modules, name)
    try:
        places._library("dask_jobqueue")
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)
