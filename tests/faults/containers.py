"""Several jobs on one results folder, each in process namespaces of its own, all with one host name.

To each of them, every process of another is a number of its own or none: what containers on one machine are to
each other. One is killed as a whole. Started and ended runs are counted where workers carry them out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.faults.campaign import Campaign, digest

WITNESS = """
import os, sys
def write(word, spec):
    # one write of one line, appended: lines of several processes stay whole
    line = f"{word} {spec.identity} {os.environ['CONTAINER']} {os.getpid()} {os.uname().nodename}" + chr(10)
    file = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
if "benchmark.cluster.worker" in " ".join(sys.orig_argv):
    from benchmark.engine import execute
    carry_out = execute._carry_out
    def witnessed(spec, *words):
        write("started", spec)
        carry_out(spec, *words)
        write("ended", spec)
    execute._carry_out = witnessed
if "STALE" in os.environ:
    from benchmark.runs import claims
    claims.STALE_SECONDS, claims.HEARTBEAT_SECONDS = float(os.environ["STALE"]), 0.5
"""
"""A `sitecustomize` for the jobs and their workers."""
HOST = "box"


def command() -> list[str] | str:
    """What starts a command in a container of its own, or why there is none on this machine."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "there is no `unshare`"
    words = [unshare, "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
    refusal = ""
    for rights in ([], ["--user", "--map-root-user"]):
        tried = [*words, *rights, "sh", "-c", f'hostname {HOST} && exec "$@"', "sh"]
        try:
            done = subprocess.run([*tried, "true"], capture_output=True, text=True, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            refusal = "unshare hangs"
            continue
        if done.returncode == 0:
            return tried
        refusal = done.stderr.strip()
    return f"namespaces are not permitted here ({refusal})"


class Containers:
    """Jobs of a campaign in containers; `stale`: seconds after which a claim without a sign of life is void."""

    def __init__(self, campaign: Campaign, stale: float | None = None) -> None:
        self.campaign = campaign
        self.witness = campaign.place / "containers.txt"
        self.environment = {} if stale is None else {"STALE": str(stale)}
        started = command()
        assert not isinstance(started, str), started
        self.prefix = started
        site = campaign.place / "containers-site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(WITNESS)
        self.environment |= {"PYTHONPATH": f"{site}{os.pathsep}{os.getcwd()}", "WITNESS": str(self.witness)}

    def start(self, number: int) -> subprocess.Popen[bytes]:
        environment = self.environment | {"CONTAINER": str(number)}
        return self.campaign.start("containers", prefix=self.prefix, **environment)

    def lines(self) -> list[list[str]]:
        return (
            [line.split() for line in self.witness.read_text().splitlines()] if self.witness.exists() else []
        )

    def carry_out(self, count: int, kill: bool) -> Counter[str]:
        """Jobs in so many containers; one of them is killed in the middle of a run."""
        jobs = {str(number): self.start(number) for number in range(count)}
        victim = ""
        while kill and not victim:
            assert any(job.poll() is None for job in jobs.values()), "ended before one could be killed"
            states = {(where, run): word for word, run, where, *_ in self.lines()}
            at_work = [where for (where, _), word in states.items() if word == "started"]
            # when there are runs behind as well as ahead of it
            if at_work and any(word == "ended" for word in states.values()):
                victim = self.campaign.random.choice(at_work)
                jobs[victim].kill()
            time.sleep(0.02)
        for name, job in jobs.items():
            assert job.wait() == (-9 if name == victim else 0), name
        return self.check(victim)

    def check(self, victim: str) -> Counter[str]:
        """No run was done twice, none lost: only what the victim had begun was begun once more."""
        begun, ended = defaultdict(list), defaultdict(list)
        for word, run, where, _, host in self.lines():
            assert host == HOST
            (begun if word == "started" else ended)[run].append(where)
        lost = 0
        for run, places in begun.items():
            unfinished = victim in places and victim not in ended[run]
            lost += unfinished
            assert len(places) - unfinished == len(ended[run]) <= 1 or places == [victim], (run, places)
        assert digest(self.campaign.place / "containers") == self.campaign.expected
        left = [file for name in (".claims", ".partial", ".checkpoints") for file in self._left(name)]
        assert not left, left
        counts = Counter({"runs": len(begun), "begun": sum(map(len, begun.values()))})
        counts[f"containers with work of {len({w for p in begun.values() for w in p})}"] = 1
        counts["taken over from the one that was killed"] = lost
        return counts

    def _left(self, name: str) -> list[Path]:
        return list((self.campaign.place / "containers" / name).glob("*"))
