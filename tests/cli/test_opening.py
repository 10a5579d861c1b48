"""What a command says about the data it opens: where labels come from, which images are missing, damaged packs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.report.captions import label_sentences
from benchmark.runs.store import load_runs
from tests.command_line import bench, results_of
from tests.fixtures_release import feature_path, read_records, write_release, write_table

HERE = ("amazon", "electronics")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """`thumbs` holds 16, 8, 4, 2 and 1 votes in turn, `votes` others, `upvotes` labels."""
    root = write_release(tmp_path / "release", roi_width=4)
    for split in ("train", "dev", "test"):
        records = read_records(root, *HERE, "rel", split)
        rows = [record | {"thumbs": 2 ** (4 - row % 5)} for row, record in enumerate(records)]
        write_table(root, *HERE, "rel", split, rows)
    return root


def packed(root: Path, *words: str) -> dict[str, object]:
    """The manifest that `bench data pack` prints."""
    cache = ["--cache", str(root.parent / "cache")]
    (manifest,) = results_of(bench("data", "pack", "--data", str(root), *cache, *words, "--json").stdout)
    return dict(manifest)


def test_the_column_of_the_votes_is_chosen_said_and_recorded(release: Path) -> None:
    def of_dev(manifest: dict[str, object]) -> list[int]:
        return list(manifest["splits"]["dev"]["labels"])  # type: ignore[index]

    named = packed(release, "--votes-column", "thumbs")
    assert named["labels"] == "from votes, column thumbs: min(4, floor(log2 v)), relations with v = 0 dropped"
    assert of_dev(named) == [4, 4, 4, 4, 4]
    found = packed(release, "--labels-from-votes")
    assert "column votes" in str(found["labels"])
    assert of_dev(found) != of_dev(named)
    assert packed(release)["labels"] == "as released, column upvotes"
    for command in ("stats", "pack"):
        words = ["--data", str(release), "--cache", str(release.parent / "cache"), "--votes-column", "thumbs"]
        assert "labels from votes, column thumbs" in bench("data", command, *words).stderr
    assert (
        "column thumbs" in bench("data", "check", "--data", str(release), "--votes-column", "thumbs").stdout
    )


def test_a_column_that_is_not_there(release: Path) -> None:
    words = ["--data", str(release), "--votes-column", "likes"]
    shown = bench("data", "check", *words, code=3).stdout
    assert "column likes: missing, but --votes-column names it; the file has product_id" in shown
    assert "--votes-column" in bench("data", "check", *words[:-1], "", code=2).stderr


def test_a_run_says_what_is_missing_and_its_table_that_labels_came_from_votes(release: Path) -> None:
    feature_path(release, *HERE, "dev", "0de0-1").write_bytes(b"not a feature file")
    feature_path(release, *HERE, "test", "0te0").unlink()
    place = ["--results", str(release.parent / "results"), "--cache", str(release.parent / "cache")]
    words = [
        "--dataset",
        "amazon",
        "--method",
        "gbdt",
        "--seeds",
        "0",
        "--jobs",
        "1",
        "--votes-column",
        "thumbs",
    ]
    said = bench("run", "--data", str(release), *words, *place).stderr
    warning = next(line for line in said.splitlines() if "images unreadable or missing" in line)
    assert said.index(warning) < said.index("1 run: 0 done, 1 to run")
    train, dev, test = warning.partition("missing: ")[2].split("; ")
    assert train == "train: 12 of 48 reviews that list images have no RoI"  # three of four have features
    assert dev == "dev: 1 unreadable feature files of reviews, 5 of 16 reviews that list images have no RoI"
    assert test.startswith("test: 1 of 2 products that list images have no RoI, 4 of 16")
    table = bench("table", "--dataset", "amazon", "--results", str(release.parent / "results")).stdout
    assert "LABELS FROM VOTES: column thumbs: min(4, floor(log2 v))" in table
    assert len(label_sentences(load_runs(release.parent / "results"))) == 1


def test_a_release_without_features_is_warned_about(tmp_path: Path) -> None:
    root = write_release(tmp_path / "bare", images=False)
    shown = bench("data", "check", "--data", str(root)).stdout
    assert shown.rstrip().splitlines()[-2] == "No problem found, but:"
    assert "amazon/electronics: WARNING: NO IMAGE FEATURES" in shown
    whole = write_release(tmp_path / "whole")
    assert "WARNING" not in bench("data", "check", "--data", str(whole)).stdout


def test_verify_reads_packs_from_end_to_end(release: Path) -> None:
    words = ["data", "verify", "--data", str(release), "--cache", str(release.parent / "cache")]
    assert "amazon/electronics: packed now" in bench(*words).stdout
    assert "amazon/electronics: whole" in bench(*words).stdout
    (pack,) = (release.parent / "cache" / "packs").glob("*/manifest.json")
    rois = pack.parent / "rois.npy"
    content = bytearray(rois.read_bytes())
    content[-1] ^= 1
    rois.write_bytes(content)
    (found,) = results_of(bench(*words, "--json", code=4).stdout)
    assert found["state"].startswith("damaged: rois.npy is damaged")
    assert "whole" in bench(*words).stdout


def test_a_listwise_method_without_lists_says_what_it_needs(release: Path) -> None:
    for split in ("train", "dev", "test"):
        records = read_records(release, *HERE, "rel", split)
        rows = [record | {"thumbs": 16 if row % 2 else 2} for row, record in enumerate(records)]
        write_table(release, *HERE, "rel", split, rows)
    place = ["--results", str(release.parent / "results"), "--cache", str(release.parent / "cache")]
    words = [
        "--dataset",
        "amazon",
        "--method",
        "gbdt",
        "--seeds",
        "0",
        "--jobs",
        "1",
        "--votes-column",
        "thumbs",
    ]
    said = bench("run", "--data", str(release), *words, *place, code=1).stdout
    assert "no training lists: a product needs at least 3 distinct labels" in said
