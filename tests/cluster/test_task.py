"""What a Dask worker does for a run, called as Dask would call it."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.cluster import task
from benchmark.cluster.here import run_all
from benchmark.cluster.task import Request
from benchmark.cluster.worker import Assignment
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.checkpoint import checkpoint_folder
from benchmark.engine.execute import RunOptions
from benchmark.engine.plan import Choices, expand
from benchmark.kernels import compiled
from benchmark.runs.claims import claims_folder, write_owner
from benchmark.runs.spec import RunSpec

JOB = ".claims/job.0123"
BUILT = importlib.util.find_spec("benchmark.kernels._kernels") is not None


@pytest.fixture
def source(corpus: Path, cache: Path) -> Source:
    return Source(corpus, cache)


def spec_of(source: Source, epochs: int) -> RunSpec:
    corpus = runner.open_once(source, "amazon", "home")
    choices = Choices(
        ("amazon",), ("home",), ("egcnn",), (0,), overrides=(f"epochs={epochs}", "patience=0"), device="cpu"
    )
    (spec,) = expand(choices, [corpus])
    return spec


def begin(results: Path) -> None:
    claims_folder(results).mkdir(parents=True)
    write_owner(results / JOB, "0123")


def answer(request: Request) -> dict[str, Any]:
    return dict(json.loads(task.carry_out(request.to_json())))


@pytest.mark.parametrize("kernels", [True, False])
def test_kernels_are_used_as_where_the_job_was_started(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: bool
) -> None:
    """Whatever the environment of the machine that carries the run out says: ssh hands on none."""
    spec = spec_of(source, 1)
    begin(tmp_path)
    monkeypatch.setenv(compiled.SWITCH, "0" if kernels else "1")
    request = Request(Assignment(source, tmp_path, RunOptions(kernels=kernels), ("bench",)), spec, JOB, None)
    assert answer(request)["state"] == "done"
    made = json.loads((spec.folder(tmp_path) / "meta.json").read_text())
    assert made["compiled_kernels"] == (kernels and BUILT)


def test_a_run_is_what_it_is_locally(source: Source, tmp_path: Path) -> None:
    spec, there, here = spec_of(source, 1), tmp_path / "there", tmp_path / "here"
    begin(there)
    request = Request(Assignment(source, there, RunOptions(), ("bench",)), spec, JOB, None)
    assert answer(request)["state"] == "done"
    assert [outcome.state for outcome in run_all([spec], source, here, jobs=1)] == ["done"]
    for name in ("config.json", "scores.npy", "per_product.npy"):
        assert (spec.folder(there) / name).read_bytes() == (spec.folder(here) / name).read_bytes()


def test_a_task_ends_with_its_job_and_saves(source: Source, tmp_path: Path) -> None:
    spec = spec_of(source, 100_000)
    begin(tmp_path)
    request = Request(Assignment(source, tmp_path, RunOptions(), ("bench",)), spec, JOB, None)
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(answer(request)))
    thread.start()
    while thread.is_alive() and not list((tmp_path / ".partial").glob("*/log.jsonl")):
        time.sleep(0.1)
    (tmp_path / JOB).unlink()
    thread.join()
    assert [one["state"] for one in answers] == ["stopped"]
    assert (checkpoint_folder(tmp_path, spec.identity) / "state.json").is_file()
    assert not list(claims_folder(tmp_path).glob("*"))


def test_a_worker_says_what_it_lacks(source: Source, tmp_path: Path) -> None:
    spec = spec_of(source, 1)
    options = RunOptions()

    def lacking(request: Request, **changes: Any) -> str:
        record = json.loads(request.to_json()) | changes
        ended = json.loads(task.carry_out(json.dumps(record)))
        assert ended["state"] == task.UNFIT
        return str(ended["reason"])

    good = Request(Assignment(source, tmp_path, options, ()), spec, JOB, None)
    assert "results folder" in lacking(good)
    begin(tmp_path)
    assert "another version of mrhp-bench" in lacking(good, identity="0" * 16)
    elsewhere = replace(source, root=tmp_path / "nowhere")
    assert f"no {tmp_path / 'nowhere' / 'amazon' / 'home'}" in lacking(
        replace(good, assignment=Assignment(elsewhere, tmp_path, options, ()))
    )
    vectors = replace(source, vectors=tmp_path / "vectors.vec")
    assert "vectors.vec" in lacking(replace(good, assignment=Assignment(vectors, tmp_path, options, ())))
