"""`--log`: what callbacks are told, that none of them changes or loses a run, and what the libraries then hold."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from benchmark.cluster.here import run_all
from benchmark.core.errors import UsageError
from benchmark.data.source import Source
from benchmark.engine import callbacks, runner
from benchmark.engine.execute import Outcome, RunOptions, execute
from benchmark.engine.plan import Choices, expand
from benchmark.engine.stop import Stop
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import StoredRun, load_run
from benchmark.runs.writer import write_data
from tests.command_line import bench

WATCHERS = '''
import json, random


class Diary:
    """Writes all that it is told beside the runs, and does what it should not."""

    def start(self, run):
        self.file = run.results / f"diary-{run.seed}.jsonl"
        self.file.unlink(missing_ok=True)
        self.write("start", {"name": run.name, "id": run.id, "conditions": run.conditions})

    def epoch(self, run, entry):
        import numpy, torch

        self.write("epoch", entry)
        torch.rand(7), random.random(), numpy.random.rand(7)
        torch.set_num_threads(2), torch.set_default_dtype(torch.float64), torch.set_grad_enabled(False)
        entry.clear()
        run.config["training"].clear()

    def end(self, run, result):
        self.write("end", result)

    def write(self, what, value):
        with self.file.open("a") as file:
            file.write(json.dumps([what, value]) + "\\n")


class Clumsy:
    def __init__(self):
        self.heard = 0

    def start(self, run):
        pass

    def epoch(self, run, entry):
        self.heard += 1
        if self.heard == 2:
            raise SystemExit("it is all over\\nand more of this")

    def end(self, run, result):
        (run.results / "clumsy-came-to-the-end").touch()


class Late(Clumsy):
    def epoch(self, run, entry):
        pass

    def end(self, run, result):
        raise ValueError("too late")


class NoEnd:
    def start(self, run): ...
    def epoch(self, run, entry): ...
'''


@pytest.fixture
def watchers(tmp_path: Path) -> Path:
    file = tmp_path / "watchers.py"
    file.write_text(WATCHERS)
    return file


@pytest.fixture
def source(corpus: Path, cache: Path) -> Source:
    return Source(corpus, cache)


@pytest.fixture
def spec(source: Source) -> RunSpec:
    choices = Choices(("amazon",), ("home",), ("egcnn",), (0,), overrides=("epochs=3",), device="cpu")
    (made,) = expand(choices, [source.open("amazon", "home")])
    return made


def carried_out(spec: RunSpec, source: Source, results: Path, *log: str) -> StoredRun:
    write_data(results, source.open(spec.dataset, spec.category))
    outcome = execute(spec, source, results, RunOptions(log=log))
    assert outcome.ok, outcome.reason
    write_data(results, source.open(spec.dataset, spec.category))  # as a job does
    return load_run(spec.folder(results))


def numbers_of(run: StoredRun) -> list[Any]:
    """All that a run says but times."""
    apart = ("meta.json", "log.jsonl", "done")
    files = {one.name: one.read_bytes() for one in run.folder.iterdir() if one.name not in apart}
    assert len(files) > 1
    log = [{name: entry[name] for name in entry if "seconds" not in name} for entry in run.log]
    return [files, log]


def test_a_callback_hears_of_a_run_and_changes_nothing(
    spec: RunSpec, source: Source, tmp_path: Path, watchers: Path
) -> None:
    alone = carried_out(spec, source, tmp_path / "alone")
    run = carried_out(spec, source, tmp_path / "watched", f"{watchers}:Diary")
    assert numbers_of(run) == numbers_of(alone)
    assert "callbacks" not in run.provenance
    said = [json.loads(line) for line in (tmp_path / "watched" / "diary-0.jsonl").read_text().splitlines()]
    assert [what for what, _ in said] == ["start", "epoch", "epoch", "epoch", "end"]
    assert said[0][1]["name"] == "amazon/home/egcnn/seed-0"
    assert said[0][1]["id"] == spec.identity
    assert [entry for _, entry in said[1:4]] == run.log
    end = said[-1][1]
    assert end["state"] == "done"
    assert end["folder"] == str(run.folder)
    assert end["test"]["map"] == pytest.approx(run.per_product["map"].mean())
    assert end["best_epoch"] == run.provenance["best_epoch"]


def test_a_callback_that_fails_is_a_note(
    spec: RunSpec, source: Source, tmp_path: Path, watchers: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = carried_out(spec, source, tmp_path / "alone")
    log = [f"{watchers}:Clumsy", f"{watchers}:Late", f"{watchers}:Diary"]
    run = carried_out(spec, source, tmp_path / "watched", *log)
    assert numbers_of(run) == numbers_of(alone)
    (problem,) = run.provenance["callbacks"]
    assert problem.endswith("Clumsy failed at epoch and was left out from there: SystemExit: it is all over")
    notes = capfd.readouterr().err
    assert f"note: amazon/home/egcnn/seed-0: {problem}" in notes
    assert "Late failed at end" in notes
    assert "ValueError: too late" in notes
    assert not (tmp_path / "watched" / "clumsy-came-to-the-end").exists()
    said = (tmp_path / "watched" / "diary-0.jsonl").read_text().splitlines()
    assert len(said) == 5, "the others hear on"


def test_a_run_that_fails_or_is_stopped_ends_too(
    spec: RunSpec, source: Source, tmp_path: Path, watchers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = (f"{watchers}:Diary",)
    stop = Stop()
    advance = runner.new_trainer

    def stopped(*given: Any) -> Any:
        stop.request("SIGTERM")
        return advance(*given)

    def last_word(outcome: Outcome) -> Any:
        lines = (tmp_path / "results" / "diary-0.jsonl").read_text().splitlines()
        what, result = json.loads(lines[-1])
        assert what == "end"
        return outcome.state, result

    monkeypatch.setattr(runner, "new_trainer", stopped)
    state, result = last_word(execute(spec, source, tmp_path / "results", RunOptions(log=log), stop))
    assert (state, result["state"]) == ("stopped", "stopped")
    monkeypatch.setattr(runner, "new_trainer", lambda *given: 1 / 0)
    # started anew: the checkpoint of the stopped one cannot be used without a trainer
    state, result = last_word(execute(spec, source, tmp_path / "results", RunOptions(log=log)))
    assert (state, result["state"]) == ("failed", "failed")
    assert result["reason"].startswith("ZeroDivisionError: division by zero")


def test_a_run_that_goes_on_tells_its_earlier_epochs_again(
    spec: RunSpec, source: Source, tmp_path: Path, watchers: Path
) -> None:
    from benchmark.runs.writer import RunWriter

    results, log, stop = tmp_path / "results", (f"{watchers}:Diary",), Stop()
    alone = carried_out(spec, source, tmp_path / "alone")
    written = RunWriter.log

    def logged(self: RunWriter, entry: Any) -> None:
        written(self, entry)
        if entry["epoch"] == 2:
            stop.request("SIGTERM")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "log", logged)
        outcome = execute(spec, source, results, RunOptions(log=log, checkpoint_every=0), stop)
        assert outcome.state == "stopped"
    run = carried_out(spec, source, results, *log)
    assert numbers_of(run) == numbers_of(alone)
    said = [json.loads(line) for line in (results / "diary-0.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for what, entry in said if what == "epoch"] == [1, 2, 3]


def test_names_are_checked_before_anything_is_trained(
    watchers: Path, where: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    full = f"{watchers}:Diary"
    assert callbacks.check(["watchers.py:Diary", full, "tensorboard"]) == (full, "tensorboard")
    for wrong, message in {
        "tensorbord": "Did you mean tensorboard",
        "watchers.py:NoEnd": "it has no end",
        "watchers.py:Absent": "Absent",
        "absent.py:Diary": "no such file",
        "nowhere_at_all:Diary": "no module nowhere_at_all",
    }.items():
        with pytest.raises(UsageError, match=message):
            callbacks.check([wrong])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    words = ("run", "--dataset", "amazon", "--method", "egcnn", "--log", "wandb", *where)
    assert "pip install 'mrhp-bench[wandb]'" in bench(*words, code=2).stderr
    assert not (tmp_path / "results" / "runs").exists()


def events_of(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_tensorboard_holds_the_epochs_of_runs_side_by_side(where: list[str], tmp_path: Path) -> None:
    from benchmark.runs.store import load_runs

    results = tmp_path / "results"
    words = ("run", "--dataset", "amazon", "--method", "egcnn", "--seeds", "0,1", "--set", "epochs=2")
    for again in ((), ("--force",)):  # of a run that is made again the later one is held
        bench(*words, *again, "--jobs", "2", "--log", "tensorboard", *where)
    runs = load_runs(results)
    assert len(runs) == 2
    for run in runs:
        folder = (
            results / "logs" / "tensorboard" / "amazon" / "home" / "egcnn" / f"seed-{run.spec.seed}" / run.id
        )
        assert len(list(folder.iterdir())) == 1
        events = events_of(folder)
        for name in ("loss", "dev_map", "coverage/so_far"):
            key, _, inner = name.partition("/")
            wanted = [entry[key][inner] if inner else entry[key] for entry in run.log]
            assert [one.step for one in events.Scalars(name)] == [1, 2]
            assert [one.value for one in events.Scalars(name)] == pytest.approx(wanted, rel=1e-6)
        (test,) = events.Scalars("test/map")
        assert test.value == pytest.approx(run.per_product["map"].mean(), rel=1e-6)


def test_wandb_and_mlflow_as_far_as_a_stand_in_shows(
    spec: RunSpec, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the two are called with, where their libraries are not installed."""
    monkeypatch.setitem(sys.modules, "wandb", _Recorder("wandb"))
    monkeypatch.setitem(sys.modules, "mlflow", _Recorder("mlflow"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = carried_out(spec, source, tmp_path / "results", "wandb", "mlflow")
    assert "callbacks" not in run.provenance
    wandb: Any = sys.modules["wandb"]
    mlflow: Any = sys.modules["mlflow"]
    init = wandb.told("init")[0][1]
    assert init["id"] == spec.identity
    assert init["config"]["training"]["epochs"] == 3
    assert [kwargs["step"] for _, kwargs in wandb.told("log")] == [1, 2, 3]
    assert wandb.told("finish") == [((), {"exit_code": 0})]
    losses = [given for given, _ in mlflow.told("log_metric") if given[1] == "loss"]
    assert [given[2] for given in losses] == [entry["loss"] for entry in run.log]
    assert {given[1] for given, _ in mlflow.told("log_metric")} >= {"dev_ndcg_at_3", "test/map"}
    assert mlflow.told("set_terminated")[0][0][1] == "FINISHED"


class _Recorder(types.ModuleType):
    """A module whose names are callables, all of which note their calls and return the module itself."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("info", "summary", "run_id", "experiment_id"):
            return self if name in ("info", "summary") else "7"

        def noted(*given: Any, **named: Any) -> Any:
            self.calls.append((name, given, named))
            return [] if name == "search_runs" else self

        return noted

    def told(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(given, named) for called, given, named in self.calls if called == name]


def test_wandb_offline(
    spec: RunSpec, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="an extra that the tests do without")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = _by_a_worker(spec, source, tmp_path / "results", "wandb")
    assert "callbacks" not in run.provenance
    assert list((tmp_path / "results" / "logs" / "wandb").glob(f"wandb/offline-run-*-{run.id}/*.wandb"))


def test_mlflow_with_a_file_store(
    spec: RunSpec, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="an extra that the tests do without")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    results = tmp_path / "results"
    _by_a_worker(spec, source, results, "mlflow")
    run = _by_a_worker(spec, source, results, "mlflow", force=True)
    assert "callbacks" not in run.provenance
    live = [
        folder
        for folder in (results / "logs" / "mlflow" / "store").glob("*/*/metrics")
        if "lifecycle_stage: active" in (folder.parent / "meta.yaml").read_text()
    ]
    assert len(live) == 1, "of a run that is made again the later one is held"
    lines = [line.split() for line in (live[0] / "loss").read_text().splitlines()]
    assert [int(step) for *_, step in lines] == [1, 2, 3]
    assert [float(value) for _, value, _ in lines] == [entry["loss"] for entry in run.log]
    assert (live[0].parent / "params" / "training.epochs").read_text() == "3"


def _by_a_worker(spec: RunSpec, source: Source, results: Path, name: str, force: bool = False) -> StoredRun:
    """In a process of its own, whose libraries may do there what they like."""
    options = RunOptions(log=(name,), force=force)
    (outcome,) = run_all([spec], source, results, jobs=1, options=options)
    assert outcome.ok, outcome.reason
    return load_run(spec.folder(results))
