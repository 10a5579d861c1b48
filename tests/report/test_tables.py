"""The paper's tables: content against the stored values, and each format read back."""

import csv
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.report.formats import render, render_all
from benchmark.report.grid import group_settings, manifests, matching_settings
from benchmark.report.tables import ablation_table, results_table, statistics_table
from benchmark.runs.store import load_runs
from tests.fixtures_runs import write_data, write_grid, write_run

QUALITY = {"bimpm": 0.40, "egcnn": 0.38, "ssecross": 0.5, "mcr": 0.55, "mmss": 0.6}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_grid(folder, QUALITY, synthetic=True)
    write_run(folder, "mcl", 0, value=0.99, synthetic=True)
    for part, value in (("ptrt", 0.59), ("b", 0.5)):
        for seed in range(5):
            write_run(folder, "mmss", seed, value=value, drop=(part,), synthetic=True)
    return folder


@pytest.fixture(scope="module")
def setting(results):
    (setting,) = group_settings(load_runs(results))
    return setting


def rows_of(table):
    return {row.name: row for row in table.rows}


def test_rows_and_columns_have_the_papers_shape(setting):
    table = results_table(setting)
    assert [row.name for row in table.rows] == [*models.DEFAULT_METHODS, "random", "ceiling"]
    assert [row.section for row in table.rows[:9]] == ["Text-only"] * 4 + ["Multimodal"] * 5
    assert [(column.group, column.label) for column in table.columns] == [
        (category, metric) for category in ("CS&J", "Elec", "H&K") for metric in ("MAP", "N@3", "N@5")
    ]


def test_values_are_the_means_over_seeds_in_percent(setting, results):
    entry = rows_of(results_table(setting))["mcr"].entries[4]  # Elec N@3
    runs = [
        run for run in load_runs(results) if (run.spec.method, run.spec.category) == ("mcr", "electronics")
    ]
    means = [100 * run.per_product["ndcg@3"].mean() for run in runs]
    assert entry.value == pytest.approx(np.mean(means))
    assert entry.sd == pytest.approx(np.std(means, ddof=1))
    assert set(entry.runs) == {run.id for run in runs}


def test_missing_cells_say_what_is_missing(setting):
    rows = rows_of(results_table(setting))
    assert [entry.missing for entry in rows["mcl"].entries[::3]] == ["1/5 seeds", "not run", "not run"]
    assert rows["convknrm"].entries[0].missing == "not run"
    assert "1/5 seeds" in render(results_table(setting))


def test_best_and_second_among_complete_cells(setting):
    ranks = {row.name: row.entries[0].rank for row in results_table(setting).rows}
    assert ranks["mmss"] == 1
    assert ranks["mcr"] == 2
    assert ranks["mcl"] == ranks["ssecross"] == ranks["ceiling"] == 0


def test_ranks_are_decided_on_unrounded_values(tmp_path):
    for method, value in (("bimpm", 0.50001), ("egcnn", 0.50002), ("mcr", 0.5), ("mmss", 0.50002)):
        write_run(tmp_path, method, 0, values=[value] * 4, products=list("abcd"))
    (setting,) = group_settings(load_runs(tmp_path))
    ranks = {row.name: row.entries[0].rank for row in results_table(setting).rows}
    assert [ranks[name] for name in ("bimpm", "egcnn", "mcr", "mmss")] == [2, 1, 0, 1]


def test_marks_come_from_the_stored_tests(setting):
    table = results_table(setting)
    tests = {(one["category"], one["metric"]): one for one in table.facts["tests"] if one["best"]}
    for entry, column in zip(rows_of(table)["mmss"].entries, table.columns, strict=True):
        one = tests[column.keys["category"], column.keys["metric"]]
        assert one["b"] == "mcr"
        assert entry.mark == ("**" if one["p_holm"] < 0.01 else "*" if one["p_holm"] < 0.05 else "")
    assert all(not entry.mark for row in table.rows if row.name != "mmss" for entry in row.entries)
    assert len(table.facts["tests"]) == 3 * 3 * 4


def test_a_better_baseline_is_said_and_gets_no_mark(tmp_path):
    write_grid(tmp_path, {"mcr": 0.8, "mmss": 0.5}, categories=["home"])
    (setting,) = group_settings(load_runs(tmp_path))
    table = results_table(setting)
    assert all(not entry.mark for entry in rows_of(table)["mmss"].entries)
    assert "MM-SS is below the best baseline with p < 0.05 in: H&K MAP, H&K N@3, H&K N@5." in table.caption


