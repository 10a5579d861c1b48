"""LaTeX tables: every one of them set by pdflatex in a two-column paper, and no box is overfull."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmark.core.errors import UsageError
from benchmark.report.grid import group_settings, manifests, matching_settings
from benchmark.report.latex import DEVIATIONS, WIDTHS, Layout, escape, to_latex
from benchmark.report.significance import stats_report
from benchmark.report.significance_text import to_latex as stats_to_latex
from benchmark.report.table import Table
from benchmark.report.tables import ablation_table, results_table, statistics_table
from benchmark.runs.store import StoredRun, load_runs
from tests.command_line import bench
from tests.fixtures_runs import write_run
from tests.report.report_runs import QUALITY

PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs}
\usepackage{threeparttable}
\usepackage{adjustbox}
\begin{document}
%s
\end{document}
"""
NEEDED = ("article.cls", "booktabs.sty", "threeparttable.sty", "adjustbox.sty")


def why_not() -> str:
    """Why nothing can be typeset here; empty if it can."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return "pdflatex is not installed"
    missing = [name for name in NEEDED if subprocess.run(["kpsewhich", name], capture_output=True).returncode]
    return f"LaTeX lacks {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRun]:
    """All that a table can hold: incomplete cells, marks, two data sets, ablations, a method of many words."""
    folder = tmp_path_factory.mktemp("latex")
    for dataset in ("lazada", "amazon"):
        for method, category in itertools.product(QUALITY, ("clothing", "electronics", "home")):
            for seed in range(2 if method == "mcl" else 3):
                write_run(folder, method, seed, dataset=dataset, category=category, value=QUALITY[method])
        for seed, drop in itertools.product(range(3), (("ptrt",), ("d",), ("ptrt", "rtrv"))):
            write_run(folder, "mmss", seed, dataset=dataset, value=0.58, drop=drop, papers_data=True)
    return load_runs(folder)


@pytest.fixture(scope="module")
def tables(runs: list[StoredRun]) -> dict[str, Table]:
    settings = group_settings(runs)
    whole = {one.conditions.dataset: one for one in settings}
    return {
        "Table 1": results_table(whole["lazada"], with_paper=True),
        "Table 2": results_table(whole["amazon"], with_sentinels=False),
        "Table 3": statistics_table(manifests(runs), with_paper=True),
        "Table 4": ablation_table(matching_settings(settings)[0], with_paper=True),
        "of one data set": ablation_table([whole["lazada"]]),
    }


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is")
@pytest.mark.parametrize("width", WIDTHS)
def test_no_box_is_overfull(
    runs: list[StoredRun], tables: dict[str, Table], width: str, tmp_path: Path
) -> None:
    texts = [to_latex(table, Layout(width, form)) for table in tables.values() for form in DEVIATIONS]
    texts += [
        stats_to_latex(stats_report(setting, against), Layout(width))
        for setting in group_settings(runs)
        for against in ("best", "all")
    ]
    (tmp_path / "paper.tex").write_text(PAPER % "\nWords.\n\\clearpage\n".join(texts), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert made.returncode == 0, log[-2000:]
    assert not re.findall(r"Overfull.*|.*too large.*", log)
    pages = re.search(r"Output written on paper\.pdf \((\d+) page", log)
    assert pages is not None
    assert int(pages[1]) >= len(texts), "every table is on a page of its own"


def test_packages_label_short_caption_and_notes(tables: dict[str, Table]) -> None:
    for table in tables.values():
        text = to_latex(table)
        first = text.splitlines()[0]
        assert first.startswith("% Needs")
        used = {"\\toprule": "booktabs", "{threeparttable}": "threeparttable", "{adjustbox}": "adjustbox"}
        assert all(package in first for mark, package in used.items() if mark in text)
        (caption,) = re.findall(r"\\caption\{(.*)\}", text)
        assert len(caption) < 80
        (label,) = re.findall(r"\\label\{(.*)\}", text)
        assert re.fullmatch(r"tab:[a-z0-9-]+", label)
        notes = text[text.index(r"\begin{tablenotes}") : text.index(r"\end{tablenotes}")]
        assert all(escape(sentence) in notes for sentence in table.caption)


def test_a_column_stacks_what_does_not_fit_side_by_side(tables: dict[str, Table]) -> None:
    beside, below = (to_latex(tables["Table 2"], Layout(width)) for width in ("page", "column"))
    assert r"\begin{table*}" in beside
    assert r"\begin{table}" in below
    assert (beside.count(r"\multicolumn{3}"), below.count(r"\multicolumn")) == (3, 0)
    numbers = re.compile(r"(?<![\d.])\d\d\.\d(?=[^\d])")
    body = [text[text.index(r"\midrule") : text.index(r"\bottomrule")] for text in (beside, below)]
    assert sorted(numbers.findall(body[0])) == sorted(numbers.findall(body[1]))
    places = [below.index(rf"\textit{{{name}}}") for name in (r"CS\&J", "Elec", r"H\&K")]
    assert places == sorted(places)


def test_deviations_as_asked_for(tables: dict[str, Table]) -> None:
    small, plain, none = (
        to_latex(tables["Table 1"], Layout(deviations=form)) for form in ("small", "plain", "none")
    )
    body = [text[: text.index(r"\bottomrule")] for text in (small, plain, none)]
    number = len(re.findall(r"\\scriptsize\$\\pm\$\d", body[0]))
    assert number == len(re.findall(r" \$\\pm\$ \d", body[1])) > 30
    assert r"\pm" not in body[2]


def test_the_commands_options(runs: list[StoredRun]) -> None:
    words = ["--results", str(runs[0].results), "--format", "latex", "--width", "column"]
    text = bench("table", "lazada", "--deviations", "none", *words).stdout
    assert r"\begin{table}[t]" in text
    assert r"\pm" not in text[: text.index(r"\bottomrule")]
    assert r"\label{tab:stats-lazada}" in bench("stats", "lazada", *words).stdout
    with pytest.raises(UsageError, match="column"):
        Layout("colum")
    assert "small" in bench("table", "--deviations", "smal", *words, code=2).stderr
