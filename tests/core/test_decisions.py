"""The registry of open decisions, and that the configuration comes from it."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from typing import Any

import pytest

from benchmark import models
from benchmark.core import decisions
from benchmark.core.errors import UsageError
from benchmark.engine.config import TrainingConfig
from mmss.config import Config

# fmt: off
NAMED_IN_THE_PAPER_READING = [
    "D-BERT", "D-MAXLEN", "D-VISORDER", "D-VISSHARE", "D-ATT", "D-ATTSHARE", "D-DG", "D-SUBMLP", "D-EPS", "D-COV",
    "D-SCALE", "D-OFFSET", "D-ALPHA", "D-CLAMP", "D-UPDATE", "D-NEG", "D-BATCH", "D-UNCERT", "D-EPOCHS",
]
# fmt: on


def config_class(scope: str) -> type[Any]:
    return TrainingConfig if scope == "train" else models.load(scope).config_class


def fields_of_decisions() -> list[tuple[str, str]]:
    return [(decision.id, name) for decision in decisions.all_decisions() for name in decision.fields]


def test_every_open_point_of_the_paper_is_there() -> None:
    known = [decision.id for decision in decisions.all_decisions()]
    assert set(NAMED_IN_THE_PAPER_READING) <= set(known)
    assert len(known) == len(set(known))


@pytest.mark.parametrize(("decision_id", "name"), fields_of_decisions())
def test_the_field_exists_and_has_the_registered_default(decision_id: str, name: str) -> None:
    decision = decisions.get(decision_id)
    scope, _, field = name.partition(".")
    assert getattr(config_class(scope)(), field) == decision.settings(decision.options[0])[name]


@pytest.mark.parametrize("decision", decisions.all_decisions(), ids=lambda decision: decision.id)
def test_every_option_makes_a_valid_configuration(decision: decisions.Decision) -> None:
    for option in decision.options:
        by_scope: dict[str, dict[str, Any]] = {}
        for name, value in decision.settings(option).items():
            scope, _, field = name.partition(".")
            by_scope.setdefault(scope, {})[field] = value
        for scope, values in by_scope.items():
            config = config_class(scope)(**values)
            assert dataclasses.asdict(config).items() >= values.items()


@pytest.mark.parametrize("decision", decisions.all_decisions(), ids=lambda decision: decision.id)
def test_a_decision_says_how_it_is_set_and_why(decision: decisions.Decision) -> None:
    assert bool(decision.fields) != bool(decision.how)
    assert decision.question.endswith("?")
    assert decision.where
    assert decision.reason.endswith(".")
    assert all(option.meaning for option in decision.options)
    assert all(set(option.also) <= set(decision.fields[1:]) for option in decision.options)


def test_alternatives_leave_the_default_out() -> None:
    assert decisions.alternatives("D-VISORDER") == [{"mmss.visual_order": "project-then-attend"}]
    assert decisions.alternatives("D-ATT") == [
        {"mmss.attention_heads": 4},
        {"mmss.attention_residual": True},
        {"mmss.attention_heads": 4, "mmss.attention_residual": True},
    ]
    assert decisions.alternatives("D-EPOCHS") == [{"train.epochs": 30}, {"train.patience": 0}]
    assert decisions.alternatives("D-TIES") == []


def test_an_id_is_found_without_prefix_and_in_any_case() -> None:
    assert decisions.get("visorder") is decisions.get("D-VISORDER")


@pytest.mark.parametrize(("given", "meant"), [("D-OFSET", "D-OFFSET"), ("visordr", "D-VISORDER")])
def test_an_unknown_id_gets_near_misses(given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean .*{meant}"):
        decisions.get(given)


@pytest.mark.parametrize(
    ("make", "field", "value", "listed"),
    [
        (Config, "visual_order", "sideways", "attend-then-project"),
        (Config, "visual_shared", 1, "True, False"),
        (Config, "attention_heads", 0, "integer from 1"),
        (Config, "alpha1", float("nan"), "number from 0"),
        (Config, "d_g", 12.5, "integer from 2"),
        (Config, "encoder", "", "scratch"),
        (TrainingConfig, "negatives", 0, "integer from 1"),
        (TrainingConfig, "batch_unit", "rows", "'pairs', 'reviews'"),
    ],
)
def test_a_value_that_is_not_allowed(make: Any, field: str, value: Any, listed: str) -> None:
    with pytest.raises(UsageError, match=listed) as caught:
        make(**{field: value})
    assert f"{field}={value!r}" in str(caught.value)


def test_open_ended_decisions_take_other_values() -> None:
    assert TrainingConfig(negatives=3).negatives == 3
    assert Config(encoder="some/other-model").encoder == "some/other-model"
    assert Config(d_g=2).d_g == 2


def test_a_decided_field_documents_itself() -> None:
    field = next(field for field in dataclasses.fields(Config) if field.name == "attention_residual")
    assert field.metadata["decision"] == "D-ATT"
    assert field.metadata["field"] == "mmss.attention_residual"
    assert "(D-ATT)" in field.metadata["doc"]
    with pytest.raises(KeyError, match="D-TIES"):
        decisions.decided("D-TIES")


def test_registry_and_configuration_need_no_torch() -> None:
    code = (
        "import sys, benchmark.engine.config, benchmark.core.decisions, mmss.config;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FIRST = ["benchmark.core.decisions", *decisions.SOURCES, "mmss.config", "benchmark.engine.config"]


@pytest.mark.parametrize("first", FIRST)
def test_every_entry_is_found_whatever_was_imported_first(first: str) -> None:
    """In a fresh interpreter each: the same ids in the same order, and one of each source by name."""
    code = (
        f"import {first}\n"
        "from benchmark.core import decisions\n"
        "for name in ('D-OFFSET', 'D-SSE', 'D-TIES'): decisions.get(name)\n"
        "print(*(item.id for item in decisions.all_decisions()))"
    )
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert made.stdout.split() == [decision.id for decision in decisions.all_decisions()]


def test_the_mechanism_holds_no_entry() -> None:
    """Entries stand beside what they decide; each source's are of its own scope."""
    assert not any(isinstance(value, decisions.Decision) for value in vars(decisions).values())
    for source, scope in zip(decisions.SOURCES, ("mmss", "baselines", "protocol"), strict=True):
        entries = importlib.import_module(source).DECISIONS
        assert {entry.scope for entry in entries} == {scope}
        assert all(decisions.get(entry.id) is entry for entry in entries)


def test_another_package_registers_its_own_and_cannot_take_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_REGISTERED", dict(decisions._REGISTERED))
    option = decisions.Option("a", "the first")
    own = decisions.Decision(
        "D-OWN", "Which?", "their paper", (option,), "It is.", how="fixed", scope="baselines"
    )
    decisions.register("their.package", (own,))
    assert decisions.get("own") is own
    assert decisions.all_decisions()[-1] is own
    with pytest.raises(ValueError, match=r"D-TIES is already registered by benchmark\.core\.protocol"):
        decisions.register("their.package", (dataclasses.replace(own, id="D-TIES"),))
