"""Dask clusters: one that is there, or one that is started for a job and ends with it."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.cluster.devices import VISIBLE, visible_devices
from benchmark.cluster.settings import GPU, Place
from benchmark.core.errors import BenchError, UsageError
from benchmark.engine.stop import Stop

POLL_SECONDS = 0.5
REFILL_SECONDS = 10.0
"""How often workers that are gone are started again."""
IGNORE_INTERRUPTS = "benchmark.cluster.quiet"
SCHEDULER = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "allowed_failures": 0}
"""Of schedulers that are started: each lost worker is reported, and what becomes of its run decided by the job."""


class Workers:
    """The workers of a Dask cluster. `cluster`: the one that was started, None for one that was there."""

    def __init__(self, client: Any, cluster: Any, place: Place, wanted: int) -> None:
        self.client = client
        self.cluster = cluster
        self.place = place
        self.wanted = wanted
        self._refilled = self._seen = time.monotonic()

    def expected(self) -> bool:
        """True if workers that are gone are started again."""
        return self.cluster is not None

    def check(self, needs: Mapping[str, float], stop: Stop) -> None:
        """Wait for the first worker. UsageError if those that are there lack what a run asks for."""
        while not (found := self._workers()):
            if stop.reason:
                return
            self._refill(0)
            time.sleep(POLL_SECONDS)
        if not any(self._slots(worker, needs) for worker in found.values()):
            offered = sorted({f"{n}={v:g}" for w in found.values() for n, v in w["resources"].items()})
            asked = " ".join(f"{name}={value:g}" for name, value in needs.items())
            raise UsageError(
                f"no worker of {self.place.address or self.place.kind} has what a run asks for ({asked}; they offer "
                f"{' '.join(offered) or 'none'}). Start workers with `dask worker ... --resources '{asked}'`."
            )

    def slots(self, needs: Mapping[str, float]) -> dict[str, int]:
        """Address of each worker -> how many such runs it can carry out at once."""
        found = self._workers()
        self._refill(len(found))
        return {address: n for address, worker in found.items() if (n := self._slots(worker, needs))}

    def submit(
        self, work: Callable[[str], str], request: str, needs: Mapping[str, float], only: Sequence[str] | None
    ) -> Any:
        return self.client.submit(
            work, request, resources=dict(needs) or None, workers=only, pure=False, retries=0
        )

    def answer(self, future: Any) -> tuple[str, dict[str, Any]]:
        """Address of the worker that carried out a finished task, and its answer."""
        where = next(iter(self.client.who_has([future]).values()), ()) or ("",)
        return where[0], json.loads(future.result())

    def cancel(self, futures: Sequence[Any]) -> None:
        with contextlib.suppress(Exception):  # the scheduler is gone: so are its tasks
            self.client.cancel(futures, force=True)

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.scheduler_info()["workers"]
        now = time.monotonic()
        if found or self.expected():
            self._seen = now
        elif now - self._seen > self.place.settings.wait:
            raise BenchError(
                f"the scheduler {self.place.address} has had no worker for {self.place.settings.wait:g} s. "
                f"Start some: dask worker {self.place.address} --nthreads 1"
            )
        return found

    @staticmethod
    def _slots(worker: Mapping[str, Any], needs: Mapping[str, float]) -> int:
        counts = [int(worker["resources"].get(name, 0) // value) for name, value in needs.items()]
        return min([int(worker["nthreads"]), *counts])

    def _refill(self, present: int) -> None:
        """Start again what a scheduler cancelled or a machine took with it."""
        now = time.monotonic()
        if self.cluster is not None and present < self.wanted and now - self._refilled > REFILL_SECONDS:
            self._refilled = now
            self.cluster.scale(self.wanted)


@contextlib.contextmanager
def started(place: Place, device: str, threads: int, runs: int, results: Path) -> Iterator[Workers]:
    """The cluster's workers, for `runs` runs of `threads` threads; what was started ends with the block."""
    distributed = _library("distributed")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if place.kind == "tcp":
        with _client(distributed, place.address, place) as client:
            yield Workers(client, None, place, 0)
        return
    _check_offer(place, device)
    wanted = place.workers(device, runs)
    if place.kind == "local" and device == "cuda" and not place.settings.workers:
        wanted = len(visible_devices())
    start = {"local": _local, "slurm": _slurm, "ssh": _ssh}[place.kind]
    cluster = start(distributed, place, device, threads, wanted, results)
    try:
        if place.kind == "slurm":
            cluster.scale(wanted)
        with _client(distributed, cluster, place) as client:
            yield Workers(client, cluster, place, wanted)
    finally:
        with contextlib.suppress(TimeoutError):
            cluster.close(timeout=30)


