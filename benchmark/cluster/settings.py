"""`--cluster` and `--cluster-config`: where runs are carried out, and what is asked for there."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import LARGEST_JSON, read_regular

MOST_AT_ONCE = 4
"""Runs at once on workers that are started, unless --jobs says another number."""
GPU = "GPU"
"""Name of the Dask resource that a run on a GPU asks for."""


@dataclass(frozen=True)
class Settings:
    """What `--cluster-config` may say. A worker is one SLURM job, or one process on a machine."""

    workers: int | None = None
    """How many; default: as many as carry out --jobs runs at once, on ssh one per host."""
    runs: int | None = None
    """Runs that a worker carries out at once; default: one per GPU, else one."""
    gpus: int | None = None
    """GPUs of a worker; default: one if the runs are on GPUs, else none."""
    cores: int | None = None
    """Cores of a worker; default: train.threads for each of its runs."""
    memory: str = "16GB"
    """Memory of a worker."""
    time: str = "24:00:00"
    """SLURM's time limit; runs that it ends go on in another job."""
    partition: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    """Further #SBATCH lines, such as `--constraint=a100`."""
    prologue: tuple[str, ...] = ()
    """Shell lines before a worker starts, such as `module load cuda`."""
    interface: str | None = None
    """Network interface over which workers reach this machine, such as ib0."""
    python: str | None = None
    """Python on the workers' machines; default: this one's path."""
    wait: float = 30.0
    """Seconds that a scheduler which was there before may be without any worker."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Dask resources that each run asks for beside its GPU."""
    ssh: Mapping[str, Any] = field(default_factory=dict)
    """How the hosts of ssh: are reached, where ~/.ssh/config does not say it: port, username, client_keys (files) and
    known_hosts (a file)."""


@dataclass(frozen=True)
class Place:
    """Where runs are carried out."""

    kind: Literal["local", "tcp", "slurm", "ssh"]
    address: str = ""
    """Of the scheduler, for `tcp`."""
    hosts: tuple[str, ...] = ()
    """For `ssh`."""
    jobs: int | None = None
    """Runs at once, where workers are started."""
    settings: Settings = Settings()

    def needs(self, device: str) -> dict[str, float]:
        """The Dask resources that a run asks for."""
        return dict(self.settings.resources) | ({GPU: 1} if device == "cuda" else {})

    def gpus(self, device: str) -> int:
        """Of a worker that is started."""
        if self.settings.gpus is not None:
            return self.settings.gpus
        return 1 if device == "cuda" else 0

    def runs(self, device: str) -> int:
        """At once on a worker that is started."""
        return self.settings.runs or (max(1, self.gpus(device)) if device == "cuda" else 1)

    def workers(self, device: str, runs: int) -> int:
        """How many to start for `runs` runs."""
        if self.settings.workers:
            return self.settings.workers
        if self.kind == "ssh":
            return len(self.hosts)
        return max(1, -(-min(self.jobs or MOST_AT_ONCE, runs) // self.runs(device)))


def parse_place(text: str, config: Path | None = None, jobs: int | None = None) -> Place:
    """`local`, `tcp://host:8786`, `slurm` or `ssh:host1,host2`. Raises UsageError, DataError."""
    settings = read_settings(config) if config is not None else Settings()
    kind, _, rest = text.partition(":")
    if text == "local":
        return Place("local", jobs=jobs, settings=settings)
    if text == "slurm":
        return Place("slurm", jobs=jobs, settings=settings)
    if kind in ("tcp", "tls") and _is_address(text):
        return Place("tcp", address=text, jobs=jobs, settings=settings)
    hosts = tuple(host.strip() for host in rest.split(",") if host.strip())
    if kind == "ssh" and hosts:
        return Place("ssh", hosts=hosts, jobs=jobs, settings=settings)
    raise UsageError(f"--cluster takes local, tcp://host:8786, slurm or ssh:host1,host2, not {text[:80]!r}.")


def _is_address(text: str) -> bool:
    """True for `tcp://host:8786` and `tcp://[::1]:8786`."""
    try:
        parts = urlsplit(text)
        return bool(parts.hostname and parts.port and not parts.path)
    except ValueError:  # brackets that do not close, a port beyond 65535
        return False


def read_settings(file: Path) -> Settings:
    """The settings of a TOML file. DataError names the file and the key."""
    try:
        record = tomllib.loads(read_regular(file, LARGEST_JSON).decode("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"--cluster-config {file}: no such file.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not a TOML file ({error}).") from None
    known = {one.name: one for one in fields(Settings)}
    chosen: dict[str, Any] = {}
    for key, value in record.items():
        if key not in known:
            raise DataError(f"{file}: unknown key {key!r}; known: {', '.join(known)}.")
        expected = _KINDS[known[key].name]
        if not expected[1](value):
            raise DataError(f"{file}: {key} takes {expected[0]}, not {value!r}.")
        chosen[key] = tuple(value) if isinstance(value, list) else value
    return Settings(**chosen)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_line(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\n" not in value


def _are_lines(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_line, value))


def _are_resources(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _are_ssh_options(value: object) -> bool:
    """Those of asyncssh that name a host's door and its keys; none of them can switch a check off."""
    kinds = {"port": _is_count, "username": _is_line, "client_keys": _are_lines, "known_hosts": _is_line}
    return isinstance(value, dict) and all(key in kinds and kinds[key](one) for key, one in value.items())


_COUNT = ("a number of at least 1", _is_count)
_LINE = ("a text of one line", _is_line)
_LINES = ("a list of lines", _are_lines)
_KINDS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("workers", "runs", "cores"), _COUNT),
    "gpus": ("a number of at least 0", lambda value: value == 0 or _is_count(value)),
    **dict.fromkeys(("memory", "time", "partition", "account", "interface", "python"), _LINE),
    **dict.fromkeys(("directives", "prologue"), _LINES),
    "wait": ("a number of seconds", _is_number),
    "resources": ("a table of names and numbers", _are_resources),
    "ssh": (
        "a table of port, username, client_keys (a list of files), known_hosts (a file)",
        _are_ssh_options,
    ),
}
