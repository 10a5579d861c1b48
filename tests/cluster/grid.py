"""A grid of 54 runs on a cluster that loses workers: its tables are, to the byte, those of an undisturbed local job.

    python -m tests.cluster.grid local    # two Dask workers, of which one is killed every 20 seconds
    python -m tests.cluster.grid slurm    # a SLURM of this machine's own (slurm.sh), one of its jobs cancelled

Nine methods on three categories of two data sets; prints what was killed and what was compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.test_dask import files_of, workers_at_work

BENCH = (sys.executable, "-c", "from benchmark.cli import main; main()")
RUNS = 54
SCRIPT = Path(__file__).with_name("slurm.sh")
CLUSTER_TOML = 'interface = "lo"\nmemory = "2GB"\ntime = "0:30:00"\npartition = "test"\n'
Job = subprocess.Popen[str]
Environment = dict[str, str]


class Grid:
    """The corpus and the job that is done on it twice."""

    def __init__(self, place: Path, seed: int) -> None:
        from benchmark.data.mini.corpus import MiniSpec, write_corpus

        self.place = place
        self.random = random.Random(seed)
        # categories of both of the paper's data sets
        categories = ("clothing", "electronics", "home")
        spec = MiniSpec(
            train_products=24, dev_products=5, test_products=6, roi_width=16, categories=categories
        )
        write_corpus(place / "corpus", spec)

    def words(self, results: str) -> list[str]:
        where = ["--data", self.place / "corpus", "--cache", self.place / "cache"]
        job = ["run", "--all-categories", "--seeds", "0", "--device", "cpu", "--checkpoint-every", "0"]
        return [*BENCH, *job, *map(str, where), "--results", str(self.place / results), "--json"]

    def alone(self) -> None:
        subprocess.run([*self.words("alone"), "--jobs", "2"], check=True, stdout=subprocess.DEVNULL)

    def start(self, cluster: list[str], environment: Environment) -> Job:
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        words = [*self.words("cluster"), "--jobs", "2", "--cluster", *cluster]
        return subprocess.Popen(words, env=os.environ | environment, **quiet)  # type: ignore[call-overload,no-any-return]

    def done(self) -> int:
        return len(list((self.place / "cluster").glob("runs/*/*/*/*/done")))

    def compare(self) -> int:
        """AssertionError unless runs and tables are the same bytes; returns how many files were compared."""
        alone, cluster = files_of(self.place / "alone"), files_of(self.place / "cluster")
        assert len(alone) == 3 * RUNS, len(alone)
        assert alone == cluster
        for words in (["lazada"], ["amazon"], ["lazada", "--format", "csv"], ["amazon", "--format", "csv"]):
            tables = [self._table(results, words) for results in ("alone", "cluster")]
            assert tables[0] == tables[1], words
        for left in (".claims", ".partial", ".checkpoints"):
            assert not list((self.place / "cluster" / left).glob("*")), left
        return len(alone) + 4

    def _table(self, results: str, words: list[str]) -> bytes:
        table = [*BENCH, "table", "--dataset", *words, "--results", str(self.place / results)]
        return subprocess.run(table, check=True, capture_output=True).stdout


def kill_workers(grid: Grid, job: Job, every: float) -> Counter[str]:
    """Every so many seconds one of the workers that have a run, until the job ends."""
    killed: Counter[str] = Counter()
    while job.poll() is None:
        time.sleep(every)
        found = workers_at_work(job)
        if found:
            os.kill(grid.random.choice(found), signal.SIGKILL)
            killed["Dask workers killed"] += 1
    return killed


def cancel_one(grid: Grid, job: Job, environment: Environment) -> Counter[str]:
    """One running job of SLURM, when a third of the runs are done."""
    while job.poll() is None and grid.done() < RUNS // 3:
        time.sleep(0.5)
    queue = ["squeue", "--noheader", "--states=RUNNING", "--format=%i"]
    listed = subprocess.run(
        queue, env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run(["scancel", listed[0]], env=os.environ | environment, check=True)
    return Counter({f"SLURM jobs cancelled after {grid.done()} runs": 1})


@contextmanager
def slurm(folder: Path) -> Iterator[Environment]:
    """A SLURM of its own; what SLURM's clients need to find it."""
    try:
        started = subprocess.run(
            ["bash", SCRIPT, "start", folder], stdout=subprocess.PIPE, text=True, check=True
        )
        yield {"SLURM_CONF": started.stdout.strip().partition("=")[2]}
    finally:
        subprocess.run(["bash", SCRIPT, "stop", folder], capture_output=True, timeout=60, check=False)


def carry_out(
    grid: Grid, cluster: list[str], environment: Environment, disturb: Callable[[Job], Counter[str]]
) -> None:
    begun = time.monotonic()
    job = grid.start(cluster, environment)
    try:
        killed = disturb(job)
        listed, told = job.communicate()
    finally:
        job.kill()
        job.wait()
    again = told.count("it is tried again")
    if job.returncode:
        failed = [run for run in json.loads(listed)["runs"] if run["failed"]] if listed else []
        raise AssertionError(f"code {job.returncode}\n{failed}\n{told[-3000:]}")
    print(
        f"{cluster[0]}: {grid.done()} runs in {time.monotonic() - begun:.0f} s; {dict(killed)}, {again} tried again"
    )
    print(f"{grid.compare()} files and tables byte-identical to the local ones", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cluster", choices=["local", "slurm"])
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills (local)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        grid = Grid(place, chosen.seed)
        grid.alone()
        if chosen.cluster == "local":
            carry_out(grid, ["local"], {}, lambda job: kill_workers(grid, job, chosen.every))
            return
        (place / "cluster.toml").write_text(CLUSTER_TOML)
        with slurm(place / "slurm") as environment:
            words = ["slurm", "--cluster-config", str(place / "cluster.toml")]
            carry_out(grid, words, environment, lambda job: cancel_one(grid, job, environment))


if __name__ == "__main__":
    main()
