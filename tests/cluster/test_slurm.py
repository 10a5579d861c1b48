"""A real SLURM of one node, where it is installed: jobs carry out runs, and one that is cancelled costs nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if importlib.util.find_spec("dask_jobqueue") is None:  # not imported: that alone would take Ctrl-C for itself
    pytest.skip("dask_jobqueue is not installed", allow_module_level=True)

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
MISSING = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name, path=PATH)]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"SLURM is not installed (no {', '.join(MISSING)})"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="SLURM's daemons need root"),
]

SCRIPT = Path(__file__).with_name("slurm.sh")
BENCH = (sys.executable, "-c", "from benchmark.cli import main; main()", "run")
RUNS = ("--dataset", "amazon", "--method", "egcnn", "--device", "cpu", "--seeds", "0-2", "--json")
LONG = ("--set", "epochs=40", "--set", "patience=0", "--checkpoint-every", "0")


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of SLURM's clients."""
    folder = tmp_path / "slurm"
    try:
        started = subprocess.run(
            ["bash", SCRIPT, "start", folder], capture_output=True, text=True, timeout=200
        )
        if started.returncode:
            pytest.skip(f"SLURM does not start here: {started.stderr.strip()[-300:]}")
        yield os.environ | {"SLURM_CONF": started.stdout.strip().partition("=")[2]}
    finally:
        subprocess.run(["bash", SCRIPT, "stop", folder], capture_output=True, timeout=60, check=False)


def files_of(results: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(results)): file.read_bytes()
        for name in ("config.json", "scores.npy", "per_product.npy")
        for file in sorted(results.glob(f"runs/*/*/*/seed-*/{name}"))
    }


def test_a_cancelled_job_changes_nothing(
    slurm: dict[str, str], where: list[str], corpus: Path, cache: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    (tmp_path / "cluster.toml").write_text(
        'interface = "lo"\nmemory = "2GB"\ntime = "0:30:00"\ngpus = 1\npartition = "test"\n'
    )
    options = ["--data", str(corpus), "--cache", str(cache), "--results", str(there), "--jobs", "2"]
    words = [*BENCH, *RUNS, *LONG, *options, "--cluster", "slurm"]
    words += ["--cluster-config", str(tmp_path / "cluster.toml")]
    process = subprocess.Popen(words, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 200
        while process.poll() is None and not list(there.glob(".checkpoints/*/state.json")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        queue = ["squeue", "--noheader", "--states=RUNNING", "--format=%i"]
        job = subprocess.run(queue, env=slurm, capture_output=True, text=True, check=True).stdout.split()[0]
        subprocess.run(["scancel", job], env=slurm, check=True)
        _, told = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, told
    left = subprocess.run(["squeue", "--noheader"], env=slurm, capture_output=True, text=True, check=True)
    assert all(" CG " in line for line in left.stdout.splitlines()), left.stdout
    subprocess.run([*BENCH, *RUNS, *LONG, *where], check=True, capture_output=True)
    assert len(files_of(there)) == 9
    assert files_of(there) == files_of(tmp_path / "results")
