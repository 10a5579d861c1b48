"""The check of a GPU, run on a CPU: all of it but what is CUDA's own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmark.engine.machine import prepare_process
from tests.gpu import check


def test_it_runs_and_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, methods = tmp_path / "report.md", ("--method", "prhnet", "--method", "mcr")
    code = check.main(["--device", "cpu", "--small", *methods, "--limit", "3000", "--out", str(out)])
    text = out.read_text()
    assert code == 0, text
    assert "| prhnet | ok | features on the device, step by step |" in text
    assert "| mcr | float32 | on the host |" in text
    assert "## Selfcheck on the device" in text
    assert "Nothing below says anything about a GPU" in text
    assert text.strip() == capsys.readouterr().out.strip()


def test_what_fails_and_what_is_left_out_is_said() -> None:
    report = check.Report(deadline=time.monotonic() + 100)

    def fails() -> None:
        raise RuntimeError("CUDA error: out of memory\nlong story")

    assert report.attempt("one", 1, fails) is None
    assert report.attempt("two", 1000, lambda: 1) is None
    assert report.attempt("three", 1, lambda: 3) == 3
    assert report.failures == ["one: RuntimeError: CUDA error: out of memory"]
    assert report.left_out == ["two"]
    assert "Left out for want of time: two." in report.text()


def test_everything_asked_for_is_timed() -> None:
    pairs = check.wanted(small=False, methods=None)
    assert pairs[:3] == [("mmss", "float32"), ("mmss", "tf32"), ("mmss", "bf16")]
    assert {method for method, _ in pairs} >= {"mmss", "mcr", "mcl", "egcnn", "prhnet"}
    assert len(pairs) == len(set(pairs))


def test_float32_is_float32_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from benchmark.engine.config import TrainingConfig

    before = torch.backends.cudnn.allow_tf32
    try:
        prepare_process(TrainingConfig(precision="tf32"))
        assert torch.backends.cudnn.allow_tf32
        prepare_process(TrainingConfig())
        assert not torch.backends.cudnn.allow_tf32, "convolutions and LSTMs too"
    finally:
        torch.backends.cudnn.allow_tf32 = before
