"""The paper's tables: content against the stored values, and each format read back."""

import csv
import io
import itertools
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
from benchmark.report.sentinels import sentinels
from benchmark.report.tables import ablation_table, results_table, statistics_table
from benchmark.runs.store import load_runs
from benchmark.stats import crossed_test, paired_test
from tests.fixtures_runs import write_data, write_grid, write_run

REFERENCE = ["random", "oracle", "file-order", "longest", "oldest", "has-image"]
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
    assert [row.name for row in table.rows] == [*models.DEFAULT_METHODS, *REFERENCE]
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
    ranks = {row.name: row.entries[3].rank for row in results_table(setting).rows}
    assert ranks["mmss"] == 1
    assert ranks["mcr"] == 2
    assert ranks["mcl"] == ranks["ssecross"] == ranks["oracle"] == 0


def test_where_a_method_lacks_seeds_nothing_is_best_and_it_is_named(setting):
    """MCL has one seed of five on CS&J, and the highest mean there."""
    table = results_table(setting)
    for row in table.rows:
        assert [(entry.rank, entry.mark) for entry in row.entries[:3]] == [(0, "")] * 3
    assert [entry.mark for entry in rows_of(table)["mmss"].entries[3:]] == ["**"] * 6
    caption = " ".join(table.caption)
    assert "Not all seeds were run: CS&J MCL (1/5 seeds). Any of them may be the best there" in caption
    complete = results_table(setting, seeds=[0])
    assert {row.name: row.entries[0].rank for row in complete.rows}["mcl"] == 1
    assert "Not all seeds" not in " ".join(complete.caption)


def test_categories_without_any_run_are_no_columns(tmp_path):
    write_grid(tmp_path, {"mcr": 0.5, "mmss": 0.6}, categories=["home", "clothing"])
    (setting,) = group_settings(load_runs(tmp_path))
    assert [c.group for c in results_table(setting).columns[::3]] == ["CS&J", "H&K"]


@pytest.mark.parametrize(
    ("labels", "mute"),
    [([1, 1, 1, 1], ["map", "ndcg@3", "ndcg@5"]), ([3, 2, 1, 1], ["map"]), ([0] * 4, None)],
)
def test_a_metric_that_cannot_tell_is_said_and_crowns_nobody(tmp_path, labels, mute):
    mute = mute or ["map", "ndcg@3", "ndcg@5"]
    products = [f"P{i:03}" for i in range(30)]
    write_data(tmp_path, "lazada", "home", "f" * 64, products, labels=labels)
    write_grid(tmp_path, {"mcr": 0.5, "mmss": 0.6}, categories=["home"])
    (setting,) = group_settings(load_runs(tmp_path))
    table = results_table(setting)
    for column, entry in zip(table.columns, rows_of(table)["mmss"].entries, strict=True):
        told = column.keys["metric"] not in mute
        assert (entry.rank == 1, entry.mark == "**") == (told, told)
    (sentence,) = [line for line in table.caption if "CANNOT TELL" in line]
    assert ("H&K N@3" in sentence) == ("ndcg@3" in mute)
    assert table.facts["cannot_tell"] == [["home", metric] for metric in mute]
    assert {one["metric"] for one in table.facts["against_trivial"]}.isdisjoint(mute)


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
        if column.keys["category"] == "clothing":  # a baseline lacks seeds there
            continue
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
    orders = set(itertools.permutations([2, 1, 0, 0]))
    precision = [
        np.mean([(k + 1) / (i + 1) for k, i in enumerate(np.flatnonzero(order))]) for order in orders
    ]
    # The first product has nothing relevant.
    assert rows["random"].entries[0].value == pytest.approx(100 * 29 / 30 * np.mean(precision))
    assert rows["oracle"].entries[0].value == pytest.approx(100 * 29 / 30)


