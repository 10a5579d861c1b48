"""Token ids of a pre-trained encoder's own tokenizer, cached beside a pack.

The paper feeds `[CLS] + tokens` to BERT (Eq. 2): a text is [CLS] and at most `max_tokens` word pieces,
without [SEP] unless asked for. An empty text is [CLS] and one unknown token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.errors import UsageError
from benchmark.data.catalog import SIDES, SPLITS
from benchmark.data.store import Ragged, Strings, build_folder, offsets_of

MAX_TOKENS = 128
_BATCH = 1024


@dataclass(frozen=True)
class EncoderTokens:
    """Word pieces of every text of a pack."""

    folder: Path
    max_tokens: int
    """Word pieces kept of a text, [CLS] and [SEP] not counted."""
    special: int
    """Special tokens of a text: 1, or 2 with [SEP]."""
    pad_id: int
    vocabulary: int

    def of(self, split: str, side: str) -> Ragged:
        """int32 ids of the texts of one split's `product` or `review` table."""
        return Ragged.open(self.folder / f"{split}.{side}")


def pack_tokens(
    pack: Path,
    source: str | Path,
    *,
    max_tokens: int = MAX_TOKENS,
    separator: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> EncoderTokens:
    """Tokens by the tokenizer of a local folder (or of a hub name that is available without network).

    Made once per pack and tokenizer, the latter known by the hash of its content. Raises UsageError if the
    tokenizer cannot be loaded or has no [CLS] token.
    """
    tokenizer = load_tokenizer(source)
    content = tokenizer.backend_tokenizer.to_str()
    key = hashlib.sha256(json.dumps([content, max_tokens, separator]).encode()).hexdigest()[:24]
    folder = build_folder(
        pack / "wordpieces" / key,
        lambda out: _write(pack, out, tokenizer, max_tokens, separator, progress),
    )
    return EncoderTokens(folder, max_tokens, 1 + separator, pad_id_of(tokenizer), len(tokenizer))


def pad_id_of(tokenizer: Any) -> int:
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)


def load_tokenizer(source: str | Path) -> Any:
    """The fast tokenizer of a folder or hub name. UsageError if it cannot be loaded or has no [CLS] token."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), use_fast=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"no tokenizer could be loaded from {source}: {error}") from error
    if not tokenizer.is_fast:
        raise UsageError(f"{source}: its tokenizer has no fast form (tokenizer.json or vocab.txt is needed)")
    if tokenizer.cls_token_id is None or (tokenizer.sep_token_id is None):
        raise UsageError(
            f"{source}: its tokenizer has no [CLS] token, so it is not one of a BERT-like encoder"
        )
    return tokenizer


def _write(
    pack: Path,
    out: Path,
    tokenizer: Any,
    max_tokens: int,
    separator: bool,
    progress: Callable[[int, int, str], None] | None,
) -> None:
    for split in SPLITS:
        for side in SIDES:
            texts = Strings.open(pack / f"{split}.{side}.text")

            def report(done: int, texts: Sequence[str] = texts, what: str = f"{split} {side}") -> None:
                if progress is not None:
                    progress(done, len(texts), f"word pieces: {what}")

            encode(tokenizer, texts, max_tokens, separator, report).save(out / f"{split}.{side}")


def encode(
    tokenizer: Any,
    texts: Sequence[str],
    max_tokens: int,
    separator: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> Ragged:
    """int32 ids of each text: [CLS], at most `max_tokens` word pieces, with `separator` [SEP]."""
    before = [tokenizer.cls_token_id]
    after = [tokenizer.sep_token_id] if separator else []
    empty = [tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.cls_token_id]
    chunks: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    counts: list[int] = []
    for start, batch in _batches(texts):
        report(start)
        encoded = tokenizer(
            batch,
            add_special_tokens=False,
            truncation=True,
            max_length=max_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        rows = [before + (ids or empty) + after for ids in encoded]
        counts += [len(row) for row in rows]
        chunks.append(np.array([token for row in rows for token in row], dtype=np.int32))
    return Ragged(np.concatenate(chunks), offsets_of(counts))


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for start in range(0, len(texts), _BATCH):
        # Lone surrogates, which JSON can carry, are no UTF-8 and would stop the tokenizer.
        yield start, [text.encode(errors="replace").decode() for text in texts[start : start + _BATCH]]
