"""Files in, files out: every format keeps the input's columns, bad rows are named, large files go block by block."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark.core.errors import EXIT_DATA, EXIT_USAGE, UsageError
from benchmark.rank import frames, ranker
from benchmark.rank.files import RankOptions, rank_files
from benchmark.rank.ranker import Ranker
from tests.command_line import bench
from tests.rank.conftest import Trained

ROWS: list[dict[str, Any]] = [
    {"asin": "b", "id": 1, "text": 'The "best" one, truly\nin two lines', "stars": 4.5, "tags": ["a", "b"]},
    {"asin": "a", "id": 2, "text": "not good at all", "stars": 1.0, "tags": []},
    {"asin": "b", "id": 3, "text": "", "stars": 2.25, "tags": ["ü"]},
    {"asin": "a", "id": 4, "text": "it works as it should; I would buy it again", "stars": 5.0, "tags": []},
    {"asin": "b", "id": 5, "text": "good", "stars": 3.0, "tags": [], "more": None},
]


@pytest.fixture
def model(trained: Trained) -> Path:
    return trained.model("egcnn")


@pytest.fixture
def expected(model: Path) -> pd.DataFrame:
    """From Python, which reads no file."""
    return benchmark.load_ranker(model).rank(None, ROWS, columns={"review": "id"})


def rank(model: Path, source: Path, *words: str, code: int = 0) -> Any:
    return bench("rank", "--model", str(model), "--input", str(source), *words, code=code)


def write(file: Path) -> Path:
    """ROWS in the format of the file's name, by other means than those under test."""
    table = pd.DataFrame(ROWS).drop(columns="more")
    suffix = file.name.partition(".")[2]
    if suffix == "jsonl.gz":
        file.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    elif suffix == "json":
        file.write_text(json.dumps(ROWS))
    elif suffix == "parquet":
        duckdb.from_df(table).write_parquet(str(file))
    else:
        table.drop(columns="tags").to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    return file


def read(file: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    name = file.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        found = duckdb.sql(f"SELECT * FROM '{file}'")
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    if name.endswith(".json"):
        return list(json.loads(text))
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.decode().splitlines()]
    return list(
        csv.DictReader(text.decode().splitlines(keepends=True), delimiter="\t" if "tsv" in name else ",")
    )


@pytest.mark.parametrize("source", ["csv", "tsv", "jsonl.gz", "json", "parquet"])
@pytest.mark.parametrize("target", ["csv", "tsv.gz", "jsonl", "json", "parquet"])
def test_every_format_keeps_what_it_was_given(
    source: str, target: str, model: Path, expected: pd.DataFrame, tmp_path: Path
) -> None:
    given = write(tmp_path / f"reviews.{source}")
    rank(model, given, "--out", str(tmp_path / f"ranked.{target}"), "--column", "review=id")
    made = read(tmp_path / f"ranked.{target}")
    assert [int(row["rank"]) for row in made] == list(expected["rank"])
    np.testing.assert_array_equal([float(row["score"]) for row in made], expected["score"])
    assert [str(row["asin"]) for row in made] == [row["asin"] for row in ROWS]
    assert [row["text"] or "" for row in made] == [row["text"] for row in ROWS]
    assert [float(row["stars"]) for row in made] == [row["stars"] for row in ROWS]
    assert list(made[0])[:3] == ["asin", "id", "text"]
    if source.startswith("json") and target.startswith("json"):
        assert [{k: v for k, v in row.items() if k not in ("rank", "score")} for row in made] == ROWS
    if source == target == "parquet":
        found = duckdb.sql(f"SELECT * FROM '{tmp_path}/ranked.parquet'")
        types = ["VARCHAR", "BIGINT", "VARCHAR", "DOUBLE", "VARCHAR[]", "BIGINT", "DOUBLE"]
        assert [str(one) for one in found.types] == types
        assert [row["tags"] for row in made] == [row["tags"] for row in ROWS]
    assert {path.name for path in tmp_path.iterdir()} == {given.name, f"ranked.{target}"}, (
        "nothing is left over"
    )


