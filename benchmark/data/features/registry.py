"""Extractors by name: built in, of installed packages (entry points), or a class of one's own. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import entry_points
from typing import Any, get_type_hints

from benchmark.core.code import class_constants, code_of, locate
from benchmark.core.errors import UsageError
from benchmark.core.plugins import load_class
from benchmark.core.words import near_miss
from benchmark.data.features.extractor import Extractor

GROUP = "mrhp_bench.extractors"
"""The entry-point group: `mine = "mypackage.mine:Mine"`."""
BUILT_IN = {
    "hf-detr": "benchmark.data.features.hf_detr:HfDetr",
    "hf-grid": "benchmark.data.features.hf_grid:HfGrid",
}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Choice:
    """An extractor as it was asked for; small enough to hand to another process."""

    name: str
    target: str
    """`module:Class` or `/path/to/file.py:Class`."""
    options: tuple[tuple[str, str], ...] = ()
    """`(field, text)` of its configuration."""

    def build(self, device: str) -> Extractor:
        """Imports and builds it. UsageError for options that it does not have."""
        loaded = load_class(self.target, Extractor)
        made: Extractor = loaded(configured(loaded.config_class, self.options, self.name), device)
        return made

    def record(self, extractor: Extractor) -> dict[str, Any]:
        """What the features depend on, as the descriptor keeps it."""
        config = configured(type(extractor).config_class, self.options, self.name)
        options = {key: value for key, value in vars(config).items() if key not in ("model", "revision")}
        code = {} if self.name in BUILT_IN else {"code": code_of(self.target)}
        return {"extractor": self.name, **extractor.identity(), "options": options, **code}


def choose(given: str, revision: str = "", assignments: Sequence[str] = ()) -> Choice:
    """`NAME`, `NAME:MODEL`, `path/to/file.py:Class` or `module:Class`, with `KEY=VALUE` options."""
    known = installed()
    name, colon, model = given.partition(":")
    options = dict(_assignment(one) for one in assignments)
    if name in known:
        target = known[name]
        if colon:
            options["model"] = model
    elif colon:
        name, target = _own(given)
    else:
        raise UsageError(
            f"unknown extractor {given!r}.{near_miss(given, known)} Known: {', '.join(known)}; or a class of your "
            "own: path/to/file.py:Class."
        )
    if revision:
        options["revision"] = revision
    return Choice(name, target, tuple(sorted(options.items())))


def installed() -> dict[str, str]:
    """Name -> where its class lies."""
    found = {point.name: point.value.replace(" ", "") for point in sorted(entry_points(group=GROUP))}
    return found | BUILT_IN


def _own(target: str) -> tuple[str, str]:
    place = locate(target)
    name = str(class_constants(target).get("name") or place.attribute.lower())
    if name in BUILT_IN:
        raise UsageError(
            f"{target}: {name!r} is the name of an extractor that is here already; take another."
        )
    of_file = target.rpartition(":")[0].endswith(".py")
    return name, f"{place.file}:{place.attribute}" if of_file else target


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set takes KEY=VALUE, not {text!r}.")
    return key.strip(), value.strip()


def configured(
    config_class: type[Any], options: Sequence[tuple[str, str]] | Mapping[str, str], name: str
) -> Any:
    """The configuration with some fields set from text; UsageError names what was wrong."""
    kinds = get_type_hints(config_class)
    known = {field.name: kinds[field.name] for field in fields(config_class)}
    values = {}
    for key, text in dict(options).items():
        if key not in known:
            raise UsageError(
                f"{name} has no option {key!r}.{near_miss(key, known)} It has: {', '.join(known) or 'none'}."
            )
        values[key] = _converted(text, known[key], f"{name}: {key}")
    try:
        return config_class(**values)
    except TypeError as error:  # a field without a default
        raise UsageError(f"{name}: {error}") from None


def _converted(text: str, kind: Any, what: str) -> Any:
    if kind is bool and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        if kind in (int, float, str):
            return kind(text)
    except ValueError:
        pass
    raise UsageError(f"{what} takes {getattr(kind, '__name__', kind)}, not {text!r}.")
