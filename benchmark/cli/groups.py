"""Options that stand together: a parameter of a command that is a dataclass becomes one option per field."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

KEYWORD = inspect.Parameter.KEYWORD_ONLY


def spread(command: Callable[..., None]) -> tuple[list[inspect.Parameter], Callable[..., dict[str, Any]]]:
    """The parameters of a command with each group of options in its fields' places, and what turns their values
    back into the command's own arguments."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if dataclasses.is_dataclass(parameter.annotation):
            assert isinstance(parameter.annotation, type)
            groups[parameter.name] = parameter.annotation
            parameters += _fields(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=KEYWORD))

    def collect(given: Mapping[str, Any]) -> dict[str, Any]:
        rest = dict(given)
        made = {}
        for name, group in groups.items():
            own = [field.name for field in dataclasses.fields(group)]
            made[name] = group(**{field: rest.pop(field) for field in own if field in rest})
        return rest | made

    return parameters, collect


def _fields(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            KEYWORD,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]
