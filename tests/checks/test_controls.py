"""Controls: what is nothing is found to be nothing, what is planted is found; a broken harness fails them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import models
from benchmark.checks import controls
from benchmark.checks.controls import Marks, Place
from benchmark.core.errors import DataError
from benchmark.data.collate import Collator
from benchmark.data.mini.corpus import MiniSpec, cached_corpus, ceilings
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.plan import Choices, expand
from benchmark.engine.train import Feed
from benchmark.runs import store
from tests.command_line import bench
from tests.fixtures_runs import write_grid

SPEC = MiniSpec(datasets=("amazon",), categories=("home",))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """One category of `mini`, as it is."""
    cache = tmp_path_factory.mktemp("cache")
    return Source(cached_corpus(cache, SPEC), cache)


@pytest.fixture(scope="module")
def verdicts(source: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], Path]:
    """What `bench controls` finds with a text-only and a multimodal method, and where its runs are."""
    results = tmp_path_factory.mktemp("results")
    words = ["--method", "egcnn", "--method", "drnet", "--seeds", "0-2", "--jobs", "1", "--device", "cpu"]
    place = ["--data", str(source.root), "--cache", str(source.cache), "--results", str(results)]
    return json.loads(bench("controls", "--quick", "--json", *words, *place).stdout)["results"], results


def test_all_controls_hold(verdicts: tuple[list[dict], Path]) -> None:
    found, _ = verdicts
    assert [(one["kind"], one["name"]) for one in found] == [
        ("negative", "shuffled labels: EG-CNN on amazon/home"),
        ("negative", "shuffled labels: D&R Net on amazon/home"),
        ("negative", "marks of 200 comparisons of equal methods (simulated)"),
        ("positive", "images taken away: D&R Net on amazon/home"),
        ("positive", "images taken away: EG-CNN on amazon/home"),
        ("positive", "a scorer that sees the truth: amazon/home"),
    ]
    assert all(one["ok"] for one in found)


def real_places(results: Path, **wanted: object) -> list[Place]:
    runs = store.load_runs(results)
    return controls.places(
        [run for run in runs if all(getattr(run.spec, name) == value for name, value in wanted.items())]
    )


def test_what_learnt_something_fails_the_negative_control(verdicts: tuple[list[dict], Path]) -> None:
    learnt = real_places(verdicts[1], shuffle_labels=False, method="drnet", overrides=())
    assert len(learnt[0].runs) == 3
    assert [one.ok for one in controls.shuffled_labels(learnt)] == [False]


def test_images_that_do_nothing_fail_the_positive_control(
    source: Source, verdicts: tuple[list[dict], Path]
) -> None:
    seen = real_places(verdicts[1], shuffle_labels=False, method="drnet", overrides=())
    blind = real_places(
        verdicts[1], shuffle_labels=False, method="drnet", overrides=(controls.WITHOUT_IMAGES,)
    )
    assert [one.ok for one in controls.images_taken_away(seen, blind, source.root)] == [True]
    assert [one.ok for one in controls.images_taken_away(seen, seen, source.root)] == [False]
    assert [one.ok for one in controls.images_taken_away(blind, seen, source.root)] == [False]
    assert [one.ok for one in controls.text_only_unmoved(seen, blind)] == [False]


def test_blind_methods_above_the_text_ceiling_fail(source: Source, tmp_path: Path) -> None:
    """Losing something is not enough: what is left must be attainable by text."""
    text = ceilings(source.root, "amazon", "home")["text"]["map"]
    runs = write_grid(
        tmp_path, {"mcr": text + 0.2, "mcl": text + 0.1}, dataset="amazon", categories=("home",)
    )
    mcr, mcl = controls.places(runs)
    (found,) = controls.images_taken_away([mcr], [mcl], source.root)
    assert "p (Holm) 0.00" in found.found
    assert not found.ok


def test_against_a_random_order_by_plain_formula(tmp_path: Path) -> None:
    """One sample: variance of the seeds' means plus that of the products' gaps, less what both count."""
    (place,) = controls.places(write_grid(tmp_path, {"mcr": 0.35}, categories=("home",)))
    gap_SP = place.values - place.random_order
    S, P = gap_SP.shape
    rest = gap_SP - gap_SP.mean(1, keepdims=True) - gap_SP.mean(0) + gap_SP.mean()
    v_E = (rest**2).sum() / ((S - 1) * (P - 1)) / (S * P)
    v_P = gap_SP.mean(0).var(ddof=1) / P
    v = max(gap_SP.mean(1).var(ddof=1) / S + v_P - v_E, v_P)
    result = controls.against_random_order(place)
    assert result.difference == pytest.approx(gap_SP.mean())
    assert result.variance == pytest.approx(v)


def test_marks_of_equal_methods_appear_at_their_rate() -> None:
    """400 tables more than the command makes, with other seeds; both directions make one two-sided test."""
    found = [controls.simulate_marks(200, seed=seed) for seed in (1, 2)]
    single, double = sum(one.single for one in found), sum(one.double for one in found)
    assert 0.015 <= single / 400 <= 0.07
    assert double / 400 <= 0.025
    assert all(controls.marks_control(one).ok for one in found)


@pytest.mark.parametrize("marks", [Marks(200, 40, 2), Marks(200, 10, 9), Marks(200, 0, 0)])
def test_too_many_or_no_marks_fail(marks: Marks) -> None:
    assert not controls.marks_control(marks).ok


def test_a_better_method_gets_its_mark() -> None:
    rng = np.random.default_rng(0)
    product_P = rng.normal(0.5, 0.1, 40)
    better, worse = (product_P + gain + rng.normal(0, 0.05, (5, 40)) for gain in (0.1, 0.0))
    assert controls._table_mark(better, worse) == "**"
    assert controls._table_mark(worse, better) == ""


def test_a_wrong_truth_misses_the_ceiling(
    source: Source, verdicts: tuple[list[dict], Path], tmp_path: Path
) -> None:
    runs = store.load_runs(verdicts[1])[:1]
    (right,) = controls.truth_reaches_the_ceiling(runs, source.root)
    assert right.ok
    assert "98." in right.found
    truth = source.root / "amazon" / "home" / "home.truth.json"
    table = json.loads(truth.read_text())
    row = next(row for row, split in table["split"].items() if split == "test")
    table["expected"][row] = 9.0
    (tmp_path / "amazon" / "home").mkdir(parents=True)
    (tmp_path / "amazon" / "home" / "home.truth.json").write_text(json.dumps(table))
    (tmp_path / "synthetic.json").write_text((source.root / "synthetic.json").read_text())
    (wrong,) = controls.truth_reaches_the_ceiling(runs, tmp_path)
    assert not wrong.ok
    (tmp_path / "synthetic.json").write_text("{}")
    with pytest.raises(DataError, match=r"synthetic\.json: states no ceiling of amazon/home"):
        controls.truth_reaches_the_ceiling(runs, tmp_path)


def test_shuffling_permutes_labels_within_products(source: Source) -> None:
    train = source.open("amazon", "home").train
    shuffled = [runner.shuffled_labels(train, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(shuffled[0].label_R, shuffled[1].label_R)
    assert (shuffled[0].label_R != shuffled[2].label_R).any()
    assert (shuffled[0].label_R != train.label_R).mean() > 0.3
    for product in range(train.n_products):
        rows = train.product_R == product
        assert sorted(shuffled[0].label_R[rows]) == sorted(train.label_R[rows])


def test_neither_training_nor_selection_sees_a_true_label(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dev labels choose the epoch: left as they are, they would let the truth back in."""
    corpus = source.open("amazon", "home")
    choices = Choices(("amazon",), ("home",), ("egcnn",), (0,), device="cpu", shuffle_labels=True)
    (spec,) = expand(choices, [corpus])
    given: list[object] = []

    class StopError(Exception):
        pass

    def trainer(model: object, train: Feed, dev: Feed, *args: object, **kwargs: object) -> None:
        given.extend([train.split, dev.split])
        raise StopError

    monkeypatch.setattr("benchmark.engine.train.Trainer", trainer)
    with pytest.raises(StopError):
        runner.train_and_score(spec, corpus)
    for split, true in zip(given, (corpus.train, corpus.dev), strict=True):
        assert (split.label_R != true.label_R).mean() > 0.3  # type: ignore[attr-defined]


