"""Sentences under a table that a reader must not miss: which encoder a row reads, how much was ever seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.report.captions import coverage_sentences, encoder_sentences, image_sentences, made_line
from benchmark.report.grid import group_settings
from benchmark.runs.store import StoredRun, load_runs
from tests.fixtures_runs import N_PRODUCTS, write_data, write_run


def run_with(results: Path, method: str, model: dict[str, object], content: str = "") -> StoredRun:
    write_run(results, method, 0)
    run = next(run for run in load_runs(results) if run.spec.method == method)
    files = {"files": {"encoder": content}} if content else {}
    config = {**run.spec.config, "model": model, **files}
    return replace(run, spec=replace(run.spec, config=config))


def test_rows_of_one_footing_need_no_word_or_one_name(tmp_path: Path) -> None:
    scratch = run_with(tmp_path / "a", "mmss", {"encoder": "scratch"})
    words = run_with(tmp_path / "b", "mcl", {"text_encoder": "words", "encoder": "some/bert"})
    assert encoder_sentences([scratch, words]) == []
    bert = run_with(tmp_path / "c", "mmss", {"encoder": "/models/bert/"}, "0123456789abcdef")
    same = run_with(
        tmp_path / "d", "mcl", {"text_encoder": "bert", "encoder": "/models/bert"}, "0123456789abcdef"
    )
    (sentence,) = encoder_sentences([bert, same])
    assert sentence == "Text encoder of every row: bert (0123456789ab), pre-trained."


def test_rows_of_different_encoders_are_named(tmp_path: Path) -> None:
    bert = run_with(tmp_path / "a", "mmss", {"encoder": "google/bert"})
    words = run_with(tmp_path / "b", "mcl", {"text_encoder": "words", "encoder": "some/bert"})
    (sentence,) = encoder_sentences([words, bert])
    assert sentence.startswith("ROWS DIFFER IN TEXT ENCODER")
    assert "MCL: word vectors" in sentence
    assert "MM-SS: bert" in sentence
    other = run_with(tmp_path / "c", "mcl", {"text_encoder": "bert", "encoder": "google/bert"}, "f" * 64)
    assert "DIFFER" in encoder_sentences([other, bert])[0], "the same name with another content"


@pytest.mark.parametrize(
    ("made", "told"), [((), None), (("clothing",), " in CS&J"), (("clothing", "home"), "")]
)
def test_features_of_another_origin_are_named(
    tmp_path: Path, made: tuple[str, ...], told: str | None
) -> None:
    record = {"extractor": "hf-grid", "model": "dinov2", "weights": "a1b2c3" * 8, "options": {"grid": 5}}
    products = [f"P{number:03}" for number in range(N_PRODUCTS)]
    for category in ("clothing", "home"):
        if category in made:
            write_data(tmp_path, "lazada", category, "f" * 64, products, features=record)
        write_run(tmp_path, "mmss", 0, category=category)
    runs = load_runs(tmp_path)
    spoken = [one for one in image_sentences(runs) if "bottom-up" in one]
    assert spoken == [
        f"Image features{told}: hf-grid dinov2 (weights a1b2c3a1b2c3, grid=5), not bottom-up attention."
        for _ in made[:1]
    ]
    (setting,) = group_settings(runs)
    assert ("bottom-up" in made_line(setting)) == bool(made)


def test_coverage_is_a_mean_over_epochs_and_runs(tmp_path: Path) -> None:
    def log(*pairs: tuple[float, float]) -> list[dict[str, object]]:
        return [
            {"epoch": number, "loss": 1.0, "coverage": {"epoch": epoch, "so_far": so_far}}
            for number, (epoch, so_far) in enumerate(pairs, start=1)
        ]

    write_run(tmp_path, "mmss", 0, log=log((0.2, 0.2), (0.4, 0.5)))
    write_run(tmp_path, "mmss", 1, log=log((0.5, 0.9)))
    (sentence,) = coverage_sentences(load_runs(tmp_path))
    assert "40% in an epoch, 70% by the end" in sentence
    write_run(tmp_path / "old", "mmss", 0)
    assert coverage_sentences(load_runs(tmp_path / "old")) == []
