"""Kill jobs at random moments and compare the end with an undisturbed one, byte for byte.

`python -m tests.faults.campaign --kills 100 --seed 0`: so many kills in all, spread over the job itself, its
workers, packing (see `tests.faults.packing`) and the inside of long runs; in a temporary folder. The suite makes a
few of each.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

JOB = ("run", "--dataset", "amazon", "--seeds", "0-1", "--method", "egcnn", "--method", "mmss")
SAVED = ("--set", "patience=0", "--keep-weights", "--checkpoint-every")
LONG = (*SAVED, "0", "--set", "epochs=12", "--jobs", "2")
INSIDE = ("run", "--dataset", "lazada", "--seeds", "0", "--method", "mmss", "--method", "mcl")
"""Two runs of many epochs, each of which is killed again and again."""
LONGER = (*SAVED, "0.2", "--set", "epochs=40", "--jobs", "2")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
WITNESS = """
import os, sys
if "benchmark.cluster.worker" in " ".join(sys.orig_argv):
    from benchmark.engine import execute
    carry_out = execute._carry_out
    def witnessed(spec, *words):
        with open(os.environ["WITNESS"], "a") as file:
            file.write(spec.identity + chr(10))
        return carry_out(spec, *words)
    execute._carry_out = witnessed
"""


class Campaign:
    def __init__(
        self, place: Path, data: Path, cache: Path, seed: int, words: tuple[str, ...] = (*JOB, *LONG)
    ) -> None:
        self.place, self.data, self.cache = place, data, cache
        self.random = random.Random(seed)
        self.words = [*words, "--data", str(data), "--cache", str(cache)]
        begun = time.monotonic()
        assert self.start("whole").wait() == 0
        self.seconds = time.monotonic() - begun
        self.expected = digest(place / "whole")

    def start(
        self, results: str, *, prefix: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        command = [*prefix, sys.executable, "-c", "from benchmark.cli import main; main()", *self.words]
        return subprocess.Popen(
            [*command, "--results", str(self.place / results)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )

    def check(self, results: str) -> None:
        """Finish the job and compare."""
        for _ in range(3):  # a run whose worker was killed twice is recorded as failed, and tried again
            if self.start(results).wait() == 0:
                break
        assert digest(self.place / results) == self.expected
        for left in (".claims", ".partial", ".checkpoints"):
            assert not list((self.place / results / left).glob("*")), left

    def main(self, kills: int) -> Counter[str]:
        """Kill the job itself; restarted, it goes on."""
        done: Counter[str] = Counter()
        folder, starts, most = 0, 0, 0.8 * self.seconds
        while done.total() < kills:
            job, chosen = self.start(f"main-{folder}"), self.random.choice(SIGNALS)
            starts += 1
            time.sleep(self.random.uniform(0.25, 1) * most)
            is_ahead = job.poll() is None
            if is_ahead:
                job.send_signal(chosen)
                done[f"main {chosen.name}"] += 1
            elif starts == 1:  # faster than the undisturbed one: the next is killed sooner
                most *= 0.7
            assert job.wait() in (0, 75, -chosen)
            if starts == 5 or not is_ahead or done.total() == kills:
                self.check(f"main-{folder}")
                folder, starts = folder + 1, 0
        return done

    def workers(self, kills: int) -> Counter[str]:
        """Kill workers of a job that goes on."""
        done: Counter[str] = Counter()
        for number in itertools.takewhile(lambda _: done.total() < kills, itertools.count()):
            results = f"workers-{number}"
            job = self.start(results)
            while job.poll() is None and done.total() < kills:
                time.sleep(self.random.uniform(0.1, 0.4) * self.seconds)
                children = children_of(job.pid)
                if children:
                    os.kill(self.random.choice(children), signal.SIGKILL)
                    done["worker SIGKILL"] += 1
            assert job.wait() in (0, 1)
            self.check(results)
        return done

    def inside(self, kills: int) -> Counter[str]:
        """Kill runs under way, their job or their worker, each time from where the last kill left them."""
        done: Counter[str] = Counter()
        while done.total() < kills:
            results = f"inside-{done.total()}"
            for _ in range(8):
                job = self.start(results)
                saved = self._wait_for_checkpoint(results, job)
                time.sleep(self.random.uniform(0.0, 0.15) * self.seconds)
                if job.poll() is not None or not saved or done.total() == kills:
                    break
                children = children_of(job.pid)
                if children and self.random.random() < 0.4:
                    os.kill(self.random.choice(children), signal.SIGKILL)
                    done["inside: worker SIGKILL"] += 1
                    time.sleep(self.random.uniform(0.0, 0.1) * self.seconds)
                    job.kill()  # with the run that is tried again under way or about to be
                    done["inside: job after its worker"] += 1
                else:
                    chosen = self.random.choice(SIGNALS)
                    job.send_signal(chosen)
                    done[f"inside: job {chosen.name}"] += 1
                job.wait()
            job.kill()
            job.wait()
            self.check(results)
        return done

    def _wait_for_checkpoint(self, results: str, job: subprocess.Popen[bytes]) -> bool:
        """Until one is newer than this start; False if the job ended first."""
        begun = time.time()
        while job.poll() is None:
            for file in (self.place / results / ".checkpoints").glob("*/state.json"):
                with contextlib.suppress(OSError):
                    if file.stat().st_mtime > begun:
                        return True
            time.sleep(0.02)
        return False

    def schedulers(self, _: int) -> Counter[str]:
        """Two jobs on one results folder: each run is carried out once."""
        witness, site = self.place / "witness", self.place / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(WITNESS)
        environment = {"PYTHONPATH": str(site), "WITNESS": str(witness)}
        for job in [self.start("shared", **environment) for _ in range(2)]:
            assert job.wait() == 0
        seen = Counter(witness.read_text().split())
        assert set(seen.values()) == {1}, seen
        assert digest(self.place / "shared") == self.expected
        return Counter({"runs shared by two schedulers": len(seen)})


def children_of(process: int) -> list[int]:
    """Processes that any of its threads started."""
    found: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in file.read_text().split()]
    return found


def digest(results: Path) -> dict[str, str]:
    """Every file of every run: bytes, but for durations."""
    found = {}
    for file in sorted(results.glob("runs/*/*/*/*/*")):
        content = file.read_bytes()
        if file.name in ("meta.json", "done"):  # durations, and the hash of a file that holds some
            continue
        if file.name == "log.jsonl":
            entries = [json.loads(line) for line in content.splitlines()]
            kept = [{k: v for k, v in entry.items() if not k.endswith("seconds")} for entry in entries]
            content = json.dumps(kept).encode()
        found[str(file.relative_to(results))] = hashlib.sha256(content).hexdigest()
    assert found
    return found


SHARES = {"main": 0.2, "workers": 0.25, "packing": 0.25, "inside": 0.3}
"""Part -> its share of the kills."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", choices=[*SHARES, "schedulers", "containers"], help="all of the kills in one part"
    )
    chosen = parser.parse_args()
    from benchmark.data.mini.corpus import MiniSpec, write_corpus
    from tests.faults.containers import Containers, command
    from tests.faults.packing import Packing

    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        spec = MiniSpec(
            train_products=24, dev_products=5, test_products=6, roi_width=16, categories=("home",)
        )
        write_corpus(place / "corpus", spec)

        def part(name: str) -> Callable[[int], Counter[str]]:
            here = place / name
            here.mkdir()
            if name == "packing":
                return Packing(here, chosen.seed).kills
            words = (*INSIDE, *LONGER) if name == "inside" else (*JOB, *LONG)
            campaign = Campaign(here, place / "corpus", place / "cache", chosen.seed, words)
            if name == "containers":
                return lambda _: Containers(campaign).carry_out(3, kill=True)
            kinds = {"main": campaign.main, "workers": campaign.workers, "inside": campaign.inside}
            return kinds.get(name, campaign.schedulers)

        for name in [chosen.only] if chosen.only else [*SHARES, "schedulers", "containers"]:
            if name == "containers" and isinstance(refusal := command(), str):
                print(f"containers: skipped, {refusal}")
                continue
            kills = chosen.kills if chosen.only else round(SHARES.get(name, 0) * chosen.kills)
            done = part(name)(kills)
            total += done
            print(f"{name}: {dict(done)}, byte-identical", flush=True)
    print(f"{sum(count for what, count in total.items() if 'SIG' in what or 'after' in what)} kills")


if __name__ == "__main__":
    main()
