"""Reading a release: every orientation of its tables, and each kind of bad input with its message."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.core.errors import EXIT_DATA, DataError
from benchmark.data import check as checker
from benchmark.data.catalog import joined_text
from benchmark.data.corpus import open_corpus
from benchmark.data.datasets import BUILT_IN
from benchmark.data.fields import label_of_votes
from benchmark.data.findings import Findings
from benchmark.data.tables import read_table
from benchmark.data.times import parse_time
from tests.fixtures_release import (
    feature_path,
    read_records,
    table_path,
    write_features,
    write_release,
    write_table,
)

HERE = ("amazon", "electronics")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release")


def change(root: Path, kind: str, split: str, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    records = read_records(root, *HERE, kind, split)
    edit(records)
    write_table(root, *HERE, kind, split, records)


# --- Tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split", "table", "lines"])
def test_every_orientation_gives_the_same_cells(tmp_path: Path, orient: str) -> None:
    frame = pd.DataFrame(
        {
            "review_id": ["007", "1e5", "8"],
            "content": ["a", None, "c \u2028 d"],
            "time": [1.5e9, 2e9, 3e9],
            "img_url": [["u"], [], []],
        }
    )
    path = tmp_path / "t"
    if orient == "lines":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_json(path, orient=orient, index=True) if orient == "table" else frame.to_json(
            path, orient=orient
        )
    findings = Findings()
    table = read_table(path, "rvw", findings)
    assert not findings.problems
    assert table is not None
    assert table["review_id"] == ["007", "1e5", "8"]  # an id is text: no leading zero is lost
    assert table["content"] == ["a", None, "c \u2028 d"]
    assert table["img_url"] == [["u"], [], []]


@pytest.mark.parametrize("orient", ["columns", "records"])
def test_rows_are_those_of_pandas(tmp_path: Path, orient: str) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"product_id": [f"p{i}" for i in range(30)], "review_id": [f"r{i}" for i in range(30)]}
    )
    frame["upvotes"] = rng.integers(0, 5, 30)
    frame = frame.sample(frac=1, random_state=1)  # row labels out of order
    text = frame.to_json(orient=orient)
    (tmp_path / "t").write_text(text)
    table = read_table(tmp_path / "t", "rel", Findings())
    expected = pd.read_json(io.StringIO(text), orient=orient)
    assert table is not None
    assert {name: list(column) for name, column in table.items()} == expected.to_dict(orient="list")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"line 1 column 2: not JSON"),
        (b'{"a": \xff}', r"byte 6: not UTF-8"),
        (b"3", r"not a table"),
        (b'["a"]', r"not a table"),
        (b'{"product_id": {"0": "a"}}', r"column review_id: missing; the file has product_id"),
        (b"[]", r"column product_id: missing; the file has no columns"),
        (b"[" * 100_000, r"not a table: nested too deeply"),
        (b'{"columns": ["product_id"], "data": [["a"], []]}', r"not a table"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t").write_bytes(content)
    findings = Findings()
    assert read_table(tmp_path / "t", "rel", findings) is None
    assert any(message.replace("\\", "") in problem for problem in findings.problems), findings.problems


LINES = '{"product_id": "p", "review_id": "r%d", "upvotes": %d}'


def test_one_line_is_a_table_and_only_newlines_separate(tmp_path: Path) -> None:
    path, findings = tmp_path / "t", Findings()
    path.write_text(LINES % (1, 2))
    assert read_table(path, "rel", findings) == {"product_id": ["p"], "review_id": ["r1"], "upvotes": [2]}
    separators = "\u2028 \u2029 \x85 \x0b \x0c \x1c"
    texts = [f"a{mark}b" for mark in separators.split(" ")]
    records = [
        json.dumps({"review_id": str(i), "content": t}, ensure_ascii=i > 2) for i, t in enumerate(texts)
    ]
    path.write_text("\r\n".join(records) + "\n\n", newline="")
    table = read_table(path, "rvw", findings)
    assert table is not None
    assert table["content"] == texts
    assert not findings.problems


def test_a_broken_line_is_named_by_its_number_in_the_file(tmp_path: Path) -> None:
    path, findings = tmp_path / "t", Findings()
    path.write_text("\n".join([LINES % (1, 2), "", LINES % (2, 3), '{"product_id": ', LINES % (3, 1)]))
    assert read_table(path, "rel", findings) is None
    assert "t: line 4 column 16: not JSON" in findings.problems[0]


def test_keys_that_are_there_twice(tmp_path: Path) -> None:
    """A problem where a value that is used gets lost, a note elsewhere; in every orientation."""
    lost = {
        "columns": '{"product_id": {"0": "p", "0": "q"}, "review_id": {"0": "r"}, "upvotes": {"0": 1}}',
        "column": '{"product_id": {"0": "p"}, "review_id": {"0": "r"}, "upvotes": {"0": 1}, "upvotes": {"0": 2}}',
        "records": '[{"product_id": "p", "review_id": "r", "upvotes": 1, "upvotes": 2}]',
        "lines": (LINES % (1, 2))
        + '\n{"product_id": "p", "product_id": "q", "review_id": "r", "upvotes": 1}',
        "index": '{"0": {"product_id": "p", "review_id": "r", "upvotes": 1}, "0": {"product_id": "p", '
        '"review_id": "s", "upvotes": 1}}',
    }
    harmless = (
        '[{"product_id": "p", "review_id": "r", "upvotes": 1, "upvotes": 1}]',
        '[{"product_id": "p", "review_id": "r", "upvotes": 1, "brand": 1, "brand": 2}]',
        '{"product_id": {"0": "p"}, "review_id": {"0": "r"}, "upvotes": {"0": 1}, "brand": {"0": 1, "0": 2}}',
    )
    path = tmp_path / "t"
    for text in lost.values():
        findings = Findings()
        path.write_text(text)
        read_table(path, "rel", findings)
        assert "the key is there twice" in findings.problems[0]
    for text in harmless:
        findings = Findings()
        path.write_text(text)
        assert read_table(path, "rel", findings)
        assert not findings.problems
        assert "a key is there twice" in findings.notes[0]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, kind in (("fifo", "a pipe"), ("folder", "a folder"), ("device", "a device")):
        findings = Findings()
        assert read_table(tmp_path / name, "rel", findings) is None
        assert f"cannot be read ({kind}" in findings.problems[0]


def test_votes_become_labels_by_the_released_mapping() -> None:
    assert [label_of_votes(v) for v in (1, 2, 3, 4, 7, 8, 15, 16, 1000)] == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [label_of_votes(v) for v in range(1, 300)] == [
        min(4, math.floor(math.log2(v))) for v in range(1, 300)
    ]


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("09 4, 2013", (2013, 9, 4)),
        ("09 14, 2013", (2013, 9, 14)),
        ("2019-05-01", (2019, 5, 1)),
        ("2019-05-01T00:00:00Z", (2019, 5, 1)),
        ("2019-05-01 02:00:00+02:00", (2019, 5, 1)),
        ("May 1, 2019", (2019, 5, 1)),
        ("1 May 2019", (2019, 5, 1)),
        (1556668800, (2019, 5, 1)),
        (1556668800000, (2019, 5, 1)),
        ("1556668800", (2019, 5, 1)),
    ],
)
def test_times_in_many_forms(value: Any, moment: tuple[int, int, int]) -> None:
    assert parse_time(value) == datetime(*moment, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "kemarin", [], {}, True, "13 40, 2013", "2019-05-01" * 100_000),
        *(math.inf, -math.inf, math.nan, 10**400, -(10**400), 1e300, "9" * 60),
    ],
)
def test_what_is_no_time(value: Any) -> None:
    assert math.isnan(parse_time(value))


def test_product_text_rules() -> None:
    """The name alone for Lazada clothing; name and description everywhere else."""
    alone = [
        (data_set.name, category.name)
        for data_set in BUILT_IN.values()
        for category in data_set.categories
        if category.product_text == ("name",)
    ]
    assert alone == [("lazada", "clothing")]
    assert joined_text(["name", "more"]) == "name more"
    assert joined_text(["name"]) == "name"
    assert joined_text(["name", ["a", "b's"]]) == "name ['a', \"b's\"]"
    assert joined_text(["name", []]) == joined_text(["name", None]) == "name"
    assert joined_text([None, math.nan]) == joined_text([None]) == ""


# --- Problems --------------------------------------------------------------------------------------------


def missing_file(root: Path) -> None:
    table_path(root, *HERE, "rvw", "dev").unlink()


def not_json(root: Path) -> None:
    table_path(root, *HERE, "rel", "test").write_text('{"product_id": {"0": ')


def missing_column(root: Path) -> None:
    change(root, "rel", "train", lambda records: [record.pop("upvotes") for record in records])


def product_twice(root: Path) -> None:
    change(root, "prd", "dev", lambda records: records.append(records[0]))


def review_twice(root: Path) -> None:
    change(root, "rvw", "dev", lambda records: records.append(records[0]))


def relation_twice(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records.append(records[0]))


def unknown_product(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[0].update(product_id="ghost"))


def unknown_review(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[0].update(review_id="ghost"))


def label_fraction(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[2].update(upvotes=1.5))


def label_text(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[2].update(upvotes="3"))


def label_negative(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[2].update(upvotes=-1))


def label_missing(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[2].update(upvotes=None))


def raw_votes(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[2].update(upvotes=37))


def id_leaves_folder(root: Path) -> None:
    change(root, "prd", "dev", lambda records: records[0].update(product_id="../../x"))
    change(root, "rel", "dev", lambda records: [r.update(product_id="../../x") for r in records[:5]])


def id_fraction(root: Path) -> None:
    change(root, "rvw", "dev", lambda records: records[0].update(review_id=1.5))


def id_control(root: Path) -> None:
    change(root, "rvw", "dev", lambda records: records[0].update(review_id="a\rb"))
    change(root, "rel", "dev", lambda records: records[0].update(review_id="a\rb"))


def id_surrogate(root: Path) -> None:
    change(root, "rvw", "dev", lambda records: records[0].update(review_id="a\ud83d"))
    change(root, "rel", "dev", lambda records: records[0].update(review_id="a\ud83d"))


def id_blank(root: Path) -> None:
    change(root, "rvw", "dev", lambda records: records[0].update(review_id=" "))
    change(root, "rel", "dev", lambda records: records[0].update(review_id=" "))


def label_of_hundreds_of_digits(root: Path) -> None:
    change(root, "rel", "dev", lambda records: records[2].update(upvotes=10**500))


def label_of_thousands_of_digits(root: Path) -> None:
    path = table_path(root, *HERE, "rel", "dev")
    path.write_text(path.read_text().replace('"upvotes": {"0": 0', '"upvotes": {"0": 1' + "0" * 9000))


def labels_equal(root: Path) -> None:
    change(root, "rel", "dev", lambda records: [record.update(upvotes=2) for record in records])


def another_product(root: Path) -> None:
    def name_products(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["product_id"] = record["review_id"].rpartition("-")[0]
        records[3]["product_id"] = "0de1"

    change(root, "rvw", "dev", name_products)


def rois(root: Path, *arrays: Any) -> Path:
    return write_features(root, *HERE, "dev", "0de0-1", [np.asarray(a, dtype=np.float64) for a in arrays])


def roi_width(root: Path) -> None:
    rois(root, np.ones((2, 7)))


def roi_width_within_item(root: Path) -> None:
    rois(root, np.ones((2, 6)), np.ones((2, 7)))


def roi_nan(root: Path) -> None:
    rois(root, np.ones((2, 6)), [[1, 1, 1, 1, 1, math.nan]])


def roi_infinite(root: Path) -> None:
    rois(root, [[1, 1, math.inf, 1, 1, 1]])


def roi_beyond_float16(root: Path) -> None:
    rois(root, [[1, 1, 1e5, 1, 1, 1]])


class Evil:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


def unsafe_features(root: Path) -> None:
    torch.save([{"x": Evil(root / "victim")}], feature_path(root, *HERE, "dev", "0de0-1"))


BAD_INPUT = {
    missing_file: "electronics.rvw.dev: missing file",
    not_json: "electronics.rel.test: line 1 column 22: not JSON",
    missing_column: "electronics.rel.train: column upvotes: missing; the file has product_id, review_id, votes",
    product_twice: "electronics.prd.dev: product_id '0de0': the id is there twice",
    review_twice: "electronics.rvw.dev: review_id '0de0-0': the id is there twice",
    relation_twice: "electronics.rel.dev: review '0de0-0': the review is there twice",
    unknown_product: "electronics.rel.dev: review '0de0-0', product 'ghost': unknown product",
    unknown_review: "electronics.rel.dev: review 'ghost', product '0de0': unknown review",
    label_fraction: "review '0de0-2' (row 2), upvotes 1.5: a label must be 0, 1, 2, 3 or 4",
    label_text: "review '0de0-2' (row 2), upvotes '3': a label must be",
    label_negative: "review '0de0-2' (row 2), upvotes -1: a label must be",
    label_missing: "review '0de0-2' (row 2), upvotes None: a label must be",
    raw_votes: "upvotes 37: above 4: this looks like raw votes; --labels-from-votes",
    id_leaves_folder: "electronics.prd.dev: product_id '../../x': the id would leave the features folder",
    id_fraction: "row 0, review_id 1.5: an id must be a text or a whole number",
    id_control: "electronics.rvw.dev: review_id 'a\\rb': the id has a control character",
    id_surrogate: "electronics.rvw.dev: review_id 'a\\ud83d': the id holds half of a character",
    id_blank: "electronics.rvw.dev: review_id ' ': the id is blank",
    label_of_hundreds_of_digits: "upvotes 100000",
    label_of_thousands_of_digits: "review '0de0-0' (row 0), upvotes inf: a label must be",
    labels_equal: "electronics.rel.dev: column upvotes: all 20 labels are 2: there is nothing to rank",
    another_product: "electronics.rel.dev: review '0de0-3': product '0de0' here, '0de1' in the review table",
    roi_width: "0de0-1.pth: item '0de0-1': RoI features 7 wide, but 6 in",
    roi_width_within_item: "0de0-1.pth: item '0de0-1': RoI features of different widths: [6, 7]",
    roi_nan: "0de0-1.pth: item '0de0-1', RoI 2: NaN or infinity",
    roi_infinite: "0de0-1.pth: item '0de0-1', RoI 0: NaN or infinity",
    roi_beyond_float16: "0de0-1.pth: item '0de0-1', RoI 0: NaN or infinity",
    unsafe_features: "0de0-1.pth: refused, its pickle asks for `posix.mkdir`",
}


@pytest.mark.parametrize("damage", BAD_INPUT, ids=lambda damage: damage.__name__)
def test_bad_input_is_named_by_check_and_refused_by_pack(root: Path, tmp_path: Path, damage: Any) -> None:
    damage(root)
    report = checker.check(root)
    assert not report.ok
    assert any(BAD_INPUT[damage] in problem for problem in report.problems), report.problems
    assert BAD_INPUT[damage] in checker.render(report)
    with pytest.raises(DataError) as caught:
        open_corpus(root, *HERE, cache=tmp_path / "cache")
    assert BAD_INPUT[damage] in str(caught.value)
    assert caught.value.exit_code == EXIT_DATA
    assert not any((tmp_path / "cache" / "packs").glob("[!.]*")), "a failed pack leaves nothing behind"
    assert not (root / "victim").exists()


def test_all_problems_are_reported_at_once(root: Path) -> None:
    for damage in (missing_file, not_json, missing_column):
        damage(root)
    assert len(checker.check(root).problems) == 3


def test_many_records_of_one_problem_are_counted(root: Path) -> None:
    change(root, "rel", "train", lambda records: [record.update(upvotes=9) for record in records])
    problems = checker.check(root).problems
    assert len(problems) == 21
    assert problems[-1].endswith(
        "40 more: above 4: this looks like raw votes; --labels-from-votes turns votes into labels"
    )


def test_width_must_agree_across_categories_of_a_data_set(tmp_path: Path) -> None:
    write_release(tmp_path, categories=["clothing"], roi_width=6)
    write_release(tmp_path, categories=["home"], roi_width=8)
    assert any("RoI features 8 wide, but 6 in" in problem for problem in checker.check(tmp_path).problems)


def test_roots_without_data_say_what_was_looked_for(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no data set: looked for <dataset>/<category>/"):
        checker.check(tmp_path / "empty")
    with pytest.raises(DataError, match=r"nowhere is not a folder"):
        checker.check(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no folder .*lazada/home; .* holds amazon/electronics"):
        open_corpus(root, "lazada", "home", cache=tmp_path)


def test_a_sound_release_beside_the_papers_counts(root: Path) -> None:
    report = checker.check(root)
    assert report.ok
    document = json.loads(json.dumps(checker.to_json(report)))
    train, dev, _ = document["categories"][0]["splits"]
    assert (train["products"], train["reviews"], dev["products"]) == (12, 60, 4)
    assert (train["paper_products"], train["paper_reviews"]) == (10533, 259953)
    assert train["as_published"] is False
    assert dev["images"]["review"] == {
        "want_images": 16,
        "want_images_but_have_no_roi": 4,
        "with_features": 12,
        "without_features": 8,
        "unreadable": 0,
        "zero_rois": 0,
    }
    text = checker.render(report)
    assert "10533" in text
    assert "No problem found" in text


def test_oddities_are_notes(root: Path) -> None:
    change(root, "rel", "train", lambda records: records.__delitem__(slice(0, 6)))  # a product and a review
    change(root, "prd", "test", lambda records: records.append(records[0] | {"product_id": "0de0"}))
    change(root, "rel", "test", lambda records: records[0].update(product_id="0de0"))
    report = checker.check(root)
    assert report.ok
    assert [note.split(": ", 1)[1] for note in report.notes] == [
        "6 reviews have no label and are not used",
        "1 products have no labelled review and are not used",
        "1 products are in both dev and test",
    ]


def test_the_same_reviews_in_two_splits_are_noted(root: Path) -> None:
    train = read_records(root, *HERE, "rvw", "train")
    train[1]["content"] = long = "Fits WELL, and the battery lasted a good long while"
    train[2]["content"] = "ok"
    write_table(root, *HERE, "rvw", "train", train)
    dev = read_records(root, *HERE, "rvw", "dev")
    dev[7]["content"] = long.lower().replace(" ", "\n ").replace("w", "\uff57")
    dev[8]["content"] = "OK"
    dev[9]["review_id"] = train[4]["review_id"]
    write_table(root, *HERE, "rvw", "dev", dev)
    change(root, "rel", "dev", lambda records: records[9].update(review_id=dev[9]["review_id"]))
    report = checker.check(root)
    assert report.ok
    assert [note.split(": ", 1)[1] for note in report.notes] == [
        "1 reviews (by their id) are in both train and dev",
        "2 review texts are in both train and dev, 1 of them of 8 words or more",
    ]
    # said again where the verdict is read, and only of what is surely the same review
    verdict = checker.render(report).partition("No problem found")[2]
    assert (
        "amazon/electronics: WARNING: LEAK: 1 review is in both train and dev, with their labels" in verdict
    )


def test_odd_cells_are_noted(root: Path) -> None:
    change(root, "rvw", "dev", lambda records: records[0].update(content=["a", "b"], img_url="['http://x']"))
    change(root, "prd", "dev", lambda records: records[1].update(name={"en": "case"}, img_url="[]"))
    report = checker.check(root)
    assert report.ok
    found = [note.split(": ", 1)[1] for note in report.notes]
    assert sum("a list or an object where the text of `content` should be" in note for note in found) == 1
    assert sum("a list or an object where the text of `name` should be" in note for note in found) == 1
    assert sum("`img_url` is a list printed as text" in note for note in found) == 2
