"""`python -m benchmark.checks.unpickle SOURCE OUT`: a checkpoint's tensors as safetensors, in a process of its own.

torch reads no code (`weights_only`), but a few hundred bytes can keep it busy for ever (nested tuples as a key), in
compiled code that no signal ends: a process can be ended.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = 60.0
"""Bounds what a bomb costs; gigabytes of tensors take less."""
REFUSED = 3


def read_checkpoint(source: Path, seconds: float = SECONDS) -> dict[str, Tensor]:
    """Name -> tensor of a state dict: the file's own, or the one it holds as `state_dict` or `model`. DataError if
    there is none, or if it takes longer than so many seconds."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights.safetensors"
        command = [
            sys.executable,
            "-P",
            "-W",
            "ignore",
            "-m",
            "benchmark.checks.unpickle",
            str(source.absolute()),
            str(out),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{source}: refused, it was not read within {seconds:g} s, as no plain checkpoint would."
            ) from None
        if done.returncode == REFUSED:
            raise DataError(f"{source}: {done.stderr.strip()}")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
            raise DataError(f"{source}: refused, reading it ended its process ({last}).")
        return load_file(out)


def main(source: str, out: str) -> None:
    import torch
    from safetensors.torch import save_file

    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        # torch's own words go on to say how its check is switched off
        said = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        _refuse(f"refused, not a plain checkpoint of tensors ({(said.splitlines() or [repr(error)])[0]}).")
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    plain = isinstance(loaded, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in loaded.items()
    )
    if not plain:
        _refuse("holds no state dict (a mapping from names to tensors).")
    save_file({name: value.detach().contiguous().clone() for name, value in loaded.items()}, out)


def _refuse(why: str) -> None:
    print(why, file=sys.stderr)
    sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
