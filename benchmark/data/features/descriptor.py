"""`features/extractor.json`: what made a category's features. Beside them, and in the data's fingerprint. Torch-free.

    {"extractor": {"extractor": "hf-grid", "model": "dinov2-base", "weights": "...", "options": {...}},
     "made_with": {"torch": "2.13.0", ...}}

Features without it are taken as the release's own (bottom-up attention), about which nothing needs to be said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.core.files import read_regular, write_atomically

NAME = "extractor.json"
_LARGEST = 1 << 16


def read(features: Path) -> dict[str, Any] | None:
    """The `extractor` part, or None without a descriptor; ValueError for a file that is none."""
    try:
        content = read_regular(features / NAME, _LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from error
    try:
        record = json.loads(content)["extractor"]
        title(record)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a descriptor of features ({type(error).__name__}: {error})") from None
    return dict(record)


def write(features: Path, record: Mapping[str, Any], made_with: Mapping[str, str]) -> None:
    features.mkdir(parents=True, exist_ok=True)
    content = {"extractor": record, "made_with": made_with}
    write_atomically(features / NAME, json.dumps(content, indent=1, sort_keys=True) + "\n")


def canonical(record: Mapping[str, Any]) -> str:
    """One text for one meaning."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


def title(record: Mapping[str, Any]) -> str:
    """In words: `hf-grid dinov2-base (weights 0123456789ab, grid=5)`."""
    weights = str(record.get("weights", ""))[:12]
    options = [f"{key}={value}" for key, value in sorted(record.get("options", {}).items())]
    details = ", ".join(
        [*([f"revision {record['revision']}"] if record.get("revision") else [])]
        + ([f"weights {weights}"] if weights else [])
        + options
    )
    named = " ".join(part for part in (str(record["extractor"]), str(record.get("model", ""))) if part)
    text = f"{named} ({details})" if details else named
    return "".join(letter for letter in text if letter.isprintable())
