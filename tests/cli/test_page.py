"""`bench report`, `bench plot`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import bench
from tests.fixtures_runs import make_consistent, write_run
from tests.report.report_runs import write_report_runs


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "results"
    write_report_runs(folder)
    return folder


def test_report(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/report.html"
    said = bench("report", "--results", str(results), "--out", str(out), "--no-pictures").stderr
    assert f"wrote {out}: 102 runs" in said
    page = out.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert f"bench report --results {results}" in page
    told = bench("report", "--results", str(results), "--out", str(out), "--no-pictures", "--json").stdout
    wanted = {"out": str(out), "bytes": len(out.read_bytes()), "runs": 102}
    assert json.loads(told).items() >= wanted.items()


def test_report_of_an_export_is_the_same_but_for_its_folder(results: Path, tmp_path: Path) -> None:
    results = make_consistent(shutil.copytree(results, tmp_path / "results"))
    archive = tmp_path / "runs.zip"
    bench("export", "--results", str(results), "--out", str(archive))
    pages = []
    for name, place in (("a", []), ("b", ["--from", str(archive)])):
        bench("report", "--results", str(results), *place, "--out", str(tmp_path / name), "--no-pictures")
        pages.append((tmp_path / name).read_text())
    assert pages[0] == pages[1]


def test_texts_are_shown_where_the_data_set_lies(corpus: Path, cache: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    place = ["--data", str(corpus), "--cache", str(cache), "--results", str(results)]
    bench(
        "run",
        "--dataset",
        "amazon",
        "--method",
        "egcnn",
        "--seeds",
        "0",
        "--set",
        "epochs=1",
        "--jobs",
        "1",
        *place,
    )
    bench("report", *place, "--out", str(tmp_path / "with.html"), "--no-pictures")
    bench("report", "--results", str(results), "--out", str(tmp_path / "without.html"), "--no-pictures")
    from benchmark.data.source import Source

    texts = Source(corpus, cache).open("amazon", "home").test
    known = [" ".join(texts.review_text(row).split())[:60] for row in range(texts.n_reviews)]
    shown = {name: (tmp_path / f"{name}.html").read_text() for name in ("with", "without")}
    assert sum(text in shown["with"] for text in known if text) >= 3
    assert not any(text in shown["without"] for text in known if text)
    assert "ids only" in shown["without"]
    meta = json.loads(next(results.glob("runs/*/*/*/seed-*/meta.json")).read_text())
    assert 50e6 < meta["memory"]["peak_bytes"] < 50e9


def test_controls_that_were_run_are_judged(results: Path, tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "controls", "mcr", seed, shuffle_labels=True, value=0.9)
    out = tmp_path / "report.html"
    words = ["report", "--results", str(results), "--out", str(out), "--no-pictures"]
    bench(*words)
    assert "<code>bench controls</code>" in out.read_text()
    bench(*words, "--controls", str(tmp_path / "controls"))
    page = out.read_text()
    assert "shuffled labels: MCR on lazada/clothing" in page
    assert "FAILED" in page
    bench(*words, "--controls", str(tmp_path / "nowhere"), code=2)


@pytest.mark.parametrize("kind", ["forest", "dots", "curves", "labels", "products", "cd", "cost"])
def test_plot(results: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"{kind}.svg"
    words = ["--results", str(results), "--out", str(out)]
    if kind != "cd":
        words += ["--dataset", "lazada", "--category", "clothing"]
    said = bench("plot", kind, *words).stderr
    assert f"wrote {out}" in said
    assert "<text" in out.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["forst", "--out", "a.svg"], "Did you mean forest"),
        (["forest", "--out", "a.gif"], "Known: svg pdf png"),
        (["decisions", "--out", "a.svg"], "nothing to show"),
        (["forest", "--out", "a.svg", "--metric", "mrr"], "unknown metric"),
        (["forest", "--out", "a.svg", "--setting", "2"], "the runs are of 1"),
    ],
)
def test_what_cannot_be_drawn_is_said(results: Path, words: list[str], said: str) -> None:
    assert said in bench("plot", *words, "--results", str(results), code=2).stderr


def test_no_runs(tmp_path: Path) -> None:
    assert (
        "bench run"
        in bench("report", "--results", str(tmp_path), "--out", str(tmp_path / "a"), code=2).stderr
    )
    assert not (tmp_path / "a").exists()


def test_neither_torch_nor_matplotlib_is_needed(results: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Neither:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'matplotlib'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Neither())\n"
        f"sys.argv = ['bench', 'report', '--results', {str(results)!r}, '--out', {str(tmp_path / 'r.html')!r}]\n"
        "from benchmark.cli import main; main()"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mrhp-bench[plots]" in made.stderr
    assert "<svg" not in (tmp_path / "r.html").read_text()
