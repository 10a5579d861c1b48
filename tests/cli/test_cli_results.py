"""The commands that read finished runs: tables, tests, comparisons, claims, one run, two runs, an export."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.runs import store
from tests.command_line import bench, results_of
from tests.fixtures_runs import make_consistent, reseal, write_grid, write_run

QUALITY = {"bimpm": 0.50, "egcnn": 0.52, "mcr": 0.55, "mcl": 0.56, "mmss": 0.60}
PARTS = ("ptrt", "pvrv", "ptrv", "pvrt", "rtrv", "d", "b")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up runs of five methods on both data sets, three seeds, and all ablations on clothing."""
    results = tmp_path_factory.mktemp("grid")
    for dataset in ("lazada", "amazon"):
        write_grid(results, QUALITY, range(3), dataset=dataset, papers_data=True)
        for rank, part in enumerate(PARTS):
            for seed in range(3):
                write_run(
                    results,
                    "mmss",
                    seed,
                    dataset=dataset,
                    value=0.58 - 0.01 * rank,
                    drop=(part,),
                    papers_data=True,
                )
    return results


@pytest.fixture(scope="module")
def honest(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grid with values per product that its scores give, as `--from` asks."""
    return make_consistent(shutil.copytree(grid, tmp_path_factory.mktemp("honest") / "results"))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("synthetic")
    write_grid(results, {"mcr": 0.5, "mmss": 0.6}, range(3), corpus="mini", synthetic=True)
    return results


@pytest.fixture(scope="module")
def real(corpus: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real runs of one epoch."""
    results = tmp_path_factory.mktemp("real")
    place = ["--data", str(corpus), "--cache", str(cache), "--results", str(results), "--jobs", "1"]
    bench("run", "--dataset", "amazon", "--method", "egcnn", "--seeds", "0-2", "--set", "epochs=1", *place)
    return results


# bench table -------------------------------------------------------------------------------------------------


def test_tables_of_both_data_sets_in_every_format(grid: Path) -> None:
    text = bench("table", "--results", str(grid)).stdout
    assert "Table 1" in text
    assert "Table 2" in text
    assert "not run" in text  # PRH-Net, say
    latex = bench("table", "--dataset", "lazada", "--format", "latex", "--results", str(grid)).stdout
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    lines = bench("table", "--format", "csv", "--results", str(grid)).stdout
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert list(dict.fromkeys(row["dataset"] for row in rows)) == ["lazada", "amazon"]
    both = json.loads(bench("table", "--format", "json", "--results", str(grid)).stdout)["tables"]
    assert [table["table"] for table in both] == [1, 2]
    only = bench("table", "--dataset", "amazon", "--format", "json", "--results", str(grid)).stdout
    (one,) = json.loads(only)["tables"]
    known = {run.id for run in store.load_runs(grid)}
    cells = [cell for row in one["rows"] for cell in row["cells"]]
    assert {run for cell in cells for run in cell["runs"]} <= known
    assert any(cell["runs"] for cell in cells)


def test_further_tables_and_files(grid: Path, tmp_path: Path) -> None:
    assert "w/o" in bench("table", "--ablation", "--with-paper", "--results", str(grid)).stdout
    assert "Table 3" in bench("table", "--statistics", "--results", str(grid)).stdout
    shown = bench("table", "--with-paper", "--dataset", "lazada", "--results", str(grid)).stdout
    assert "| Longest review first" in shown
    assert "[71.7]" in shown
    bare = bench("table", "--no-sentinels", "--dataset", "lazada", "--results", str(grid)).stdout
    assert "| Longest review first" not in bare
    out = tmp_path / "sub" / "table.md"
    result = bench("table", "--dataset", "lazada", "--results", str(grid), "--out", str(out))
    assert result.stdout == ""
    assert out.read_text() == bench("table", "--dataset", "lazada", "--results", str(grid)).stdout
    assert "3/4 seeds" in bench("table", "--seeds", "0-3", "--results", str(grid)).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table", "--format", "markdwn"], "unknown format"),
        (["table", "--statistics", "--ablation"], "two tables"),
        (["table", "--ties", "file"], "Did you mean file-order"),
        (["table", "--threshold", "4"], "T is 0, 1, 2 or 3"),
        (["claims", "--threshold", "-1"], "T is 0, 1, 2 or 3"),
        (["stats", "--against", "mmss"], "that is the method"),
        (["stats", "--against", "mcx"], "Did you mean mc"),
        (["compare", "--dataset", "lazad"], "Did you mean lazada"),
        (["show", "nothing"], "no run 'nothing'"),
        (["decisions", "D-NEGS"], "D-NEG"),
    ],
)
def test_wrong_usage(grid: Path, words: list[str], message: str) -> None:
    place = [] if words[0] == "decisions" else ["--results", str(grid)]
    assert message in bench(*words, *place, code=2).stderr


