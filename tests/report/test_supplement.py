"""What an export holds for its reader: README, report, pictures, all hashed; and its commands remake the tables."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmark.core.errors import DataError
from benchmark.report import export
from benchmark.runs import planes, store
from tests.command_line import bench
from tests.fixtures_runs import make_consistent, write_run
from tests.report.report_runs import epochs


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    for dataset in ("lazada", "amazon"):
        for method in ("bimpm", "mcr", "mmss"):
            for seed in range(3):
                write_run(
                    folder / "results", method, seed, dataset=dataset, synthetic=True, log=epochs(method, 2)
                )
        write_run(folder / "results", "mmss", 0, dataset=dataset, drop=("d",), synthetic=True)
    make_consistent(folder / "results")
    bench("export", "--results", str(folder / "results"), "--out", str(folder / "supplement.zip"))
    return folder / "supplement.zip"


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_every_file_is_in_the_index_with_its_hash(archive: Path) -> None:
    files = contents(archive)
    index = json.loads(files.pop("index.json"))
    assert index["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert {"README.md", "report.html", "plots/forest.svg", "plots/curves.svg", "tables/lazada.md"} <= set(
        files
    )


def test_pictures_are_svg_and_the_page_is_the_report(archive: Path) -> None:
    files = contents(archive)
    for name, content in files.items():
        if name.startswith("plots/"):
            assert ElementTree.fromstring(content).tag.endswith("}svg"), name
    assert b"<svg" in files["report.html"]
    assert b"MM-SS" in files["report.html"]


def test_the_readmes_commands_remake_the_tables(archive: Path, tmp_path: Path) -> None:
    files = contents(archive)
    text = files["README.md"].decode()
    assert "20 runs of 3 methods" in text
    assert "synthetic" in text
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [shlex.split(line.replace("FILE.zip", str(archive))) for line in block.splitlines()]
    assert all(line[0] == "bench" for line in lines)
    made = {tuple(line[1:3]): bench(*line[1:]).stdout for line in lines if line[1] == "table"}
    assert made["table", "lazada"].encode() == files["tables/lazada.md"]
    assert made["table", "amazon"].encode() == files["tables/amazon.md"]
    assert made["table", "--statistics"].encode() == files["tables/statistics.md"]
    assert made["table", "--ablation"].encode() == files["tables/ablation.md"]


def test_a_changed_page_is_noticed(archive: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged.zip"
    with zipfile.ZipFile(forged, "w") as new:
        for name, content in contents(archive).items():
            new.writestr(name, content.replace(b"MM-SS", b"MM-XX") if name == "report.html" else content)
    with pytest.raises(DataError, match=r"report\.html was changed"), export.opened(forged):
        pass


def test_the_same_runs_give_the_same_archive(archive: Path) -> None:
    again = archive.with_name("again.zip")
    bench("export", "--results", str(archive.parent / "results"), "--out", str(again))
    assert again.read_bytes() == archive.read_bytes()


def test_without_pictures(archive: Path) -> None:
    bare = archive.with_name("bare.zip")
    bench("export", "--results", str(archive.parent / "results"), "--out", str(bare), "--no-pictures")
    files = contents(bare)
    assert not any(name.startswith("plots/") for name in files)
    assert b"plots/" not in files["README.md"]
    assert b"<svg" not in files["report.html"]
    with export.opened(bare) as folder:
        assert len(store.load_runs(folder)) == 20


def test_an_interrupted_export_leaves_the_old_one(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = archive.read_bytes()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_add", killed)
    bench(
        "export",
        "--results",
        str(archive.parent / "results"),
        "--out",
        str(archive),
        "--no-pictures",
        code=130,
    )
    assert archive.read_bytes() == before
    assert not list(archive.parent.glob(".supplement.zip.*"))


def test_large_scores_lie_in_planes_and_large_tables_are_packed_harder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    for method in ("mcr", "mmss"):
        write_run(results, method, 0, arrays=True, parts=("one", "two") if method == "mmss" else ())
    runs, plain, packed = store.load_runs(results), tmp_path / "plain.zip", tmp_path / "packed.zip"
    export.export(runs, {}, plain)
    monkeypatch.setattr(planes, "LEAST", 1)
    monkeypatch.setattr(export, "LARGE_TABLE", 1)
    export.export(runs, {}, packed)
    names = set(contents(packed))
    assert sum(name.endswith("/scores.planes.npy") for name in names) == 2
    assert sum(name.endswith("/parts.planes.npy") for name in names) == 1
    assert not any(name.endswith(("/scores.npy", "/parts.npy")) for name in names)
    with zipfile.ZipFile(packed) as opened:
        methods = {info.filename: info.compress_type for info in opened.infolist()}
    assert {methods[name] for name in names if name.endswith(".csv")} == {zipfile.ZIP_BZIP2}
    with export.opened(plain) as one, export.opened(packed) as other:
        files = [path.relative_to(one) for path in sorted(one.rglob("*")) if path.is_file()]
        assert files == [path.relative_to(other) for path in sorted(other.rglob("*")) if path.is_file()]
        assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_forged_planes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "results", "mcr", 0, arrays=True)
    monkeypatch.setattr(planes, "LEAST", 1)
    export.export(store.load_runs(tmp_path / "results"), {}, tmp_path / "good.zip")
    files = contents(tmp_path / "good.zip")
    index = json.loads(files["index.json"])
    (name,) = index["planes"]
    stored = name.replace(".npy", ".planes.npy")
    changed = files[stored][:-1] + bytes([files[stored][-1] ^ 1])
    for forged, words in (
        ({stored: changed}, "was changed"),
        ({stored: files[stored][:-1]}, "not an array"),
        ({"index.json": json.dumps(index | {"planes": {name: "O"}}).encode()}, "not an array"),
        ({"index.json": json.dumps(index | {"planes": [1]}).encode()}, "damaged"),
        ({"index.json": json.dumps(index | {"planes": {}}).encode()}, "is missing"),
    ):
        with zipfile.ZipFile(tmp_path / "forged.zip", "w") as new:
            for file, content in (files | forged).items():
                new.writestr(file, content)
        with pytest.raises(DataError, match=words), export.opened(tmp_path / "forged.zip"):
            pass
