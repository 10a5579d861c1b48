"""From names to a resolved configuration: preset, protocol and `--set` overrides.

A setting is built in four steps, later ones win: the dataclass defaults (the `fair` protocol at full
size), the protocol, the preset, the overrides.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from benchmark import models
from benchmark.core.errors import UsageError
from benchmark.core.words import check_choice
from benchmark.data.datasets import DataSet, released_settings
from benchmark.engine.config import TrainingConfig

PRESETS = ("quick", "paper")
PROTOCOLS = ("fair", "released")

QUICK_DROPOUT = 0.1
"""The `quick` preset's ceiling on every dropout rate of every method."""
QUICK_REASONS: Mapping[str, str] = {
    "train.learning_rate": "small networks from random words and few steps: at 1e-4 they would hardly move",
    "dropout": f"no rate of any method above {QUICK_DROPOUT}: layers are a quarter of their width or less, and "
    "half of what is left would be noise",
}
"""What the preset changes of every method beside sizes and budget, and why."""
QUICK_TRAINING: Mapping[str, Any] = {
    "epochs": 12,
    "patience": 4,
    "learning_rate": 2e-3,
    "max_tokens": 64,
    "max_rois": 32,
}
"""The `quick` preset's one budget for every method: small enough for a CPU."""


@dataclass(frozen=True)
class Resolved:
    """One method's resolved configuration."""

    training: TrainingConfig
    model: Any
    overrides: tuple[str, ...]
    """The overrides that apply to this method and change something, qualified and sorted: `train.epochs=3`,
    `mmss.d_g=64`. One that sets what the preset has anyway is none: its run is the plain run."""

    def to_json(self) -> dict[str, Any]:
        return {"training": dataclasses.asdict(self.training), "model": dataclasses.asdict(self.model)}


def resolve(
    method: str,
    data_set: DataSet,
    category: str,
    *,
    preset: str,
    protocol: str,
    overrides: Mapping[str, str] | None = None,
) -> Resolved:
    """The configuration of one method on one category.

    `overrides` holds qualified keys as `qualify_overrides` returns them; those of other methods are left
    out. Under `released` the relevance threshold is the data set's, whatever the method: one data set, one
    definition of relevant. Raises UsageError for a value that does not fit its field, and for `released` on a
    data set for which nothing was released.
    """
    check_choice("preset", preset, PRESETS)
    check_choice("protocol", protocol, PROTOCOLS)
    model_class = models.load(method)
    training: dict[str, Any] = {}
    model: dict[str, Any] = {}
    if protocol == "released":
        like = released_settings(data_set)
        training |= model_class.released_training(like.name, category)
        training["relevance_threshold"] = like.released_threshold
        model |= model_class.released or {}
    if data_set.released_as:
        model |= model_class.released_sizes(data_set.released_as, category)
    if preset == "quick":
        training |= QUICK_TRAINING
        model |= _low_dropout(model_class.config_class, model)
        # a part that the released form has none of (size 0) gets no quick size either
        model |= {name: value for name, value in model_class.quick.items() if model.get(name) != 0}
    standing = {**dataclasses.asdict(model_class.config_class(**model)), **model}
    standing_training = {**dataclasses.asdict(TrainingConfig(**training)), **training}
    varying = _varying(method, data_set, protocol)
    applied = []
    for key, text in sorted((overrides or {}).items()):
        scope, _, name = key.partition(".")
        if scope == "train":
            value, before = parse_value(key, text, TrainingConfig), standing_training[name]
            training[name] = value
        elif scope == method:
            value, before = parse_value(key, text, model_class.config_class), standing[name]
            model[name] = value
        else:
            continue
        if value != before or key in varying:
            applied.append(f"{key}={text}")
    try:
        return Resolved(TrainingConfig(**training), model_class.config_class(**model), tuple(applied))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{method}: {error}") from error


def _varying(method: str, data_set: DataSet, protocol: str) -> set[str]:
    """Qualified fields whose value without an override differs by method or category: setting one is an override
    wherever it holds already, or a table's cells would part."""
    found: set[str] = set()
    if protocol == "released":
        found |= {f"train.{field.name}" for field in dataclasses.fields(TrainingConfig)}
    if data_set.released_as:
        model_class = models.load(method)
        for category in data_set.category_names:
            sizes = model_class.released_sizes(data_set.released_as, category)
            found |= {f"{method}.{name}" for name in sizes}
    return found


