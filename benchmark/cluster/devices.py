"""Which of a machine's GPUs a run gets. A run knows one, `cuda`: its process sees no other."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"


@functools.cache
def visible_devices() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them (numbers, or UUIDs)."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    # Asked of a process of its own: this one may be a scheduler or a worker that does without torch.
    count = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout.strip()
    return tuple(str(number) for number in range(int(count or 0)))


class Devices:
    """GPUs dealt out to processes: each to one, until there are more processes than GPUs."""

    def __init__(self, names: Sequence[str]) -> None:
        self._users = dict.fromkeys(names, 0)
        self._lock = threading.Lock()

    def take(self) -> dict[str, str]:
        """The environment of a process that gets the GPU with the fewest users, the first of these; hand it to
        `release` when the process has ended. Empty where there is no GPU to choose."""
        with self._lock:
            if not self._users:
                return {}
            name = min(self._users, key=self._users.__getitem__)
            self._users[name] += 1
            return {VISIBLE: name}

    def release(self, taken: dict[str, str]) -> None:
        with self._lock:
            for name in taken.values():
                self._users[name] -= 1
