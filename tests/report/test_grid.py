"""Which runs may stand in one table, and what a cell makes of them."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmark.core.errors import DataError
from benchmark.report.captions import provenance_sentence
from benchmark.report.grid import best_baseline, commits_of, group_settings, override_sets
from benchmark.runs.store import load_runs, rescored
from benchmark.stats import crossed_test, holm
from tests.fixtures_runs import write_grid, write_run


def test_a_cell_means_over_products_then_seeds(tmp_path):
    write_run(tmp_path, seed=1, values=[0.0, 0.5, 1.0], products=list("abc"))
    write_run(tmp_path, seed=0, values=[0.25, 0.75, 0.5], products=list("abc"))
    (setting,) = group_settings(load_runs(tmp_path))
    cell = setting.cell("clothing", "mcr")
    np.testing.assert_array_equal(cell.values("map"), [[0.25, 0.75, 0.5], [0.0, 0.5, 1.0]])
    assert cell.mean("map") == pytest.approx(0.5)
    assert cell.sd("ndcg@3") == pytest.approx(0)
    assert cell.oracle == pytest.approx(2 / 3)
    assert cell.random_order("map") == pytest.approx(0.3)
    assert (cell.complete, cell.missing) == (True, "")


def test_missing_seeds_are_counted(tmp_path):
    runs = [write_run(tmp_path, "mcr", seed) for seed in (0, 1, 2)] + [write_run(tmp_path, "mcl", 0)]
    (setting,) = group_settings(load_runs(tmp_path))
    assert len(runs) == 4
    assert setting.cell("clothing", "mcl").missing == "1/3 seeds"
    assert setting.cell("home", "mcr").missing == "not run"
    assert setting.cell("clothing", "mcr", seeds=[0, 1, 2, 3, 4]).missing == "3/5 seeds"
    assert setting.cell("clothing", "mcl", seeds=[0]).complete


def test_sd_is_over_seeds_with_n_minus_one(tmp_path):
    runs = write_grid(tmp_path, {"mcr": 0.5}, categories=["clothing"])
    (setting,) = group_settings(runs)
    means = [run.per_product["map"].mean() for run in runs]
    assert setting.cell("clothing", "mcr").sd("map") == pytest.approx(stats.tstd(means))


@pytest.mark.parametrize(
    "difference",
    [
        {"fingerprint": "e" * 64},
        {"protocol": "released"},
        {"preset": "paper"},
        {"device": "cuda"},
        {"corpus": "other"},
        {"shuffle_labels": True},
        {"overrides": ("train.epochs=2",)},
    ],
)
def test_runs_that_differ_are_never_in_one_setting(tmp_path, difference):
    write_run(tmp_path, "mcr", 0)
    write_run(tmp_path, "mcr", 1, **difference)
    settings = group_settings(load_runs(tmp_path))
    assert [len(setting.runs) for setting in settings] == [1, 1]


def test_a_setting_with_overrides_takes_the_plain_runs_of_methods_they_do_not_touch(tmp_path):
    write_run(tmp_path, "mcr", 0)
    write_run(tmp_path, "mmss", 0)
    write_run(tmp_path, "mmss", 0, overrides=("mmss.d_g=64",))
    plain, changed = group_settings(load_runs(tmp_path))
    assert plain.conditions.overrides == ()
    assert {run.spec.method for run in plain.runs} == {"mcr", "mmss"}
    assert [run.spec.overrides for run in changed.cell("clothing", "mmss").runs] == [("mmss.d_g=64",)]
    assert changed.cell("clothing", "mcr").complete


def test_runs_of_one_command_with_overrides_of_several_methods_stand_together(tmp_path):
    together = ("mmss.d_g=64", "train.epochs=2")
    write_run(tmp_path, "mcr", 0, overrides=("train.epochs=2",))
    write_run(tmp_path, "mmss", 0, overrides=together)
    (setting,) = group_settings(load_runs(tmp_path))
    assert setting.conditions.overrides == together
    assert len(setting.runs) == 2
    (asked,) = group_settings(load_runs(tmp_path), overrides=["train.epochs=2"])
    assert [run.spec.method for run in asked.runs] == ["mcr"]
    several = replace(asked.conditions, overrides=("mcr.a=1", "mmss.c=3", "train.b=2"))
    assert several.for_method("mcr").overrides == ("mcr.a=1", "train.b=2")


def test_another_relevance_threshold_is_another_metric(tmp_path):
    """The released protocol judges some methods with label > 1: they must not meet the others in one table."""
    write_run(tmp_path, "mcl", 0, training={"relevance_threshold": 1, "epochs": 3})
    write_run(tmp_path, "mmss", 0, training={"relevance_threshold": 0, "epochs": 3})
    lenient, strict = group_settings(load_runs(tmp_path))
    assert [setting.conditions.relevance_threshold for setting in (lenient, strict)] == [0, 1]
    assert [setting.methods for setting in (lenient, strict)] == [("mmss",), ("mcl",)]
    (together,) = group_settings(rescored(load_runs(tmp_path), threshold=1))
    assert together.methods == ("mcl", "mmss")


def test_changed_data_of_one_category_keeps_the_other_categories(tmp_path):
    write_run(tmp_path, "mcr", 0, category="home")
    for fingerprint in ("e" * 64, "f" * 64):
        write_run(tmp_path, "mcr", 0, fingerprint=fingerprint)
    settings = group_settings(load_runs(tmp_path))
    assert [dict(setting.fingerprints)["clothing"][0] for setting in settings] == ["e", "f"]
    assert all(setting.cell("home", "mcr").complete for setting in settings)


def test_other_test_products_are_refused(tmp_path):
    write_run(tmp_path, "mcr", 0)
    write_run(tmp_path, "mcr", 1, products=["x", "y"], values=[0.1, 0.2])
    (setting,) = group_settings(load_runs(tmp_path))
    with pytest.raises(DataError, match="other test products"):
        setting.cell("clothing", "mcr").values("map")


def test_a_family_holds_every_complete_baseline_of_every_category(tmp_path):
    write_grid(tmp_path, {"bimpm": 0.5, "mcr": 0.55, "mmss": 0.57})
    write_run(tmp_path, "mcl", 0, value=0.9)  # incomplete: takes no part
    (setting,) = group_settings(load_runs(tmp_path))
    family = setting.family("map")
    assert {(one.category, one.b.method) for one in family} == {
        (category, method) for category in ("clothing", "electronics", "home") for method in ("bimpm", "mcr")
    }
    raw = [
        crossed_test(
            setting.cell(one.category, "mmss").values("map"),
            setting.cell(one.category, one.b.method).values("map"),
        ).p_value
        for one in family
    ]
    np.testing.assert_allclose([one.p_holm for one in family], holm(raw))
    assert best_baseline(family, "home").b.method == "mcr"
    assert best_baseline([], "home") is None


def test_a_mark_needs_the_better_direction(tmp_path):
    write_grid(tmp_path, {"mcr": 0.8, "mmss": 0.5}, categories=["clothing"])
    (setting,) = group_settings(load_runs(tmp_path))
    (one,) = setting.family("map")
    assert one.p_holm < 0.01
    assert one.mark == ""


def test_commits(tmp_path):
    write_run(tmp_path, "mcr", 0, commit="b")
    write_run(tmp_path, "mcr", 1, commit="")
    runs = load_runs(tmp_path)
    assert commits_of(runs) == ["b", "version 0.1.0"]
    assert provenance_sentence(runs) == "Made from 2 runs at commit b, version 0.1.0."
    assert provenance_sentence([run for run in runs if run.provenance["commit"] == ""]) == (
        "Made from 1 run by version 0.1.0."
    )


def test_one_bare_override_of_several_methods_makes_one_table() -> None:
    """`--set text_encoder=bert --set encoder=E`: MM-SS has no `text_encoder`, MCR and Conv-KNRM have both."""

    def run(method: str, *overrides: str, train: str = "train.epochs=1") -> Any:
        fields = {"encoder": "", "drop": ""} if method == "mmss" else {"encoder": "", "text_encoder": ""}
        own = tuple(sorted([train, *(f"{method}.{one}" for one in overrides)]))
        return SimpleNamespace(
            spec=SimpleNamespace(method=method, overrides=own, config={"model": fields, "training": {}})
        )

    mcr, knrm = (run(method, "encoder=E", "text_encoder=bert") for method in ("mcr", "convknrm"))
    mmss, plain = run("mmss", "encoder=E"), run("bimpm")
    everything = tuple(sorted({*mcr.spec.overrides, *knrm.spec.overrides, *mmss.spec.overrides}))
    assert override_sets([mcr, knrm, mmss, plain]) == {
        everything,
        mmss.spec.overrides,  # a part of the table above, which `group_settings` leaves out
        ("train.epochs=1",),
    }
    for other in (
        run("mmss", "encoder=F"),
        run("mmss", "encoder=E", train="train.epochs=2"),
        run("mmss", "drop=d", "encoder=E"),
    ):
        assert override_sets([mcr, other]) == {mcr.spec.overrides, other.spec.overrides}
