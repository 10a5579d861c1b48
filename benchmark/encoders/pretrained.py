"""Pre-trained text encoders: where their weights come from, and how they are read.

An encoder is named by a folder or a hub name. The hub is contacted only for a name that is neither a folder
nor in the local hub cache. Weights are read as safetensors; a `.bin` file is read by torch's restricted
unpickler, which cannot execute code, and is refused if it holds anything else than tensors.

`field` is the configuration field that names the encoder (`mmss.encoder`), for messages.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import open_regular, read_json
from benchmark.kernels.linear import with_own_linear

if TYPE_CHECKING:
    # Imported where it is used: planning runs must not wait seconds for it.
    from transformers import PreTrainedModel

WANTED_FILES = ("*.json", "*.safetensors", "vocab.txt", "*.model")
"""What is fetched of a hub repository: configuration, weights, tokenizer."""


def encoder_folder(name: str, field: str, revision: str | None = None) -> Path:
    """Folder of a pre-trained encoder, fetched from the hub (the `revision`, there) if need be.

    Raises UsageError where a named folder is no model folder, or a name is not here and cannot be fetched.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError(f"{field}: {folder} holds no config.json, so it is no model folder.")
        return folder
    if _looks_like_path(name):
        raise UsageError(f"{field}: there is no folder {folder}.")
    return _cached(name, revision) or _fetched(name, field, revision)


def content_hash(folder: Path) -> str:
    """SHA-256 over names and content of a model folder's files."""
    return _content_hash(folder.resolve())


@cache
def _content_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for pattern in (*WANTED_FILES, "*.bin"):
        for path in sorted(folder.glob(pattern)):
            with open_regular(path) as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


_weightless: ContextVar[bool] = ContextVar("weightless", default=False)


@contextmanager
def without_weights() -> Iterator[None]:
    """Encoders that are made in here read their configuration alone, for whoever puts weights into them."""
    token = _weightless.set(True)
    try:
        yield
    finally:
        _weightless.reset(token)


def load_encoder(name: str, dropout: float, field: str) -> PreTrainedModel:
    """The encoder in float32, without pooler, with `dropout` in all its layers while training.

    Raises UsageError where it cannot be found, DataError where its files are not what they should be.
    """
    folder = encoder_folder(name, field)
    with silent_transformers():
        model, missing = read_weights(folder, _read_config(folder, dropout), field)
    if getattr(model, "pooler", None) is not None:
        # Only token states are used; a parameter without gradient has no place in the model.
        model.register_module("pooler", None)
    missing = [name for name in missing if not name.startswith(("pooler.", "embeddings.position_ids"))]
    if missing:
        raise DataError(
            f"{field}: the weights in {folder} lack {len(missing)} parameters of the encoder, "
            f"{missing[0]} among them. Is it another kind of model?"
        )
    # Whatever precision the file has, training starts in float32.
    converted: PreTrainedModel = nn.Module.to(model, dtype=torch.float32)
    with_own_linear(converted)
    return converted


def check_length(encoder: PreTrainedModel, n_tokens: int) -> None:
    """UsageError for a text longer than the encoder has positions."""
    limit = getattr(encoder.config, "max_position_embeddings", None)
    if limit is not None and n_tokens > limit:
        raise UsageError(
            f"texts of {n_tokens} tokens ([CLS] included) do not fit the encoder's {limit} "
            f"positions: --set train.max_tokens={limit - 1} or less."
        )


def _read_config(folder: Path, dropout: float) -> Any:
    """The encoder's configuration; one without a `model_type` is a BERT from before there were others."""
    from transformers import AutoConfig, BertConfig

    path = folder / "config.json"
    try:
        fields = dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error}).") from error
    encoder = AutoConfig.from_pretrained(folder) if "model_type" in fields else BertConfig(**fields)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
        if hasattr(encoder, name):
            setattr(encoder, name, dropout)
    return encoder


def read_weights(
    folder: Path, config: Any, field: str, kind: str = "AutoModel"
) -> tuple[PreTrainedModel, list[str]]:
    """(the model, names of parameters that the file lacks); `kind` is a class of transformers. DataError for
    weights that cannot be read, or not without executing code."""
    if _weightless.get():
        from transformers import AutoModel

        made: PreTrainedModel = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        return made, []
    safe = any(folder.glob("*.safetensors"))
    if not safe and not any(folder.glob("pytorch_model*.bin")):
        raise DataError(f"{field}: no weights in {folder}; looked for *.safetensors, then pytorch_model.bin.")
    import transformers

    try:
        model, info = getattr(transformers, kind).from_pretrained(
            folder,
            config=config,
            use_safetensors=safe,
            weights_only=True,
            output_loading_info=True,
            local_files_only=True,
        )
    except (pickle.UnpicklingError, SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise _unreadable(folder, error, field) from error
    return model, sorted(info["missing_keys"])


def _unreadable(folder: Path, error: BaseException, field: str) -> DataError:
    """What to say of weights that cannot be read. Some versions of transformers wrap torch's refusal (whose
    own message advises to read the file without protection), so the chain of causes is searched for it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, pickle.UnpicklingError):
            blocked = re.search(r"GLOBAL (\S+)", str(cause))
            held = (
                f"it holds {blocked[1]}, which could execute code" if blocked else "it is no file of tensors"
            )
            return DataError(
                f"{field}: the weights in {folder} are refused: {held}. Place a model.safetensors there."
            )
        cause = cause.__cause__ or cause.__context__
    return DataError(f"{field}: the weights in {folder} cannot be read: {error}")


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1


def _cached(name: str, revision: str | None) -> Path | None:
    """The snapshot (default: the newest) in the local hub cache, without any request; None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return folder if weights and (folder / "config.json").is_file() else None


def _fetched(name: str, field: str, revision: str | None) -> Path:
    """The snapshot after fetching it; safetensors where the repository has them, else the `.bin` file."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED_FILES)))
        if not any(folder.glob("*.safetensors")):
            wanted = [*WANTED_FILES, "pytorch_model.bin"]
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # every failure has the same remedy, and the hub's own errors vary by version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{field}: {name!r} is neither a folder nor in the local hub cache, and it could not be "
            f"fetched ({type(error).__name__}: {reason}). To place it by hand: on a machine with a connection "
            f"download the model's config.json, vocab.txt (or tokenizer.json) and model.safetensors into one "
            f"folder, copy the folder here and give --set {field}=FOLDER."
            + (f" Without any pre-trained encoder: --set {field}=scratch." if field == "mmss.encoder" else "")
        ) from error
    return folder


@contextmanager
def silent_transformers() -> Iterator[None]:
    """No reports and bars of transformers on standard error; what matters of them is checked here."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
