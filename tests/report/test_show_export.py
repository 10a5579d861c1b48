"""`bench show`, `bench diff`, `bench export`: one run, two runs, and a bundle that others can check."""

from __future__ import annotations

import dataclasses
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from benchmark.core.errors import DataError, UsageError
from benchmark.report import export, show
from benchmark.runs import files, store
from benchmark.runs.spec import RunSpec
from benchmark.runs.writer import RunWriter, write_data_files
from tests.fixtures_runs import make_consistent, reseal
from tests.runs.test_runs import SPEC


def write(results: Path, spec: RunSpec, scores: list[float]) -> Path:
    writer = RunWriter(spec, results)
    writer.write_json("meta.json", {"commit": "abc", "seconds": {"total": 1.0}})
    entry = {
        "epoch": 1,
        "loss": 0.5,
        "dev_map": 0.5,
        "dev_ndcg@3": 0.5,
        "dev_ndcg@5": 0.5,
        "train_seconds": 0.1,
    }
    writer.log(entry)
    columns = {name: [0.5, scores[0]] for name in show.PAPER_METRICS}
    writer.write_table("per_product.csv", pd.DataFrame({"product_id": ["p", "q"], **columns}))
    ids = {"review_id": ["1", "2"], "product_id": ["p", "q"], "label": [0, 3]}
    writer.write_table("scores.csv", pd.DataFrame({**ids, "score": [repr(score) for score in scores]}))
    data = files.data_folder(results, spec.dataset, spec.category, spec.fingerprint)
    data.mkdir(parents=True, exist_ok=True)
    write_data_files(data, spec.fingerprint, "{}", "review_id,product_id,label\n1,p,0\n2,q,3\n")
    return writer.finish()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write(tmp_path, SPEC, [0.25, 0.5])
    write(tmp_path, dataclasses.replace(SPEC, seed=4), [0.75, 0.5])
    return tmp_path


def test_a_run_is_found_by_folder_and_by_the_beginning_of_its_identity(results: Path) -> None:
    by_identity = show.find_run(results, SPEC.identity[:10])
    assert by_identity.spec == SPEC
    assert show.find_run(results, str(by_identity.folder)).spec == SPEC


def test_ambiguous_and_unknown_runs_are_usage_errors(results: Path) -> None:
    with pytest.raises(UsageError, match="names 2 runs"):
        show.find_run(results, "")
    with pytest.raises(UsageError, match="no run 'zz'"):
        show.find_run(results, "zz")


def test_show_tells_data_configuration_and_results(results: Path) -> None:
    text = show.render(show.find_run(results, SPEC.identity))
    for part in ("mini (synthetic)", "training.epochs", "model.hidden_size", "abc", "37.50", SPEC.identity):
        assert part in text


def test_a_run_does_not_differ_from_itself(results: Path) -> None:
    run = show.find_run(results, SPEC.identity)
    found = show.differences(run, run)
    assert found["asked"] == found["configuration"] == found["versions"] == {}
    assert found["results"]["scores_identical"]
    assert "bit for bit" in show.render_difference(run, run)


def test_diff_finds_what_was_changed(results: Path) -> None:
    training = {"relevance_threshold": 0, "epochs": 9}
    changed = dataclasses.replace(SPEC, config={"training": training, "model": {"hidden_size": 8}})
    write(results, changed, [0.25, 0.125])
    a, b = (show.find_run(results, spec.identity) for spec in (SPEC, changed))
    found = show.differences(a, b)
    assert found["configuration"] == {"training.epochs": [2, 9]}
    assert found["results"]["scores_that_differ"] == 1
    assert found["results"]["largest_score_difference"] == pytest.approx(0.375)
    assert "training.epochs" in show.render_difference(a, b)