IMAGE_METHODS = [name for name in models.METHODS if models.load(name).reads_images]


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_no_rois_means_no_image_for_every_method_that_reads_images(source: Source, name: str) -> None:
    corpus = source.open("amazon", "home")
    choices = Choices(("amazon",), ("home",), (name,), (0,), overrides=("max_rois=0",), device="cpu")
    (spec,) = expand(choices, [corpus])
    model = runner.build_model(spec, corpus).eval()
    collator = runner.make_collator(
        corpus.test, model=model, corpus=corpus, config=runner.training_config(spec)
    )
    assert isinstance(collator, Collator)
    batch = collator.products(np.arange(3))
    for items in (batch.products, batch.reviews):
        assert items.roi_count_N.max() == 0
        assert items.roi_NVF.abs().max() == 0
    with torch.no_grad():
        assert torch.isfinite(model.score(batch)).all()


def test_a_control_that_hangs_is_ended_as_a_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.cli import check

    class Seen(Exception):  # noqa: N818
        pass

    def job(choices: object, options: object) -> None:
        raise Seen(options.timeout, options.checkpoint_every)  # type: ignore[attr-defined]

    monkeypatch.setattr(check, "Job", job)
    with pytest.raises(Seen) as seen:
        check.controls(timeout=7.0, checkpoint_every=0.0)
    assert seen.value.args == (7.0, 0.0)


def test_too_few_seeds_are_refused() -> None:
    assert "at least 3 seeds" in bench("controls", "--seeds", "0,1", code=2).stderr


def test_the_report_is_a_table() -> None:
    shown = controls.render(
        [
            controls.Control("negative", "n", True, "1", "2"),
            controls.Control("positive", "p", False, "3", "4"),
        ],
        "Caption.",
    )
    assert "| positive | p" in shown
    assert "FAILED" in shown
    assert shown.endswith("1 of 2 controls hold. Caption.")
