"""Where a job's runs are carried out: the options, and the choice between this machine and a cluster."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.core.errors import UsageError

if TYPE_CHECKING:
    from benchmark.cli.job import Job
    from benchmark.cluster.settings import Place
    from benchmark.engine.execute import Outcome, RunOptions
    from benchmark.engine.stop import Stop

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="Carry runs out with Dask: local, tcp://host:8786 (a scheduler that is there), slurm, "
        "ssh:host1,host2. Needs mrhp-bench[cluster]. Default: processes of this machine.",
    ),
]
ClusterConfig = Annotated[
    Path | None,
    typer.Option(
        "--cluster-config",
        metavar="FILE",
        help="TOML: workers, runs, gpus, cores, memory, time, partition, account, ... of --cluster.",
    ),
]


def chosen_place(cluster: str | None, config: Path | None, jobs: int | None) -> Place | None:
    """None: this machine, without Dask."""
    from benchmark.cluster.settings import parse_place

    if cluster is None:
        if config is not None:
            raise UsageError("--cluster-config says how --cluster starts workers: say which, too.")
        return None
    return parse_place(cluster, config, jobs)


def carries_out_elsewhere(place: Place | None, device: str) -> bool:
    """True if it is not this machine's devices that count. UsageError for a device that cannot be meant."""
    if place is None:
        return False
    if device.startswith("cuda:"):
        raise UsageError(f"--device {device} with --cluster: each worker has its own GPU; say --device cuda.")
    if place.kind == "local":
        return False
    if device == "auto":
        raise UsageError(
            f"--cluster {place.kind}: say --device cpu or --device cuda; it is not this machine that counts."
        )
    return True


def outcomes_of(job: Job, options: RunOptions, stop: Stop) -> Generator[Outcome, None, None]:
    """The runs of a job carried out where it says."""
    from benchmark.cli.output import say

    runs, timeout = job.plan.to_do, job.options.timeout
    if job.place is None:
        from benchmark.cluster import here

        return here.run_all(
            *(runs, job.source, job.results), jobs=job.jobs, options=options, timeout=timeout, stop=stop
        )
    from benchmark.cluster import dask

    return dask.run_all(
        *(runs, job.source, job.results),
        place=job.place,
        options=options,
        timeout=timeout,
        stop=stop,
        say=say,
    )