def test_no_test_is_said(tmp_path):
    write_grid(tmp_path, {"mcr": 0.5, "mmss": 0.8}, seeds=[0, 1])
    (setting,) = group_settings(load_runs(tmp_path))
    caption = " ".join(results_table(setting).caption)
    assert "No test: 2 and 2 seeds: a test needs 3 on each side." in caption
    assert "Holm" not in caption


def test_the_caption_names_what_a_reader_must_know(setting):
    caption = " ".join(results_table(setting).caption)
    for words in (
        "seeds 0-4",
        "(n-1)",
        "toy (synthetic",
        "f" * 12,
        "Protocol fair, preset quick, device cpu, no overrides",
        "label > 0",
        "tied scores: expected value",
        "Word vectors: random",
        "crossed test",
        "unit: seeds x products",
        "n = 5 seeds per method and 30 (CS&J), 30 (Elec), 30 (H&K) products",
        "Holm over the family of 12 comparisons",
        "commit abc123",
    ):
        assert words in caption, words
    assert "synthetic" in results_table(setting).title


def test_a_corpus_without_images_says_so(tmp_path):
    write_data(tmp_path, "lazada", "clothing", "f" * 64, ["a", "b"], images=False)
    write_run(tmp_path, "mmss", 0, products=["a", "b"], values=[0.1, 0.2])
    (setting,) = group_settings(load_runs(tmp_path))
    assert "NO IMAGES in CS&J" in " ".join(results_table(setting).caption)


def test_reference_rows(setting):
    rows = rows_of(results_table(setting))
    assert [entry.value for entry in rows["random"].entries[:3]] == pytest.approx([30, 20, 25])
    assert rows["ceiling"].entries[0].value == pytest.approx(100 * 29 / 30)


def test_published_values_beside_ours(setting):
    text = render(results_table(setting, with_paper=True))
    assert re.search(r"MM-SS.*\[71\.7\].*\[75\.0\] \|", text)
    assert "not run [61.8]" in text
    assert "[71.7]" not in render(results_table(setting))


def test_markdown_is_a_grid_with_bold_underline_and_escaped_marks(setting):
    lines = render(results_table(setting)).splitlines()
    grid = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in grid} == {12}
    own = next(line for line in grid if "MM-SS" in line)
    assert re.search(r"\*\*60\.\d\*\*\\\*\\\* ± \d\.\d", own)
    assert re.search(r"<ins>5\d\.\d</ins> ± ", next(line for line in grid if "| MCR " in line))


