"""A run whose weights were kept -> a model folder. Needs torch when it is called, to see that the weights fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import benchmark
from benchmark import models
from benchmark.core.code import locate
from benchmark.core.errors import BenchError, DataError, UsageError
from benchmark.core.files import read_json
from benchmark.data.dataset_file import to_record
from benchmark.data.datasets import DataSet
from benchmark.rank import build, card
from benchmark.rank import folder as folders
from benchmark.runs.described import data_set_of
from benchmark.runs.files import VOCABULARY, WEIGHTS
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import StoredRun

if TYPE_CHECKING:
    from benchmark.core.model import RankingModel

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""What a tokenizer may consist of; no file of another name is taken along."""


def export(run: StoredRun, out: Path) -> folders.ModelFolder:
    """The model of a run as a folder of data; see `benchmark.rank.folder`.

    Raises:
        UsageError: the run's weights were not kept, its method or encoder is not here, or `out` has something in it.
        DataError: a file of the run is not what was written, or the weights are not of the model.
    """
    spec = run.spec
    for name in (WEIGHTS, VOCABULARY):
        if name not in run.sums:
            raise UsageError(
                f"{run.folder}: its {'weights' if name == WEIGHTS else 'vocabulary'} were not kept. Do the run again "
                "with: bench run --keep-weights --force ..."
            )
    vocabulary = json.loads(run.content(VOCABULARY))
    data_set = data_set_of([run])
    _known_here(spec)
    record = _record(run, data_set)
    model = build.build(record, vocabulary, None)
    weights = run.content(WEIGHTS)
    build.fill(model, weights, str(run.folder / WEIGHTS))
    contents = {
        folders.MODEL: _json(record),
        folders.WEIGHTS: weights,
        folders.VOCABULARY: _json(vocabulary),
        folders.DATA_SET: _json(to_record(data_set)),
        **_encoder_files(model, spec),
        folders.CARD: card.render(run, record, data_set).encode(),
    }
    return folders.write_folder(out, contents, _provenance(run))


def _known_here(spec: RunSpec) -> None:
    """UsageError unless the run's method can be imported here, as it stood in its file."""
    known = models.METHODS.get(spec.method)
    try:
        if spec.target and (known is None or not known.installed):
            models.register(spec.target, spec.method)
        models.load(spec.method)
    except UsageError as error:
        raise UsageError(f"the run's method is needed to see that its weights fit: {error}") from error
    code = models.code_of(spec.method)
    if code != spec.code:
        raise UsageError(
            f"the code of {spec.method} is {code}, but the run was made with {spec.code or 'a code not kept'}: its "
            "weights would be read by a method that did not make them. Run it again, with --keep-weights."
        )


def _record(run: StoredRun, data_set: DataSet) -> dict[str, Any]:
    """`model.json`."""
    spec, manifest, known = run.spec, run.manifest, models.get(run.spec.method)
    class_name = known.target
    if not known.built_in and known.target.rpartition(":")[0].endswith(".py"):
        place = locate(known.target)
        class_name = f"{place.file.name}:{place.attribute}"  # without the path on this machine
    return {
        "method": {
            "name": spec.method,
            "title": known.title,
            "modality": known.modality,
            "class": class_name,
            "built_in": known.built_in,
            "code": spec.code,
        },
        "config": dict(spec.config),
        "shape": {
            "product_vocabulary": manifest["vocabulary"]["product"],
            "review_vocabulary": manifest["vocabulary"]["review"],
            "joint_vocabulary": manifest["vocabulary"]["joint"],
            "roi_width": manifest["roi_width"],
            "n_train_reviews": manifest["splits"]["train"]["reviews"],
        },
        "images": {"features": manifest.get("features")},
        "text": {
            "tokenizer": manifest["tokenizer"],
            "product_text": list(data_set.category(spec.category).product_text),
            "recipe": data_set.recipe,
        },
        "run": {
            "id": run.id,
            "seed": spec.seed,
            "dataset": spec.dataset,
            "category": spec.category,
            "corpus": spec.corpus,
            "synthetic": spec.synthetic,
            "fingerprint": spec.fingerprint,
            "protocol": spec.protocol,
            "preset": spec.preset,
            "drop": list(spec.drop),
            "shuffle_labels": spec.shuffle_labels,
            "device": spec.device,
            "numerics": run.numerics,
        },
    }


def _provenance(run: StoredRun) -> dict[str, Any]:
    # the command line may name folders of the machine that trained
    made = {name: value for name, value in run.provenance.items() if name != "argv"}
    return {"exported_by": f"mrhp-bench {benchmark.__version__}", "metrics": card.metrics(run), "run": made}


def _encoder_files(model: RankingModel, spec: RunSpec) -> dict[str, bytes]:
    """Configuration and tokenizer of the pre-trained encoder, by their names in the model folder; its weights are among
    the model's own."""
    if model.tokenizer != "bert":
        return {}
    if build.ENCODER_FIELD not in spec.config["model"]:
        raise UsageError(
            f"{spec.method} reads a pre-trained encoder, but no field `{build.ENCODER_FIELD}` of its configuration "
            "names it; an export could not name the encoder's copy."
        )
    source = Path(model.tokenizer_source)
    try:
        files = type(model).files_read(model.config)
    except BenchError as error:
        raise UsageError(f"the run's encoder is needed for its tokenizer: {error}") from error
    if dict(files) != dict(spec.config.get("files", {})):
        raise DataError(f"{source}: the encoder was changed since the run, which was made with other files.")
    config = read_json(source / "config.json")
    # where a model's own code would be found: nothing of a model folder is to be run
    config = {name: value for name, value in config.items() if name != "auto_map"}
    found = {f"{folders.ENCODER}/config.json": _json(config)}
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            content = (source / name).read_bytes()
            found[f"{folders.ENCODER}/{name}"] = _without_code(content) if "config" in name else content
    return found


def _without_code(content: bytes) -> bytes:
    record = json.loads(content)
    return _json({name: value for name, value in record.items() if name != "auto_map"})


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