def _low_dropout(config_class: type[Any], fields: Mapping[str, Any]) -> dict[str, float]:
    """Every dropout rate of a configuration, cut at `QUICK_DROPOUT`; `fields` are those that are set so far."""
    rates = {
        field.name: field.default for field in dataclasses.fields(config_class) if "dropout" in field.name
    }
    return {name: min(fields.get(name, rate), QUICK_DROPOUT) for name, rate in rates.items()}


def quick_reasons(method: str) -> dict[str, str]:
    """Qualified field -> why the `quick` preset sets it, for what is neither a size nor part of the budget."""
    own = models.load(method).quick_reasons
    return {**QUICK_REASONS, **{f"{method}.{name}": reason for name, reason in own.items()}}


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """`["a=1", "b=x"]` -> `{"a": "1", "b": "x"}`; a missing `=` or a key given twice is a UsageError."""
    parsed: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--set takes key=value, not {assignment!r}.")
        if key in parsed:
            raise UsageError(f"--set names {key!r} twice.")
        parsed[key] = value.strip()
    return parsed


def qualify_overrides(assignments: Sequence[str], methods: Sequence[str]) -> dict[str, str]:
    """Overrides with the scope of each key spelled out.

    `train.epochs=3` and `mmss.d_g=64` name their scope; a bare key is the training field of that name, or
    that field of every selected method that has it. A key that names nothing is a UsageError with near
    misses, whatever methods are selected; so is `drop`, which the ablations own.
    """
    training_fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    model_fields = {
        name: {field.name for field in dataclasses.fields(models.load(name).config_class)} for name in methods
    }
    qualified: dict[str, str] = {}
    for key, value in parse_assignments(assignments).items():
        scope, dot, name = key.partition(".")
        if (name if dot else key) == "drop":
            parts = " ".join(f"--drop {part}" for part in value.replace(",", " ").split()) or "--drop PART"
            raise UsageError(
                f"--set {key}: what a run drops is part of its name. Use `bench ablate {parts}`."
            )
        if not dot:
            if key in training_fields:
                targets = [f"train.{key}"]
            else:
                targets = [f"{method}.{key}" for method, fields in model_fields.items() if key in fields]
            known = {f"train.{field}" for field in training_fields} | {
                f"{method}.{field}" for method, fields in model_fields.items() for field in fields
            }
        elif scope == "train":
            targets = [key] if name in training_fields else []
            known = {f"train.{field}" for field in training_fields}
        else:
            models.get(scope)
            if scope not in model_fields:
                raise UsageError(f"--set {key}: {scope} is not among the selected methods.")
            targets = [key] if name in model_fields[scope] else []
            known = {f"{scope}.{field}" for field in model_fields[scope]}
            known |= {f"train.{field}" for field in training_fields}
        if not targets:
            raise UsageError(
                f"unknown configuration key {key!r}.{_near_key(name if dot else key, known)} "
                "`bench models --method NAME` lists a method's fields."
            )
        for target in targets:
            qualified[target] = value
    return qualified


def _near_key(name: str, known: set[str]) -> str:
    """ " Did you mean ...?": the qualified keys whose field is spelled most like `name`."""
    fields: dict[str, list[str]] = {}
    for key in sorted(known, key=lambda key: (not key.startswith("train."), key)):
        fields.setdefault(key.partition(".")[2], []).append(key)
    close = difflib.get_close_matches(name.lower(), fields, n=3, cutoff=0.6)
    keys = [key for field in close for key in fields[field]][:3]
    return f" Did you mean {' or '.join(keys)}?" if keys else ""


def parse_value(key: str, text: str, config_class: type[Any]) -> Any:
    """`text` as the type of the field that `key` names (int, float, bool, str, tuples of them, None)."""
    name = key.partition(".")[2]
    hint = get_type_hints(config_class)[name]
    allowed = [str(hint)] if not isinstance(hint, type) else [hint.__name__]
    if hint is str:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        lowered = {"true": True, "false": False, "none": None}
        value = lowered.get(text.lower(), text)
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UsageError(f"--set {key}: a number of {len(text)} digits is beyond what can be computed with.")
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type):  # tuple[...], Literal[...], X | None: the dataclass checks what it needs
        if "tuple" in str(hint):
            if isinstance(value, str):
                value = tuple(part.strip() for part in value.split(",") if part.strip())
            return tuple(value) if isinstance(value, list | tuple) else (value,)
        return text if "str" in str(hint) and not isinstance(value, str) and value is not None else value
    raise UsageError(f"--set {key}={text}: not a value of type {' or '.join(allowed)}.")
