"""A Dask cluster of worker processes on this machine, some of which are killed. All traffic on the loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("distributed")

BENCH = (sys.executable, "-c", "from benchmark.cli import main; main()", "run")
RUNS = ("--dataset", "amazon", "--method", "egcnn", "--device", "cpu", "--json")
GRID = (*RUNS, "--seeds", "0-2", "--set", "epochs=40", "--set", "patience=0", "--checkpoint-every", "0")


def files_of(results: Path) -> dict[str, bytes]:
    """What tables are made of."""
    names = ("config.json", "scores.npy", "per_product.npy")
    return {
        str(file.relative_to(results)): file.read_bytes()
        for name in names
        for file in sorted(results.glob(f"runs/*/*/*/seed-*/{name}"))
    }


def workers_at_work(process: subprocess.Popen[str]) -> list[int]:
    """Dask workers that have a run's process as a child."""
    import psutil

    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        try:
            if "benchmark.cluster.worker" in one.cmdline():
                found.append(one.ppid())
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition: object, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def begun() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_killed_workers_change_nothing(
    where: list[str], corpus: Path, cache: Path, tmp_path: Path, begun: list[subprocess.Popen[str]]
) -> None:
    there = tmp_path / "there"
    options = ["--data", str(corpus), "--cache", str(cache), "--results", str(there)]
    words = [*BENCH, *GRID, *options, "--cluster", "local", "--jobs", "2"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun.append(process)
    wait_for(lambda: process.poll() is not None or list(there.glob(".checkpoints/*/state.json")))
    killed = workers_at_work(process)
    assert len(killed) == 2  # one run to each
    os.kill(killed[0], signal.SIGKILL)
    _, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert told.count("was lost; it is tried again") == 1, told  # and nobody else was blamed
    subprocess.run([*BENCH, *GRID, *where], check=True, capture_output=True)
    assert len(files_of(there)) == 9
    assert files_of(there) == files_of(tmp_path / "results")
    assert (
        not list(there.glob(".claims/*"))
        + list(there.glob(".partial/*"))
        + list(there.glob(".checkpoints/*"))
    )


def test_an_interrupted_job_ends_what_it_started(
    where: list[str], tmp_path: Path, begun: list[subprocess.Popen[str]]
) -> None:
    import psutil

    words = [*BENCH, *RUNS, *where, "--seeds", "0", "--set", "epochs=100000", "--set", "patience=0"]
    process = subprocess.Popen(
        [*words, "--cluster", "local", "--jobs", "1"], stderr=subprocess.PIPE, text=True
    )
    begun.append(process)
    wait_for(lambda: list((tmp_path / "results").glob(".partial/*/log.jsonl")))
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "stopped by SIGINT" in told
    assert list((tmp_path / "results").glob(".checkpoints/*/state.json"))
    assert not psutil.wait_procs(started, timeout=20)[1]


def test_a_resource_that_no_worker_has_is_an_error_at_once(
    where: list[str], tmp_path: Path, begun: list[subprocess.Popen[str]]
) -> None:
    contact = tmp_path / "scheduler.json"
    dask = (sys.executable, "-m", "dask")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(contact))
    begun.append(subprocess.Popen([*dask, *scheduler, "--no-dashboard"], **quiet))
    wait_for(lambda: contact.is_file() and contact.read_text().endswith("}"))
    import json

    address = json.loads(contact.read_text())["address"]
    assert address.startswith("tcp://127.0.0.1:")
    worker = ("worker", address, "--no-nanny", "--no-dashboard", "--nthreads", "1", "--resources", "TAPE=1")
    begun.append(subprocess.Popen([*dask, *worker], **quiet))
    words = [*BENCH, *RUNS, *where, "--seeds", "0", "--set", "epochs=1", "--cluster", address]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr  # on a scheduler that was there, which goes on
    words[words.index("cpu")] = "cuda"
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stderr
    assert f"no worker of {address} has what a run asks for (GPU=1; they offer TAPE=1)" in done.stderr


def test_what_cannot_be_offered_is_not_started(where: list[str], tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text("[resources]\nLICENCE = 1\n")
    words = [*BENCH, *RUNS, *where, "--cluster", "local", "--cluster-config", str(tmp_path / "cluster.toml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert "a run asks for LICENCE=1, but a worker that --cluster local starts offers GPU=0" in done.stderr


def test_a_plan_for_other_machines_needs_none_of_their_devices(where: list[str]) -> None:
    words = [*BENCH, *RUNS, *where, "--cluster", "ssh:one", "--dry-run"]
    words[words.index("cpu")] = "cuda"
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert '"estimate": null' in done.stdout


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.cluster.places import _library
    from benchmark.core.errors import UsageError

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'mrhp-bench\[cluster\]'"):
        _library("distributed")
