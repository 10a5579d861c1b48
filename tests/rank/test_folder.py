"""A model folder is what was written, or it is refused: damage, gaps, additions, another version, forged hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

import benchmark
from benchmark.core.errors import EXIT_DATA, EXIT_USAGE, DataError, UsageError
from benchmark.rank.export import export
from benchmark.rank.folder import open_folder
from tests.command_line import bench
from tests.rank.conftest import Trained


@pytest.fixture
def model(trained: Trained, tmp_path: Path) -> Path:
    """A copy of a model folder, to be spoilt."""
    return Path(shutil.copytree(trained.model("egcnn"), tmp_path / "model"))


def edit(file: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


def forge(model: Path) -> None:
    """Change a file and its hash: the id is then another one."""
    (model / "README.md").write_text("The best model of all.\n")
    digest = hashlib.sha256((model / "README.md").read_bytes()).hexdigest()
    edit(model / "provenance.json", lambda record: record["files"].update({"README.md": digest}))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda m: shutil.rmtree(m), "no such folder"),
    "no provenance": (lambda m: (m / "provenance.json").unlink(), "this is no model folder"),
    "no weights": (lambda m: (m / "weights.safetensors").unlink(), "weights.safetensors: missing"),
    "no words": (lambda m: (m / "vocabulary.json").unlink(), "vocabulary.json: missing"),
    "a bit of the weights": (lambda m: flip(m / "weights.safetensors"), "weights.safetensors: its content"),
    "a bit of the words": (lambda m: flip(m / "vocabulary.json"), "vocabulary.json: its content"),
    "cut short": (lambda m: (m / "model.json").write_bytes(b"{"), "model.json: its content"),
    "a stranger": (lambda m: (m / "helper.py").write_text("print(1)"), "helper.py: no part of the model"),
    "a later version": (
        lambda m: edit(m / "provenance.json", lambda r: r.update(format=2)),
        "format 2; this version of mrhp-bench reads format 1",
    ),
    "no JSON": (lambda m: (m / "provenance.json").write_text("{"), "provenance.json: damaged"),
    "a list": (lambda m: (m / "provenance.json").write_text("[]"), "provenance.json: damaged"),
    "nested": (lambda m: (m / "provenance.json").write_text("[" * 100_000), "provenance.json: damaged"),
    "a forged hash": (forge, "its id is not that of what it lists"),
    "a hash that is none": (
        lambda m: edit(m / "provenance.json", lambda r: r["files"].update({"README.md": 5})),
        "a hash is no text",
    ),
    "a way out": (
        lambda m: edit(m / "provenance.json", lambda r: r["files"].update({"../../x": "0" * 64})),
        "its id is not that",
    ),
    "a folder in place of a file": (
        lambda m: ((m / "model.json").unlink(), (m / "model.json").mkdir()),
        "model.json: missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_spoilt_folder_is_refused(damage: str, model: Path, tmp_path: Path) -> None:
    spoil, said = DAMAGE[damage]
    spoil(model)
    (tmp_path / "reviews.csv").write_text("product_id,content\np,good\n")
    refused = bench("rank", "--model", str(model), "--input", str(tmp_path / "reviews.csv"), code=EXIT_DATA)
    assert said in refused.stderr
    with pytest.raises(DataError):
        benchmark.load_ranker(model)


def resealed(model: Path, name: str, content: bytes) -> Path:
    """The folder with another file in it, its hashes and its id made anew, as a forger would."""
    (model / name).write_bytes(content)
    record = json.loads((model / "provenance.json").read_text())
    record["files"][name] = hashlib.sha256(content).hexdigest()
    record.pop("id")
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    record = {"id": hashlib.sha256(text.encode()).hexdigest()[:16], **record}
    (model / "provenance.json").write_text(json.dumps(record))
    return model


def test_a_change_with_all_hashes_made_anew_changes_the_id(model: Path) -> None:
    before = open_folder(model).id
    assert open_folder(resealed(model, "README.md", b"The best model of all.")).id != before


def test_weights_and_descriptions_that_do_not_fit_are_refused(model: Path) -> None:
    tensors = load((model / "weights.safetensors").read_bytes())
    name = next(iter(tensors))
    others = {
        "is in one of the two only": {key: value for key, value in tensors.items() if key != name},
        "but the model wants": {**tensors, name: torch.zeros(3, 3, 3)},
        "float64": {key: value.double() for key, value in tensors.items()},
    }
    for said, changed in others.items():
        resealed(model, "weights.safetensors", save(changed))
        with pytest.raises(DataError, match=said):
            benchmark.load_ranker(model)
    with pytest.raises(DataError, match="no file of tensors"):
        benchmark.load_ranker(resealed(model, "weights.safetensors", b"\x80\x04 no tensors"))
    record = json.loads((model / "model.json").read_text())
    for said, other in {
        "can build": {"config": {**record["config"], "model": {"no_such_field": 1}}},
        "not of a model": {"text": {}},
    }.items():
        resealed(model, "model.json", json.dumps({**record, **other}).encode())
        with pytest.raises(DataError, match=said):
            benchmark.load_ranker(model)
    resealed(model, "model.json", json.dumps({"method": {"name": "egcnn"}}).encode())
    with pytest.raises(DataError, match=r"model\.json: not of a model"):
        benchmark.load_ranker(model)


def test_an_export_holds_data_alone_and_appears_whole(trained: Trained, tmp_path: Path) -> None:
    run = trained.runs["egcnn", 0]
    done = bench("model", "export", str(run.folder), "--out", str(tmp_path / "m"), "--json")
    document = json.loads(done.stdout)
    files = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert files == [
        "README.md",
        "dataset.json",
        "model.json",
        "provenance.json",
        "vocabulary.json",
        "weights.safetensors",
    ]
    assert document["id"] == open_folder(tmp_path / "m").id == open_folder(trained.model("egcnn")).id
    text = "".join((tmp_path / "m" / name).read_text() for name in files if not name.endswith("tensors"))
    assert str(trained.results) not in text, "a path of the machine that trained"
    with pytest.raises(UsageError, match="new or an empty folder"):
        export(run, tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_card_has_the_runs_own_numbers(trained: Trained) -> None:
    run = trained.runs["mmss", 0]
    card = (trained.model("mmss") / "README.md").read_text()
    for name, shown in (("map", "MAP"), ("ndcg@3", "N@3"), ("ndcg@5", "N@5")):
        assert f"| {shown} " in card
        assert f"{100 * run.per_product[name].mean():.2f}" in card
        assert f"{100 * run.per_product[f'random_{name}'].mean():.2f}" in card
    assert "synthetic data" in card
    assert run.id in card
    assert run.spec.code in card


def test_a_run_without_weights_cannot_be_exported(trained: Trained, tmp_path: Path) -> None:
    from dataclasses import replace

    run = trained.runs["egcnn", 0]
    for name in ("weights.safetensors", "vocabulary.json"):
        bare = replace(run, sums={key: value for key, value in run.sums.items() if key != name})
        with pytest.raises(UsageError, match="--keep-weights --force"):
            export(bare, tmp_path / "m")
    other = replace(run, spec=replace(run.spec, code="0" * 16))
    with pytest.raises(UsageError, match="the code of egcnn"):
        export(other, tmp_path / "m")
    refused = bench(
        "model",
        "export",
        "ffff",
        "--out",
        str(tmp_path / "m"),
        "--results",
        str(trained.results),
        code=EXIT_USAGE,
    )
    assert "no run 'ffff'" in refused.stderr
    assert not (tmp_path / "m").exists()
