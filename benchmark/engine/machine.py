"""The machine that carries out runs: device, threads, memory, and what is recorded of it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.core.errors import UsageError
from benchmark.core.words import check_choice

if TYPE_CHECKING:
    from benchmark.engine.config import TrainingConfig


def resolve_device(device: str) -> str:
    """`cpu` or `cuda`; UsageError if a GPU is asked for and there is none.

    `cuda:1` hides every other GPU from this process and those it starts, and is `cuda` from then on: which GPU it
    was changes no number. To be called before torch uses one.
    """
    kind, colon, number = device.partition(":")
    if colon and kind == "cuda" and number.isdecimal():
        _show_only(int(number))
    else:
        check_choice("device", device, ("auto", "cpu", "cuda", "cuda:0"))
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    available = torch.cuda.is_available()
    if kind == "cuda" and not available:
        raise UsageError(
            f"--device {device}: this machine has no such CUDA device that torch can use. Use --device cpu."
        )
    return "cuda" if available else "cpu"


def _may_have_gpu() -> bool:
    """False only where no driver of a GPU is there, so that torch, which takes a second and a half to import, need not
    be asked."""
    if not sys.platform.startswith("linux"):
        return True
    devices = ("nvidiactl", "nvidia0", "nvhost-ctrl", "nvmap", "dxg", "kfd")
    return any(os.path.exists(f"/dev/{name}") for name in devices)


@functools.cache
def _show_only(number: int) -> None:
    """Make one GPU the only one that CUDA sees: the given one of those that it would see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = str(number)
    if visible is not None:
        names = [one.strip() for one in visible.split(",") if one.strip()]
        if number >= len(names):
            raise UsageError(
                f"--device cuda:{number}: CUDA_VISIBLE_DEVICES shows {len(names)} GPU(s): {visible!r}."
            )
        name = names[number]
    os.environ["CUDA_VISIBLE_DEVICES"] = name


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this operating system
        return os.cpu_count() or 1


def default_jobs(threads: int) -> int:
    """As many runs side by side as the processors that this process may use can feed."""
    return max(1, processors() // max(1, threads))


def fitting_jobs(asked: int | None, threads: int) -> tuple[int, str]:
    """(runs side by side, what to say if that is fewer than were asked for): more threads than processors wait for one
    another, and two jobs of two threads on two processors took 3.5 times as long as two of one.

    UsageError for a run that wants more threads than there are: their number is part of what it is.
    """
    if threads > processors():
        raise UsageError(
            f"train.threads={threads}, but this process may use {processors()} processors: take at most that."
        )
    most = default_jobs(threads)
    if asked is None or asked <= most:
        return asked or most, ""
    return (
        most,
        f"--jobs {asked} with {threads} threads each exceeds {processors()} processors: {most} at a time.",
    )


def jobs_at_once(asked: int | None, device: str, threads: int) -> tuple[int, str]:
    """`fitting_jobs` on a CPU; on a GPU as many as were asked for, else one."""
    return (asked or 1, "") if device == "cuda" else fitting_jobs(asked, threads)


def prepare_process(config: TrainingConfig) -> None:
    """Threads, determinism and memory settings of the process that carries out a run."""
    import torch

    # how a sum is split over threads decides how it is rounded
    torch.set_num_threads(config.threads)
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # read when CUDA starts; needed for determinism
    set_deterministic(True)
    # that would also write NaN into every fresh tensor, a twentieth of a step, to show reads before writes
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # it would choose algorithms by their timings, and bits would follow
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    # convolutions and LSTMs have a switch of their own, which is on where nobody says otherwise
    torch.backends.cudnn.allow_tf32 = config.precision == "tf32"
    keep_freed_memory()
    leave_libraries_alone()


def set_deterministic(mode: bool) -> None:
    """torch.use_deterministic_algorithms(mode), without what it imports: it tells torch's compiler too, which takes a
    second to load, a third of a short run, and which nothing here uses."""
    import torch

    if "torch._inductor.config" in sys.modules:
        torch.use_deterministic_algorithms(mode)
        return
    if mode:
        os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # whoever loads it later: it is as if told
    torch._C._set_deterministic_algorithms(mode, warn_only=False)


@functools.cache
def leave_libraries_alone() -> None:
    """Take what is loaded now out of Python's search for garbage, which a step's many small objects set off
    again and again: walking through all libraries each time was a twentieth of a step."""
    gc.collect()
    gc.freeze()


@functools.cache
def keep_freed_memory() -> None:
    """Ask the C library not to hand large temporaries back to the kernel after each step.

    Freeing and mapping them anew costs as much as the arithmetic of some models (page faults). glibc
    only; elsewhere nothing happens.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)


MUCH_MEMORY = 1 << 30
"""Bytes of a process from which on what it has freed goes back to the kernel between training and scoring."""


def return_freed_memory() -> None:
    """Hand freed memory back to the kernel, if this process is large: training and scoring need blocks of other sizes,
    and what one has freed and kept (`keep_freed_memory`) would add up with what the other needs. A small one keeps
    it: mapping it anew after every pass would cost more than it is worth. glibc on Linux only."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") > MUCH_MEMORY:
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def forget_peak_memory(device: str) -> bool:
    """Count peaks of memory anew from here; whether the process's own could be reset (Linux can)."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    try:
        # 5 resets VmHWM, the peak that `peak_host_bytes` reads
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_host_bytes() -> int:
    """Largest resident set of this process, since `forget_peak_memory` or its start.

    On Linux from /proc: what `getrusage` says there includes the parent's size at the time of the start.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # ru_maxrss is in bytes on macOS, in kilobytes elsewhere
    return peak if sys.platform == "darwin" else peak * 1024


def peak_memory(device: str, since_the_run: bool) -> dict[str, Any]:
    """What a run records of its memory: the process's peak in bytes (libraries and shared data included), since
    the run's beginning or the process's, and that of the GPU where one was used."""
    record: dict[str, Any] = {"peak_bytes": peak_host_bytes(), "since": "run" if since_the_run else "process"}
    if device == "cuda":
        import torch

        record["device_peak_bytes"] = torch.cuda.max_memory_allocated()
    return record


def provenance(device: str) -> dict[str, Any]:
    """What the numbers of a run came from, beside its configuration and data."""
    import torch

    from benchmark.kernels import native

    return {
        **_versions(),
        "device": _device_name(device),
        "torch_threads": torch.get_num_threads(),
        "compiled_kernels": native.available(),
    }


@functools.cache
def _versions() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    import benchmark

    libraries = ("torch", "transformers", "tokenizers", "numpy", "pandas", "scipy", "safetensors")
    found = {}
    for name in libraries:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return {
        "package": benchmark.__version__,
        "commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": found,
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


@functools.cache
def git_commit() -> str:
    """Commit of the source tree, with `+changes` if it has any; empty outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "benchmark", "baselines", "mmss")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+changes" if changed else "")


def _device_name(device: str) -> str:
    import torch

    if device == "cuda":
        return f"cuda: {torch.cuda.get_device_name()}"
    return f"cpu: {processor_name()}"


def processor_name() -> str:
    """The processor's model, as the system names it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
