"""Which GPU a run gets: counted and named, without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.cluster.child import Child
from benchmark.cluster.devices import VISIBLE, Devices, visible_devices
from benchmark.cluster.worker import Assignment
from benchmark.core.errors import UsageError
from benchmark.data.source import Source
from benchmark.engine import machine
from benchmark.engine.execute import RunOptions


def test_each_process_gets_a_gpu_of_its_own_while_they_last() -> None:
    devices = Devices(("2", "5", "7"))
    taken = [devices.take()[VISIBLE] for _ in range(4)]
    assert taken == ["2", "5", "7", "2"]
    devices.release({VISIBLE: "5"})
    assert devices.take() == {VISIBLE: "5"}
    assert Devices(()).take() == {}


@pytest.fixture(autouse=True)
def forget() -> None:
    visible_devices.cache_clear()
    machine._show_only.cache_clear()


@pytest.mark.parametrize(
    ("named", "names"), [("", ()), ("0,3", ("0", "3")), ("GPU-8a, GPU-9b", ("GPU-8a", "GPU-9b"))]
)
def test_gpus_are_called_what_the_environment_calls_them(
    named: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, named)
    assert visible_devices() == names


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("4,6", "6")])
def test_a_gpu_chosen_by_number_is_all_that_is_seen(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, before or "")
    if before is None:
        monkeypatch.delenv(VISIBLE)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert machine.resolve_device("cuda:1") == "cuda"  # the identity does not say which
    assert os.environ[VISIBLE] == after
    assert (
        machine.resolve_device("cuda:1") == "cuda"
    )  # asked again: the same one, not the second of those left
    assert os.environ[VISIBLE] == after


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "0")
    with pytest.raises(UsageError, match="cuda:1: CUDA_VISIBLE_DEVICES shows 1 GPU"):
        machine.resolve_device("cuda:1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="cuda:0: this machine has no such CUDA device"):
        machine.resolve_device("cuda:0")
    for text in ("cuda:", "cuda:x", "cuda:N", "cpu:1"):
        with pytest.raises(UsageError, match="unknown device"):
            machine.resolve_device(text)


def test_a_worker_sees_its_gpu_before_torch_is_imported(tmp_path: Path) -> None:
    assignment = Assignment(Source(tmp_path), tmp_path, RunOptions(), ())
    child = Child(assignment, 1, {VISIBLE: "3"}, own_group=True)
    try:
        environment = Path(f"/proc/{child.process.pid}/environ").read_bytes().split(b"\0")
        assert b"CUDA_VISIBLE_DEVICES=3" in environment
        assert os.getpgid(child.process.pid) == child.process.pid
    finally:
        child.kill()
        child.close(5.0)
