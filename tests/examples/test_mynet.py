"""A method in a package of its own, from nothing to its row: found by its entry point or by its file, trained by
two worker processes, judged, ablated, and still in the table of somebody who does not have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmark.runs.store import load_runs
from tests.command_line import results_of

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mynet"
ON = ("--dataset", "lazada", "--category", "home")
QUICK = ("--seeds", "0,1,2", "--set", "train.epochs=2")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds what pip would install of the package: the code, and the entry points."""
    site = tmp_path_factory.mktemp("site")
    (site / "mynet").symlink_to(EXAMPLE / "mynet")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


def bench(*words, site=None, cwd=None):
    """The command in a process of its own, with the package installed or not."""
    path = [str(Path(__file__).resolve().parents[2]), *([str(site)] if site else [])]
    made = subprocess.run(
        [sys.executable, "-c", "from benchmark.cli import main; main()", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, (made.stdout, made.stderr)
    return made.stdout


@pytest.fixture(scope="module")
def results(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    bench("run", *ON, "--method", "mynet,bimpm", *QUICK, "--jobs", "2", "--results", folder, site=installed)
    return folder


def test_the_contract_is_kept(installed):
    assert bench("check-method", "mynet", site=installed).count("ok ") == 6


def test_its_runs_name_it_and_hold_its_code(results):
    runs = [run for run in load_runs(results) if run.spec.method == "mynet"]
    assert len(runs) == 3
    assert {run.spec.title for run in runs} == {"MyNet"}
    assert {run.spec.modality for run in runs} == {"multimodal"}
    assert len({run.spec.code for run in runs}) == 1
    assert runs[0].spec.code


def test_its_file_gives_the_same_run(results):
    target = f"{EXAMPLE / 'mynet' / 'model.py'}:MyNet"
    again = bench("run", *ON, "--method", target, *QUICK, "--results", results, "--json")
    assert json.loads(again)["done_before"] == 3


def test_it_is_the_one_that_is_judged(results, installed):
    (report,) = results_of(
        bench("stats", "lazada", "--proposed", "mynet", "--json", "--results", results, site=installed)
    )
    assert report["proposed"] == "mynet"
    text = bench("table", "lazada", "--proposed", "MyNet", "--results", results, site=installed)
    assert "MyNet better than" in text or "No test" in text
    assert "Not a method of" not in text


def test_who_does_not_have_it_sees_its_row(results):
    text = bench("table", "lazada", "--results", results)
    assert "MyNet" in text
    assert "Not a method of this installation, shown from what its runs store: MyNet (mynet)." in text


def test_its_parts_can_be_dropped(installed, results):
    text = bench(
        *(
            "ablate",
            "--proposed",
            "mynet",
            "--drop",
            "images",
            *ON,
            *QUICK,
            "--jobs",
            "2",
            "--results",
            results,
        ),
        site=installed,
    )
    assert "w/o images" in text
    dropped = [run.spec for run in load_runs(results) if run.spec.drop]
    assert {spec.model for spec in dropped} == {"mynet-no-images"}
    assert all(spec.config["model"]["drop"] == ["images"] for spec in dropped)
