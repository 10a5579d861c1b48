"""A data set of one's own costs one file: everything from the check to the export knows it then."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from benchmark.core.errors import EXIT_USAGE
from tests.command_line import bench
from tests.fixtures_release import write_release

NAMES = ("zz-tools", "3d_druck", "Garten")
SHOP = """
name = "myshop"
title = "Mein Laden"
language = "de"

[[category]]
name = "zz-tools"
title = "Werk & Zeug"

[[category]]
name = "3d_druck"
product_text = ["name"]

[[category]]
name = "Garten"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    write_release(root, ("myshop",), NAMES, products=4, reviews=6)
    (root / "dataset.toml").write_text(SHOP, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods and an ablation with two seeds, all that the other tests read; the root is gone then."""
    results, moved = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("moved") / "shop"
    shutil.copytree(root, moved)
    where = [
        "--data",
        str(moved),
        "--results",
        str(results),
        "--set",
        "epochs=1",
        "--seeds",
        "0,1",
        "--jobs",
        "1",
    ]
    done = bench("run", "--all-categories", "--method", "prhnet", "--method", "mmss", *where)
    assert "see: bench table --dataset myshop" in done.stdout
    done = bench("ablate", "--drop", "d", *where)
    assert "Mein Laden Werk & Zeug" in done.stdout
    assert "3d_druck" not in done.stdout, "an ablation takes the first category unless told otherwise"
    shutil.rmtree(moved)
    return results


def test_it_is_checked_counted_and_packed(root: Path, tmp_path: Path) -> None:
    checked = bench("data", "check", "--data", str(root))
    assert "myshop/zz-tools (Werk & Zeug)" in checked.stdout
    counted = bench("data", "stats", "--data", str(root), "--cache", str(tmp_path), "--json")
    assert [one["category"] for one in json.loads(counted.stdout)["results"]] == list(NAMES)
    packed = bench("data", "pack", "--data", str(root), "--category", "Garten", "--cache", str(tmp_path))
    assert packed.stdout.startswith("myshop/Garten")


def test_its_table_has_its_columns_in_its_order_and_nothing_of_the_paper(results: Path) -> None:
    table = bench("table", "--dataset", "myshop", "--results", str(results), "--with-paper")
    head = table.stdout.splitlines()[2]
    groups = [cell.strip().rsplit(" ", 1)[0] for cell in head.split("|")[3:-1]]
    assert groups == [name for name in ("Werk & Zeug", "3d_druck", "Garten") for _ in range(3)]
    assert table.stdout.startswith("### Results on Mein Laden\n")
    assert "square brackets" not in table.stdout
    (asked,) = json.loads(bench("table", "--results", str(results), "--format", "json").stdout)["tables"]
    assert asked["table"] is None


@pytest.mark.parametrize("format_", ["md", "latex", "csv", "json"])
@pytest.mark.parametrize("kind", [[], ["--statistics"], ["--ablation"], ["--sentinels"]])
def test_every_table_is_printed_in_every_format(results: Path, kind: list[str], format_: str) -> None:
    table = bench("table", "--results", str(results), "--format", format_, *kind)
    assert "Mein Laden" in table.stdout or format_ == "csv"


def test_stats_status_claims_and_compare(results: Path) -> None:
    place = ["--results", str(results)]
    assert "Mein Laden: MM-SS against" in bench("stats", "--dataset", "myshop", *place).stdout
    status = bench("status", "--dataset", "myshop", *place)
    assert "14 runs done" in status.stdout
    assert "not in the paper" in bench("compare", *place).stdout
    claims = bench("claims", *place)
    assert "SUPPORTED" not in claims.stdout


def test_an_export_knows_it_too(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    bench("export", "--out", str(file), "--results", str(results))
    from_zip = bench("table", "--dataset", "myshop", "--from", str(file), "--results", str(tmp_path / "none"))
    assert from_zip.stdout == bench("table", "--dataset", "myshop", "--results", str(results)).stdout


def test_a_new_title_is_stored_when_the_data_are_used_again(
    root: Path, results: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "shop"
    shutil.copytree(root, copy)
    shutil.copytree(results, tmp_path / "results")
    (copy / "dataset.toml").write_text(SHOP.replace("Mein Laden", "Unser Laden"), encoding="utf-8")
    place = ["--results", str(tmp_path / "results")]
    options = ["--set", "epochs=1", "--seeds", "0", "--method", "prhnet", "--jobs", "1"]
    done = bench("run", "--all-categories", "--data", str(copy), *place, *options)
    assert "nothing to do" in done.stdout, done.stdout + done.stderr
    assert "Results on Unser Laden" in bench("table", *place).stdout


def test_names_are_checked_with_near_misses(root: Path, results: Path) -> None:
    for command, message in (
        (["run", "--data", str(root), "--dataset", "myshp"], "Did you mean myshop"),
        (["run", "--data", str(root), "--dataset", "amazon"], "Known: myshop"),
        (["run", "--data", str(root), "--category", "garden"], "Did you mean Garten"),
        (["table", "--results", str(results), "--dataset", "myshp"], "Did you mean myshop"),
        (["status", "--results", str(results), "--dataset", "amzon"], "Did you mean amazon"),
    ):
        refused = bench(*command, code=EXIT_USAGE)
        assert message in refused.stderr


def test_the_released_protocol_needs_the_descriptor_to_say_whose(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "shop"
    shutil.copytree(root, copy)
    options = [
        "--data",
        str(copy),
        "--results",
        str(tmp_path / "r"),
        "--protocol",
        "released",
        "--dry-run",
        "--json",
    ]
    refused = bench("run", "--category", "Garten", "--method", "convknrm", *options, code=EXIT_USAGE)
    assert 'released_like = "amazon"' in refused.stderr
    (copy / "dataset.toml").write_text('released_like = "amazon"\n' + SHOP, encoding="utf-8")
    assert tomllib.loads((copy / "dataset.toml").read_text())["released_like"] == "amazon"
    bench("run", "--category", "Garten", "--method", "convknrm", *options)


def test_a_page_is_made_of_it(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    bench("report", "--out", str(page), "--results", str(results), "--no-pictures")
    assert "Mein Laden" in page.read_text(encoding="utf-8")


def test_an_import_can_be_run_at_once(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    rows = [f"p{p},r{p}{r},some words about {p} {r},{2**r + p}" for p in range(12) for r in range(4)]
    source = tmp_path / "reviews.csv"
    source.write_text("\n".join(["asin,review_id,review_body,helpful_votes", *rows]))
    made = bench("data", "import", str(source), "--out", str(tmp_path / "r"), "--name", "phones", "--json")
    assert json.loads(made.stdout)["columns"]["reviews.csv"]["votes"] == "helpful_votes"
    place = ["--data", str(tmp_path / "r"), "--results", str(tmp_path / "results"), "--jobs", "1"]
    bench("run", "--all-categories", "--method", "prhnet", "--seeds", "0", "--set", "epochs=1", *place)
    assert "Results on phones" in bench("table", "--results", str(tmp_path / "results")).stdout
    again = bench(
        "data", "import", str(source), "--out", str(tmp_path / "r"), "--name", "phones", code=EXIT_USAGE
    )
    assert "new or an empty folder" in again.stderr
