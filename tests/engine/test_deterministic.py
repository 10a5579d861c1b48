"""A run is deterministic without torch's compiler being loaded, which takes longer than a short run."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, torch
from benchmark.engine.config import TrainingConfig
from benchmark.engine.machine import prepare_process, set_deterministic
prepare_process(TrainingConfig())
assert torch.are_deterministic_algorithms_enabled()
assert not torch.is_deterministic_algorithms_warn_only_enabled()
assert not any(name.startswith("torch._inductor") for name in sys.modules)
import torch._inductor.config as compiler
assert compiler.deterministic
set_deterministic(False)
assert not torch.are_deterministic_algorithms_enabled() and not compiler.deterministic
set_deterministic(True)
assert torch.are_deterministic_algorithms_enabled() and compiler.deterministic
"""


def test_torch_and_its_compiler_are_told() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