def test_an_export_opens_to_the_same_runs(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "supplement.zip"
    export.export(store.load_runs(make_consistent(results)), {"table1.md": "| x |"}, out)
    with export.opened(out) as folder:
        again = store.load_runs(folder)
        assert [run.spec for run in again] == [run.spec for run in store.load_runs(results)]
        assert again[0].scores.equals(store.load_runs(results)[0].scores)
        assert (folder / "tables" / "table1.md").read_text() == "| x |\n"


def test_the_same_runs_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        export.export(store.load_runs(make_consistent(results)), {}, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def rewritten(source: Path, out: Path, change: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if not any(name.endswith(ending) for ending in change):
                new.writestr(name, old.read(name))
            else:
                new.writestr(name, next(value for ending, value in change.items() if name.endswith(ending)))
    return out


@pytest.mark.parametrize("place", [0, 4, 11, 15, -75, -70, -66, -1], ids=str)
def test_every_byte_of_an_export_counts(results: Path, tmp_path: Path, place: int) -> None:
    """Also what no reader of its entries asks for: dates, copied headers, counts at its end."""
    export.export(store.load_runs(make_consistent(results)), {}, tmp_path / "runs.zip")
    content = bytearray((tmp_path / "runs.zip").read_bytes())
    content[place] ^= 4
    (tmp_path / "runs.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"runs\.zip"), export.opened(tmp_path / "runs.zip"):
        pass


def test_an_export_that_another_program_packed_anew_is_read(results: Path, tmp_path: Path) -> None:
    export.export(store.load_runs(make_consistent(results)), {}, tmp_path / "runs.zip")
    with zipfile.ZipFile(tmp_path / "runs.zip") as archive, zipfile.ZipFile(tmp_path / "b.zip", "w") as again:
        for name in reversed(archive.namelist()):
            again.writestr(name, archive.read(name))
    with export.opened(tmp_path / "b.zip") as folder:
        assert len(store.load_runs(folder)) == len(store.load_runs(results))


def test_a_changed_score_is_noticed(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "supplement.zip"
    export.export(store.load_runs(make_consistent(results)), {}, out)
    forged = rewritten(out, tmp_path / "forged.zip", {"scores.csv": b"review_id,product_id,label,score\n"})
    with pytest.raises(DataError, match="was changed after the run"), export.opened(forged):
        pass


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:\\evil"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, name: str) -> None:
    out = tmp_path / "bad.zip"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(DataError, match="refused"), export.opened(out):
        pass


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("hello")
    with pytest.raises(DataError, match=r"x\.zip"), export.opened(tmp_path / "x.zip"):
        pass
    with pytest.raises(DataError, match="no such file"), export.opened(tmp_path / "y.zip"):
        pass
    with pytest.raises(UsageError):
        export.export([], {}, tmp_path / "z.zip")


def exported(results: Path, out: Path) -> Path:
    export.export(store.load_runs(make_consistent(results)), {}, out)
    return out


def test_consistent_forgeries_are_noticed_too(results: Path, tmp_path: Path) -> None:
    """Hashes and index made anew: the values are still not those of the scores, the scores not of the data."""
    for name, old, new in (
        ("per_product.csv", "0.5", "0.75"),
        ("scores.csv", "2,q,3", "2,q,0"),
    ):
        copy = tmp_path / f"forged {name}"
        shutil.copytree(results / "runs", copy / "runs")
        shutil.copytree(results / "data", copy / "data")
        make_consistent(copy)
        run = store.load_runs(copy)[0]
        file = run.folder / name
        changed = re.sub(r"(?<=,)[01]\.\d+(?=,)", "0.123", file.read_text()) if "per" in name else ""
        file.write_text(changed or file.read_text().replace(old, new))
        reseal(run.folder)
        out = tmp_path / f"{name}.zip"
        export.export(store.load_runs(copy), {}, out)
        with pytest.raises(DataError, match=f"{run.id}"), export.opened(out):
            pass


def test_hostile_archives_are_refused(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = exported(results, tmp_path / "good.zip")
    with zipfile.ZipFile(good) as archive:
        names = archive.namelist()
    mark = next(name for name in names if name.endswith("/done"))
    (tmp_path / "missing.zip").write_bytes(good.read_bytes())
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(tmp_path / "missing.zip", "w") as new:
        for name in names:
            if name != mark:
                new.writestr(name, old.read(name))
    with pytest.raises(DataError, match="is missing"), export.opened(tmp_path / "missing.zip"):
        pass
    twice = tmp_path / "twice.zip"
    twice.write_bytes(good.read_bytes())
    with zipfile.ZipFile(twice, "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr(mark, "{}")
    with pytest.raises(DataError, match="twice"), export.opened(twice):
        pass
    unknown = tmp_path / "unknown.zip"
    unknown.write_bytes(good.read_bytes())
    with zipfile.ZipFile(unknown, "a") as archive:
        archive.writestr("runs/extra.txt", "x")
    with export.opened(unknown) as folder:
        assert not (folder / "runs" / "extra.txt").exists()
    zeros = tmp_path / "zeros.zip"
    zeros.write_bytes(good.read_bytes())
    monkeypatch.setattr(export, "LARGEST_ENTRY", 1 << 20)
    with zipfile.ZipFile(zeros, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2 << 20))
    with pytest.raises(DataError, match="more than"), export.opened(zeros):
        pass
    raw = good.read_bytes()
    for cut in range(0, len(raw), max(1, len(raw) // 60)):
        for damaged in (raw[:cut], raw[:cut] + bytes([raw[cut] ^ 0x55]) + raw[cut + 1 :]):
            (tmp_path / "d.zip").write_bytes(damaged)
            try:
                with export.opened(tmp_path / "d.zip") as folder:
                    assert len(store.load_runs(folder)) == 2
            except DataError:
                continue
