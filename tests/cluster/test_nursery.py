"""Workers forked from one process are workers like any other: they die alone, and end with whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.cluster import here, nursery
from benchmark.cluster.child import Child, environment
from benchmark.cluster.here import run_all
from benchmark.cluster.nursery import Forked, Nursery
from benchmark.cluster.worker import Assignment
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.execute import Outcome, RunOptions
from benchmark.engine.plan import Choices, expand
from benchmark.runs.spec import RunSpec
from tests.cluster.test_here import ended_within

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux")


@pytest.fixture
def one() -> Iterator[Nursery]:
    made = Nursery(environment(1))
    yield made
    made.close()


def specs_of(source: Source, *seeds: int) -> list[RunSpec]:
    corpus = runner.open_once(source, "amazon", "home")
    choices = Choices(("amazon",), ("home",), ("egcnn",), seeds, overrides=("epochs=1",), device="cpu")
    return expand(choices, [corpus])


def test_each_worker_dies_alone_and_its_end_is_known(one: Nursery) -> None:
    workers = [one.fork() for _ in range(3)]
    assert all(isinstance(worker, Forked) for worker in workers)
    first, second, third = (worker for worker in workers if worker is not None)
    assert len({first.pid, second.pid, third.pid}) == 3
    os.kill(first.pid, signal.SIGSEGV)
    assert first.wait(20) == -signal.SIGSEGV
    assert second.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.1)
    second.stdin.close()  # nothing to do: it ends at once, in order
    assert second.wait(20) == 0
    third.kill()
    assert third.wait(20) == -signal.SIGKILL
    for worker in (first, second, third):
        worker.terminate()  # long gone: nobody else is hit
        worker.close()


def test_one_process_is_the_parent_of_all(one: Nursery) -> None:
    parents = set()
    for _ in range(2):
        worker = one.fork()
        assert worker is not None
        parents.add(int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1]))
        assert (
            len(list(Path(f"/proc/{worker.pid}/task").iterdir())) <= 2
        )  # itself, and who listens to requests
        worker.kill()
        worker.wait(20)
        worker.close()
    assert one._process is not None
    assert parents == {one._process.pid}


def test_a_nursery_that_is_gone_leaves_its_workers_and_makes_no_more(
    one: Nursery, corpus: Path, cache: Path, tmp_path: Path
) -> None:
    source = Source(corpus, cache)
    worker = one.fork()
    assert worker is not None
    assert one._process is not None
    one._process.kill()
    one._process.wait()
    assert one.fork() is None
    child = Child(Assignment(source, tmp_path / "results", RunOptions(), ("bench",)), 1, forked=worker)
    (spec,) = specs_of(source, 0)
    assert child.carry_out(spec).ok
    child.kill()
    child.close(20.0)
    assert child.process.returncode == -signal.SIGKILL


def test_jobs_use_it_and_do_without_it(
    corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same scores, bit for bit; also when it is killed in the middle."""
    source, forked = Source(corpus, cache), []
    specs = specs_of(source, 0, 1, 2, 3)
    fork = Nursery.fork

    def noted(self: Nursery) -> Forked | None:
        worker = fork(self)
        forked.append(worker)
        if len(forked) == 1 and kill:
            assert self._process is not None
            self._process.kill()
        return worker

    monkeypatch.setattr(Nursery, "fork", noted)
    found: list[list[bytes]] = []
    for number, (jobs, kill) in enumerate([(1, False), (2, False), (2, True)]):
        forked.clear()
        results = tmp_path / str(number)
        outcomes: list[Outcome] = list(run_all(specs, source, results, jobs=jobs))
        assert all(outcome.ok for outcome in outcomes)
        assert [worker is not None for worker in forked] == ([] if jobs == 1 else [True, not kill])
        found.append([(spec.folder(results) / "scores.npy").read_bytes() for spec in specs])
    assert found[0] == found[1] == found[2]


def test_nothing_is_forked_beside_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded may start one: then workers are started in the ordinary way."""
    monkeypatch.setattr(nursery, "PRELOADED", ())
    program = (
        "import sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
        "from benchmark.cluster import nursery\n"
        "nursery.PRELOADED = ()\n"
        "import socket\n"
        "ours, theirs = socket.socketpair()\n"
        "assert nursery.nurse(theirs.detach()) is False\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_workers_and_nursery_end_with_the_job(tmp_path: Path) -> None:
    """However that one ends: here by SIGKILL."""
    program = (
        "from benchmark.cluster.child import environment\n"
        "from benchmark.cluster.nursery import Nursery\n"
        "import time\n"
        "one = Nursery(environment(1)); worker = one.fork()\n"
        "print(one._process.pid, worker.pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    main = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert main.stdout is not None
    processes = [int(word) for word in main.stdout.readline().split()]
    main.kill()
    main.wait()
    main.stdout.close()
    assert len(processes) == 2
    assert all(ended_within(process, 30.0) for process in processes)


def test_a_worker_can_be_ended_while_a_thread_waits_for_it(one: Nursery) -> None:
    worker = one.fork()
    assert worker is not None
    waiting = threading.Thread(target=worker.wait)
    waiting.start()
    worker.kill()
    waiting.join(20)
    assert not waiting.is_alive()
    worker.close()


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery.sys, "platform", "darwin")
    assert Nursery({}).fork() is None
    assert here.Nursery is Nursery
