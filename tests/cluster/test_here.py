"""Workers that die, exit, hang or are killed cost their own run and no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmark.cluster.child import Child, how_it_died
from benchmark.cluster.here import run_all
from benchmark.cluster.worker import Assignment
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.execute import RunOptions
from benchmark.engine.plan import Choices, expand
from benchmark.runs.files import is_done, read_failure
from benchmark.runs.spec import RunSpec

FATES = """
import os, signal, sys, time

if "benchmark.cluster.worker" in " ".join(sys.orig_argv):
    from benchmark.engine import runner

    carry_out = runner.train_and_score

    def fated(spec, corpus, **options):
        if spec.seed == 1:
            os._exit(7)
        if spec.seed == 2:
            sys.exit(3)
        if spec.seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if spec.seed == 4:
            time.sleep(1000)
        if spec.seed == 5 and not os.path.exists(os.environ["ONCE"]):
            open(os.environ["ONCE"], "w").close()
            os.kill(os.getpid(), signal.SIGSEGV)
        print("a run may print what it wants")
        return carry_out(spec, corpus, **options)

    runner.train_and_score = fated
"""
"""Loaded by every Python that the tests start: the seed of a run decides what becomes of its process."""


@pytest.fixture
def source(corpus: Path, cache: Path) -> Source:
    return Source(corpus, cache)


@pytest.fixture
def fated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fates").mkdir()
    (tmp_path / "fates" / "sitecustomize.py").write_text(FATES)
    monkeypatch.syspath_prepend(tmp_path / "fates")
    monkeypatch.setenv("ONCE", str(tmp_path / "once"))


def specs_of(source: Source, *seeds: int) -> list[RunSpec]:
    corpus = runner.open_once(source, "amazon", "home")
    choices = Choices(("amazon",), ("home",), ("egcnn",), seeds, overrides=("epochs=1",), device="cpu")
    return expand(choices, [corpus])


def test_a_dead_worker_costs_its_run_alone(source: Source, fated: None, tmp_path: Path) -> None:
    specs = specs_of(source, 0, 1, 2, 3, 5, 6)
    results = tmp_path / "results"
    outcomes = {outcome.spec.seed: outcome for outcome in run_all(specs, source, results, jobs=2)}
    assert {seed: outcome.state for seed, outcome in outcomes.items()} == {
        0: "done",
        1: "failed",
        2: "failed",
        3: "failed",
        5: "done",  # at the second try
        6: "done",
    }
    assert "exit code 7" in outcomes[1].reason
    assert "tried twice" in outcomes[1].reason
    assert outcomes[2].reason.startswith("SystemExit: 3 (")
    assert "SIGKILL (out of memory?" in outcomes[3].reason
    for spec in specs:
        failure = read_failure(spec, results)
        assert is_done(spec, results) == outcomes[spec.seed].ok
        assert (failure["reason"] if failure else "") == outcomes[spec.seed].reason
    for left in (".claims", ".partial", ".checkpoints"):
        assert not list((results / left).glob("*"))


def test_what_lies_where_the_command_was_typed_is_not_taken_for_the_package(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another checkout, or a project with a folder of that name: its code must neither run nor be in the way."""
    for name in ("benchmark/__init__.py", "numpy.py", "torch.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text("raise SystemExit('not the one that is installed')")
    specs = specs_of(source, 0)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (outcome,) = run_all(specs, source, tmp_path / "results", jobs=1)
    assert outcome.ok, outcome.reason


def test_a_run_that_hangs_is_ended(source: Source, fated: None, tmp_path: Path) -> None:
    (spec,) = specs_of(source, 4)
    child = Child(Assignment(source, tmp_path, RunOptions(), ("bench",)), 1)
    outcome = child.carry_out(spec, timeout=1.0)
    child.close(5.0)
    assert outcome.state == "died"
    assert outcome.reason == "did not end within 1 s (--timeout)"
    assert not child.usable


def test_workers_end_with_whoever_started_them(source: Source, fated: None, tmp_path: Path) -> None:
    """However that one ends: here by SIGKILL, while its worker hangs."""
    (spec,) = specs_of(source, 4)
    code = (
        "import sys, threading, time; from pathlib import Path\n"
        "from benchmark.cluster.child import Child; from benchmark.cluster.worker import Assignment\n"
        "from benchmark.data.source import Source; from benchmark.engine.execute import RunOptions\n"
        "from benchmark.runs.spec import spec_from_json; import json\n"
        "source = Source(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "child = Child(Assignment(source, Path(sys.argv[3]), RunOptions(), ()), 1)\n"
        "print(child.process.pid, flush=True)\n"
        "child.carry_out(spec_from_json(json.loads(sys.argv[4])))\n"
    )

    words = [str(source.root), str(source.cache), str(tmp_path / "results"), json.dumps(asdict(spec))]
    main = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)
    assert main.stdout is not None
    worker = int(main.stdout.readline())
    main.kill()
    main.wait()
    main.stdout.close()
    assert ended_within(worker, 30.0)


def ended_within(process: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    return False


def test_what_is_handed_to_a_worker_arrives(tmp_path: Path) -> None:
    given = Assignment(
        Source(tmp_path, None, tmp_path / "v", True),
        tmp_path / "r",
        RunOptions(True, 0, 1.5, True, kernels=False),
        ("a", "b"),
    )
    assert Assignment.from_json(given.to_json()) == given


def test_an_exit_status_is_said_in_words() -> None:
    assert how_it_died(-9) == (
        "its process was killed by SIGKILL (out of memory? The system, a container or a scheduler kills what "
        "takes too much)"
    )
    assert "killed by SIGUSR2" in how_it_died(-int(signal.SIGUSR2))
    assert "exit code 7" in how_it_died(7)
