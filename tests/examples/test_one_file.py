"""A method that is one file, as `bench new method` writes it: trained by two workers of a cluster, watched by a
callback that is a file too, and still in every table and list once the file is gone."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmark.runs.store import load_runs
from tests.command_line import bench, results_of

BENCH = (sys.executable, "-c", "from benchmark.cli import main; main()", "run")
GRID = ("--dataset", "amazon", "--category", "home", "--set", "train.epochs=2")
DIARY = """
class Diary:
    def start(self, run):
        (run.results / f"{run.method}-{run.seed}.diary").write_text("started")

    def epoch(self, run, entry):
        pass

    def end(self, run, result):
        (run.results / f"{run.method}-{run.seed}.diary").write_text(result["state"])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, corpus: Path, cache: Path) -> Path:
    """A folder with results of a cluster, and of a process of this machine; the method's file is gone."""
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("mine")
    bench("new", "method", "mynet", "--out", str(folder / "mynet.py"))
    (folder / "diary.py").write_text(DIARY)
    data = ("--data", str(corpus), "--cache", str(cache), "--device", "cpu")
    mine = ("--method", "mynet.py:Mynet")
    far = ("--results", "far", "--jobs", "2", "--seeds", "0-2")
    for words in (
        (*mine, *far, "--cluster", "local", "--log", "diary.py:Diary"),
        ("--method", "egcnn", *far),
        (*mine, "--results", "near", "--jobs", "1", "--seeds", "1-1"),
    ):
        done = subprocess.run(
            [*BENCH, *GRID, *data, *words], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    (folder / "mynet.py").unlink()
    return folder


def test_two_workers_of_a_cluster_give_the_same_runs(place: Path) -> None:
    far, near = ({run.id: run for run in load_runs(place / name)} for name in ("far", "near"))
    assert sorted(run.spec.method for run in far.values()) == ["egcnn"] * 3 + ["mynet"] * 3
    assert len(near) == 1
    for name, run in near.items():
        assert run.scores.equals(far[name].scores)
        assert run.per_product.equals(far[name].per_product)
    assert not any("callbacks" in run.provenance for run in far.values())
    assert {file.name: file.read_text() for file in (place / "far").glob("*.diary")} == {
        f"mynet-{seed}.diary": "done" for seed in range(3)
    }


def test_its_row_is_there_for_somebody_who_does_not_have_it(place: Path) -> None:
    where = ("--results", str(place / "far"))
    table = bench("table", "amazon", *where, "--proposed", "mynet").stdout
    assert "| Mynet " in table
    assert "Not a method of this installation, shown from what its runs store: Mynet (mynet)." in table
    (report,) = results_of(bench("stats", "amazon", *where, "--proposed", "mynet", "--json").stdout)
    assert report["proposed"] == "mynet"
    assert {one["b"] for one in report["comparisons"]} == {"egcnn"}
    run = next(run for run in load_runs(place / "far") if run.spec.method == "mynet")
    shown = json.loads(bench("show", run.id, *where, "--json").stdout)
    assert (shown["method"], shown["config"]["model"]["embedding"]) == ("mynet", 32)
    assert run.id in bench("show", run.id, *where).stdout


def test_it_is_listed_and_described_from_its_runs(place: Path) -> None:
    where = ("--results", str(place / "far"))
    listed = bench("models", *where).stdout
    assert "known from its runs alone" in next(line for line in listed.splitlines() if "mynet" in line)
    described = bench("models", "--method", "mynet", *where).stdout
    assert "Not a method of this installation" in described
    assert "mynet.embedding" in described
    assert "--method path/to/file.py:Class" in described
    for command in (("report", "--no-pictures", "--out", str(place / "page.html")), ("case",)):
        bench(*command, *where, "--proposed", "mynet")
    assert "Is Mynet the best?" in (place / "page.html").read_text()


def test_without_its_file_it_cannot_be_run(place: Path, where: list[str]) -> None:
    bench("models", "--results", str(place / "far"))  # which makes it known
    refused = bench("run", *GRID, "--method", "mynet", *where, code=2).stderr
    assert "known from stored runs only. Name its class" in refused


def test_it_is_in_every_export(place: Path) -> None:
    where = ("--results", str(place / "far"))
    bench("export", *where, "--no-pictures", "--out", str(place / "all.zip"))
    with zipfile.ZipFile(place / "all.zip") as archive:
        assert "| Mynet " in archive.read("tables/amazon.md").decode()
    again = bench("table", "amazon", "--from", str(place / "all.zip")).stdout
    assert "| Mynet " in again
    bench("export", *where, "--out", str(place / "values.csv"))
    with (place / "values.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"mynet", "egcnn"}
    bench("export", *where, "--format", "trec", "--out", str(place / "trec"))
    assert len(list((place / "trec").glob("amazon/home/mynet/*.run"))) == 3