@pytest.mark.parametrize("command", [["table"], ["stats"], ["compare"], ["table", "--ablation"], ["export"]])
def test_no_runs_is_said_with_what_to_do(command: list[str], tmp_path: Path) -> None:
    more = ["--out", str(tmp_path / "x.zip")] if command == ["export"] else []
    result = bench(*command, *more, "--results", str(tmp_path), code=2)
    assert "no finished" in result.stderr


# Another threshold, another tie policy -----------------------------------------------------------------------


def test_values_at_another_threshold_are_scikit_learns(real: Path) -> None:
    for threshold in (0, 1, 2):
        for run in store.rescored(store.load_runs(real), threshold):
            table, scores = run.per_product.set_index("product_id"), run.scores
            for product, own in scores.groupby("product_id"):
                relevant = own["label"] > threshold
                assert own["score"].nunique() == len(own)  # no ties, so scikit-learn agrees
                expected = average_precision_score(relevant, own["score"]) if relevant.any() else 0.0
                assert table.loc[product, "map"] == pytest.approx(expected)
                assert table.loc[product, "n_relevant"] == relevant.sum()


def test_recomputing_at_the_runs_own_threshold_changes_nothing(real: Path) -> None:
    for run, again in zip(store.load_runs(real), store.rescored(store.load_runs(real), 0), strict=True):
        for name in run.per_product.columns:
            assert run.per_product[name].tolist() == again.per_product[name].tolist(), name


def test_tables_name_threshold_and_ties(real: Path) -> None:
    place = ["--dataset", "amazon", "--results", str(real)]
    plain = bench("table", *place).stdout
    assert "Relevant: label > 0; tied scores: expected value" in plain
    other = bench("table", "--threshold", "1", "--ties", "file-order", *place).stdout
    assert "Relevant: label > 1 (recomputed from the scores; epochs were selected with label > 0)" in other
    assert "tied scores: in file order" in other
    facts = json.loads(bench("table", "--threshold", "1", "--format", "json", *place).stdout)["tables"][0][
        "settings"
    ][0]
    assert facts["relevance_threshold"] == [1]
    assert facts["ties"] == "expected"

    def egcnn(text: str) -> str:
        return next(line for line in text.splitlines() if "EG-CNN" in line)

    assert egcnn(plain) != egcnn(other)


def test_a_constant_scorer_gets_the_files_order_only_on_request(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "mcr")
    scores = folder / "scores.csv"
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join([lines[0], *(line.rpartition(",")[0] + ",1.0" for line in lines[1:])]) + "\n")
    reseal(folder)
    (run,) = store.rescored(store.load_runs(tmp_path), 0)
    np.testing.assert_allclose(run.per_product["map"], run.per_product["random_map"])
    (run,) = store.rescored(store.load_runs(tmp_path), ties="file-order")
    assert run.per_product["map"].tolist() == [0.0] + [1.0] * (len(run.per_product) - 1)  # labels 2, 1, 0, 0


@pytest.mark.parametrize("command", ["stats", "compare", "claims"])
def test_judgements_at_another_threshold(grid: Path, command: str) -> None:
    """The made-up scores are random, so at a threshold that has them recomputed every method is alike."""
    place = ["--results", str(grid), *([] if command == "claims" else ["--dataset", "lazada"])]
    code = 4 if command == "compare" else 0
    plain, other = (bench(command, *more, *place, code=code).stdout for more in ([], ["--threshold", "1"]))
    assert "label > 0" in plain
    assert "label > 1" in other
    assert plain != other


# bench stats, compare, claims --------------------------------------------------------------------------------


def test_stats(grid: Path) -> None:
    place = ["--dataset", "lazada", "--results", str(grid)]
    (report,) = results_of(bench("stats", "--against", "all", "--json", *place).stdout)
    assert len(report["comparisons"]) == 4 * 3 * len(PAPER_METRICS)
    assert set(report["family_sizes"].values()) == {12}
    text = bench("stats", "--robust", "--power", *place).stdout
    assert "### Robustness" in text
    assert "### Power" in text


