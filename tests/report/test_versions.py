"""Two versions of a method's runs in one folder, and runs of methods that are not installed."""

from __future__ import annotations

import os

import pytest

from benchmark import models
from benchmark.report.formats import render_all
from benchmark.report.grid import group_settings
from benchmark.report.tables import results_table
from benchmark.runs.store import load_runs
from tests.fixtures_runs import write_run

OLD, NEW = {"relevance_threshold": 0, "epochs": 3}, {"relevance_threshold": 0, "epochs": 9}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))


def ended(folder, when):
    os.utime(folder / "done", (when, when))


def setting_of(results):
    (setting,) = group_settings(load_runs(results))
    return setting


def caption(setting):
    return render_all([results_table(setting)], "md")


@pytest.mark.parametrize("new_first", [False, True])
def test_the_newest_configuration_is_shown_and_the_older_named(tmp_path, new_first):
    for seed in (0, 1):
        ended(write_run(tmp_path, "mcr", seed, value=0.2, training=OLD), 2000 if new_first else 1000)
        ended(write_run(tmp_path, "mcr", seed, value=0.8, training=NEW), 1000 if new_first else 2000)
        write_run(tmp_path, "mcl", seed)
    setting = setting_of(tmp_path)
    cell = setting.cell("clothing", "mcr")
    assert cell.complete
    assert cell.mean("map") == pytest.approx(0.2 if new_first else 0.8, abs=0.05)
    text = caption(setting)
    assert "older configuration or version, not shown: MCR (CS&J, seeds 0 1)" in text
    assert "bench clean --dry-run" in text


def test_a_seed_of_the_older_version_does_not_fill_a_gap(tmp_path):
    for seed in (0, 1, 2):
        ended(write_run(tmp_path, "mcr", seed, code="a" * 16), 1000)
        write_run(tmp_path, "mcl", seed)
    ended(write_run(tmp_path, "mcr", 0, code="b" * 16), 2000)
    assert setting_of(tmp_path).cell("clothing", "mcr").missing == "1/3 seeds"


def test_cells_of_one_method_from_two_versions_are_said(tmp_path):
    write_run(tmp_path, "mcr", 0, code="a" * 16)
    write_run(tmp_path, "mcr", 0, code="b" * 16, category="home")
    assert "DIFFERENT VERSIONS OF THE CODE: MCR" in caption(setting_of(tmp_path))


def test_one_version_says_nothing(tmp_path):
    write_run(tmp_path, "mcr", 0)
    text = caption(setting_of(tmp_path))
    assert "older configuration" not in text
    assert "VERSIONS" not in text
    assert "Not a method of" not in text


def test_a_method_that_is_not_installed_stands_in_the_table(tmp_path):
    where = "/elsewhere/net.py:Net"
    write_run(tmp_path, "theirnet", 0, title="Their Net", modality="text", target=where, value=0.7)
    write_run(tmp_path, "mcr", 0)
    setting = setting_of(tmp_path)
    assert setting.methods == ("mcr", "theirnet")
    text = caption(setting)
    assert "| Text-only  | Their Net" in text or "Their Net" in text
    assert "Not a method of this installation, shown from what its runs store: Their Net (theirnet)." in text
    assert len(setting.family("map", proposed="theirnet")) == 1
