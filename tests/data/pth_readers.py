"""Our reader of feature files beside torch's own `weights_only` loader: what each admits, and how fast.

    python -m tests.data.pth_readers FOLDER

writes the files to FOLDER and prints one line per file and the rates. torch's loader gets the allow-list that
the legitimate files need (`torch.serialization.safe_globals`). A hostile file is tried in a child with two
seconds of processor time and 2 GiB of memory, for either reader.
"""

from __future__ import annotations

import pickle
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.data import pth
from tests.data.test_roi_worker import BOMBS, ODD, RunsCode, X

MODES = ("ours", "torch")


def read(mode: str, path: Path) -> Any:
    """What one of the readers makes of a file: the arrays of `x`, an exception otherwise."""
    if mode == "ours":
        return [image["x"] for image in pth.load(path, only="x")]
    numpy_ = [np.ndarray, np.dtype, np._core.multiarray._reconstruct, np._core.multiarray.scalar]
    kinds = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8")]
    with torch.serialization.safe_globals([*numpy_, *kinds]):
        return [torch.as_tensor(image["x"]).detach() for image in torch.load(path, weights_only=True)]


def legitimate() -> dict[str, Callable[[Path], None]]:
    """Files in the forms that feature extractors write."""

    def saved(value: Any, **options: Any) -> Callable[[Path], None]:
        return lambda path: torch.save(value, path, **options)

    plain = [{"x": X, "boxes": torch.ones(2, 4), "name": "a.jpg"}]
    files = {
        "tensors": saved(plain),
        "tensors, flat format": saved(plain, _use_new_zipfile_serialization=False),
        "float16": saved([{"x": X.half()}]),
        "bfloat16": saved([{"x": X.bfloat16()}]),
        "numpy arrays": saved([{"x": X.numpy()}]),
        "numpy, protocol 5": saved([{"x": X.numpy()}], pickle_protocol=5),
        "numpy, Fortran order": saved([{"x": np.asfortranarray(X.numpy())}]),
        "parameters": saved([{"x": torch.nn.Parameter(X)}]),
        "a bare pickle": lambda path: path.write_bytes(pickle.dumps([{"x": X.numpy()}])) and None,
        "a bare pickle, protocol 4": lambda path: (
            path.write_bytes(pickle.dumps([{"x": X.numpy()}], 4)) and None
        ),
    }
    return files | {f"beside x: {name}": saved([{"x": X, "odd": value}]) for name, value in ODD.items()}


def hostile(victim: Path) -> dict[str, Callable[[Path], None]]:
    """Files that run something, or take all there is."""
    code = RunsCode(victim)
    files: dict[str, Callable[[Path], None]] = {
        "code in x": lambda path: torch.save([{"x": code}], path),
        "code beside x": lambda path: torch.save([{"x": X, "y": code}], path),
        "code, flat format": lambda path: torch.save(
            [{"x": code}], path, _use_new_zipfile_serialization=False
        ),
        "code, bare": lambda path: path.write_bytes(pickle.dumps([{"x": code}])) and None,
    }
    return files | {
        f"bomb: {n}": lambda path, b=bomb: path.write_bytes(b()) and None for n, bomb in BOMBS.items()
    }


def outcome(mode: str, path: Path) -> str:
    """`read`, `refused: why`, or how the child died."""
    started = time.perf_counter()
    made = subprocess.run(
        [sys.executable, "-m", "tests.data.pth_readers", "--one", mode, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode < 0:
        return f"DIES of {signal.Signals(-made.returncode).name} after {time.perf_counter() - started:.1f} s"
    return (made.stdout.strip().splitlines() or [f"DIES with {made.returncode}"])[-1][:110]


def one(mode: str, path: Path) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + (2 << 30),) * 2)
    signal.setitimer(signal.ITIMER_PROF, 2)
    try:
        arrays = read(mode, path)
        right = len(arrays) == 1 and np.array_equal(
            np.asarray(arrays[0], dtype=np.float64), X.double().numpy()
        )
        print("read" if right else "read, but wrong")
    except BaseException as error:
        print(f"refused: {type(error).__name__}: {' '.join(str(error).split())}")


def rate(mode: str, paths: list[Path]) -> float:
    """Files per second, over three passes."""
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        for path in paths:
            read(mode, path)
        best = max(best, len(paths) / (time.perf_counter() - started))
    return best


def main() -> None:
    warnings.simplefilter("ignore")
    if sys.argv[1] == "--one":
        one(sys.argv[2], Path(sys.argv[3]))
        return
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for title, files in (("legitimate", legitimate()), ("hostile", hostile(folder / "victim"))):
        print(f"\n{title}")
        for number, (name, write) in enumerate(files.items()):
            path = folder / f"{title}-{number}.pth"
            write(path)
            for mode in MODES:
                found = outcome(mode, path)
                ran = " AND RAN CODE" if (folder / "victim").exists() else ""
                print(f"  {name:32s} {mode:6s} {found}{ran}", flush=True)
    for rois, width in ((4, 64), (32, 2048)):
        paths = []
        for number in range(200):
            paths.append(folder / f"speed-{rois}-{number}.pth")
            torch.save([{"x": torch.randn(rois, width)} for _ in range(2)], paths[-1])
        rates = {mode: rate(mode, paths) for mode in MODES}
        print(
            f"\n2 images of {rois} x {width}: " + ", ".join(f"{m} {r:,.0f} files/s" for m, r in rates.items())
        )


if __name__ == "__main__":
    main()
