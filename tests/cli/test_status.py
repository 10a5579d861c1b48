"""`bench status`: a grid of seeds, runs under way with their progress, the time left; and where a run failed."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import status
from benchmark.engine import execute
from benchmark.runs import store
from benchmark.runs.spec import NUMERICS_VERSION, spec_from_json
from tests.command_line import bench
from tests.fixtures_runs import write_run


@pytest.fixture
def results(where: list[str], tmp_path: Path) -> Path:
    """Two seeds of two methods done; a third seed of one under way, half done."""
    words = ["amazon", "--method", "egcnn,prhnet", "--set", "epochs=1", "--seeds", "0,1", "--jobs", "1"]
    bench("run", *words, *where)
    folder = tmp_path / "results"
    spec = next(run.spec for run in store.load_runs(folder) if run.spec.method == "egcnn")
    under_way(folder, dataclasses.asdict(dataclasses.replace(spec, seed=2)), epoch=3, epochs=4)
    return folder


def under_way(results: Path, spec: dict[str, Any], epoch: int, epochs: int, age: float = 0.0) -> None:
    identity = spec_from_json(spec).identity
    partial = results / ".partial" / f"{identity}-{epoch}"
    partial.mkdir(parents=True)
    beat = {"epoch": epoch, "epochs": epochs, "step": 0, "steps": 10}
    for name, value in (("config.json", spec | {"numerics": NUMERICS_VERSION}), ("progress.json", beat)):
        (partial / name).write_text(json.dumps(value))
        then = time.time() - age
        os.utime(partial / name, (then, then))


def cells(text: str, method: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {method} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_grid_counts_seeds_done_of_those_wanted_and_shows_progress(results: Path) -> None:
    text = bench("status", "--results", str(results)).stdout
    assert "seeds done of 3 wanted" in text
    assert cells(text, "egcnn") == ["2/3 50%"]
    assert cells(text, "prhnet") == ["2/3"]
    assert "4 runs done, 0 failed, 1 running; about " in text
    assert cells(bench("status", "--results", str(results), "--seeds", "0-4").stdout, "prhnet") == ["2/5"]


def test_the_time_left_is_the_mean_of_each_method_for_what_is_missing(results: Path) -> None:
    state = status.look(results)
    seconds = {
        name: [run.provenance["seconds"]["total"] for run in state.runs if run.spec.method == name]
        for name in ("egcnn", "prhnet")
    }
    mean = {name: sum(found) / len(found) for name, found in seconds.items()}
    assert state.left() == pytest.approx(0.5 * mean["egcnn"] + 1.0 * mean["prhnet"])
    shown = json.loads(bench("status", "--results", str(results), "--json").stdout)
    assert shown["seconds_left"] == pytest.approx(state.left(), abs=0.051)
    assert [one["share"] for one in shown["running"]] == [0.5]


def test_a_run_without_a_sign_of_life_was_killed_and_nothing_is_promised(
    results: Path, tmp_path: Path
) -> None:
    spec = dataclasses.asdict(status.look(results).runs[0].spec) | {"seed": 7}
    for partial in (results / ".partial").glob("*"):
        for file in partial.iterdir():
            file.unlink()
    under_way(results, spec, epoch=2, epochs=4, age=600)
    text = bench("status", "--results", str(results)).stdout
    assert "killed" in text
    assert "0 running, 1 unfinished folder of runs that were killed" in text
    assert "left" not in text


def test_ablations_stand_below_their_method_by_name(tmp_path: Path) -> None:
    parts = ("d", "ptrv", "b", "rtrv", "ptrt", "pvrv", "pvrt")
    for method, drops in (("mmss", parts), ("mcr", ()), ("bimpm", ())):
        for drop in ((), *((part,) for part in drops)):
            write_run(tmp_path, method, drop=drop)
    rows = bench("status", "--results", str(tmp_path)).stdout.splitlines()
    names = [row.split("|")[1].strip() for row in rows if row.startswith("| ")][1:]
    assert names == ["bimpm", "mcr", "mmss", *(f"mmss-no-{part}" for part in sorted(parts))]


def test_watching_needs_a_terminal(tmp_path: Path) -> None:
    assert "for a terminal" in bench("status", "--watch", "--results", str(tmp_path), code=2).stderr


METHOD = """
import torch
from dataclasses import dataclass
from benchmark.core.model import RankingModel

@dataclass(frozen=True)
class Config:
    width: int = 2

class Broken(RankingModel):
    name = "broken"
    title = "Broken"
    config_class = Config

    def __init__(self, *given):
        super().__init__(*given)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def score(self, batch):
        return self.helper(batch)

    def helper(self, batch):
        return torch.zeros(3) + torch.zeros(4)  # the fault

    def loss(self, batch, *more):
        return self.score(batch).sum()
"""


def test_a_failed_run_names_the_line_of_the_method_and_its_traceback(
    where: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "broken_method.py"
    file.write_text(METHOD)
    words = ["run", "amazon", "--method", f"{file}:Broken", "--seeds", "0", "--jobs", "1", *where]
    failed = bench(*words, code=1).stdout
    line = next(n for n, text in enumerate(METHOD.splitlines(), start=1) if "# the fault" in text)
    assert f"({file}, line {line})" in failed
    record = next((tmp_path / "results").glob("runs/*/*/*/*.failed.json"))
    assert str(record) in failed
    assert "Traceback" in json.loads(record.read_text())["details"]
    shown = bench("status", *where[-2:])
    assert "1 failed" in shown.stdout
    assert "Traceback" not in shown.stdout
    assert "in helper" in bench("status", "-v", *where[-2:]).stdout


def test_an_error_of_the_harness_alone_has_no_place_of_a_method() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    assert execute._place(caught.value).startswith(f" ({__file__}, line ")  # this file stands for a method's
    with pytest.raises(AttributeError) as harness:
        store.load_failures(None)  # type: ignore[arg-type]
    harness.value.__traceback__ = harness.value.__traceback__.tb_next  # type: ignore[union-attr]
    assert execute._place(harness.value) == ""
