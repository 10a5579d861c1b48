"""Kill processes that pack a release, at random moments, and compare the pack with an undisturbed one.

Killed are the process that packs, the process that reads feature files for it, and one of two that pack the same
into one cache at once.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmark.data.mini.corpus import MiniSpec, write_corpus

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CORPUS = MiniSpec(train_products=120, dev_products=10, test_products=10, roi_width=64, categories=("home",))


class Packing:
    """Packs of one release, each in a cache of its own."""

    def __init__(self, place: Path, seed: int, spec: MiniSpec = CORPUS) -> None:
        self.place = place
        self.random = random.Random(seed)
        self.root = place / "release"
        write_corpus(self.root, spec)
        begun = time.monotonic()
        assert self.start("whole").wait() == 0
        self.seconds = time.monotonic() - begun
        self.expected = digest(place / "whole")

    def start(self, cache: str) -> subprocess.Popen[bytes]:
        words = ["data", "pack", "--data", str(self.root), "--dataset", "amazon"]
        command = [sys.executable, "-c", "from benchmark.cli import main; main()", *words]
        return subprocess.Popen(
            [*command, "--cache", str(self.place / cache)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def kills(self, number: int) -> Counter[str]:
        done: Counter[str] = Counter()
        kinds = (self.packer, self.reader, self.one_of_two)
        tries = 0
        while done.total() < number:
            kinds[tries % len(kinds)](f"cache-{tries}", done)
            tries += 1
            assert tries < 10 * number + 10, "kills come too late"
        return done

    def _wait(self) -> None:
        time.sleep(self.random.uniform(0.2, 0.95) * self.seconds)

    def packer(self, cache: str, done: Counter[str]) -> None:
        job, chosen = self.start(cache), self.random.choice(SIGNALS)
        self._wait()
        if job.poll() is None:
            job.send_signal(chosen)
            done[f"packing {chosen.name}"] += 1
        job.wait()
        self.check(cache)

    def reader(self, cache: str, done: Counter[str]) -> None:
        """Its work is done again by another, within the same command."""
        from tests.faults.campaign import children_of

        job = self.start(cache)
        self._wait()
        if children := children_of(job.pid):
            os.kill(children[0], signal.SIGKILL)
            done["packing: the reader of features SIGKILL"] += 1
        # 5: it was killed before it was ready, which says nothing about a file
        assert job.wait() in (0, 5)
        self.check(cache)

    def one_of_two(self, cache: str, done: Counter[str]) -> None:
        """Whichever has the lock or waits for it: the other one packs."""
        jobs = [self.start(cache), self.start(cache)]
        self._wait()
        victim, other = self.random.sample(jobs, 2)
        if victim.poll() is None:
            victim.kill()
            done["packing: one of two SIGKILL"] += 1
        victim.wait()
        assert other.wait() == 0
        self.check(cache)

    def check(self, cache: str) -> None:
        """Finish, and compare; nothing half done is left."""
        assert self.start(cache).wait() == 0
        assert digest(self.place / cache) == self.expected
        left = [path.name for path in (self.place / cache / "packs").iterdir() if ".tmp-" in path.name]
        assert not left, left


def digest(cache: Path) -> dict[str, str]:
    """Every file of every pack; of its name only what is no fact of this moment."""
    found = {
        str(file.relative_to(cache)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(cache.glob("packs/*/*"))
        if not file.name.startswith("hashed-")  # inodes and times of large files
    }
    assert found
    return found
