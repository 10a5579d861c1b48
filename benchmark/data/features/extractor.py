"""The contract of an extractor of RoI features. Torch-free, and so are the registry and the descriptor.

    class Mine(Extractor):
        name = "mine"
        def __init__(self, config, device): ...       # loads its weights
        def identity(self): ...                       # what its features depend on
        def rois(self, images): ...                   # RGB images of Pillow -> a float32 [V, F] for each

V RoIs of an image (1 to 32), F the extractor's width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from benchmark.data.roi_worker import ROIS_PER_IMAGE

if TYPE_CHECKING:
    from PIL import Image

Float32 = npt.NDArray[np.float32]
MOST_ROIS = ROIS_PER_IMAGE
"""RoIs of an image that a pack takes: what an extractor gives beyond them would be lost."""


@dataclass(frozen=True)
class NoOptions:
    """Of an extractor that has none."""


class Extractor(ABC):
    """Turns images into RoI features. Built once for each process; torch is imported by its module."""

    name: ClassVar[str] = ""
    """As captions print it; default: the class's name in small letters."""
    config_class: ClassVar[type[Any]] = NoOptions
    """A frozen dataclass of text, numbers and truth values: `--set FIELD=VALUE`. A field `model` is what stands
    behind the colon of `--extractor NAME:MODEL`, a field `revision` what `--revision` gives."""

    @abstractmethod
    def __init__(self, config: Any, device: str) -> None:
        """Loads the weights to `cpu`, `cuda` or `cuda:N`."""

    @abstractmethod
    def identity(self) -> Mapping[str, str]:
        """All that the features depend on beside the options and the code: `model` and `revision` for people,
        `weights` (a hash). No paths: the same weights in another folder give the same features."""

    @abstractmethod
    def rois(self, images: Sequence[Image.Image]) -> list[Float32]:
        """Of each RGB image float32 `[V, F]`, 1 <= V <= 32, finite. An image must not change what is found in
        another one of the same call."""