def test_compare_fails_where_values_are_far_from_the_papers(grid: Path) -> None:
    place = ["--dataset", "lazada", "--results", str(grid)]
    (report,) = results_of(bench("compare", "--json", *place, code=4).stdout)
    assert report["counts"]["FAIL"] > 0
    assert report["counts"]["not run"] > 0
    assert "contradict" in bench("compare", *place, code=4).stdout or report["notes"]


def test_no_comparison_is_made_on_a_synthetic_corpus(synthetic: Path) -> None:
    result = bench("compare", "--results", str(synthetic))
    assert "Not the paper's data (CS&J, Elec, H&K): the corpus mini is synthetic" in result.stdout
    (report,) = results_of(bench("compare", "--json", "--results", str(synthetic)).stdout)
    assert report["cells"] == []
    (judged,) = results_of(bench("claims", "--json", "--results", str(synthetic)).stdout)
    assert {claim["verdict"] for claim in judged["claims"]} == {"undecided"}
    assert all("synthetic" in claim["why"] for claim in judged["claims"])


def test_claims_without_runs_say_what_would_decide_them(tmp_path: Path) -> None:
    (judged,) = results_of(bench("claims", "--json", "--results", str(tmp_path)).stdout)
    assert [claim["id"] for claim in judged["claims"]] == [f"C{i}" for i in range(1, 8)]
    assert all(claim["command"].startswith("bench ") for claim in judged["claims"])
    assert "UNDECIDED" in bench("claims", "--results", str(tmp_path)).stdout


# bench show, diff, decisions ---------------------------------------------------------------------------------


def test_show_and_diff(real: Path) -> None:
    first, second, _ = store.load_runs(real)
    shown = bench("show", first.id, "--results", str(real)).stdout
    for part in (first.id, first.spec.fingerprint[:16], "training.epochs", "libraries.torch"):
        assert part in shown
    described = json.loads(bench("show", str(first.folder), "--json", "--results", str(real)).stdout)
    assert described["id"] == first.id
    assert len(described["log"]) == 1
    assert "seed" in bench("diff", first.id, second.id, "--results", str(real)).stdout
    found = json.loads(bench("diff", first.id, second.id, "--json", "--results", str(real)).stdout)
    assert found["asked"] == {"seed": [0, 1]}
    assert not found["results"]["scores_identical"]


def test_decisions() -> None:
    every = json.loads(bench("decisions", "--json").stdout)["results"]
    assert {"D-OFFSET", "D-NEG"} <= {item["id"] for item in every}
    one = bench("decisions", "D-NEG").stdout
    assert "D-NEG" in one
    assert "D-OFFSET" not in one


# bench export ------------------------------------------------------------------------------------------------

WHOLE = (
    ["table", "--dataset", "lazada", "--with-paper"],
    ["table", "--dataset", "amazon", "--format", "latex"],
    ["table", "--ablation", "--format", "csv"],
    ["table", "--statistics", "--format", "json"],
    ["table", "--threshold", "1", "--sentinels"],
    ["stats", "--json"],
    ["claims"],
)


@pytest.mark.parametrize("words", WHOLE, ids=" ".join)
def test_an_export_remakes_everything_byte_for_byte_elsewhere(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    here = bench(*words, "--results", str(honest)).stdout
    bench("export", "--out", str(tmp_path / "supplement.zip"), "--results", str(honest))
    monkeypatch.chdir(tmp_path)
    assert bench(*words, "--from", "supplement.zip").stdout == here


def test_an_export_is_enough_in_another_process_without_torch(honest: Path, tmp_path: Path) -> None:
    """Its own tables are in it, too, and are what `bench table` prints."""
    bench("export", "--out", str(tmp_path / "supplement.zip"), "--results", str(honest))
    code = (
        "import sys; sys.modules['torch'] = None; from benchmark.cli import main; "
        "sys.argv = ['bench', 'table', '--from', 'supplement.zip', '--dataset', 'lazada']; main()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (*sys.path, os.getcwd())))}
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True
    ).stdout
    assert made.decode() == bench("table", "--dataset", "lazada", "--results", str(honest)).stdout
    import zipfile

    with zipfile.ZipFile(tmp_path / "supplement.zip") as archive:
        tables = {name for name in archive.namelist() if name.startswith("tables/")}
        assert tables == {f"tables/{name}.md" for name in ("lazada", "amazon", "statistics", "ablation")}
        assert archive.read("tables/lazada.md") == made


def test_every_registered_method_is_listed() -> None:
    listed = json.loads(bench("models", "--json").stdout)["results"]
    assert [row["name"] for row in listed] == list(models.METHODS)
