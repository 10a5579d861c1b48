"""Claims: one of several gets a run, the dead lose it, and nobody takes it from the living."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmark.runs import claims
from benchmark.runs.claims import Claim, Owner, abandoned, is_claimed, server_time

RUN = "0123456789abcdef"


def rewrite(file: Path, **fields: object) -> None:
    record = json.loads(file.read_text())
    record["owner"] |= fields
    file.write_text(json.dumps(record))


def age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file, (then, then))


def take(results: Path) -> Claim:
    claim = Claim.take(results, RUN)
    assert claim is not None
    return claim


def test_a_run_has_one_owner_until_it_is_released(tmp_path: Path) -> None:
    with take(tmp_path) as claim:
        assert claim.held()
        assert is_claimed(tmp_path, RUN)
        assert Claim.take(tmp_path, RUN) is None
    assert not is_claimed(tmp_path, RUN)
    assert not list((tmp_path / ".claims").iterdir())
    take(tmp_path)


def test_of_many_that_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    for left in (None, "abandoned"):
        if left:
            file = take(tmp_path / str(left)).file
            rewrite(file, namespace="pid:[1]")
            age(file, 3600)
        results, barrier, got = tmp_path / str(left), threading.Barrier(16), []

        def ask(results: Path = results, barrier: threading.Barrier = barrier, got: list = got) -> None:
            barrier.wait()
            got.append(Claim.take(results, RUN))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(claim is not None for claim in got) == 1


def test_a_dead_process_loses_its_run_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmark.runs.claims import Claim; "
        f"Claim.take(Path({str(tmp_path)!r}), {RUN!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list((tmp_path / ".claims").iterdir())) == 1
    assert not is_claimed(tmp_path, RUN)
    with take(tmp_path) as claim:
        assert claim.held()
    assert not list((tmp_path / ".claims").iterdir())


def test_a_number_that_another_process_got_again_is_not_the_same_process(tmp_path: Path) -> None:
    claim = take(tmp_path)
    if not Owner.current().started:
        pytest.skip("this system does not say when a process started")
    rewrite(claim.file, started="1")
    assert abandoned(claim.file)


@pytest.mark.parametrize("other", [{"namespace": "pid:[1]"}, {"boot": "another"}, {"host": "another"}])
def test_elsewhere_only_the_heartbeat_counts(tmp_path: Path, other: dict[str, str]) -> None:
    """Another container of the same host name, another boot, another machine: its numbers mean nothing here."""
    claim = take(tmp_path)
    rewrite(claim.file, process=2**22 + 1, **other)
    assert is_claimed(tmp_path, RUN)
    age(claim.file, claims.STALE_SECONDS + 5)
    assert not is_claimed(tmp_path, RUN)


def test_a_heartbeat_from_the_future_is_no_sign_of_life(tmp_path: Path) -> None:
    """The clock was set back since, or the file was touched: who lives gives the next sign by today's clock."""
    claim = take(tmp_path)
    rewrite(claim.file, host="another")
    age(claim.file, -5)
    assert is_claimed(tmp_path, RUN)
    age(claim.file, -365 * 86400)
    assert not is_claimed(tmp_path, RUN)
    assert Claim.take(tmp_path, RUN) is not None


@pytest.mark.parametrize("process", [10**400, "1", None, [1]])
def test_a_process_that_cannot_be_is_nobody(tmp_path: Path, process: object) -> None:
    claim = take(tmp_path)
    rewrite(claim.file, process=process)
    age(claim.file, claims.STALE_SECONDS + 5)
    assert not is_claimed(tmp_path, RUN)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_in_place_of_a_claim_is_not_waited_for(tmp_path: Path) -> None:
    claim = take(tmp_path)
    claim.file.unlink()
    os.mkfifo(claim.file)
    assert not claim.held()
    assert claims.read_owner(claim.file) is None


def test_who_was_silent_for_long_finds_out_that_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
    lost = threading.Event()
    first = take(tmp_path)
    first.on_loss = lost.set
    age(first.file, 3600)
    second = take(tmp_path)
    assert not first.held()
    with first:
        assert lost.wait(10)
    assert second.held()  # whose claim the first one's end leaves alone


def test_a_heartbeat_keeps_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
    beside = tmp_path / "owner.json"
    beside.write_text("{}")
    with take(tmp_path) as claim:
        claim.also.append(beside)
        for file in (claim.file, beside):
            age(file, 3600)
        deadline = time.monotonic() + 10
        while server_time(tmp_path) - beside.stat().st_mtime > 60 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert is_claimed(tmp_path, RUN)
        assert server_time(tmp_path) - beside.stat().st_mtime < 60


def test_a_claim_that_is_half_written_is_somebodys(tmp_path: Path) -> None:
    claim = take(tmp_path)
    claim.file.write_text("")
    assert Claim.take(tmp_path, RUN) is None
    age(claim.file, 3600)
    assert Claim.take(tmp_path, RUN) is not None


def test_sweeping_removes_the_claims_of_the_dead(tmp_path: Path) -> None:
    alive = take(tmp_path)
    dead = Claim.take(tmp_path, "f" * 16)
    assert dead is not None
    rewrite(dead.file, process=2**22 + 1)
    claims.sweep_claims(tmp_path)
    assert list((tmp_path / ".claims").iterdir()) == [alive.file]
