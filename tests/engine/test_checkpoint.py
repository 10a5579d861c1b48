"""Checkpoints: what comes back is what went in, and anything else is named and ignored."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from benchmark.core.errors import DataError, StoppedError
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.checkpoint import Checkpoint, checkpoint_folder, save_tensors
from benchmark.engine.execute import RunOptions, execute
from benchmark.engine.stop import Stop
from benchmark.engine.train import TrainingState
from benchmark.runs.files import DONE, read_failure
from benchmark.runs.spec import RunSpec
from tests.engine.test_train import spec_of

VERSIONS = {"package": "1", "libraries": {"torch": "2"}}


def state() -> TrainingState:
    tensors = {
        "model/a": torch.tensor([0.1, float("nan"), -0.0]),
        "model/empty": torch.zeros(0, 3),
        "generator/cpu": torch.arange(256, dtype=torch.uint8),
        "method/epoch": torch.tensor(7),
        "method/half": torch.randn(4, 5, dtype=torch.float16).T,
    }
    return TrainingState(tensors, {"fitted": {"best": 0.1 + 0.2}, "schedule": {"worse": float("-inf")}})


def test_what_comes_back_is_what_went_in(tmp_path: Path) -> None:
    checkpoint, given = Checkpoint(tmp_path / "c", 0, VERSIONS), state()
    assert checkpoint.load() is None
    for _ in range(2):
        checkpoint.save(given)
    read = Checkpoint(tmp_path / "c", 0, VERSIONS).load()
    assert read is not None
    assert read.record == given.record
    assert read.tensors.keys() == given.tensors.keys()
    for name, value in given.tensors.items():
        assert read.tensors[name].dtype == value.dtype
        assert torch.equal(torch.nan_to_num(read.tensors[name]), torch.nan_to_num(value))
    assert sorted(file.suffix for file in (tmp_path / "c").iterdir()) == [".json", ".safetensors"]
    checkpoint.remove()
    assert checkpoint.load() is None


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["flip", "number", "cut", "empty", "gone"])
def test_damage_is_named(tmp_path: Path, suffix: str, damage: str) -> None:
    checkpoint = Checkpoint(tmp_path / "c", 0, VERSIONS)
    checkpoint.save(state())
    (file,) = (file for file in (tmp_path / "c").iterdir() if file.suffix == suffix)
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    if damage == "number":  # the file is well-formed, and one of its values (or the last digit) is another
        content[-3] ^= 1
    file.write_bytes(content[: {"flip": None, "number": None, "cut": len(content) // 2}.get(damage, 0)])
    if damage == "gone":
        file.unlink()
    if (suffix, damage) == (".json", "gone"):
        assert checkpoint.load() is None  # as after a death before the first one was complete
        return
    with pytest.raises(DataError, match="damaged checkpoint"):
        checkpoint.load()


def test_another_version_is_refused(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "c", 0, VERSIONS).save(state())
    with pytest.raises(DataError, match="another version"):
        Checkpoint(tmp_path / "c", 0, VERSIONS | {"package": "2"}).load()


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "c", 0, VERSIONS).save(state())
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    with pytest.raises(DataError, match="another run, c"):
        Checkpoint(tmp_path / "d", 0, VERSIONS).load()


@pytest.mark.parametrize("body", ["[]", "{}", "9" * 5_000, "[" * 100_000])
def test_a_state_that_is_none_is_damage(tmp_path: Path, body: str) -> None:
    Checkpoint(tmp_path / "c", 0, VERSIONS).save(state())
    seal = hashlib.sha256(body.encode()).hexdigest()
    (tmp_path / "c" / "state.json").write_text(f"{seal}\n{body}\n")
    with pytest.raises(DataError, match="damaged checkpoint"):
        Checkpoint(tmp_path / "c", 0, VERSIONS).load()


def test_a_checkpoint_that_cannot_be_written_is_told_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    checkpoint = Checkpoint(tmp_path / "file" / "c", 0, VERSIONS)
    for _ in range(2):
        checkpoint.save(state())
    told = capsys.readouterr().err
    assert told.count("no checkpoint (") == 1
    assert str(tmp_path / "file" / "c") in told


def test_a_full_disk_is_an_error_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, file: Path) -> None:
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )  # its words

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_tensors(state().tensors, tmp_path / "weights.safetensors")
    assert caught.value.errno == errno.ENOSPC


def test_a_checkpoint_is_due_by_age_and_by_what_it_costs(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path, 0, VERSIONS).due
    assert not Checkpoint(tmp_path, 60, VERSIONS).due
    old = Checkpoint(tmp_path, 60, VERSIONS)
    old._saved -= 100
    assert old.due
    old._cost = 10.0  # written each minute, it would take a sixth of the time
    assert not old.due


@pytest.fixture
def source(corpus: Path, cache: Path) -> Source:
    return Source(corpus, cache)


def stopped_after(spec: RunSpec, source: Source, results: Path, steps: int) -> Stop:
    """Carry out a run that is asked to stop after some steps."""
    stop = Stop()
    check, left = stop.check, [steps]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            stop.request("SIGTERM")
        check()

    stop.check = count  # type: ignore[method-assign]
    assert execute(spec, source, results, RunOptions(keep_weights=True), stop).state == "stopped"
    return stop


def outputs(spec: RunSpec, results: Path) -> dict[str, bytes]:
    folder = spec.folder(results)
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.suffix in (".npy", ".safetensors") or file.name == "config.json"
    }


@pytest.mark.parametrize("steps", [3, 7])
def test_a_stopped_run_goes_on_to_the_same_files(source: Source, tmp_path: Path, steps: int) -> None:
    spec = spec_of(source, "mmss")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert execute(spec, source, whole, RunOptions(keep_weights=True)).ok
    stopped_after(spec, source, cut, steps)
    assert not (spec.folder(cut) / DONE).exists()
    assert checkpoint_folder(cut, spec.identity).is_dir()
    assert execute(spec, source, cut, RunOptions(keep_weights=True)).ok
    assert outputs(spec, cut) == outputs(spec, whole)
    for left in (".checkpoints", ".claims", ".partial"):
        assert not list((cut / left).iterdir())


def test_a_damaged_checkpoint_costs_time_but_no_number(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_of(source, "egcnn")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert execute(spec, source, whole, RunOptions(keep_weights=True)).ok
    stopped_after(spec, source, cut, 5)
    (file,) = checkpoint_folder(cut, spec.identity).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert execute(spec, source, cut, RunOptions(keep_weights=True)).ok
    assert "starts from the beginning" in capsys.readouterr().err
    assert outputs(spec, cut) == outputs(spec, whole)


def test_a_failure_that_cannot_be_recorded_is_still_an_outcome(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(source, "egcnn")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.runs.files.write_failure", full)
    monkeypatch.setattr(runner, "train_and_score", lambda *_, **__: (_ for _ in ()).throw(SystemExit(3)))
    outcome = execute(spec, source, tmp_path)
    assert outcome.state == "failed"
    assert outcome.reason.startswith("SystemExit: 3 (")
    assert "(and no record of it could be written" in outcome.reason


@pytest.mark.parametrize("error", [GeneratorExit(), ValueError("x" * 5_000_000), ValueError("\ud83d\0")])
def test_whatever_a_method_raises_is_its_runs_failure(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    spec = spec_of(source, "egcnn")
    monkeypatch.setattr(runner, "train_and_score", lambda *_, **__: (_ for _ in ()).throw(error))
    outcome = execute(spec, source, tmp_path)
    assert outcome.state == "failed"
    assert type(error).__name__ in outcome.reason
    assert len(outcome.reason) < 3_000
    assert read_failure(spec, tmp_path) is not None


def test_stop_raises_only_where_nothing_is_to_save() -> None:
    stop = Stop()
    stop.on_signal(15)
    with pytest.raises(StoppedError, match="SIGTERM"):
        stop.check()
    waiting = Stop(at_once=True)
    with pytest.raises(StoppedError):
        waiting.on_signal(15)
