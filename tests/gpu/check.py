"""Everything about a GPU in one go, within a time limit; prints one table after another.

    tests/gpu/check.sh                                   on a machine with a GPU, from a bare checkout
    python tests/gpu/check.py --device cpu --small       the same code on a CPU, in a minute

All methods train and score there; their scores are those of a CPU; two trainings from one seed are the same bit for
bit; the recorded outputs of the released code are met; then rates, what a step's time goes to, and what the paper's
grid would take. Exit code 1 if anything is wrong, 0 if something was left out for want of time, which is then said.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus

LIMIT = 450.0
"""Seconds, all together; `check.sh` takes off what the installation took."""
TIMED = (("mmss", "mcr", "mcl"), ("float32", "tf32", "bf16"))
PRODUCTS = 64
"""Of the generated corpus of full-sized items, 16 reviews each."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks and few steps: does it run?")
    parser.add_argument("--method", action="append", help="only these; default: all")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    options = parser.parse_args(arguments)
    report = Report(time.monotonic() + options.limit)
    with tempfile.TemporaryDirectory() as folder:
        run_all(report, options.device, options.small, options.method, Path(folder))
    text = report.text()
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    return 1 if report.failures else 0


@dataclasses.dataclass
class Report:
    """Tables as they come, what failed, what was left out."""

    deadline: float
    parts: list[str] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def attempt(self, what: str, needs: float, work: Callable[[], Any]) -> Any:
        """What `work` returns; None if it fails or if fewer seconds are left than it needs."""
        if self.left < needs:
            self.left_out.append(what)
            return None
        print(f"{self.left:4.0f} s left: {what}", file=sys.stderr, flush=True)
        try:
            return work()
        except Exception as error:  # the rest is of use all the same
            traceback.print_exc()
            self.failures.append(f"{what}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            return None

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        lines = [f"## {title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        self.parts.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]))

    def text(self) -> str:
        end = [f"FAILED: {failure}" for failure in self.failures]
        end += [f"Left out for want of time: {', '.join(self.left_out)}."] if self.left_out else []
        return "\n\n".join([*self.parts, *(end or ["Nothing failed, nothing was left out."])])


def run_all(report: Report, device: str, small: bool, methods: Sequence[str] | None, folder: Path) -> None:
    report.attempt("the machine", 0, lambda: report.parts.append(machine(device)))
    corpus = report.attempt("a small corpus", 5, lambda: small_corpus(folder))
    if corpus is not None:
        correctness(report, corpus, device, methods)
    report.attempt("recorded outputs", 10, lambda: selfcheck(report, device, small))
    full = (
        corpus if small else report.attempt("a corpus of full-sized items", 40, lambda: full_corpus(folder))
    )
    if full is not None:
        rates(report, full, device, small, methods)


def machine(device: str) -> str:
    import torch

    from benchmark.engine.machine import git_commit, processor_name

    lines = [
        f"Commit {git_commit() or 'not known'}, Python {platform.python_version()}, torch {torch.__version__}"
        f" (CUDA {torch.version.cuda}), {processor_name()}."
    ]
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        lines.append(
            f"Card: {card.name}, {card.total_memory / 1e9:.0f} GB, {card.multi_processor_count} SMs."
        )
    else:
        lines.append("No card: the same code on a CPU. Nothing below says anything about a GPU.")
    return "\n".join(lines)


def small_corpus(folder: Path) -> Corpus:
    """Every method trains on it in a second."""
    from benchmark.data.mini.corpus import MiniSpec, write_corpus
    from benchmark.data.source import Source

    write_corpus(
        folder / "small",
        MiniSpec(
            train_products=60, dev_products=10, test_products=2, roi_width=16,
            datasets=("amazon",), categories=("home",), seed=7,
        ),
    )  # fmt: skip
    return Source(folder / "small", folder / "cache").open("amazon", "home")


def full_corpus(folder: Path) -> Corpus:
    from benchmark.speed.report import PLACE, speed_corpus

    return speed_corpus(PRODUCTS, folder / "cache").open(*PLACE)


def correctness(report: Report, corpus: Corpus, device: str, methods: Sequence[str] | None) -> None:
    from benchmark import models
    from tests.gpu.correct import HEAD, check_method

    rows = []
    for method in methods or models.METHODS:
        verdict = report.attempt(
            f"{method} on the device", 10, lambda m=method: check_method(m, corpus, device)
        )
        if verdict is not None:
            rows.append(verdict.row())
            if not verdict.ok:
                report.failures.append(f"{method} on the device: see its row")
    report.table("Every method on the device", HEAD, rows)


def selfcheck(report: Report, device: str, small: bool) -> None:
    """The released code's recorded outputs. (Float32 alone where it must be quick.)"""
    import torch

    from benchmark.checks import goldens

    rows = []
    for precision in ("float32",) if small else ("float64", "float32"):
        cases = goldens.run_selfcheck(None, torch.device(device), precision)
        bad = [case for case in cases if not case.ok]
        rows.append([precision, str(len(cases)), str(len(bad)), ", ".join(case.name for case in bad)[:200]])
        report.failures += [f"selfcheck, {precision}: {len(bad)} of {len(cases)} cases differ"] if bad else []
    report.table("Selfcheck on the device", ["precision", "cases", "differ", "which"], rows)


def rates(report: Report, corpus: Corpus, device: str, small: bool, methods: Sequence[str] | None) -> None:
    from tests.gpu.correct import spec_of
    from tests.gpu.rates import HEAD, Rates, measure_rates

    preset, seconds = ("quick", 0.1) if small else ("paper", 4.0)
    peaks: dict[str, float] = {}
    found: list[Rates] = []

    def measure(method: str, precision: str) -> Rates:
        encoder = stand_in() if method == "mmss" and not small else ()
        spec = spec_of(corpus, method, device, f"train.precision={precision}", *encoder, preset=preset)
        return measure_rates(spec, corpus, seconds, peaks)

    for method, precision in wanted(small, methods):
        needs = 20 if small else 25
        measured = report.attempt(
            f"rates of {method}, {precision}", needs, lambda m=method, p=precision: measure(m, p)
        )
        found += [measured] if measured is not None else []
    report.table("Rates" + (", small networks" if small else ""), HEAD, [rate.row() for rate in found])
    peak = "; ".join(f"{name} {value / 1e12:.3g}" for name, value in peaks.items())
    fastest = {rate.method: rate.grid_seconds for rate in sorted(found, key=lambda rate: -rate.grid_seconds)}
    hours = ", ".join(f"{method} {seconds / 3600:.1f} h" for method, seconds in fastest.items())
    report.parts.append(
        f"Best square product, TFLOP/s: {peak}. The paper's grid (6 categories x 5 seeds, every epoch, one run at a "
        f"time) at the best precision: {hours}; together {sum(fastest.values()) / 3600:.1f} h."
    )


def wanted(small: bool, methods: Sequence[str] | None) -> list[tuple[str, str]]:
    """What is timed, the most wanted first."""
    from benchmark import models

    first, precisions = TIMED
    if small:
        return [(method, "float32") for method in first if not methods or method in methods]
    rest = [method for method in models.DEFAULT_METHODS if method not in first]
    pairs = [(method, precision) for method in first for precision in precisions]
    pairs += [(method, "tf32") for method in rest]
    return [pair for pair in pairs if not methods or pair[0] in methods]


def stand_in() -> tuple[str, ...]:
    """An encoder of the default one's size with new weights, where that one is not here."""
    from benchmark.engine.plan import Choices
    from benchmark.speed.report import PLACE, stand_in

    return stand_in(Choices(PLACE[:1], PLACE[1:], ("mmss",), (0,), preset="paper"))


if __name__ == "__main__":
    sys.exit(main())
