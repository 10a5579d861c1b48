"""`dataset.toml`, the file that makes a folder a data set of your own: read, validated, written. Torch-free.

    name = "myshop"                              # its folder below the root
    title = "My shop"                            # as tables print it; default: the name
    language = "de"
    labels = "labels"                            # what `upvotes` holds: labels 0..4 (default), or votes
    tokenizer = "unicode"                        # en or unicode; default: by language
    product_text = ["name", "description"]       # default of the categories
    licence = "CC BY 4.0"
    source = "https://..."
    released_like = "amazon"                     # whose settings --protocol released takes; default: none

    [[category]]                                 # in the order of a table's columns
    name = "garden-tools"                        # ROOT/myshop/garden-tools/garden-tools.prd.train ...
    title = "Garden tools"
    product_text = ["name"]
    expected.train = {products = 120, reviews = 2400}     # what `bench data check` compares with

    [imported]                                   # how `bench data import` made it; of it only `recipe` is read

A key that is not listed is an error, with what was probably meant. The same form, as JSON, goes along with
results (`to_record`).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.core.errors import DataError
from benchmark.core.files import read_regular
from benchmark.core.words import near_miss
from benchmark.data.catalog import SPLITS
from benchmark.data.datasets import (
    BUILT_IN,
    LABEL_RULES,
    TEXT_FIELDS,
    TOKENIZERS,
    Category,
    DataSet,
    check_names,
)

KEYS = {
    "name": str,
    "title": str,
    "language": str,
    "labels": str,
    "tokenizer": str,
    "product_text": list,
    "licence": str,
    "source": str,
    "released_like": str,
    "category": list,
    "imported": dict,
}
CATEGORY_KEYS = {"name": str, "title": str, "product_text": list, "expected": dict}
COUNT_KEYS = {"products": int, "reviews": int}
_TYPE_WORDS = {str: "a text", list: "a list", dict: "a table", int: "a whole number"}
_TITLE_LENGTH = 80
_LARGEST = 1 << 20
"""Bytes of a file that is read."""


def read(file: Path) -> DataSet:
    """The descriptor in a `dataset.toml`. DataError names the file and the key of the first problem."""
    try:
        record = tomllib.loads(read_regular(file, _LARGEST).decode("utf-8"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error
    except RecursionError:
        raise DataError(f"{file}: nested too deeply to be read.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start}: not UTF-8 text.") from error
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        raise DataError(f"{file}: not TOML: {error}.") from error
    data_set = from_record(record, str(file))
    if data_set.name in BUILT_IN:
        raise DataError(
            f"{file}: name {data_set.name!r}: that is a data set of the paper, whose published numbers would stand "
            "beside yours. Choose another name."
        )
    return data_set


def from_record(record: Mapping[str, Any], where: str) -> DataSet:
    """The descriptor of a parsed file. DataError: `<where>: <key>: what is wrong`."""
    _check_keys(record, KEYS, where, "", ("name", "language", "category"))
    text = _text_fields(record.get("product_text", list(TEXT_FIELDS)), where, "product_text")
    if not record["category"]:
        raise DataError(f"{where}: category: a data set has at least one category ([[category]]).")
    data_set = DataSet(
        name=record["name"],
        title=_title(record, where, ""),
        language=_language(record["language"], where),
        categories=tuple(_category(one, i, text, where) for i, one in enumerate(record["category"], 1)),
        labels=_one_of(record.get("labels", "labels"), LABEL_RULES, where, "labels"),
        tokenizer=_one_of(record.get("tokenizer", ""), ("", *TOKENIZERS), where, "tokenizer"),
        licence=_line(record.get("licence", ""), where, "licence"),
        source=_line(record.get("source", ""), where, "source"),
        released_like=_one_of(record.get("released_like", ""), ("", *BUILT_IN), where, "released_like"),
        recipe=_recipe(record.get("imported", {}).get("recipe")),
        in_file=where,
    )
    check_names(data_set)
    return data_set


def to_record(data_set: DataSet) -> dict[str, Any]:
    """The keys of `dataset.toml` for a descriptor, with their values; `from_record` takes it back."""
    record: dict[str, Any] = {
        "name": data_set.name,
        "title": data_set.title,
        "language": data_set.language,
        "labels": data_set.labels,
        "licence": data_set.licence,
        "source": data_set.source,
        "category": [_category_record(category) for category in data_set.categories],
    }
    optional = {"tokenizer": data_set.tokenizer, "released_like": data_set.released_like}
    imported = {"imported": {"recipe": data_set.recipe}} if data_set.recipe else {}
    return record | {key: value for key, value in optional.items() if value} | imported


def _recipe(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else ""


def _category_record(category: Category) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": category.name,
        "title": category.title,
        "product_text": list(category.product_text),
    }
    if category.expected:
        record["expected"] = {
            split: {"products": products, "reviews": reviews}
            for split, products, reviews in category.expected
        }
    return record


def write(file: Path, data_set: DataSet, imported: Mapping[str, Any] | None = None) -> None:
    """`dataset.toml` of a descriptor; `imported` (values, lists of them, one level of tables) says how it was
    made. The same content gives the same bytes."""
    record = to_record(data_set)
    categories, recipe = record.pop("category"), record.pop("imported", None)
    imported = imported or recipe
    blocks = ["\n".join(_assignments(record))]
    for category in categories:
        expected = category.pop("expected", {})
        lines = ["[[category]]", *_assignments(category)]
        lines += [f"expected.{split} = {_toml(counts)}" for split, counts in expected.items()]
        blocks.append("\n".join(lines))
    if imported:
        blocks.append("\n".join(["[imported]", *_assignments(imported)]))
    file.write_text("\n\n".join(blocks) + "\n", encoding="utf-8", newline="\n")


def _assignments(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_toml(value)}" for key, value in values.items()]


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else _toml(key)


def _toml(value: Any) -> str:
    """A value in TOML. Its basic strings are JSON's, but that it also escapes the delete character."""
    if isinstance(value, str):
        clean = value.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no UTF-8
        return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(_assignments(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value)


# --- Validation --------------------------------------------------------------------------------------------


def _check_keys(
    record: Mapping[str, Any], known: Mapping[str, type], where: str, prefix: str, required: Sequence[str]
) -> None:
    for key, value in record.items():
        if key not in known:
            raise DataError(
                f"{where}: {prefix}{key}: unknown key.{near_miss(key, known)} Known: {', '.join(known)}."
            )
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise DataError(f"{where}: {prefix}{key}: expected {_TYPE_WORDS[known[key]]}, not {value!r}.")
    for key in required:
        if key not in record:
            raise DataError(f"{where}: {prefix}{key}: missing.")


def _category(record: Any, number: int, text: tuple[str, ...], where: str) -> Category:
    prefix = f"category {number}: "
    if not isinstance(record, dict):
        raise DataError(f"{where}: {prefix}expected a table ([[category]]), not {record!r}.")
    _check_keys(record, CATEGORY_KEYS, where, prefix, ("name",))
    expected = []
    for split, counts in record.get("expected", {}).items():
        key = f"{prefix}expected.{split}"
        if split not in SPLITS or not isinstance(counts, dict):
            raise DataError(f"{where}: {key}: expected.train, .dev or .test = {{products = 1, reviews = 2}}.")
        _check_keys(counts, COUNT_KEYS, where, f"{key}.", tuple(COUNT_KEYS))
        if min(counts.values()) < 0:
            raise DataError(f"{where}: {key}: counts are 0 or more, not {min(counts.values())}.")
        expected.append((split, counts["products"], counts["reviews"]))
    own = record.get("product_text")
    return Category(
        record["name"],
        _title(record, where, prefix),
        text if own is None else _text_fields(own, where, f"{prefix}product_text"),
        tuple(expected),
    )


def _text_fields(fields: list[Any], where: str, key: str) -> tuple[str, ...]:
    if not fields or any(field not in TEXT_FIELDS for field in fields):
        raise DataError(
            f"{where}: {key}: a list of {' and '.join(TEXT_FIELDS)} (at least one), not {fields!r}."
        )
    return tuple(field for field in TEXT_FIELDS if field in fields)


def _title(record: Mapping[str, Any], where: str, prefix: str) -> str:
    title = _line(record.get("title", record["name"]), where, f"{prefix}title")
    if not 0 < len(title) <= _TITLE_LENGTH:
        raise DataError(f"{where}: {prefix}title: 1 to {_TITLE_LENGTH} characters, not {len(title)}.")
    return title


def _line(text: str, where: str, key: str) -> str:
    if not text.isprintable():
        raise DataError(f"{where}: {key}: one line of printable characters, not {text!r}.")
    return text


def _language(text: str, where: str) -> str:
    parts = text.split("-")
    if not (2 <= len(parts[0]) <= 3 and all(part.isascii() and part.isalnum() for part in parts)):
        raise DataError(f"{where}: language: a code such as en, id, de or pt-BR, not {text!r}.")
    return text


def _one_of(value: str, allowed: Sequence[str], where: str, key: str) -> str:
    if value not in allowed:
        names = [name for name in allowed if name]
        raise DataError(f"{where}: {key}: {' or '.join(names)}, not {value!r}.{near_miss(value, names)}")
    return value
