"""Results of several machines become one folder: what is copied is what was written, what contradicts is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.core.errors import DataError
from benchmark.runs import files
from benchmark.runs.claims import Claim
from benchmark.runs.merge import merge
from benchmark.runs.store import load_failures, load_runs
from tests.fixtures_runs import make_consistent, reseal, write_run


def write(results: Path, *seeds: int) -> list[Path]:
    for seed in seeds:
        write_run(results, seed=seed)
    make_consistent(results)
    return [run.folder for run in load_runs(results)]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] in ("runs", "data")
    }


def test_a_merge_is_the_union_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    one, two, both, merged = (tmp_path / name for name in ("one", "two", "both", "merged"))
    write(one, 0, 1)
    write(two, 1, 2)
    write(both, 0, 1, 2)
    found = merge([one, two], merged)
    assert (len(found.copied), found.present) == (3, 1)
    assert tree(merged) == tree(both) == tree(one) | tree(two)
    again = merge([one, two, merged], merged)
    assert (len(again.copied), again.present) == (0, 4)
    assert tree(merged) == tree(both)
    assert not list((merged / ".partial").glob("*")) + list((merged / ".claims").glob("*"))


def test_other_scores_of_one_run_are_a_conflict_and_nothing_is_copied(tmp_path: Path) -> None:
    one, two, merged = (tmp_path / name for name in ("one", "two", "merged"))
    (first,) = write(one, 0)
    second, _ = write(two, 0, 1)
    scores = pd.read_csv(second / "scores.csv", dtype=str)
    scores["score"] = [
        repr(float(score) / 2) for score in scores["score"]
    ]  # the same order, the same metrics
    scores.to_csv(second / "scores.csv", index=False, lineterminator="\n")
    reseal(second)
    with pytest.raises(DataError) as caught:
        merge([one, two], merged)
    assert str(second / "scores.csv") in str(caught.value)
    assert str(first) in str(caught.value)
    assert not merged.exists()


@pytest.mark.parametrize("name", ["scores.csv", "per_product.csv", "log.jsonl", "meta.json", "config.json"])
@pytest.mark.parametrize("whose", ["source", "target"])
def test_damage_is_named(name: str, whose: str, tmp_path: Path) -> None:
    folders = {"source": tmp_path / "one", "target": tmp_path / "merged"}
    written = {key: write(folder, seed)[0] for seed, (key, folder) in enumerate(folders.items())}
    file = written[whose] / name
    # the last digit of the file is another
    file.write_bytes(re.sub(rb"\d(?=\D*\Z)", lambda digit: b"%d" % (9 - int(digit[0])), file.read_bytes()))
    before = tree(folders["target"])
    with pytest.raises(DataError) as caught:
        merge([folders["source"]], folders["target"])
    assert str(file) in str(caught.value)
    assert tree(folders["target"]) == before


def test_numbers_that_do_not_follow_from_the_scores_are_named(tmp_path: Path) -> None:
    (folder,) = write(tmp_path / "one", 0)
    table = pd.read_csv(folder / "per_product.csv")
    table["map"] = 0.5
    table.to_csv(folder / "per_product.csv", index=False)
    reseal(folder)  # as if it had been written so
    with pytest.raises(DataError, match=r"per_product\.csv: map is not what the scores give"):
        merge([tmp_path / "one"], tmp_path / "merged")


def test_data_of_one_name_with_other_reviews_is_a_conflict(tmp_path: Path) -> None:
    write(tmp_path / "one", 0)
    write(tmp_path / "two", 1)
    (data,) = (tmp_path / "two" / "data").glob("*/*/*")
    test = data / "test.csv"
    test.write_text(test.read_text() + test.read_text().splitlines()[-1].replace("P", "Q") + "\n")
    reseal(data)
    with pytest.raises(DataError) as caught:
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "merged")
    assert str(tmp_path / "two") in str(caught.value)


def test_older_runs_whose_data_has_no_mark_are_merged_as_they_are(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(folders):
        write(folder, seed)
        (mark,) = folder.glob("data/*/*/*/done")
        mark.unlink()
    done = CliRunner().invoke(app, ["merge", *map(str, folders), "--results", str(tmp_path / "merged")])
    assert done.exit_code == 0, done.output
    assert tree(tmp_path / "merged") == tree(folders[0]) | tree(folders[1])
    assert [run.test_reviews.empty for run in load_runs(tmp_path / "merged")] == [False, False]


def test_data_of_today_without_its_mark_is_named_and_nothing_is_copied(tmp_path: Path) -> None:
    write_run(tmp_path / "one", arrays=True)
    (mark,) = (tmp_path / "one").glob("data/*/*/*/done")
    mark.unlink()
    done = CliRunner().invoke(app, ["merge", str(tmp_path / "one"), "--results", str(tmp_path / "merged")])
    assert done.exit_code == 3
    assert str(mark.parent) in done.output
    assert "`bench run` with the same data writes them anew" in done.output
    assert not (tmp_path / "merged").exists()


def test_failures_come_along_unless_the_run_is_done(tmp_path: Path) -> None:
    one, two, merged = (tmp_path / name for name in ("one", "two", "merged"))
    write(one, 0)
    write(two, 1, 2)
    by_seed = {run.spec.seed: run.spec for folder in (one, two) for run in load_runs(folder)}
    files.write_failure(by_seed[1], one, "out of memory", "")  # which `two` has done
    shutil.rmtree(by_seed[2].folder(two))
    files.write_failure(by_seed[2], two, "no pairs", "")
    assert merge([one, two], merged).failures == 1
    assert [failure["reason"] for failure in load_failures(merged)] == ["no pairs"]


def test_a_run_under_way_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "one", 0)
    (run,) = load_runs(tmp_path / "one")
    claim = Claim.take(tmp_path / "merged", run.id)
    assert claim is not None
    with claim, pytest.raises(DataError, match="another process carries this run out"):
        merge([tmp_path / "one"], tmp_path / "merged")


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    write(tmp_path / "one", 0, 1)
    words = ["merge", str(tmp_path / "one"), "--results", str(tmp_path / "merged")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "2 runs copied" in done.stdout
    words[1] = str(tmp_path / "none")
    assert CliRunner().invoke(app, words).exit_code == 3


@pytest.mark.parametrize(
    "words",
    [
        ["table", "--results", "a", "--results", "b"],
        ["status", "--results=a", "--results=b"],
        ["table", "--from", "a.zip", "--from=b.zip"],
        ["run", "--all-categories", "--results", "a", "--results", "a"],
    ],
)
def test_two_folders_are_never_read_as_the_last_one(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "given more than once" in done.output
    assert "bench merge" in done.output
