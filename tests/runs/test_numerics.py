"""NUMERICS_VERSION says which runs are comparable: nothing that a run computes may change without it."""

from __future__ import annotations

import pytest
import torch

import mmss.interactions
from baselines import bimpm
from benchmark.engine import losses
from benchmark.kernels import native
from benchmark.runs.spec import NUMERICS_VERSION
from tests import fingerprints

REMAKE = "python -m tests.fingerprints --remake"
RAISE = f"raise NUMERICS_VERSION in benchmark/runs/spec.py, then: {REMAKE}"


@pytest.fixture(scope="module")
def recorded():
    return fingerprints.stored()


@pytest.fixture(scope="module")
def found():
    return fingerprints.record()


def test_the_fingerprints_are_of_this_version(recorded):
    assert recorded["numerics_version"] == NUMERICS_VERSION, f"remake the fingerprints: {REMAKE}"


def test_nothing_computes_something_else(recorded, found):
    moved = fingerprints.moved(recorded["values"], found["values"])
    assert not moved, f"these numbers changed: {moved}. If that is wanted, {RAISE}"


def test_nothing_rounds_otherwise(recorded, found):
    if recorded["environment"] != found["environment"]:
        pytest.skip("bits were recorded on another machine or with other kernels")
    changed = fingerprints.changed_bits(recorded["bits"], found["bits"])
    assert not changed, f"the same to rounding, but not the same bits: {changed}. If that is wanted, {RAISE}"


@pytest.mark.skipif(not native.available(), reason="the compiled code was not built")
def test_dropout_draws_what_it_drew(recorded):
    assert fingerprints.draws() == recorded["draws"], RAISE


def moved(recorded, name):
    with fingerprints.as_in_runs():
        values, bits = fingerprints.compute([name])
    parts = fingerprints.moved({name: recorded["values"][name]}, values)
    return parts, bits[name] != recorded["bits"][name]


def test_another_equation_is_seen(recorded, monkeypatch):
    pool = mmss.interactions.packed_soft_pool
    monkeypatch.setattr(mmss.interactions, "packed_soft_pool", lambda x, packing: 1.001 * pool(x, packing))
    alike = mmss.interactions.soft_pool  # without compiled code
    monkeypatch.setattr(mmss.interactions, "soft_pool", lambda x, mask: 1.001 * alike(x, mask))
    parts, _ = moved(recorded, "mmss-fair")
    assert {"mmss-fair: scores", "mmss-fair: gradient 1 represent"} <= set(parts)


def test_another_loss_is_seen(recorded, monkeypatch):
    hinge = losses._hinge
    monkeypatch.setattr(losses, "_hinge", lambda gap, margin: 1.001 * hinge(gap, margin))
    parts, _ = moved(recorded, "engine")
    assert parts == ["engine: loss hinge", "engine: loss label-gap"]


def test_another_rounding_is_seen_on_the_same_machine(recorded, found, monkeypatch):
    unit = bimpm.unit_vectors
    monkeypatch.setattr(bimpm, "unit_vectors", lambda x, least: unit(x.double(), least).to(torch.float32))
    parts, other_bits = moved(recorded, "bimpm-fair")
    assert parts == []
    assert other_bits or recorded["environment"] != found["environment"]


def test_a_part_that_appears_or_goes_is_seen():
    recorded = {"a": {"x": [1.0], "y": [2.0]}}
    assert fingerprints.moved(recorded, {"a": {"x": [1.0], "z": [2.0]}}) == ["a: y", "a: z"]
    assert fingerprints.moved(recorded, {}) == ["a: x", "a: y"]
