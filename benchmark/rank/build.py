"""A model from the data that an export keeps: built as the run built it, then filled with the run's weights.

Needs torch when it is called, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import models
from benchmark.core.errors import BenchError, DataError, UsageError
from benchmark.data.pack_words import FIRST_WORD
from benchmark.engine.runner import from_json

if TYPE_CHECKING:
    from benchmark.core.model import RankingModel
    from benchmark.core.types import CorpusShape

ENCODER_FIELD = "encoder"
"""The configuration field that names a pre-trained encoder."""


def method_of(record: Mapping[str, Any], target: str | None) -> list[str]:
    """Make the method of an exported model known here; what must be said of it (its code is another one).

    UsageError if it is somebody's own and neither installed nor given as `target`, path/to/file.py:Class.
    """
    name, known = str(record["name"]), models.METHODS.get(record["name"])
    if target is not None and not record["built_in"]:
        models.register(target, name)
    elif not record["built_in"] and (known is None or not known.installed):
        raise UsageError(
            f"the model's method {name} (class {record['class']}, code {record['code']}) is not part of mrhp-bench, "
            f"and a model folder holds no code. Install its package, or name the class: --method "
            f"path/to/{record['class']}"
        )
    elif target is not None:
        raise UsageError(f"--method {target}: the model's method {name} is one of mrhp-bench's own.")
    code = models.code_of(name)
    if code == record["code"]:
        return []
    return [
        f"the code of {name} is {code}, but the model was trained with {record['code']}: scores may differ from those "
        "of its run"
    ]


def build(
    record: Mapping[str, Any], vocabulary: Mapping[str, Sequence[str]], encoder: Path | None
) -> RankingModel:
    """The model that `model.json` (`record`) describes, with weights that mean nothing yet; `encoder` is the folder
    with its encoder's configuration. Leaves torch's generator as it was.

    DataError if the description is not one of such a model.
    """
    import torch

    from benchmark.encoders.pretrained import without_weights

    model_class = models.load(record["method"]["name"])
    try:
        fields = dict(record["config"]["model"])
        if encoder is not None:
            fields[ENCODER_FIELD] = str(encoder)
        config = from_json(model_class.config_class, fields)
        shape = _shape(record["shape"], vocabulary)
        with torch.random.fork_rng(devices=[]), without_weights():
            return model_class(config, shape)
    except BenchError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(
            f"model.json describes no {record['method']['name']} that this version can build ({error}). "
            "Export the model again, or use the version that it was exported with."
        ) from error


def _shape(sizes: Mapping[str, int], vocabulary: Mapping[str, Sequence[str]]) -> CorpusShape:
    import torch

    from benchmark.core.types import CorpusShape
    from benchmark.data.corpus import spelled

    def spellings(field: str) -> tuple[torch.Tensor, int]:
        spelled_WL, n_ids = spelled(vocabulary["joint"], vocabulary[field], FIRST_WORD[field])
        return torch.from_numpy(spelled_WL), n_ids

    return CorpusShape(
        product_vocabulary=int(sizes["product_vocabulary"]),
        review_vocabulary=int(sizes["review_vocabulary"]),
        joint_vocabulary=int(sizes["joint_vocabulary"]),
        roi_width=int(sizes["roi_width"]),
        n_train_reviews=int(sizes["n_train_reviews"]),
        spellings=spellings,
    )


def fill(model: RankingModel, weights: bytes, where: str) -> None:
    """Put stored weights (safetensors) into a model. DataError if they are not exactly its own."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from benchmark.engine.train import without_aliases

    try:
        given = load(weights)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{where}: no file of tensors ({error}).") from error
    own = without_aliases(model.state_dict())
    if own.keys() != given.keys():
        differing = sorted(own.keys() ^ given.keys())
        raise DataError(f"{where}: weights of another model ({differing[0]} is in one of the two only).")
    for name, value in own.items():
        if value.shape != given[name].shape or value.dtype != given[name].dtype:
            raise DataError(
                f"{where}: {name} is {tuple(given[name].shape)} of {given[name].dtype}, but the model wants "
                f"{tuple(value.shape)} of {value.dtype}."
            )
    with torch.no_grad():
        for name, value in own.items():
            # in place, so that tied names have it too; a file's tensors need not be aligned
            value.copy_(given[name])