def test_latex_is_balanced_and_escaped(setting):
    text = render(results_table(setting, with_paper=True), "latex")
    body = text.splitlines()
    rows = [line for line in body if line.endswith(r"\\")]
    for row in rows:
        cells = len(re.findall(r"(?<!\\)&", row)) + 1
        spans = [int(width) for width in re.findall(r"\\multicolumn\{(\d)\}", row)]
        assert cells + sum(spans) - len(spans) == 11
    assert re.findall(r"\\begin\{(\w+\*?)\}", text) == ["table*", "tabular"]
    assert re.findall(r"\\end\{(\w+\*?)\}", text) == ["tabular", "table*"]
    assert text.count("{") == text.count("}")
    assert text.count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[%#_]", text)
    assert "±" not in text
    assert r"D\&R Net" in text
    assert re.search(r"\\textbf\{60\.\d\}\$\^\{\*\*\}\$ \$\\pm\$", text)


def test_csv_holds_unrounded_values_one_line_per_cell(setting):
    table = results_table(setting, with_paper=True)
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert len(lines) == 11 * 9
    cell = next(x for x in lines if (x["name"], x["category"], x["metric"]) == ("mmss", "home", "ndcg@5"))
    assert float(cell["value"]) == rows_of(table)["mmss"].entries[8].value
    assert (cell["published"], cell["seeds"], cell["synthetic"]) == ("75.0", "0 1 2 3 4", "True")
    assert len(cell["runs"].split()) == 5


def test_json_names_the_runs_behind_every_cell(setting, results):
    table = results_table(setting)
    value = json.loads(render(table, "json"))
    known = {run.id for run in load_runs(results)}
    cell = value["rows"][0]["cells"][0]
    assert cell["value"] == table.rows[0].entries[0].value
    assert len(cell["runs"]) == 5
    assert set(cell["runs"]) <= known
    assert value["settings"][0]["synthetic"] is True
    assert value["tests"][0]["n_products"] == 30


def test_the_same_values_give_the_same_bytes(tmp_path, results):
    for name in ("one", "two"):
        write_grid(tmp_path / name, {"mcr": 0.5, "mmss": 0.6})
    for format_ in ("md", "latex", "csv", "json"):
        one, two = (
            render(results_table(group_settings(load_runs(tmp_path / name))[0]), format_)
            for name in ("one", "two")
        )
        assert one == two


def test_an_unknown_format_names_the_known_ones(setting):
    with pytest.raises(UsageError, match="latex"):
        render(results_table(setting), "latx")


def test_ablation_rows_and_differences(setting, results):
    table = ablation_table([setting], with_paper=True)
    rows = rows_of(table)
    assert [row.label for row in table.rows][:2] == ["MM-SS", "w/o intra-modal-ptrt"]
    assert len(table.rows) == 8
    full, without = rows["mmss"].entries[0], rows["mmss-no-b"].entries[0]
    assert without.delta == pytest.approx(without.value - full.value)
    assert without.delta < -5
    assert without.mark == "**"
    assert full.delta is None
    assert rows["mmss-no-d"].entries[0].missing == "not run"
    text = render(table)
    assert re.search(r"w/o module\(b\).*\(-\d+\.\d\d\\\*\\\*\) \[65\.34\]", text)
    assert text.count("{") == text.count("}")


def test_ablation_over_both_data_sets(tmp_path):
    for dataset in ("amazon", "lazada"):
        for drop in ((), ("rtrv",), ("ptrt", "rtrv")):
            for seed in range(3):
                write_run(tmp_path, "mmss", seed, dataset=dataset, drop=drop)
    (pair,) = matching_settings(group_settings(load_runs(tmp_path)))
    table = ablation_table(pair, with_paper=True)
    assert [column.group for column in table.columns[::3]] == ["Lazada-MRHP CS&J", "Amazon-MRHP CS&J"]
    assert table.rows[-1].label == "w/o intra-modal-ptrt + intra-review-rtrv"
    assert all(entry.value is not None for entry in table.rows[-1].entries)
    assert "63.3 in Table 2, 62.94 in Table 4" in " ".join(table.caption)
    with pytest.raises(UsageError, match="one setting"):
        ablation_table([pair[0], pair[0]])


def test_statistics_from_the_manifests(setting, results):
    table = statistics_table(manifests(load_runs(results)), with_paper=True)
    assert [row.label for row in table.rows] == ["CS&J", "Elec", "H&K"]
    assert [entry.value for entry in table.rows[0].entries] == [30, 120] * 3
    text = render(table)
    assert "30 [6,598]" in text
    assert "120 [104,121]" in text
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert (lines[1]["value"], lines[1]["what"], lines[1]["split"]) == ("120", "reviews", "train")
    assert render(table, "latex").count(r"\multicolumn{2}") == 3
    with pytest.raises(UsageError, match="--data"):
        statistics_table([])


def test_several_tables_make_one_document(setting):
    table = results_table(setting)
    assert len(json.loads(render_all([table, table], "json"))) == 2
    assert len(render_all([table, table], "csv").splitlines()) == 1 + 2 * 99
    assert render_all([table, table]).count("### Table 1.") == 2


@pytest.mark.parametrize(
    "module", ["report.tables", "report.formats", "stats", "data.published", "report.grid"]
)
def test_tables_and_statistics_work_without_torch(module):
    code = f"import sys; sys.modules['torch'] = None; import benchmark.{module}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_trivial_scorers_on_request(setting):
    names = [row.name for row in results_table(setting).rows]
    assert "longest" not in names
    rows = rows_of(results_table(setting, with_sentinels=True))
    # The fixture's reviews are sorted by label and by length: longest first is the best order.
    assert rows["longest"].entries[0].value == pytest.approx(rows["ceiling"].entries[0].value)
    assert rows["oldest"].entries[0].value < rows["has-image"].entries[0].value
