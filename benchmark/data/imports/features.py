"""RoI features as bottom-up attention's tools leave them -> the release's feature files.

    DIR/<image>.npz     arrays `x` or `features` [RoIs, F] (boxes beside them are not read)
    DIR/<image>.npy     one array [RoIs, F]
    FILE.tsv            image_id, image_w, image_h, num_boxes, boxes, features: float32 [num_boxes, F] in base64

An image is its item's by name: `<id>`, or `<id>_<n>` (`-` too) for the n-th of several. Nothing is unpickled.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import DataError
from benchmark.data.catalog import SPLITS
from benchmark.data.imports.sources import BadRow
from benchmark.data.mini.files import write_features

Float32 = npt.NDArray[np.float32]
_KEYS = ("x", "features")
_NUMBERED = re.compile(r"(.+)[_-](\d+)")
_TSV_FIELDS = 6


@dataclass(frozen=True)
class _Image:
    """Where one image's features lie."""

    file: Path
    line: int = 0
    """Of a TSV file, counted from 1; 0 for a file of its own."""
    offset: int = 0


@dataclass
class Taken:
    """What became of the images."""

    items: int = 0
    images: int = 0
    unknown: int = 0
    """Images whose name is no item's."""
    bad: int = 0
    shown: tuple[BadRow, ...] = ()


def add_features(source: Path, root: Path, name: str) -> Taken:
    """Write the feature files of all items of a data set that `source` (a folder or a .tsv file) has images of.

    DataError if it is neither. Images that cannot be read are counted, the first of them shown.
    """
    folders = _folders_of(root / name)
    taken, images = Taken(), _by_item(source, folders)
    taken.unknown = len(images.pop("", []))
    for item, found in sorted(images.items()):
        arrays: list[Float32] = []
        for _, image in sorted(found, key=lambda one: one[0]):
            try:
                arrays.append(_read(image))
            except (OSError, ValueError, KeyError, EOFError, binascii.Error) as error:
                taken.bad += 1
                what = f"not features: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
                taken.shown = (*taken.shown, BadRow(image.file.name, image.line, "", what))[:5]
        for folder in folders[item] if arrays else ():
            folder.mkdir(parents=True, exist_ok=True)
            write_features(folder, item, arrays)
        taken.items += bool(arrays)
        taken.images += len(arrays)
    return taken


def _folders_of(data_set: Path) -> dict[str, list[Path]]:
    """Item id -> the feature folders (of its category and split) that it belongs to."""
    folders: dict[str, list[Path]] = defaultdict(list)
    for category in sorted(data_set.iterdir()):
        for split in SPLITS:
            for kind, column in (("prd", "product_id"), ("rvw", "review_id")):
                with (category / f"{category.name}.{kind}.{split}").open(encoding="utf-8") as lines:
                    for line in lines:
                        folder = category / "features" / split
                        item = json.loads(line)[column]
                        if folder not in folders[item]:
                            folders[item].append(folder)
    return folders


def _by_item(source: Path, folders: Mapping[str, object]) -> dict[str, list[tuple[int, _Image]]]:
    """Item id -> its images with their numbers; under the empty id those of no item."""
    images: dict[str, list[tuple[int, _Image]]] = defaultdict(list)
    for name, image in _images(source):
        numbered = _NUMBERED.fullmatch(name)
        if name in folders:
            images[name].append((-1, image))
        elif numbered and numbered[1] in folders:
            images[numbered[1]].append((int(numbered[2]), image))
        else:
            images[""].append((0, image))
    return images


def _images(source: Path) -> Iterator[tuple[str, _Image]]:
    """Names of all images; their features stay on disk."""
    if source.is_dir():
        for file in sorted(source.iterdir()):
            if file.suffix.lower() in (".npz", ".npy"):
                yield file.stem, _Image(file)
    elif source.is_file() and source.suffix.lower() == ".tsv":
        with source.open("rb") as lines:
            offset = 0
            for number, line in enumerate(lines, start=1):
                name = line.split(b"\t", 1)[0].decode("utf-8", "replace").strip()
                if name and name != "image_id":
                    yield Path(name).stem if "." in name else name, _Image(source, number, offset)
                offset += len(line)
    else:
        raise DataError(f"{source}: --features takes a folder with .npz or .npy files, or a .tsv file.")


def _read(image: _Image) -> Float32:
    """float32 [RoIs, F]; ValueError for what is no such array."""
    if image.line:
        return _of_line(image)
    with image.file.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _checked(loaded)
        key = next((key for key in _KEYS if key in loaded), None)
        if key is None:
            raise ValueError(f"no array {' or '.join(_KEYS)}; it has {', '.join(loaded) or 'none'}")
        return _checked(loaded[key])


def _of_line(image: _Image) -> Float32:
    with image.file.open("rb") as file:
        file.seek(image.offset)
        fields = file.readline().rstrip(b"\r\n").split(b"\t")
    if len(fields) != _TSV_FIELDS:
        raise ValueError(f"{len(fields)} fields in place of {_TSV_FIELDS}")
    flat, boxes = np.frombuffer(base64.b64decode(fields[5], validate=True), "<f4"), int(fields[3])
    if boxes <= 0 or len(flat) % boxes:
        raise ValueError(f"{len(flat)} numbers for {boxes} boxes")
    return _checked(flat.reshape(boxes, -1))


def _checked(array: npt.NDArray[np.generic]) -> Float32:
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise ValueError(f"an array {array.shape} of {array.dtype}, not [RoIs, F] of numbers")
    roi_VF = array.astype(np.float32)
    if not np.isfinite(roi_VF).all():
        raise ValueError("NaN or infinity in it")
    return roi_VF