def _library(name: str) -> Any:
    # importing dask_jobqueue takes Ctrl-C for itself: the command's own answer to it stays
    before = signal.getsignal(signal.SIGINT)
    try:
        found = importlib.import_module(name)
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
        return found
    except ImportError:
        raise UsageError(
            f"--cluster needs {name.replace('_', '-')}, which is not installed: pip install 'mrhp-bench[cluster]'"
        ) from None


@contextlib.contextmanager
def _client(distributed: Any, at: Any, place: Place) -> Iterator[Any]:
    try:
        client = distributed.Client(at, set_as_default=False, timeout=20)
    except (OSError, TimeoutError) as error:
        raise UsageError(f"--cluster {place.address}: no Dask scheduler answers there ({error}).") from None
    with client:
        yield client


def _check_offer(place: Place, device: str) -> None:
    """UsageError where workers would be started that can never carry out a run."""
    offered = {GPU: place.gpus(device)}
    for name, value in place.needs(device).items():
        if offered.get(name, 0) < value:
            raise UsageError(
                f"a run asks for {name}={value:g}, but a worker that --cluster {place.kind} starts offers "
                f"{GPU}={offered[GPU]}; see gpus and resources in --cluster-config."
            )


def _scheduler(distributed: Any, **where: Any) -> dict[str, Any]:
    return {"cls": distributed.Scheduler, "options": {"port": 0, **SCHEDULER} | where}


def _local(distributed: Any, place: Place, device: str, threads: int, wanted: int, results: Path) -> Any:
    """A process per worker on this machine; each has one GPU, if there are any to give."""
    gpus = visible_devices() if device == "cuda" else ()
    if device == "cuda" and not gpus:
        raise UsageError("--cluster local --device cuda: this machine has no GPU. Use --device cpu.")
    common = {
        "nthreads": place.runs(device),
        "memory_limit": 0,  # of the runs' memory, which is in other processes, it sees nothing
        "host": "127.0.0.1",
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
        "preload": [IGNORE_INTERRUPTS],
        "resources": {GPU: place.gpus(device)},
    }
    specs = {}
    for number in range(wanted):
        env = {VISIBLE: gpus[number % len(gpus)]} if gpus else {}
        specs[number] = {"cls": distributed.Nanny, "options": common | {"env": env}}
    return distributed.SpecCluster(
        specs, _scheduler(distributed, host="127.0.0.1"), silence_logs=logging.CRITICAL
    )


def _slurm(distributed: Any, place: Place, device: str, threads: int, wanted: int, results: Path) -> Any:
    """A SLURM job per worker."""
    jobqueue = _library("dask_jobqueue")
    if shutil.which("sbatch") is None:
        raise UsageError("--cluster slurm: there is no `sbatch` on this machine; start on a login node.")
    settings, runs, gpus = place.settings, place.runs(device), place.gpus(device)
    logs = results / ".slurm"
    logs.mkdir(parents=True, exist_ok=True)
    gres = [f"--gres=gpu:{gpus}"] if gpus else []
    return jobqueue.SLURMCluster(
        cores=runs,
        processes=1,
        memory=settings.memory,
        job_cpu=settings.cores or runs * threads,
        queue=settings.partition,
        account=settings.account,
        walltime=settings.time,
        job_name="mrhp-bench",
        log_directory=str(logs),
        python=settings.python or sys.executable,
        interface=settings.interface,
        job_extra_directives=[*gres, *settings.directives],
        job_script_prologue=list(settings.prologue),
        worker_extra_args=["--resources", f"{GPU}={gpus}", "--no-dashboard", "--memory-limit", "0"],
        scheduler_options=dict(SCHEDULER),
        silence_logs=logging.CRITICAL,
    )


def _ssh(distributed: Any, place: Place, device: str, threads: int, wanted: int, results: Path) -> Any:
    """A worker per host, started over ssh; the scheduler is here."""
    _library("asyncssh")
    ssh = importlib.import_module("distributed.deploy.ssh")
    options = {
        "connect_options": dict(place.settings.ssh),
        "remote_python": place.settings.python or sys.executable,
        "kwargs": {
            "nthreads": place.runs(device),
            "memory_limit": 0,
            "dashboard": False,
            "resources": {GPU: place.gpus(device)},
        },
    }
    specs = {
        number: {
            "cls": ssh.Worker,
            "options": options | {"address": place.hosts[number % len(place.hosts)]},
        }
        for number in range(wanted)
    }
    where = {"interface": place.settings.interface} if place.settings.interface else {}
    try:
        return distributed.SpecCluster(specs, _scheduler(distributed, **where), silence_logs=logging.CRITICAL)
    except Exception as error:  # asyncssh's and Dask's: neither says which host it was about
        raise OSError(
            f"--cluster ssh:{','.join(place.hosts)}: no worker could be started there "
            f"({str(error) or type(error).__name__}). "
            f"Try `ssh {place.hosts[0]} {options['remote_python']} -m distributed.cli.dask_spec --version` by hand; "
            "[ssh] in --cluster-config names port, user and keys."
        ) from error