def test_published_values_beside_ours_on_the_papers_data_only(tmp_path, setting):
    write_grid(tmp_path, QUALITY, categories=["clothing", "home"], papers_data=True)
    (real,) = group_settings(load_runs(tmp_path))
    text = render(results_table(real, with_paper=True))
    assert re.search(r"MM-SS.*\[71\.7\].*\[75\.0\] \|", text)
    assert "not run [61.8]" in text
    assert "[71.7]" not in render(results_table(real))
    synthetic = results_table(setting, with_paper=True)
    assert not any(entry.published for row in synthetic.rows for entry in row.entries)
    (line,) = [line for line in synthetic.caption if "published" in line.lower()]
    assert line.startswith("Not the paper's data (CS&J, Elec, H&K): the corpus toy is synthetic.")


def test_a_category_with_other_counts_gets_no_published_value(tmp_path):
    write_run(tmp_path, "mcr", 0, category="home", papers_data=True)
    write_run(tmp_path, "mcr", 0, category="clothing")
    (setting,) = group_settings(load_runs(tmp_path))
    table = results_table(setting, with_paper=True)
    assert [bool(entry.published) for entry in rows_of(table)["mcr"].entries] == [False] * 3 + [True] * 3
    assert any("(CS&J): 30 train products where Table 3 prints 6,598." in line for line in table.caption)


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
    assert len(rows) == 2 + 9 + len(REFERENCE) + 3, "two heads, a heading for each section"
    for row in rows:
        cells = len(re.findall(r"(?<!\\)&", row)) + 1
        spans = [int(width) for width in re.findall(r"\\multicolumn\{(\d)\}", row)]
        assert cells + sum(spans) - len(spans) == 10
    assert re.findall(r"\\begin\{(\w+\*?)\}", text) == [
        *("table*", "adjustbox", "threeparttable", "tabular", "tablenotes"),
    ]
    assert re.findall(r"\\end\{(\w+\*?)\}", text) == [
        *("tabular", "tablenotes", "threeparttable", "adjustbox", "table*"),
    ]
    assert text.count("{") == text.count("}")
    assert text.count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[%#_]", "\n".join(body[1:]))
    assert "±" not in text
    assert r"D\&R Net" in text
    assert re.search(r"\\textbf\{60\.\d\}\$\^\{\*\*\}\$\{\\scriptsize\$\\pm\$", text)


def test_csv_holds_unrounded_values_one_line_per_cell(setting):
    table = results_table(setting, with_paper=True)
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert len(lines) == (9 + len(REFERENCE)) * 9
    cell = next(x for x in lines if (x["name"], x["category"], x["metric"]) == ("mmss", "home", "ndcg@5"))
    assert float(cell["value"]) == rows_of(table)["mmss"].entries[8].value
    assert (cell["published"], cell["seeds"], cell["synthetic"]) == ("", "0 1 2 3 4", "True")
    assert len(cell["runs"].split()) == 5


def test_csv_per_seed_holds_each_runs_value(setting, results):
    lines = list(csv.DictReader(io.StringIO(render(results_table(setting), "csv", per_seed=True))))
    values = {run.id: run for run in load_runs(results)}
    assert len(lines) == sum(9 // 3 * 5 * 3 for _ in QUALITY) + 3, "1/5 seeds of one cell too"
    for line in lines:
        run = values[line["run"]]
        assert (run.spec.method, run.spec.seed) == (line["name"], int(line["seed"]))
        assert float(line["value"]) == pytest.approx(100 * run.per_product[line["metric"]].mean())


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
    assert re.search(r"w/o module\(b\).*\(-\d+\.\d\d\\\*\\\*\)", text)
    assert text.count("{") == text.count("}")


def test_ablation_over_both_data_sets(tmp_path):
    for dataset in ("amazon", "lazada"):
        for drop in ((), ("rtrv",), ("ptrt", "rtrv")):
            for seed in range(3):
                write_run(tmp_path, "mmss", seed, dataset=dataset, drop=drop, papers_data=True)
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
    assert len(json.loads(render_all([table, table], "json"))["tables"]) == 2
    assert len(render_all([table, table], "csv").splitlines()) == 1 + 2 * 9 * (9 + len(REFERENCE))
    assert render_all([table, table]).count("### Table 1.") == 2


@pytest.mark.parametrize(
    "module", ["report.tables", "report.formats", "stats", "data.published", "report.grid"]
)
def test_tables_and_statistics_work_without_torch(module):
    code = f"import sys; sys.modules['torch'] = None; import benchmark.{module}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_differences_to_the_full_model_are_paired_by_seed(tmp_path):
    """Seeds that move both alike hide the difference from an unpaired test."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        full = 0.5 + rng.normal(0, 0.1) + rng.normal(0, 0.05, 30)
        write_run(tmp_path, "mmss", seed, values=full)
        write_run(tmp_path, "mmss", seed, values=full - 0.01 + rng.normal(0, 0.005, 30), drop=("ptrt",))
    (setting,) = group_settings(load_runs(tmp_path))
    table = ablation_table([setting])
    (test,) = [one for one in table.facts["tests"] if one["metric"] == "map"]
    x, y = (setting.cell("clothing", "mmss", drop).values("map") for drop in (("ptrt",), ()))
    expected = paired_test(x, y)
    assert test["paired"]
    assert test["interval"] == pytest.approx([100 * bound for bound in expected.interval])
    assert rows_of(table)["mmss-no-ptrt"].entries[0].mark == "**"
    assert crossed_test(x, y).p_value > 0.5
    assert "paired by seed" in " ".join(table.caption)


def test_trivial_scorers_stand_in_the_table_and_are_opponents(setting):
    rows = rows_of(results_table(setting))
    # The fixture's reviews are sorted by label and by length: longest first is the best order.
    assert rows["longest"].entries[0].value == pytest.approx(rows["oracle"].entries[0].value)
    assert rows["oldest"].entries[0].value < rows["has-image"].entries[0].value
    table = results_table(setting, with_sentinels=False)
    assert [row.name for row in table.rows[9:]] == ["random", "oracle"]
    caption = " ".join(table.caption)
    assert "no method is above 'Longest review first' in CS&J MAP (96.7 against at best 6" in caption
    assert "CS&J 0 of 5 methods against 'Longest review first'" in caption
    own = [one for one in table.facts["against_trivial"] if one["method"] == "mmss"]
    assert {one["scorer"] for one in own} == {"longest"}
    assert all(one["difference"] < -20 and one["p_holm"] < 0.01 for one in own)


def test_what_beats_the_trivial_scorers_is_counted(tmp_path):
    """Length and age say nothing here: the longest review comes last, random order is the best of them."""
    products = [f"P{i:03}" for i in range(30)]
    write_data(tmp_path, "lazada", "home", "f" * 64, products, labels=[0, 0, 1, 2], images=False, times=False)
    write_grid(tmp_path, {"mcr": 0.5, "mcl": 0.9, "mmss": 0.95}, categories=["home"])
    (setting,) = group_settings(load_runs(tmp_path))
    table = results_table(setting)
    caption = " ".join(table.caption)
    assert "NOTHING BEATS" not in caption
    scorers = {one["metric"]: one["scorer"] for one in table.facts["against_trivial"]}
    values = {row.name: row.entries[0].value for row in table.rows}
    best = max(("random", "longest"), key=lambda name: values[name])
    assert scorers["map"] == best
    assert "H&K 2 of 3 methods" in caption
    assert "(not MCR)" in caption
    # A scorer without seeds: its side shows no variance over them.
    (found,) = [
        one for one in table.facts["against_trivial"] if (one["method"], one["metric"]) == ("mmss", "map")
    ]
    cell = setting.cell("home", "mmss")
    scorer = {one.name: one for one in sentinels(cell.runs[0].test_reviews)}[best]
    expected = crossed_test(cell.values("map"), np.tile(scorer.per_product["map"], (5, 1)))
    assert found["interval"] == pytest.approx([100 * bound for bound in expected.interval])
