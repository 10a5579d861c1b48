"""Every choice that the papers and the released code leave open, in one registry (torch-free).

A decision has an id, the place in the paper that raises it, its options (the default first) and the reason
for the default. Configuration fields take their default, documentation and allowed values from here
(`decided`, `validate`), so that `bench decisions`, `bench multiverse` and the documentation cannot drift
from the code. This module is the mechanism; the entries stand beside what they decide (`SOURCES`) and are
registered there.

A setting's key is a qualified configuration field, as in `--set`: `mmss.visual_order`, `train.negatives`.
A decision that another option of the command line carries has no field; `how` then says which.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.core.errors import UsageError

Scope = Literal["mmss", "baselines", "protocol"]
OpenEnded = Literal["", "number", "text"]

SOURCES = ("mmss.decisions", "baselines.decisions", "benchmark.core.protocol")
"""Modules whose entries the registry holds whatever was imported before, in the order of the document. They
are named, not imported: a leaf knows no method, and a look-up loads them."""


@dataclass(frozen=True)
class Option:
    """One answer to a decision."""

    value: Any
    """Value of the decision's (first) field, or a name where it has none."""
    meaning: str
    also: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values of the decision's further fields, by qualified name; those left out keep their default."""


@dataclass(frozen=True)
class Decision:
    """An open question and its answers; the first option is the default."""

    id: str
    question: str
    where: str
    """Where in the paper (or in the released code) the question arises."""
    options: tuple[Option, ...]
    reason: str
    """Why the default is the default."""
    fields: tuple[str, ...] = ()
    """Qualified configuration fields that carry it, the main one first."""
    scope: Scope = "mmss"
    open_ended: OpenEnded = ""
    """`number` or `text`: other values than the listed options are allowed too."""
    minimum: float | None = None
    """Smallest value of an open-ended number."""
    how: str = ""
    """How it is chosen where no field carries it."""

    @property
    def field(self) -> str | None:
        """The main configuration field; None where another option carries the decision."""
        return self.fields[0] if self.fields else None

    @property
    def default(self) -> Any:
        """Value of the main field."""
        return self.options[0].value

    def settings(self, option: Option) -> dict[str, Any]:
        """Every field of this decision -> its value under `option`."""
        if not self.fields:
            return {}
        first, *rest = self.fields
        default = self.options[0].also
        return {first: option.value, **{name: option.also.get(name, default.get(name)) for name in rest}}

    def allowed(self, name: str) -> list[Any]:
        """Values of one field over all options, without repetition, default first."""
        values: list[Any] = []
        for option in self.options:
            value = self.settings(option)[name]
            if value not in values:
                values.append(value)
        return values

    def check(self, name: str, value: Any) -> None:
        """UsageError unless `value` may stand in the field `name`."""
        allowed = self.allowed(name)
        if any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in allowed):
            return
        listed = ", ".join(repr(known) for known in allowed)
        if self.open_ended == "number" and not isinstance(allowed[0], str | bool):
            kind, name_of_kind = (int, "integer") if isinstance(allowed[0], int) else (int | float, "number")
            floor = -math.inf if self.minimum is None else self.minimum
            if isinstance(value, kind) and not isinstance(value, bool) and floor <= value < math.inf:
                return
            listed = f"{name_of_kind} from {floor:g}, e.g. {listed}"
        elif self.open_ended == "text" and isinstance(value, str) and value:
            return
        raise UsageError(f"{name}={value!r} ({self.id}): {self.question} Allowed: {listed}.")


_REGISTERED: dict[str, tuple[Decision, ...]] = {}
"""Module -> its entries, in the order in which modules were imported."""


def register(source: str, entries: Sequence[Decision]) -> None:
    """Enter the decisions of a module (`register(__name__, DECISIONS)`). A module of another package may do
    so too, when it is imported. ValueError for an id that another module holds."""
    held = {entry.id: name for name, known in _REGISTERED.items() if name != source for entry in known}
    for entry in entries:
        if entry.id in held:
            raise ValueError(f"{source}: {entry.id} is already registered by {held[entry.id]}")
    _REGISTERED[source] = tuple(entries)


def _known() -> dict[str, Decision]:
    """Id -> decision, of all sources: which were imported before makes no difference, to the order neither."""
    for source in SOURCES:
        importlib.import_module(source)
    order = [*SOURCES, *(source for source in _REGISTERED if source not in SOURCES)]
    return {entry.id: entry for source in order for entry in _REGISTERED[source]}


def all_decisions() -> list[Decision]:
    """Every decision: MM-SS in the paper's order, then the baselines, then the protocol, then other packages'."""
    return list(_known().values())


def get(decision_id: str) -> Decision:
    """The decision of that id (case is ignored, so is a missing `D-`); UsageError with near misses."""
    wanted, known = decision_id.strip().upper(), _known()
    for candidate in (wanted, f"D-{wanted}"):
        if candidate in known:
            return known[candidate]
    close = difflib.get_close_matches(f"D-{wanted.removeprefix('D-')}", known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"unknown decision {decision_id!r}.{hint} Known: {' '.join(known)}.")


def alternatives(decision_id: str) -> list[dict[str, Any]]:
    """The settings of every option but the default: only the fields that differ from it.

    Empty for a decision that no configuration field carries.
    """
    decision = get(decision_id)
    default = decision.settings(decision.options[0])
    changed = (decision.settings(option) for option in decision.options[1:])
    return [
        {name: value for name, value in settings.items() if value != default[name]}
        for settings in changed
        if settings != default
    ]


def decided(decision_id: str, name: str | None = None) -> Any:
    """A dataclass field whose default, documentation and allowed values are the decision's.

    `name` is the unqualified field of a decision with several (`decided("D-ATT", "attention_residual")`).
    `metadata` holds `decision` (the id), `field` (qualified name) and `doc`.
    """
    decision = get(decision_id)
    if not decision.fields:
        raise KeyError(f"{decision.id} is carried by no configuration field")
    known = {qualified.partition(".")[2]: qualified for qualified in decision.fields}
    qualified = decision.fields[0] if name is None else known[name]
    default = decision.settings(decision.options[0])[qualified]
    metadata = {"decision": decision.id, "field": qualified, "doc": f"{decision.question} ({decision.id})"}
    return dataclasses.field(default=default, metadata=metadata)


def validate(config: Any) -> None:
    """Check every `decided` field of a dataclass instance; UsageError naming field, value and options."""
    for field in dataclasses.fields(config):
        if "decision" in field.metadata:
            decision = get(field.metadata["decision"])
            decision.check(field.metadata["field"], getattr(config, field.name))
