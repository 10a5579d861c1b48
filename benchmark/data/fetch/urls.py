"""Image addresses: those that a cell of `img_url` lists, and which of them may be asked for. Torch-free."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

from benchmark.data.fetch.reasons import BAD_ADDRESS, RefusedError

if TYPE_CHECKING:
    import httpx

_LONGEST = 4096
"""Letters of an address; longer ones are no image's."""
_NEXT = re.compile(r"[\s|,]+(?=(?:https?:)?//)")
"""Where one address of a text ends and the next begins; an address may have a comma in it (Amazon's do)."""
_SIZES = ("hi_res", "large_image_url", "large", "medium_image_url", "medium", "small_image_url", "thumb")
"""Keys of an image that is given in several sizes, the largest first (the Amazon dump of 2023)."""


def urls_of(cell: Any) -> list[str]:
    """The addresses that a cell lists, each once, in order: of a list of texts or of objects, of such a list
    printed as text (JSON or Python), or of a text with blanks, `|` or commas between them."""
    if isinstance(cell, str):
        cell = _listed(cell)
    if not isinstance(cell, list | tuple):
        return []
    found = (_of_entry(entry) for entry in cell)
    return list(dict.fromkeys(url for url in found if url))


def _listed(text: str) -> list[Any]:
    text = text.strip()
    if text.startswith("["):
        for parse in (json.loads, ast.literal_eval):
            try:
                listed = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            return listed if isinstance(listed, list) else []
    return _NEXT.split(text)


def _of_entry(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next((entry[size] for size in _SIZES if isinstance(entry.get(size), str)), None)
    if not isinstance(entry, str):
        return ""
    url = entry.strip()
    return f"https:{url}" if url.startswith("//") else url  # without a scheme, as shops' pages have them


def checked(url: str) -> httpx.URL:
    """The parsed address; RefusedError unless it is http or https, has a host and carries no password."""
    import httpx

    if len(url) > _LONGEST:
        raise RefusedError(BAD_ADDRESS)
    try:
        parsed = httpx.URL(url)
        # `host` decodes an international name, which may fail in its own way
        plain = parsed.scheme in ("http", "https") and bool(parsed.host) and not parsed.userinfo
        plain = plain and 0 < (parsed.port or 80) < 1 << 16
    except (httpx.InvalidURL, ValueError):
        plain = False
    if not plain:
        raise RefusedError(BAD_ADDRESS)
    return parsed.copy_with(fragment=None)
