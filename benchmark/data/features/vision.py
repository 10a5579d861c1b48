"""What the extractors on transformers share: a model's folder, its weights, its pixels. Imports torch.

B images, S side of a picture in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmark.core.errors import DataError, UsageError
from benchmark.core.files import read_json
from benchmark.encoders.pretrained import content_hash, encoder_folder, read_weights, silent_transformers


@dataclass(frozen=True)
class Pretrained:
    """A model with what must be known to feed it."""

    model: Any
    name: str
    revision: str
    weights: str
    """SHA-256 over names and content of its files."""
    pixels: Pixels

    def identity(self) -> dict[str, str]:
        revision = {"revision": self.revision} if self.revision else {}
        return {"model": self.name, **revision, "weights": self.weights}


@dataclass(frozen=True)
class Pixels:
    """From 0..255 to what a model was trained on, as its `preprocessor_config.json` says."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int
    """The side, or the shorter side, of the pictures that it was trained on."""
    longest: int
    resample: Image.Resampling

    def of(self, images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
        """`[B, 3, height, width]`; `size` is (width, height)."""
        resized = [np.asarray(image.resize(size, self.resample), np.float32) for image in images]
        scaled_BHWC = np.stack(resized) / 255.0
        normal_BHWC = (scaled_BHWC - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal_BHWC.transpose(0, 3, 1, 2), dtype=np.float32))


def load(name: str, revision: str, kind: str, device: str) -> Pretrained:
    """A vision model by folder or hub name, in float32, set to evaluate. UsageError if it cannot be found, DataError
    if its files are not what they should be."""
    import transformers

    if not name:
        raise UsageError("which model? --extractor NAME:MODEL, a folder or a hub name.")
    field = "--extractor"
    folder = encoder_folder(name, field, revision or None)
    pixels = _pixels(folder)
    try:
        with silent_transformers():
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            model, missing = read_weights(folder, config, field, kind)
    except (ImportError, ValueError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{field}: {folder} cannot be built by transformers: {first}") from error
    missing = [one for one in missing if "position_ids" not in one]
    if missing:
        raise DataError(
            f"{field}: the weights in {folder} lack {len(missing)} parameters of the model, {missing[0]} among them."
        )
    local = Path(name).expanduser().is_dir()
    shown = folder.resolve().name if local else name
    # a hub snapshot lies in a folder with the name of its commit
    commit = "" if local else folder.name
    # through the plain class: transformers' own are typed as something else
    nn.Module.to(model, device, torch.float32)
    nn.Module.eval(model)
    return Pretrained(model, shown, commit, content_hash(folder), pixels)


def _pixels(folder: Path) -> Pixels:
    file = folder / "preprocessor_config.json"
    try:
        record = read_json(file)
        size = record.get("crop_size") or record["size"]
        if isinstance(size, int):
            size = {"shortest_edge": size, "longest_edge": record.get("max_size", 0)}
        side = int(size.get("height") or size["shortest_edge"])
        return Pixels(
            tuple(float(one) for one in record["image_mean"]),
            tuple(float(one) for one in record["image_std"]),
            side,
            int(size.get("longest_edge") or 0) or side * 5 // 3,
            Image.Resampling(int(record.get("resample", Image.Resampling.BICUBIC))),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"--extractor: {file} does not say how images are scaled ({type(error).__name__}: {error})."
        ) from error
