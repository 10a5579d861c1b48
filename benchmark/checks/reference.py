"""Weights trained with the original code, in our names.

Each method's file holds the mapping as data: `reference_names` (prefix of a reference name -> our prefix;
`*` matches a number, the longest prefix wins) and `reference_unused`. Nothing in a checkpoint can run: torch
files are loaded with `weights_only`, numpy files without pickles.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark import models
from benchmark.checks.unpickle import read_checkpoint
from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import open_regular, read_json
from benchmark.core.model import RankingModel
from benchmark.core.types import CorpusShape
from benchmark.engine.checkpoint import save_tensors

GOLDEN_METHODS = {"sancl_bert": "sancl"}
"""Golden method names that are a network of a method with another name."""


@dataclass(frozen=True)
class Reference:
    """A file of reference weights."""

    source: str
    """Where they came from, for messages."""
    parameters: Mapping[str, Tensor]
    config: Mapping[str, Any] | None
    """The reference's settings; None where the file has none."""


def our_names(model_class: type[RankingModel], names: Iterable[str]) -> dict[str, str | None]:
    """Reference name -> our name; None for one that is declared to have no effect.

    Raises DataError that lists every name that is neither mapped nor declared.
    """
    if model_class.reference_names is None:
        raise UsageError(f"{model_class.title} has no released implementation to load weights from.")
    rules = [(prefix, ours) for prefix, ours in model_class.reference_names.items()]
    rules += [(prefix, "") for prefix in model_class.reference_unused]
    compiled = [(re.compile(re.escape(prefix).replace(r"\*", r"(\d+)")), ours) for prefix, ours in rules]
    found: dict[str, str | None] = {}
    unknown = []
    for name in names:
        matches = [(match, ours) for pattern, ours in compiled if (match := pattern.match(name))]
        if not matches:
            unknown.append(name)
            continue
        match, ours = max(matches, key=lambda pair: pair[0].end())
        found[name] = _fill(ours, match.groups()) + name[match.end() :] if ours else None
    if unknown:
        raise DataError(f"{model_class.title}: these reference parameters map to nothing of ours:", unknown)
    return found


def _fill(pattern: str, numbers: tuple[str, ...]) -> str:
    """`layers.*.norms.*.` with ("0", "1") -> `layers.0.norms.1.`"""
    for number in numbers:
        pattern = pattern.replace("*", number, 1)
    return pattern


def translated(model_class: type[RankingModel], reference: Reference) -> dict[str, Tensor]:
    """Reference parameters under our names. Two that share a name of ours must be equal (tied weights)."""
    ours: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, target in our_names(model_class, reference.parameters).items():
        if target is None:
            continue
        value = reference.parameters[name]
        if target in ours and not torch.equal(ours[target], value):
            raise DataError(
                f"{reference.source}: {origin[target]} and {name} are one tensor of ours but differ."
            )
        ours[target], origin[target] = value, name
    return ours


def load_into(model: RankingModel, reference: Reference) -> None:
    """Copy the reference's weights into `model`; every parameter of ours must be given, in its shape.

    Raises DataError that lists what is missing, unexpected or of another shape.
    """
    given = translated(type(model), reference)
    wanted = model.state_dict()
    problems = [f"missing: {name}" for name in wanted.keys() - given.keys()]
    problems += [f"unexpected: {name}" for name in given.keys() - wanted.keys()]
    problems += [
        f"shape of {name}: {list(given[name].shape)} in the file, {list(wanted[name].shape)} expected"
        for name in wanted.keys() & given.keys()
        if given[name].shape != wanted[name].shape
    ]
    if problems:
        raise DataError(
            f"{reference.source} does not fit {type(model).title}. If it was trained with other sizes, put the "
            "original settings (JSON) beside it, under the same name with `.json` at the end.",
            sorted(problems),
        )
    model.load_state_dict(given)


def build(model_class: type[RankingModel], reference: Reference) -> RankingModel:
    """The released form of a method with the reference's weights, in evaluation mode."""
    config, corpus = _configuration(model_class, reference)
    model = model_class(config, corpus)
    load_into(model, reference)
    return model.eval()


def _configuration(model_class: type[RankingModel], reference: Reference) -> tuple[Any, CorpusShape]:
    """From the reference's settings; without them the released sizes, vocabularies from the tables."""
    if reference.config is not None:
        try:
            return model_class.config_from_reference(reference.config)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{reference.source}: its settings lack or misstate {error}.") from error
    ours = translated(model_class, reference)

    def size(side: str, suffix: str, axis: int) -> int:
        found = [value.shape[axis] for name, value in ours.items() if side in name and name.endswith(suffix)]
        return found[0] if found else 1

    product, review = (size(side, "embedding.weight", 0) for side in ("product", "review"))
    roi_width = size("image", ".map.weight", 1)
    return model_class.config_class(**(model_class.released or {})), CorpusShape(
        product, review, max(product, review), roi_width, 0
    )


def read_reference(source: Path) -> Reference:
    """A golden (`.npz`) or a torch checkpoint: a state dict, or a dictionary that holds one as `state_dict` or
    `model`. Settings lie in the golden, or beside the checkpoint in `<name>.json`."""
    if not source.is_file():
        raise DataError(f"{source}: no such file.")
    if source.suffix == ".npz":
        return _read_golden(source)
    beside = source.with_suffix(".json")
    try:
        config = _settings(read_json(beside)) if beside.is_file() else None
    except (OSError, ValueError) as error:
        raise DataError(f"{beside}: no settings of a checkpoint ({error}).") from error
    loaded = read_checkpoint(source)
    return Reference(
        str(source), {name.removeprefix("module."): value for name, value in loaded.items()}, config
    )


def _settings(record: Any) -> Mapping[str, Any]:
    if not isinstance(record, dict) or not isinstance(record.get("method", ""), str):
        raise ValueError("no object with the name of a `method`")
    return record


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`, none of which can hold code. OSError, ValueError or BadZipFile if it is none."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (EOFError, AttributeError) as error:  # empty; or one plain array
        raise ValueError(f"no archive of arrays ({error})") from error


def _read_golden(source: Path) -> Reference:
    try:
        golden = read_arrays(source)
        parameters = {
            name.removeprefix("param/"): torch.from_numpy(value)
            for name, value in golden.items()
            if name.startswith("param/")
        }
        config = _settings(json.loads(str(golden["config"])))
    except (ValueError, OSError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}: not a golden of weights and `config` ({error}).") from error
    return Reference(str(source), parameters, config)


def import_weights(method: str, source: Path, out: Path) -> None:
    """Write `weights.safetensors` and `config.json` of the released form of `method` into the folder `out`."""
    model_class = models.load(method)
    reference = read_reference(source)
    named = (reference.config or {}).get("method", method)
    if GOLDEN_METHODS.get(named, named) != method:
        raise UsageError(f"{source} holds weights of {named}, not of {method}.")
    model = build(model_class, reference)
    description = {
        "method": method,
        "model": dataclasses.asdict(model.config),
        "corpus": {
            field.name: getattr(model.corpus, field.name)
            for field in dataclasses.fields(CorpusShape)
            if field.name != "word_vectors"
        },
        "source": source.name,
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
    }
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().contiguous().clone() for name, value in model.state_dict().items()}
    save_tensors(weights, out / "weights.safetensors")
    (out / "config.json").write_text(json.dumps(description, indent=2) + "\n")
