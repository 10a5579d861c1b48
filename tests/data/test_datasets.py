"""Descriptors of data sets: the paper's two, and `dataset.toml` of any other."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.core.errors import DataError, UsageError
from benchmark.data import check as checker
from benchmark.data import dataset_file, datasets
from benchmark.data.catalog import SPLITS
from benchmark.data.corpus import open_corpus
from benchmark.data.datasets import AMAZON, BUILT_IN, LAZADA, Category, DataSet
from benchmark.data.published import load_published, published_values
from benchmark.data.source import available_categories
from tests.fixtures_release import read_records, write_release

SHOP = """
name = "myshop"
title = "My | shop & söhne"
language = "de"
licence = "CC BY 4.0"

[[category]]
name = "zz-tools"
title = "Werkzeug"
product_text = ["name"]
expected.train = {products = 12, reviews = 60}
expected.test = {products = 5, reviews = 20}

[[category]]
name = "3d_druck"

[[category]]
name = "Garten"
"""


def shop(
    root: Path, text: str = SHOP, categories: tuple[str, ...] = ("zz-tools", "3d_druck", "Garten")
) -> Path:
    """A root with a data set of its own."""
    write_release(root, ("myshop",), categories)
    (root / "dataset.toml").write_text(text, encoding="utf-8")
    return root


def test_the_built_in_descriptors_are_what_the_paper_prints() -> None:
    printed = {(row.dataset, row.category) for row in load_published()}
    described = {(one.title, category.title) for one in BUILT_IN.values() for category in one.categories}
    assert described == {pair for pair in printed if pair[1] in ("CS&J", "Elec", "H&K")}
    assert [(one.name, one.language, one.paper_table) for one in BUILT_IN.values()] == [
        ("lazada", "id", 1),
        ("amazon", "en", 2),
    ]
    assert [one.word_tokenizer for one in BUILT_IN.values()] == ["unicode", "en"]


def test_a_file_in_the_root_is_a_data_set(tmp_path: Path) -> None:
    root = shop(tmp_path)
    found = datasets.known(root)
    assert list(found) == ["myshop"]
    own = found["myshop"]
    assert own.title == "My | shop & söhne"
    assert own.category_names == ("zz-tools", "3d_druck", "Garten")
    assert [category.title for category in own.categories] == ["Werkzeug", "3d_druck", "Garten"]
    assert own.category("zz-tools").product_text == ("name",)
    assert own.word_tokenizer == "unicode"
    pairs = available_categories(root, ["myshop"], own.category_names)
    assert pairs == [("myshop", name) for name in own.category_names]
    assert published_values("myshop", "zz-tools", "mcr", "map") == []


def test_it_may_stand_beside_those_of_the_paper(tmp_path: Path) -> None:
    write_release(shop(tmp_path), ("amazon",))
    assert list(datasets.known(tmp_path)) == ["amazon", "myshop"]
    assert list(datasets.known(None)) == ["lazada", "amazon"]
    assert [one.name for one in datasets.in_order([datasets.known(tmp_path)["myshop"], AMAZON, LAZADA])] == [
        "lazada",
        "amazon",
        "myshop",
    ]
    with pytest.raises(UsageError, match="Did you mean myshop"):
        datasets.find(tmp_path, "myshp")


def test_the_descriptor_decides_texts_words_and_labels(tmp_path: Path) -> None:
    root = shop(tmp_path / "r", SHOP.replace('"de"', '"de"\nlabels = "votes"'))
    tools, druck = (
        open_corpus(root, "myshop", category, cache=tmp_path / "c") for category in ("zz-tools", "3d_druck")
    )
    records = read_records(root, "myshop", "zz-tools", "prd", "train")
    assert tools.train.product_text(0) == records[0]["name"]
    assert druck.train.product_text(0).startswith(
        read_records(root, "myshop", "3d_druck", "prd", "train")[0]["name"] + " "
    )
    votes = [record["votes"] for record in read_records(root, "myshop", "zz-tools", "rel", "test")]
    assert tools.test.label_R.tolist() == [min(4, vote.bit_length() - 1) for vote in votes if vote]
    assert (tools.manifest["language"], tools.manifest["tokenizer"]) == ("de", "unicode")
    assert dataset_file.from_record(tools.manifest["data_set"], "") == dataset_file.from_record(
        tomllib.loads((root / "dataset.toml").read_text()), ""
    )


@pytest.mark.parametrize("line", ['tokenizer = "en"', 'product_text = ["name"]'])
def test_what_changes_the_numbers_changes_the_fingerprint(tmp_path: Path, line: str) -> None:
    root = shop(tmp_path / "r")
    before = open_corpus(root, "myshop", "Garten", cache=tmp_path / "c")
    (root / "dataset.toml").write_text(line + "\n" + SHOP, encoding="utf-8")
    after = open_corpus(root, "myshop", "Garten", cache=tmp_path / "c")
    assert after.fingerprint != before.fingerprint
    (root / "dataset.toml").write_text(SHOP.replace("CC BY 4.0", "none"), encoding="utf-8")
    assert open_corpus(root, "myshop", "Garten", cache=tmp_path / "c").fingerprint == before.fingerprint


def test_check_compares_with_what_the_descriptor_expects(tmp_path: Path) -> None:
    report = checker.check(shop(tmp_path))
    assert report.ok
    tools, druck, _ = report.categories
    assert [split.as_published for split in tools.splits] == [True, None, False]
    assert [split.as_published for split in druck.splits] == [None, None, None]
    assert "myshop/zz-tools (Werkzeug)" in checker.render(report)


def test_a_check_of_an_empty_root_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(SHOP, encoding="utf-8")
    with pytest.raises(DataError, match="myshop with zz-tools, 3d_druck, Garten"):
        checker.check(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("language", "lanugage", "lanugage: unknown key. Did you mean language"),
        ('name = "zz-tools"', 'nmae = "zz-tools"', "category 1: nmae: unknown key. Did you mean name"),
        (
            "reviews = 60",
            "review = 60",
            "category 1: expected.train.review: unknown key. Did you mean reviews",
        ),
        ("reviews = 60", "reviews = 6.5", "category 1: expected.train.reviews: expected a whole number"),
        ("expected.train", "expected.trian", "category 1: expected.trian"),
        ('"myshop"', "7", "name: expected a text"),
        ('name = "myshop"\n', "", "name: missing"),
        ('"myshop"', '"amazon"', "data set of the paper"),
        ('"myshop"', '"../up"', "name '../up'"),
        ('"zz-tools"', '"a/b"', "category name 'a/b'"),
        ('"zz-tools"', '".."', "category name '..'"),
        ('"zz-tools"', '"CON"', "Windows"),
        ('"zz-tools"', '"garten"', "there twice"),
        ('"de"', '"german!"', "language: a code"),
        ('["name"]', '["nmae"]', "category 1: product_text"),
        ('["name"]', "[]", "category 1: product_text"),
        ('"Werkzeug"', '"Werk\\nzeug"', "category 1: title: one line"),
        ('"Werkzeug"', '""', "category 1: title: 1 to 80"),
        (
            'licence = "CC BY 4.0"',
            'labels = "vote"',
            "labels: labels or votes, not 'vote'. Did you mean votes",
        ),
        ('licence = "CC BY 4.0"', 'released_like = "amzon"', "released_like: .*Did you mean amazon"),
        ("[[category]]", "[[category]", "not TOML"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "dataset.toml"
    file.write_text(SHOP.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        datasets.known(tmp_path)
    assert str(file) in str(caught.value)


def test_a_data_set_without_categories_is_none(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text('name = "a"\nlanguage = "en"\ncategory = []\n')
    with pytest.raises(DataError, match="at least one category"):
        datasets.known(tmp_path)
    (tmp_path / "dataset.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(DataError, match="byte 8: not UTF-8"):
        datasets.known(tmp_path)


TITLES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80).filter(str.isprintable)


@given(TITLES, TITLES, st.sampled_from(SPLITS), st.integers(0, 10**9))
def test_what_is_written_is_read_back(title: str, source: str, split: str, count: int) -> None:
    one = DataSet(
        "a-b",
        title,
        "pt-BR",
        (Category("x", title, ("name",), ((split, count, 2 * count),)), Category("y", "Y")),
        source=source,
        released_like="lazada",
        tokenizer="en",
    )
    record = json.loads(json.dumps(dataset_file.to_record(one)))
    assert dataset_file.from_record(record, "") == one


def test_the_written_file_is_toml_whatever_the_texts_hold(tmp_path: Path) -> None:
    one = DataSet("a", 'q"\\ ü', "en", (Category("b", "x"),))
    odd = {"file": 'C:\\x\x7f\x00"\n', "hash of x": "1", "list": ["a", 2, True], "rows": {"read it": 3}}
    dataset_file.write(tmp_path / "dataset.toml", one, odd)
    record = tomllib.loads((tmp_path / "dataset.toml").read_text(encoding="utf-8"))
    assert record["imported"] == odd
    assert dataset_file.read(tmp_path / "dataset.toml").title == one.title
