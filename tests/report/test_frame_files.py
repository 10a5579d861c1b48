"""`bench export` as CSV and Parquet: every value per product, and what two rows must share to be compared."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pytest

from benchmark import frame
from benchmark.report.frame import COLUMNS, CONDITIONS
from benchmark.runs.store import load_runs
from tests.command_line import bench
from tests.fixtures_runs import N_PRODUCTS, write_run

COUNT = 3 * 4 * N_PRODUCTS


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    ids = [f"{number:04}" for number in range(N_PRODUCTS)]
    for seed in (0, 1):
        write_run(folder, "mcr", seed, products=ids)
    more = ("mmss.hidden=8", "train.epochs=3")
    write_run(folder, "mmss", 0, products=ids, overrides=more, protocol="released")
    return folder


def test_both_formats_hold_the_frame(results: Path, tmp_path: Path) -> None:
    for name in ("values.csv", "values.parquet"):
        said = bench("export", "--results", str(results), "--out", str(tmp_path / name)).stderr
        assert f"3 runs, {COUNT} rows" in said
    with (tmp_path / "values.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS[:5], *CONDITIONS, *COLUMNS[5:]]
    assert {row["product"] for row in rows} >= {"0000", "0007"}
    last = rows[-1]
    assert (last["protocol"], last["overrides"]) == ("released", "mmss.hidden=8 train.epochs=3")
    table = frame(results)
    assert [float(row["value"]) for row in rows] == table["value"].tolist()
    with duckdb.connect() as con:
        read = con.execute(
            f"SELECT run, seed, metric, product, value FROM '{tmp_path / 'values.parquet'}'"
        ).fetchall()
    assert read == list(
        table[["run", "seed", "metric", "product", "value"]].itertuples(index=False, name=None)
    )


def test_the_frame_has_conditions_where_asked(results: Path) -> None:
    assert list(frame(results).columns) == list(COLUMNS)
    assert set(frame(results, conditions=True).columns) - set(COLUMNS) == set(CONDITIONS)
    assert len(frame(load_runs(results), "amazon", conditions=True)) == 0


def test_the_format_is_told_by_name_or_said(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "values.txt"
    bench("export", "--results", str(results), "--out", str(out), "--format", "CSV")
    assert out.read_text().startswith("run,dataset,category")
    bench("export", "--results", str(results), "--out", str(tmp_path / "all"))
    assert (tmp_path / "all").read_bytes()[:2] == b"PK"
    unknown = bench(*("export", "--results", str(results), "--out", str(out), "--format", "parket"), code=2)
    assert "Did you mean parquet" in unknown.stderr
