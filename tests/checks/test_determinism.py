"""The determinism check: what is alike passes, what is not is found and named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmark import models
from benchmark.checks import determinism, tracing
from benchmark.checks.tracing import Event, Record, first_difference, first_event
from benchmark.core.errors import BenchError
from benchmark.data.mini.corpus import cached_corpus
from benchmark.data.source import Source
from tests.command_line import bench


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    cache = tmp_path_factory.mktemp("cache")
    return Source(cached_corpus(cache, determinism.corpus_spec()), cache)


@pytest.fixture(autouse=True)
def noisy_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    method = models.Method("noisy", "tests.noisy:Noisy", "Noisy", "text", in_paper=False)
    monkeypatch.setitem(models.METHODS, "noisy", method)


def spec(source: Source, method: str, **fields: str) -> determinism.RunSpec:
    (made,) = determinism.short_runs([method], "cpu", source)
    return dataclasses.replace(made, config={**made.config, "model": {**made.config["model"], **fields}})


def twice(source: Source, noise: str, trace: bool = True) -> tuple[Record, Record]:
    one = spec(source, "noisy", noise=noise)
    return tracing.record_run(one, source, trace), tracing.record_run(one, source, trace)


def test_a_deterministic_method_gives_equal_records(source: Source) -> None:
    a, b = twice(source, "none")
    assert first_difference(a, b) == first_event(a, b) == ""
    assert len(a.losses) == 9  # three epochs of three steps
    assert len(a.dev) == 3 * determinism.EPOCHS
    assert set(a.weights) == {
        *("embedding.weight", "before.weight", "before.bias", "after.weight", "after.bias"),
    }
    phases = {event.phase for event in a.trace}
    assert phases == {"forward", "backward", "optimiser", "evaluation"}


def test_noise_in_a_module_is_found_and_named(source: Source) -> None:
    a, b = twice(source, "forward")
    assert first_difference(a, b).startswith("the loss of step 1 ")
    found = first_event(a, b)
    assert "in jitter (forward, step 1)" in found
    assert found.startswith("aten.")


def test_noise_in_the_backward_pass_names_the_gradient_that_it_reaches(source: Source) -> None:
    a, b = twice(source, "backward")
    assert first_difference(a, b)
    assert a.losses[0] == b.losses[0]
    found = first_event(a, b)
    assert "(backward, step 1)" in found
    assert "reaches the gradient of before." in found  # `after` lies above the noise


def test_the_trace_changes_no_number(source: Source) -> None:
    one = spec(source, "mmss")
    plain = tracing.record_run(one, source)
    traced = tracing.record_run(one, source, trace=True)
    assert first_difference(plain, traced) == ""
    assert any("pseudo" in name for name in plain.state)
    gradients = {event.module for event in traced.trace if event.what == "gradient"}
    assert {"predict.weight", "represent.weight"} <= gradients


def test_an_order_by_hashes_is_the_same_within_a_process(source: Source) -> None:
    """So two runs in one process would not show it; the command below finds it."""
    assert first_difference(*twice(source, "hash", trace=False)) == ""


def test_the_command_tells_good_from_bad(tmp_path: Path) -> None:
    words = ["selfcheck", "--determinism", "--device", "cpu", "--cache", str(tmp_path), "--json"]
    found = bench(*words, "--method", "egcnn", "--method", "noisy", code=4)
    egcnn, noisy = json.loads(found.stdout)["results"]
    assert egcnn["ok"]
    assert egcnn["steps"] == 9
    assert len(egcnn["tests"]) == 3
    assert not noisy["ok"]
    assert noisy["differs"].startswith("again, other methods before it: the loss of step ")
    assert "in jitter" in noisy["operation"]
    shown = determinism.render([determinism.Repeatability(**{k: v for k, v in noisy.items() if k != "ok"})])
    assert "DIFFERS" in shown
    assert "first operation that differs: aten." in shown


def test_options_that_do_not_go_together() -> None:
    assert "--goldens" in bench("selfcheck", "--determinism", "--precision", "float32", code=2).stderr
    assert "--determinism" in bench("selfcheck", "--method", "mcr", code=2).stderr
    assert "Did you mean mcr" in bench("selfcheck", "--determinism", "--method", "mcrr", code=2).stderr


def test_a_process_that_fails_says_why(source: Source) -> None:
    broken = dataclasses.replace(spec(source, "noisy"), fingerprint="0" * 64)
    with pytest.raises(BenchError, match="the data changed"):
        determinism.find_operation(broken, source)


RECORD = Record(("0x1p+0", "0x1p+1"), ("0x1p-1",), {"a": "1", "b": "2"}, {"s": "3"}, ("0x0p+0", "0x1p+0"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"losses": ("0x1p+0", "0x1.8p+1")}, "the loss of step 2 (2 and 3)"),
        ({"losses": ("0x1p+0",)}, "the loss of step 2 (2 and none)"),
        ({"dev": ("0x1p-2",)}, "dev metric 1 (0.5 and 0.25)"),
        ({"weights": {"a": "1", "b": "9"}}, "1 of 2 weights, the first being b"),
        ({"state": {"s": "9"}}, "1 of 1 training state, the first being s"),
        ({"scores": ("0x0p+0", "0x1p+2")}, "1 of 2 test scores"),
        ({}, ""),
    ],
)
def test_every_kind_of_difference_is_told(change: dict[str, object], message: str) -> None:
    assert first_difference(RECORD, dataclasses.replace(RECORD, **change)) == message
    assert Record.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD


def test_runs_that_do_different_things_part() -> None:
    add, mul = (Event(1, "forward", "m", f"aten.{name}", "1") for name in ("add", "mul"))
    a, b = (dataclasses.replace(RECORD, trace=trace) for trace in ((add, mul), (add, add)))
    assert first_event(a, b).startswith("the runs part: aten.mul in m")
    assert first_event(a, dataclasses.replace(RECORD, trace=(add,))).startswith("one run does more: aten.mul")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_checksum_sees_every_bit_shape_and_type(dtype: torch.dtype) -> None:
    values = torch.tensor([0, 1, 0, 1]).to(dtype)
    assert tracing.digest(values) == tracing.digest(values.clone())
    assert tracing.digest(values) != tracing.digest(values.reshape(2, 2))
    assert tracing.digest(values) != tracing.digest(values.flip(0))
    assert tracing.digest(torch.tensor(0.0)) != tracing.digest(torch.tensor(-0.0))
    assert tracing.digest(values) != tracing.digest(values.to(torch.float64))
