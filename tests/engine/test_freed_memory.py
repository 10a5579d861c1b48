"""What a process has freed goes back to the kernel between training and scoring, if the process is large."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os
import torch
from benchmark.engine import evaluate, machine

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

machine.MUCH_MEMORY = int({much!r})
machine.keep_freed_memory()
model = torch.nn.Linear(1, 1)
before = resident()
# large blocks between small ones that stay: the C library itself gives none of these back
blocks, pins = [], []
for _ in range(128):
    blocks.append(torch.ones(1 << 18))
    pins.append(torch.ones(64))
blocks.clear()
held = resident()
with evaluate.evaluation(model):
    assert not model.training and torch.is_inference_mode_enabled()
    within = resident()
assert model.training
print(held - before, held - within)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
@pytest.mark.parametrize(("much", "returned"), [(0, True), (1 << 40, False)])
def test_a_large_process_returns_what_it_freed_and_a_small_one_keeps_it(much: int, returned: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(much=much)], capture_output=True, text=True, check=True
    )
    kept, less = map(int, done.stdout.split())
    assert kept > 100  # MB
    assert less > 100 if returned else less < 10
