"""Croissant: what mlcroissant makes of the description of a data set, and that its hashes are the files'."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import bench

RECOMMENDED = {"citeAs", "datePublished", "version"}
"""What an import cannot know."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [
        f"P{product},Schal {product},gut und warm {review},{2**review},2020-01-0{review + 1},"
        f"https://x.example/{product}.jpg|https://x.example/{product}-{review}.jpg,"
        f"{'Garten' if product % 2 else 'Haus'}"
        for product in range(20)
        for review in range(4)
    ]
    (tmp_path / "reviews.csv").write_text(
        "\n".join(["product_id,product_name,review,votes,time,image,category", *rows]) + "\n"
    )
    bench(
        *("data", "import", str(tmp_path / "reviews.csv"), "--out", str(tmp_path / "root")),
        *("--name", "myshop", "--title", "Mein Laden", "--language", "de"),
    )
    return tmp_path / "root"


def loaded(file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that mlcroissant builds on
        import mlcroissant

        return mlcroissant.Dataset(str(file))


def records(data: Any, name: str) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            {key.partition("/")[2]: value for key, value in record.items()} for record in data.records(name)
        ]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_import_describes_itself_validly(root: Path) -> None:
    issues = loaded(root / "croissant.json").metadata.issues
    assert not issues.errors
    assert {issue.rpartition('"')[0].rpartition("/")[2] for issue in issues.warnings} == RECOMMENDED


def test_readers_of_croissant_get_the_records(root: Path) -> None:
    data = loaded(root / "croissant.json")
    assert len(data.metadata.record_sets) == 2 * 3 * 3
    for category in ("garten", "haus"):
        for kind, what in (("prd", "products"), ("rvw", "reviews"), ("rel", "helpfulness")):
            read = records(data, f"{category}-test-{what}")
            stored = lines(root / "myshop" / category / f"{category}.{kind}.test")
            plain = [
                {
                    key: [one.decode() for one in value]
                    if isinstance(value, list)
                    else value.decode()
                    if isinstance(value, bytes)
                    else value
                    for key, value in record.items()
                }
                for record in read
            ]
            assert plain == stored


def test_hashes_and_sizes_are_the_files_and_nothing_is_left_out(root: Path) -> None:
    described = json.loads((root / "croissant.json").read_text())
    files = {one["contentUrl"]: one for one in described["distribution"]}
    there = {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
    assert files.keys() == there - {"croissant.json"}
    for name, one in files.items():
        content = (root / name).read_bytes()
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
        assert one["contentSize"] == f"{len(content)} B"


def test_a_changed_file_is_noticed(root: Path) -> None:
    (root / "myshop" / "haus" / "haus.prd.test").write_text('{"product_id": "other"}\n')
    with pytest.raises(Exception, match=r"Download.*haus\.prd\.test") as raised:
        records(loaded(root / "croissant.json"), "haus-test-products")
    assert "hash" in str(raised.value.__cause__).lower()


def test_the_licence_is_unknown_unless_given(root: Path, tmp_path: Path) -> None:
    before = (root / "croissant.json").read_bytes()
    assert json.loads(before)["license"] == "unknown"
    bench("data", "croissant", "--data", str(root))
    assert (root / "croissant.json").read_bytes() == before, "the same data give the same bytes"
    address = "https://creativecommons.org/licenses/by/4.0/"
    out = tmp_path / "elsewhere.json"
    bench("data", "croissant", "--data", str(root), "--licence", address, "--out", str(out))
    assert json.loads(out.read_text())["license"] == address
    assert (root / "croissant.json").read_bytes() == before


def test_a_release_in_another_orientation_is_files_without_fields(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    several = bench("data", "croissant", "--data", str(corpus), "--out", str(out), code=2)
    assert "lazada and amazon: say which" in several.stderr
    bench("data", "croissant", "--data", str(corpus), "--dataset", "amazon", "--out", str(out))
    described = json.loads(out.read_text())
    assert described["license"] == "no licence is stated with the release"
    assert {one["encodingFormat"] for one in described["distribution"]} == {"application/json"}
    assert described["recordSet"] == []
    absent = bench("data", "croissant", "--data", str(tmp_path / "none"), code=2)
    assert "no such folder" in absent.stderr
