"""Imports: files as people have them, small and by hand, against what must come out of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmark.core.errors import DataError, UsageError
from benchmark.data import check as checker
from benchmark.data.corpus import open_corpus
from benchmark.data.fields import label_of_votes
from benchmark.data.imports.columns import RECIPES, parse_columns, recognise
from benchmark.data.imports.importer import import_files
from benchmark.data.imports.options import Options, Report

pytest.importorskip("duckdb")

Record = dict[str, Any]
SPLITS = ("train", "dev", "test")


def run(sources: list[Path | str], out: Path, **options: Any) -> Report:
    return import_files(
        [str(one) for one in sources], out, Options(**{"name": "myshop", "threads": 1, **options})
    )


def records(root: Path, kind: str, category: str = "all") -> list[Record]:
    """The rows of a table of all splits."""
    found = []
    for split in SPLITS:
        file = root / "myshop" / category / f"{category}.{kind}.{split}"
        found += [
            json.loads(line) | {"split": split} for line in file.read_text(encoding="utf-8").splitlines()
        ]
    return found


def counts(report: Report) -> dict[str, int]:
    return {what: number for what, number in report.rows if number}


def write_csv(path: Path, rows: list[str], header: str = "product_id,review_id,content,votes") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def plain(path: Path, products: int = 5, reviews: int = 3) -> Path:
    rows = [f"p{p},r{p}-{r},text {p} {r} is here,{2**r + p}" for p in range(products) for r in range(reviews)]
    return write_csv(path, rows)


def test_a_plain_table_becomes_a_data_set_that_the_harness_reads(tmp_path: Path) -> None:
    report = run([plain(tmp_path / "r.csv", 10)], tmp_path / "root")
    assert [(split, products) for _, split, products, _ in report.splits] == [
        ("train", 6),
        ("dev", 2),
        ("test", 2),
    ]
    rel = {row["review_id"]: row for row in records(tmp_path / "root", "rel")}
    assert {one: row["upvotes"] for one, row in rel.items()} == {
        f"r{p}-{r}": label_of_votes(2**r + p) for p in range(10) for r in range(3)
    }
    checked = checker.check(tmp_path / "root")
    assert checked.ok, checked.problems
    assert all(split.as_published for split in checked.categories[0].splits)
    corpus = open_corpus(tmp_path / "root", "myshop", "all", cache=tmp_path / "c")
    assert corpus.train.n_reviews == 18


def test_the_same_command_gives_the_same_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    source = plain(tmp_path / "r.csv", 30)

    def content(name: str, **options: Any) -> dict[str, bytes]:
        run([source], tmp_path / name, **options)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}

    first = content("a")
    assert content("b", threads=2) == first
    other = content("c", seed=1)
    assert other.keys() == first.keys()
    assert other != first
    record = tomllib.loads((tmp_path / "a" / "dataset.toml").read_text())["imported"]
    assert record["files"] == [{"name": "r.csv", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}]


def test_amazon_2014(tmp_path: Path) -> None:
    """Strict JSON reviews, helpful [up, total]; metadata as Python literals; HTML entities."""
    reviews = [
        {
            "reviewerID": f"A{r}", "asin": f"B{p}", "reviewerName": 'J. "Jo"', "helpful": [p + r, 9],
            "reviewText": "It&#39;s &amp; fine", "overall": 5.0,
            "unixReviewTime": 1252800000, "reviewTime": "09 13, 2009",
        }
        for p in range(4) for r in range(2)
    ]  # fmt: skip
    with gzip.open(tmp_path / "reviews_X_5.json.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, reviews)))
    meta = [
        {"asin": f"B{p}", "title": f"Case's {p} &quot;X&quot;", "description": "d", "price": 1.5,
         "imUrl": f"http://e/images/I/{p}._SX300_,1_.jpg"}
        for p in range(4)
    ]  # fmt: skip
    with gzip.open(tmp_path / "meta_X.json.gz", "wt") as file:
        file.write("\n".join(map(repr, meta)) + "\n")
    report = run(
        [tmp_path / "reviews_X_5.json.gz", tmp_path / "meta_X.json.gz"], tmp_path / "r", recipe="amazon-2014"
    )
    assert counts(report)["dropped: no vote"] == 1
    assert {row["content"] for row in records(tmp_path / "r", "rvw")} == {"It's & fine"}
    names = {row["product_id"]: (row["name"], row["description"]) for row in records(tmp_path / "r", "prd")}
    assert names == {f"B{p}": (f'Case\'s {p} "X"', "d") for p in range(4)}
    assert sorted(row["img_url"] for row in records(tmp_path / "r", "prd")) == [
        [f"http://e/images/I/{p}._SX300_,1_.jpg"] for p in range(4)
    ]
    votes = sorted(
        (row["product_id"], row["votes"], row["upvotes"]) for row in records(tmp_path / "r", "rel")
    )
    assert votes == [(f"B{p}", p + r, label_of_votes(p + r)) for p in range(4) for r in range(2) if p + r]
    assert {row["review_id"].rpartition("-")[0] for row in records(tmp_path / "r", "rel")} == set(names)


def test_amazon_2018(tmp_path: Path) -> None:
    """Votes with commas, absent where nobody voted; lists of images and descriptions; fields that come and go."""
    reviews: list[Record] = [
        {"asin": f"B{p}", "reviewText": f"review {p} {r}", "unixReviewTime": 1514764800, "vote": "1,234"}
        for p in range(3) for r in range(2)
    ]  # fmt: skip
    reviews[0]["image"] = ["https://a/1.jpg", "https://a/2.jpg"]
    del reviews[1]["vote"]
    reviews[2]["vote"] = "3"
    meta = [
        {"asin": f"B{p}", "title": "T", "description": ["one", "two &amp; more"],
         "main_cat": "Cell Phones &amp; Co", "tech1": {"x": 1}}
        for p in range(3)
    ]  # fmt: skip
    for name, rows in (("X.json", reviews), ("meta_X.json", meta)):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    run([tmp_path / "X.json", tmp_path / "meta_X.json"], tmp_path / "r", recipe="amazon-2018")
    rel = records(tmp_path / "r", "rel", "cell-phones-co")
    assert sorted(row["votes"] for row in rel) == [3, 1234, 1234, 1234, 1234]
    shown = [row["img_url"] for row in records(tmp_path / "r", "rvw", "cell-phones-co") if row["img_url"]]
    assert shown == [["https://a/1.jpg", "https://a/2.jpg"]]
    assert {row["description"] for row in records(tmp_path / "r", "prd", "cell-phones-co")} == {
        "one two & more"
    }
    record = tomllib.loads((tmp_path / "r" / "dataset.toml").read_text())
    assert record["category"][0]["title"] == "Cell Phones & Co"


def test_amazon_2023(tmp_path: Path) -> None:
    """Joined by parent_asin; the review's own title is not the product's name."""
    reviews = [
        {
            "rating": 5.0, "title": "Great!", "text": f"review {p} {r}", "asin": f"V{p}{r}", "parent_asin": f"P{p}",
            "images": [{"small_image_url": "s", "large_image_url": f"https://b/{p}{r}.jpg"}] if r else [],
            "user_id": "U", "timestamp": 1588687728923, "helpful_vote": r + 1, "verified_purchase": True,
        }
        for p in range(3) for r in range(2)
    ]  # fmt: skip
    meta = [
        {"parent_asin": f"P{p}", "main_category": "All Beauty", "title": f"Name {p}", "description": [],
         "images": [{"thumb": "t", "large": "https://b/l.jpg", "hi_res": None}]}
        for p in range(3)
    ]  # fmt: skip
    (tmp_path / "All_Beauty.jsonl").write_text("\n".join(map(json.dumps, reviews)))
    (tmp_path / "meta_All_Beauty.jsonl").write_text("\n".join(map(json.dumps, meta)))
    run(
        [tmp_path / "All_Beauty.jsonl", tmp_path / "meta_All_Beauty.jsonl"],
        tmp_path / "r",
        recipe="amazon-2023",
    )
    prd = records(tmp_path / "r", "prd", "all-beauty")
    assert {(row["product_id"], row["name"]) for row in prd} == {(f"P{p}", f"Name {p}") for p in range(3)}
    assert {tuple(row["img_url"]) for row in prd} == {("https://b/l.jpg",)}
    assert sorted(url for row in records(tmp_path / "r", "rvw", "all-beauty") for url in row["img_url"]) == [
        f"https://b/{p}1.jpg" for p in range(3)
    ]
    assert checker.check(tmp_path / "r").ok


@pytest.mark.parametrize("form", ["tsv", "jsonl", "json", "parquet", "csv.zst", "csv.gz", "jsonl.gz"])
def test_every_format_gives_what_csv_gives(tmp_path: Path, form: str) -> None:
    import duckdb

    source, other = plain(tmp_path / "r.csv"), tmp_path / f"r.{form}"
    kind, _, compression = form.partition(".")
    how = {
        "tsv": "FORMAT csv, HEADER, DELIMITER '\t'",
        "csv": "FORMAT csv, HEADER",
        "jsonl": "FORMAT json",
        "json": "FORMAT json, ARRAY",
        "parquet": "FORMAT parquet",
    }[kind] + {"": "", "gz": ", COMPRESSION gzip", "zst": ", COMPRESSION zstd"}[compression]
    duckdb.execute(f"COPY (SELECT * FROM read_csv('{source}')) TO '{other}' ({how})")
    run([source], tmp_path / "a")
    run([other], tmp_path / "b")
    for kind in ("prd", "rvw", "rel"):
        assert records(tmp_path / "a", kind) == records(tmp_path / "b", kind)


def test_products_and_votes_in_files_of_their_own(tmp_path: Path) -> None:
    rows = [f"p{p},r{p}{r},text {p}{r}" for p in range(3) for r in range(2)]
    reviews = write_csv(tmp_path / "reviews.csv", rows, "sku,id,body")
    products = write_csv(
        tmp_path / "products.csv", [f"p{p},Name {p},Garten" for p in range(3)], "sku,title,category"
    )
    votes = write_csv(
        tmp_path / "votes.csv", [f"r{p}{r},{p}" for p in range(3) for r in range(2)], "review_id,likes"
    )
    report = run([reviews, products, votes], tmp_path / "r", unvoted="zero")
    assert counts(report)["kept"] == 6
    assert {row["name"] for row in records(tmp_path / "r", "prd", "garten")} == {"Name 0", "Name 1", "Name 2"}
    rel = {
        row["review_id"]: (row["votes"], row["upvotes"]) for row in records(tmp_path / "r", "rel", "garten")
    }
    assert rel == {f"r{p}{r}": (p, max(0, p - 1)) for p in range(3) for r in range(2)}


BAD = [
    'p0,r0,"fine, with',
    'two lines",3',
    "p0,r1,fine,many",  # line 4
    "p0,r2,short of a column",  # 5
    "../../x,r3,fine,2",  # 6
    "p0,..,fine,2",  # 7
    "p0,r5,fine,-1",  # 8
    "p0,r6,fine,1.5",
    ",r7,fine,1",
    "p1,r8,=cmd|' /C calc'!A0,2",
    'p2,r9,"ctrl \x1b[31m \x07",2',
]


def test_bad_rows_are_counted_and_shown_with_file_line_and_column(tmp_path: Path) -> None:
    report = run([write_csv(tmp_path / "r.csv", BAD)], tmp_path / "out" / "r")
    found = counts(report)
    assert found["read: r.csv (reviews)"] == 10
    assert found["bad: r.csv: not a record"] == 1
    assert found["bad: product id missing, or not fit to name a folder"] == 2
    assert found["bad: review id not fit to name a folder"] == 1
    assert found["bad: not a number of votes"] == 3
    assert found["kept"] == 3
    shown = "\n".join(map(str, report.bad))
    for place in (
        "line 4, column votes: 'many'",
        "line 5",
        "line 6, column product_id: '../../x'",
        "line 8, column votes",
    ):
        assert f"r.csv, {place}" in shown, shown
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["r"], "nothing beside the root"
    texts = {row["review_id"]: row["content"] for row in records(tmp_path / "out" / "r", "rvw")}
    assert texts == {"r0": "fine, with\ntwo lines", "r8": "=cmd|' /C calc'!A0", "r9": "ctrl \x1b[31m \x07"}
    assert checker.check(tmp_path / "out" / "r").ok
    with pytest.raises(DataError, match="--strict: 7 bad rows") as caught:
        run([tmp_path / "r.csv"], tmp_path / "strict", strict=True)
    assert "column votes" in str(caught.value)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize("compressed", [False, True])
def test_endings_may_be_mixed(tmp_path: Path, compressed: bool) -> None:
    """Records that end as Windows has it, with line feeds in their texts and a short one that ends otherwise."""
    rows = [f'p{p},r{p},"one\n\n""two"", {p}",{p + 1}' for p in range(5)]
    text = "\r\n".join(["product_id,review_id,content,votes", *rows, "p0,short\n"])
    file = tmp_path / ("r.csv.gz" if compressed else "r.csv")
    file.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    report = run([file], tmp_path / "r")
    assert counts(report)["kept"] == 5
    assert {row["content"] for row in records(tmp_path / "r", "rvw")} == {
        f'one\n\n"two", {p}' for p in range(5)
    }
    (bad,) = report.bad
    assert (bad.file, bad.line) == (file.name, 17)


def test_bad_json_lines_are_shown_with_their_line(tmp_path: Path) -> None:
    good = [json.dumps({"asin": f"B{p}", "text": "t\u2028x", "votes": 2}) for p in range(3)]
    (tmp_path / "r.jsonl").write_text(
        "\n".join([good[0], "", '{"asin": oops', *good[1:], "{'a': __import__('os')}"])
    )
    report = run([tmp_path / "r.jsonl"], tmp_path / "r")
    assert [(bad.file, bad.line) for bad in report.bad] == [("r.jsonl", 3), ("r.jsonl", 6)]
    assert counts(report)["kept"] == 3


def test_duplicates_short_texts_and_small_products(tmp_path: Path) -> None:
    rows = [f"p{p},r{p}{r},text number {p}{r},1" for p in range(4) for r in range(3)]
    rows += ["p0,r00,again,1", "p1,r99,text number 10,1", "p9,r90,long enough,1", "p2,r91,x,1"]
    source = write_csv(tmp_path / "r.csv", rows)
    report = run([source], tmp_path / "r", duplicates="text", min_characters=3, min_reviews=2)
    assert counts(report) == {
        "read: r.csv (reviews)": 16,
        "dropped: text shorter than 3 characters": 1,
        "dropped: the review id was there before": 1,
        "dropped: a text that its product has already": 1,
        "dropped: product with fewer than 2 such reviews": 1,
        "kept": 12,
    }
    with pytest.raises(DataError, match="there twice"):
        run([source], tmp_path / "s", duplicates="keep")


def test_labels_of_a_column(tmp_path: Path) -> None:
    rows = [f"p{p},r{p},text,{label}" for p, label in enumerate(["0", "4.0", "2", "5", "x"])]
    source = write_csv(tmp_path / "r.csv", rows, "product_id,review_id,content,grade")
    report = run([source], tmp_path / "r", labels="column", columns=("label=grade",))
    assert counts(report)["bad: not a label 0..4"] == 2
    assert sorted(row["upvotes"] for row in records(tmp_path / "r", "rel")) == [0, 2, 4]


def test_categories_get_names_that_stay_in_the_folder(tmp_path: Path) -> None:
    titles = ["../../etc", "Bücher & Mehr", "CON", "日本"]
    rows = [f'p{c}{p},r{c}{p},text,1,"{title}"' for c, title in enumerate(titles) for p in range(3)]
    run([write_csv(tmp_path / "r.csv", rows, "product_id,review_id,content,votes,category")], tmp_path / "r")
    folders = sorted(path.name for path in (tmp_path / "r" / "myshop").iterdir())
    assert folders == ["bucher-mehr", "c-con", "etc", "other"]
    assert checker.check(tmp_path / "r").ok


@pytest.mark.parametrize(
    ("header", "options", "error", "message"),
    [
        ("a,b,c,d", {}, DataError, "no file with reviews"),
        ("product_id,review_id,content,d", {"columns": ("votes=likes",)}, UsageError, "no file has a column"),
        ("product_id,review_id,content,d", {"columns": ("vots=d",)}, UsageError, "Did you mean votes"),
        ("product_id,review_id,content,d", {"columns": ("votes",)}, UsageError, "what=name"),
        ("product_id,review_id,content,d", {"labels": "column"}, DataError, "--column label=NAME"),
        ("product_id,review_id,content,d", {"split": (0.5, 0.5, 0.5)}, UsageError, "three shares"),
        ("product_id,review_id,content,d", {"name": "../x"}, UsageError, "--name"),
        ("product_id,review_id,content,d", {"name": "amazon"}, UsageError, "of the paper"),
        ("product_id,review_id,content,d", {"language": "deutsch?"}, UsageError, "language"),
        ("product_id,review_id,content,d", {"recipe": "amazon-2019"}, UsageError, "Did you mean amazon-2018"),
        ("product_id,review_id,content,votes", {"memory": "lots"}, UsageError, "--memory"),
    ],
)
def test_errors_say_what_to_do(
    tmp_path: Path, header: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    source = write_csv(tmp_path / "r.csv", [f"p{p},r{p},text,1" for p in range(4)], header)
    defaults = {"unvoted": "zero"}
    with pytest.raises(error, match=message):
        run([source], tmp_path / "root", **{**defaults, **options})
    assert not (tmp_path / "root").exists()


def test_files_and_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run([tmp_path / "none.csv"], tmp_path / "r")
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(UsageError, match="The name ends in"):
        run([tmp_path / "x.xlsx"], tmp_path / "r")
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"x\.parquet: cannot be read"):
        run([tmp_path / "x.parquet"], tmp_path / "r")
    with pytest.raises(UsageError, match="new or an empty folder"):
        run([plain(tmp_path / "r.csv")], tmp_path)


def test_columns_are_recognised_without_case_and_by_recipe() -> None:
    found = recognise(["ASIN", "ReviewText", "overall", "summary"], RECIPES["table"], {})
    assert found == {"product": "ASIN", "text": "ReviewText"}
    assert recognise(["asin", "parent_asin"], RECIPES["amazon-2023"], {})["product"] == "parent_asin"
    assert recognise(["asin", "sku"], RECIPES["table"], parse_columns(["product=sku"]))["product"] == "sku"