def test_rows_by_rank(model: Path, expected: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "ranked.csv"
    rank(model, write(tmp_path / "reviews.csv"), "--out", str(out), "--sort", "rank", "--prefix", "my_")
    made = read(out)
    assert [(row["asin"], int(row["my_rank"])) for row in made] == [
        ("b", 1),
        ("b", 2),
        ("b", 3),
        ("a", 1),
        ("a", 2),
    ]
    by_id = expected.set_index("id")["score"]
    assert [float(row["my_score"]) for row in made] == [by_id[int(row["id"])] for row in made]


def test_a_table_without_a_file_to_write_to(model: Path, expected: pd.DataFrame, tmp_path: Path) -> None:
    shown = rank(model, write(tmp_path / "reviews.csv"))
    lines = [line.split("|")[1:-1] for line in shown.stdout.splitlines()]
    assert [cell.strip() for cell in lines[0]] == ["product", "rank", "score", "review", "text"]
    assert [(line[0].strip(), line[1].strip()) for line in lines[2:]][:3] == [
        ("b", "1"),
        ("b", "2"),
        ("b", "3"),
    ]
    assert "5 reviews of 2 products ranked by model" in shown.stderr
    document = json.loads(rank(model, tmp_path / "reviews.csv", "--json").stdout)
    assert [row["score"] for row in document["ranked"] if row["product"] == "a"] == sorted(
        expected.loc[expected["asin"] == "a", "score"], reverse=True
    )


def test_bad_rows_are_named_and_kept_without_a_rank(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text('asin,text\na,"one\nof two lines"\n,nobody\'s\na,fine\n"a",x,y\n')
    out = tmp_path / "ranked.csv"
    done = rank(model, source, "--out", str(out))
    assert "reviews.csv, line 4, column asin: names no product" in done.stderr
    assert "reviews.csv, line 6" in done.stderr
    made = read(out)
    assert [row["text"] for row in made] == ["one\nof two lines", "nobody's", "fine"]
    assert [row["rank"] for row in made][1] == ""
    assert sorted(row["rank"] for row in made) == ["", "1", "2"]
    before = out.read_bytes()
    refused = rank(model, source, "--out", str(out), "--strict", code=EXIT_DATA)
    assert "--strict: 2 bad rows" in refused.stderr
    assert out.read_bytes() == before


def test_what_cannot_work_is_said_before_anything_is_scored(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "reviews.csv")
    for words, code, said in (
        (["--out", str(tmp_path / "ranked.xls")], EXIT_USAGE, "in what format?"),
        (["--out", str(tmp_path)], EXIT_USAGE, "a folder; name a file in it"),
        (["--explain"], EXIT_USAGE, "says nothing of a review beside its score"),
        (["--column", "text=opinion"], EXIT_DATA, "no column for text"),
        (["--recipe", "amazon-2020"], EXIT_USAGE, "Did you mean amazon-20"),
        (["--sort", "score"], EXIT_USAGE, "Known: input rank"),
        (["--images", str(tmp_path / "none")], EXIT_DATA, "no folder with RoI features"),
        (["--method", "x.py:X"], EXIT_USAGE, "one of mrhp-bench's own"),
        (["--device", "cuda"], EXIT_USAGE, "no such CUDA device"),
    ):
        assert said in rank(model, source, *words, code=code).stderr, words
    assert "no such file" in rank(model, tmp_path / "no.csv", code=EXIT_DATA).stderr
    (tmp_path / "again.csv").write_text("asin,text,Score\na,good,1\n")
    assert "it has a column score already" in rank(model, tmp_path / "again.csv", code=EXIT_USAGE).stderr


def test_files_are_joined_and_products_described(trained: Trained, tmp_path: Path) -> None:
    """Two files of reviews and one of products, which says more than the reviews do."""
    products, reviews = trained.products, trained.reviews
    reviews.iloc[::2].to_csv(tmp_path / "a.csv", index=False)
    reviews.iloc[1::2].to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    products.to_csv(tmp_path / "p.csv", index=False)
    words = ["rank", "--model", str(trained.model("mcr")), "--input", str(tmp_path / "a.csv")]
    words += [
        "--input",
        str(tmp_path / "b.jsonl"),
        "--products",
        str(tmp_path / "p.csv"),
        "--out",
        str(tmp_path / "o.csv"),
    ]
    bench(*words)
    made = pd.DataFrame(read(tmp_path / "o.csv")).astype({"score": float})
    both = pd.concat([reviews.iloc[::2], reviews.iloc[1::2]], ignore_index=True)
    own = benchmark.load_ranker(trained.model("mcr")).rank(products, both)
    np.testing.assert_array_equal(made["score"], own["score"])
    bare = benchmark.load_ranker(trained.model("mcr")).rank(None, both)
    assert not np.array_equal(bare["score"], own["score"]), "a product's text counts"


def test_blocks_do_not_change_a_score(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: pd.DataFrame
) -> None:
    from benchmark.rank import files

    trained.reviews.to_csv(tmp_path / "reviews.csv", index=False)
    ranked = Ranker([trained.model("gbdt")])
    seen = []
    for size in (1, 20, 10_000):
        monkeypatch.setattr(files, "BLOCK", size)
        monkeypatch.setattr(frames, "BLOCK", size)
        said: list[tuple[int, int, str]] = []
        out = tmp_path / f"{size}.csv"
        rank_files(
            ranked,
            [tmp_path / "reviews.csv"],
            [],
            out,
            RankOptions(),
            lambda *step, said=said: said.append(step),
        )
        steps = [step for step in said if step[2] == "ranking"]
        assert steps[-1][:2] == (len(trained.reviews), len(trained.reviews))
        seen.append((out.read_bytes(), len(steps), ranked.rank(None, trained.reviews)["score"].tolist()))
    assert [one[0] for one in seen] == [seen[0][0]] * 3
    assert [one[2] for one in seen] == [seen[0][2]] * 3
    assert seen[0][1] == trained.reviews["product_id"].nunique()
    assert seen[2][1] == 1


def test_tables_in_memory(model: Path) -> None:
    ranked = benchmark.load_ranker(model)
    assert isinstance(ranked, ranker.Ranker)
    table = pd.DataFrame(
        {"product_id": [1.0, np.nan, 1.0, 2.0], "content": ["good", "nobody's", None, "fine"]},
        index=[7, 7, 3, 0],
    )
    made = ranked.rank(None, table)
    assert list(made.index) == [7, 7, 3, 0]
    assert made["rank"].isna().tolist() == [False, True, False, False]
    assert made["rank"].iloc[3] == 1
    assert list(table.columns) == ["product_id", "content"], "what was given is left as it was"
    ours = ranked.rank(
        [{"sku": 1, "name": "a"}], [{"sku": 1, "opinion": "good"}], columns={"text": "opinion"}
    )
    assert list(ours.columns) == ["sku", "opinion", "rank", "score"]
    assert ranked.rank(None, table.iloc[:0])["score"].tolist() == []
    for reviews, said in (
        ([{"content": "x"}], "no column for product"),
        ([{"product_id": "x"}], "no column for text"),
        ([{"product_id": "x", "content": "y", "score": 1}], "called 'score' already"),
    ):
        with pytest.raises(UsageError, match=said):
            ranked.rank(None, reviews)
    with pytest.raises(UsageError, match="products: no column for product"):
        ranked.rank([{"name": "x"}], [{"product_id": "x", "content": "y"}])


def test_a_ranker_leaves_torch_as_it_was(model: Path) -> None:
    import torch

    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    )
    benchmark.load_ranker(model).rank(None, ROWS)
    assert torch.equal(torch.rand(3), wanted)
    after = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    )
    assert after == before
