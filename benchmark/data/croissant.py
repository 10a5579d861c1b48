"""A data set in the words of Croissant 1.0 (MLCommons' vocabulary for data sets), as JSON-LD. Torch-free.

Every table is a file with its SHA-256; of tables with one record per line, as an import writes them, every column is a
field that readers of Croissant load. Nothing in it depends on when or where it was made.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.core.errors import DataError
from benchmark.core.files import open_regular, write_atomically
from benchmark.data.catalog import SPLITS
from benchmark.data.datasets import FILE_NAME, DataSet

CROISSANT = "croissant.json"
"""Beside `dataset.toml`."""
UNKNOWN = "unknown"
KINDS = {
    "prd": ("products", "Products and the texts that describe them."),
    "rvw": ("reviews", "Reviews and their texts."),
    "rel": ("helpfulness", "Which review is of which product, and how helpful it was found."),
}
FIELDS = {
    "product_id": ("sc:Text", "Id of the product."),
    "review_id": ("sc:Text", "Id of the review."),
    "name": ("sc:Text", "The product's name."),
    "description": ("sc:Text", "The product's description."),
    "content": ("sc:Text", "The review's text."),
    "time": ("sc:Text", "When it was written, as the source has it."),
    "img_url": ("sc:URL", "Addresses of images."),
    "upvotes": ("sc:Integer", "Helpfulness."),
    "votes": ("sc:Integer", "Number of helpful votes."),
}
"""Column -> (type, what it holds)."""
LABELS = {
    "labels": "Helpfulness, a label from 0 to 4.",
    "votes": "Number of helpful votes, of which labels are made.",
}
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""As the specification gives it."""
_LONGEST_LINE = 64 << 20


def write_croissant(root: Path, data_set: DataSet, licence: str = "", out: Path | None = None) -> Path:
    """Write the description of a root's data set to `out`, by default ROOT/croissant.json; returns the path."""
    file = root / CROISSANT if out is None else out
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(croissant(root, data_set, licence), indent=1, ensure_ascii=False)
    write_atomically(file, text + "\n")
    return file


def croissant(root: Path, data_set: DataSet, licence: str = "") -> dict[str, Any]:
    """The JSON-LD document.

    Args:
        licence: in place of the descriptor's; without either it is UNKNOWN.

    DataError if a table of a category that is there is not.
    """
    tables = list(_tables(root, data_set))
    if not tables:
        raise DataError(f"{root}: no category of {data_set.name} is there.")
    descriptor = root / FILE_NAME
    files = [
        _file_object(root, file, "application/jsonlines" if names else "application/json")
        for file, _, names in tables
    ]
    if descriptor.is_file():
        files.append(_file_object(root, descriptor, "application/toml"))
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "name": data_set.name,
        "alternateName": data_set.title,
        "description": _description(root, data_set),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": licence or data_set.licence or UNKNOWN,
        "inLanguage": data_set.language,
        "keywords": ["review helpfulness", "learning to rank", "product reviews"],
        "distribution": files,
        "recordSet": [
            _record_set(root, file, kind, names, data_set) for file, kind, names in tables if names
        ],
    }


def _tables(root: Path, data_set: DataSet) -> Iterator[tuple[Path, str, Sequence[str]]]:
    """Each table of the categories that are there: its file, kind and columns (none if it is not one record a line)."""
    for category in data_set.category_names:
        folder = root / data_set.name / category
        if not folder.is_dir():
            continue
        for split in SPLITS:
            for kind in KINDS:
                file = folder / f"{category}.{kind}.{split}"
                yield file, kind, _columns(file)


def _columns(file: Path) -> list[str]:
    """The keys of the first record."""
    try:
        with open_regular(file) as lines:
            first = lines.readline(_LONGEST_LINE)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    try:
        record = json.loads(first)
    except ValueError:  # a document of several lines, or none
        return []
    ids = {"product_id", "review_id"}
    flat = isinstance(record, dict) and any(name in record for name in ids)
    # in the other orientations an id is a whole column
    return list(record) if flat and not any(isinstance(record.get(name), dict) for name in ids) else []


def _file_object(root: Path, file: Path, form: str) -> dict[str, Any]:
    name = file.relative_to(root).as_posix()
    with open_regular(file) as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{file.stat().st_size} B",
        "encodingFormat": form,
        "sha256": sha256,
    }


def _record_set(root: Path, file: Path, kind: str, names: Sequence[str], data_set: DataSet) -> dict[str, Any]:
    """A table's records, `<category>-<split>-products` and so on."""
    what, about = KINDS[kind]
    category, _, split = file.name.split(".")
    own = f"{category}-{split}-{what}"
    key = {"prd": "product_id", "rvw": "review_id"}.get(kind)
    return {
        "@type": "cr:RecordSet",
        "@id": own,
        "name": own,
        "description": f"{data_set.category_title(category)}, {split} split. {about}",
        **({"key": {"@id": f"{own}/{key}"}} if key in names else {}),
        "field": [_field(own, name, file.relative_to(root).as_posix(), data_set) for name in names],
    }


def _field(record_set: str, name: str, file: str, data_set: DataSet) -> dict[str, Any]:
    kind, about = FIELDS.get(name, ("sc:Text", "A column that the benchmark does not read."))
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "description": LABELS[data_set.labels] if name == "upvotes" else about,
        "dataType": kind,
        **({"repeated": True} if name == "img_url" else {}),
        "source": {"fileObject": {"@id": file}, "extract": {"column": name}},
    }


def _description(root: Path, data_set: DataSet) -> str:
    words = [
        f"{data_set.title}: reviews of products with how helpful they were found, split by product into train, dev and "
        "test, to rank the reviews of a product by helpfulness."
    ]
    if data_set.source:
        words.append(f"Source: {data_set.source}.")
    file = root / FILE_NAME
    made = tomllib.loads(file.read_text(encoding="utf-8")).get("imported", {}) if file.is_file() else {}
    if made:
        words.append(
            f"Imported with recipe {made.get('recipe', 'table')}; labels: {made.get('labels', UNKNOWN)}. {FILE_NAME} "
            "has all options and the hashes of the sources."
        )
    return " ".join(words)
