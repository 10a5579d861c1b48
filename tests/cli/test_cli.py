"""The commands as a user meets them: output, exit codes, going on after a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.runs import store
from tests.command_line import bench
from tests.data.test_release import BAD_INPUT
from tests.fixtures_release import write_release

FAST = ["--set", "epochs=2", "--method", "egcnn", "--jobs", "1"]


def test_run_then_again_does_nothing_and_says_so(where: list[str], tmp_path: Path) -> None:
    first = bench("run", "--dataset", "amazon", "--seeds", "0,1", *FAST, *where)
    assert "2 runs done" in first.stdout
    assert "2 to run" in first.stderr
    again = bench("run", "--dataset", "amazon", "--seeds", "0,1", *FAST, *where)
    assert "nothing to do: all 2 runs are done" in again.stdout
    assert len(store.load_runs(tmp_path / "results")) == 2


def test_a_run_folder_holds_what_the_readme_promises(where: list[str], tmp_path: Path) -> None:
    bench("run", "--dataset", "amazon", "--seeds", "0", "--keep-weights", *FAST, *where)
    (run,) = store.load_runs(tmp_path / "results")
    assert {path.name for path in run.folder.iterdir()} >= {
        "config.json", "meta.json", "log.jsonl", "per_product.npy", "scores.npy", "weights.safetensors", "done",
    }  # fmt: skip
    assert run.provenance["libraries"]["torch"]
    assert run.provenance["data"]["fingerprint"] == run.spec.fingerprint
    assert len(run.per_product) == run.manifest["splits"]["test"]["products"]
    assert len(run.scores) == len(run.test_reviews)
    assert [entry["epoch"] for entry in run.log] == [1, 2]


def test_json_is_one_document_and_nothing_else(where: list[str]) -> None:
    result = bench("run", "--dataset", "amazon", "--seeds", "0", "--json", *FAST, *where)
    document = json.loads(result.stdout)
    assert document["planned"] == document["done_now"] == 1
    assert result.stderr == ""
    assert json.loads(bench("status", "--json", *where[-2:]).stdout)["done"][0]["method"] == "egcnn"


def test_dry_run_tells_what_it_would_do_and_does_nothing(where: list[str], tmp_path: Path) -> None:
    result = bench("run", "--dataset", "amazon", "--seeds", "0-2", "--dry-run", *FAST, *where)
    assert "3 runs: 0 done, 3 to run" in result.stdout
    assert "it would take about" in result.stdout
    assert store.load_runs(tmp_path / "results") == []


def test_force_does_a_finished_run_again(where: list[str]) -> None:
    bench("run", "--dataset", "amazon", "--seeds", "0", *FAST, *where)
    assert (
        "1 run done" in bench("run", "--dataset", "amazon", "--seeds", "0", "--force", *FAST, *where).stdout
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "say what to run"),
        (["run", "--dataset", "lazda"], "Did you mean lazada"),
        (["run", "--category", "hom"], "Did you mean home"),
        (["run", "--dataset", "amazon", "--method", "bimp"], "Did you mean bimpm"),
        (["run", "--dataset", "amazon", "--seeds", "x"], "--seeds takes numbers"),
        (["run", "--dataset", "amazon", "--set", "epoch=1"], "Did you mean train.epochs"),
        (["run", "--dataset", "amazon", "--protocol", "far"], "Did you mean fair"),
        (["run", "--dataset", "amazon", "--preset", "papre"], "Did you mean paper"),
        (["run", "--dataset", "amazon", "--device", "tpu"], "unknown device"),
        (["run", "--all-categories", "--category", "home"], "exclude each other"),
        (["ablate", "--drop", "pvrr"], "Did you mean pvrv"),
        (["run", "--no-such-option"], "No such option"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_allowed(
    words: list[str], message: str, where: list[str]
) -> None:
    place = where if "--no-such-option" not in words else []
    assert message in bench(*words, *place, code=2).stderr


def test_missing_data_exits_with_3(tmp_path: Path, where: list[str]) -> None:
    elsewhere = ["--data", str(tmp_path / "nowhere"), *where[2:]]
    assert "no such folder" in bench("run", "--all-categories", *elsewhere, code=3).stderr
    absent = bench("run", "--dataset", "amazon", "--category", "clothing", *where, code=3)
    assert "none of the chosen categories" in absent.stderr


def test_a_failed_run_is_recorded_and_the_rest_goes_on(where: list[str], tmp_path: Path) -> None:
    # a learning rate beyond float32's range makes the loss infinite; prhnet is left alone
    words = ["run", "--dataset", "amazon", "--seeds", "0", "--jobs", "1", "--set", "epochs=2"]
    broken = ["--method", "egcnn", "--set", "learning_rate=1e38", *words[1:]]
    failed = bench("run", *broken, *where, code=1)
    assert "the loss is not finite in epoch" in failed.stdout
    status = bench("status", *where[-2:])
    assert "1 failed" in status.stdout
    both = bench("run", "--method", "prhnet", *words[1:], *where)
    assert "1 run done" in both.stdout
    planned = bench("run", *broken, "--dry-run", *where)
    assert "failed before" in planned.stdout


def scores(results: Path) -> dict[str, pd.DataFrame]:
    return {run.id: run.scores for run in store.load_runs(results)}


def test_scores_are_identical_whatever_the_number_of_jobs(corpus: Path, cache: Path, tmp_path: Path) -> None:
    found = []
    for jobs in ("1", "2"):
        results = tmp_path / jobs
        words = [
            "--method",
            "egcnn",
            "--method",
            "mmss",
            "--set",
            "epochs=2",
            "--seeds",
            "0,1",
            "--jobs",
            jobs,
        ]
        bench(
            "run",
            "--dataset",
            "amazon",
            *words,
            "--data",
            str(corpus),
            "--cache",
            str(cache),
            "--results",
            str(results),
        )
        found.append(scores(results))
    assert found[0].keys() == found[1].keys()
    for identity, table in found[0].items():
        pd.testing.assert_frame_equal(table, found[1][identity], check_exact=True)


def test_shuffled_labels_are_another_run_with_other_scores(where: list[str], tmp_path: Path) -> None:
    words = ["run", "--dataset", "amazon", "--seeds", "0", *FAST, *where]
    bench(*words)
    bench(*words, "--shuffle-labels")
    plain, shuffled = store.load_runs(tmp_path / "results")
    assert plain.id != shuffled.id
    assert not plain.scores["score"].equals(shuffled.scores["score"])
    assert plain.scores["label"].equals(shuffled.scores["label"])  # test keeps its labels


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_job_goes_on_and_equals_an_undisturbed_one(
    corpus: Path, cache: Path, tmp_path: Path, number: signal.Signals
) -> None:
    def words(results: Path) -> list[str]:
        place = ["--data", str(corpus), "--cache", str(cache), "--results", str(results)]
        return [
            "run",
            "--dataset",
            "amazon",
            "--seeds",
            "0-5",
            "--set",
            "epochs=40",  # long enough that the signal comes before the last run is done
            "--set",
            "patience=0",
            "--method",
            "egcnn",
            "--jobs",
            "1",
            *place,
        ]

    bench(*words(tmp_path / "whole"))
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", "from benchmark.cli import main; main()", *words(killed)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 60
    while not list(killed.glob("runs/*/*/*/*/done")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert len(store.load_runs(killed)) < 6
    if number != signal.SIGKILL:
        assert process.returncode == (130 if number == signal.SIGINT else 75)
        assert b"The same command goes on from there" in errors
    bench(*words(killed))
    assert scores(killed).keys() == scores(tmp_path / "whole").keys()
    for identity, table in scores(killed).items():
        pd.testing.assert_frame_equal(table, scores(tmp_path / "whole")[identity], check_exact=True)
    for left in (".partial", ".checkpoints", ".claims"):
        assert not list((killed / left).glob("*"))


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from benchmark.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'pandas', 'scipy', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_data_make_check_stats_and_run_fit_together(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "made"
    bench(
        "data",
        "make",
        "--out",
        str(root),
        "--products",
        "8",
        "--roi-width",
        "16",
        "--dataset",
        "amazon",
        "--category",
        "home",
    )
    assert "amazon/home" in bench("data", "check", "--data", str(root)).stdout
    stats = json.loads(bench("data", "stats", "--data", str(root), "--cache", str(cache), "--json").stdout)[
        "results"
    ]
    assert stats[0]["splits"]["train"]["products"] == 8
    assert "train" in bench("data", "stats", "--data", str(root), "--cache", str(cache)).stdout


def test_models_lists_every_method_and_shows_one_in_full() -> None:
    assert "convknrm" in bench("models").stdout
    shown = bench("models", "--method", "mcr").stdout
    assert "P15" in shown
    assert "mcr." in shown


@pytest.mark.parametrize("damage", BAD_INPUT, ids=lambda damage: damage.__name__)
def test_bad_input_stops_a_run_with_3_naming_file_and_record(tmp_path: Path, damage: Any) -> None:
    """And leaves neither runs nor half a cache; `bench data check` says the same."""
    root = write_release(tmp_path / "release")
    damage(root)
    place = ["--cache", str(tmp_path / "cache"), "--results", str(tmp_path / "results")]
    words = ["--dataset", "amazon", "--category", "electronics", "--method", "egcnn", "--seeds", "0"]
    refused = bench("run", "--data", str(root), *words, *place, code=3)
    assert BAD_INPUT[damage] in refused.stderr
    assert refused.stdout == ""
    assert store.load_runs(tmp_path / "results") == []
    assert not (root / "victim").exists()
    assert BAD_INPUT[damage] in bench("data", "check", "--data", str(root), code=3).stdout
