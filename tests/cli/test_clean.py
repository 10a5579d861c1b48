"""`bench clean`: what no present configuration asks for is listed, and removed only when told so."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark import models
from benchmark.data.datasets import BUILT_IN
from benchmark.engine import plan
from benchmark.engine.stale import sort_runs
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import load_runs
from benchmark.runs.writer import RunWriter
from tests.command_line import bench
from tests.fixtures_runs import per_product, write_data


def write(results, spec):
    """A folder as a run of this very specification leaves it."""
    writer = RunWriter(spec, results)
    writer.write_table("per_product.csv", per_product(["a", "b"], np.array([0.5, 0.5])))
    writer.write_table(
        "scores.csv", pd.DataFrame({"review_id": [], "product_id": [], "label": [], "score": []})
    )
    writer.write_json("meta.json", {"commit": "abc", "package": "0.1.0", "seconds": {"total": 1.0}})
    writer.log({"epoch": 1, "loss": 1.0})
    write_data(results, spec.dataset, spec.category, spec.fingerprint, ["a", "b"])
    return writer.finish()


@pytest.fixture
def asked():
    """What `bench run --dataset lazada --category home --method bimpm --seeds 0` asks for on some data."""
    bare = RunSpec(
        "lazada", "home", "bimpm", 0, {}, "f" * 64, "fair", "quick", target="baselines.bimpm:BiMPM"
    )
    return plan.asked_again(bare, BUILT_IN["lazada"])


def test_only_what_nothing_asks_for_goes(tmp_path, asked):
    training = asked.config["training"]
    other = replace(asked, config={**asked.config, "training": {**training, "epochs": 99}})
    kept = [write(tmp_path, asked), write(tmp_path, replace(asked, method="theirnet", title="Their Net"))]
    stale = [write(tmp_path, other), write(tmp_path, replace(asked, code="0" * 16))]
    listed = bench("clean", "--dry-run", "--results", str(tmp_path))
    assert listed.exit_code == 0, listed.output
    assert f"training.epochs 99 -> {training['epochs']}" in listed.output
    assert "the method's code has changed" in listed.output
    assert "theirnet is not installed here" in listed.output
    assert "2 runs to remove, 1 kept unjudged, 1 asked for." in listed.output
    assert "with --yes" in bench("clean", "--results", str(tmp_path)).output
    assert all(folder.is_dir() for folder in (*kept, *stale))
    done = json.loads(bench("clean", "--yes", "--json", "--results", str(tmp_path)).stdout)
    assert done["removed"]
    assert {one["folder"] for one in done["stale"]} == {str(folder) for folder in stale}
    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in stale)


def test_an_override_that_is_gone_is_stale(tmp_path, asked):
    write(tmp_path, replace(asked, overrides=("bimpm.no_such_field=3",)))
    (one,) = sort_runs(load_runs(tmp_path)).stale
    assert "cannot be asked for" in one.why


def test_the_methods_of_the_paper_are_asked_for_as_planned(tmp_path, asked):
    assert asked.code == models.code_of("bimpm")
    write(tmp_path, asked)
    assert len(sort_runs(load_runs(tmp_path)).asked_for) == 1
