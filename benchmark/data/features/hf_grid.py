"""`hf-grid:MODEL`: the states of an image's patches as its RoIs, for DINOv2, SigLIP, CLIP, a ResNet's last map and
whatever else gives patch states in rows or a map. Imports torch and transformers.

The whole image is scaled to the model's square (nothing is cut off), and its grid of states is averaged down to
`grid` x `grid` regions: a pack takes 32 RoIs of an image, a vision transformer gives 256 and more.

B images, P patches, D width of a state, F of a RoI feature (D), G side of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.data.features.extractor import MOST_ROIS, Extractor, Float32
from benchmark.data.features.vision import load

_LARGEST_GRID = math.isqrt(MOST_ROIS)


@dataclass(frozen=True)
class Config:
    """Options of `hf-grid`."""

    model: str = ""
    """A folder or a hub name, such as facebook/dinov2-base."""
    revision: str = ""
    """Of a hub name: a branch, a tag or a commit."""
    grid: int = 5
    """G: an image gets G x G RoIs."""
    side: int = 0
    """Pixels to which an image is scaled; 0: as the model was trained."""


class HfGrid(Extractor):
    """A grid of patch states."""

    name = "hf-grid"
    config_class = Config

    def __init__(self, config: Config, device: str) -> None:
        if not 1 <= config.grid <= _LARGEST_GRID:
            raise UsageError(
                f"hf-grid: grid is 1 to {_LARGEST_GRID}, for a pack takes {MOST_ROIS} RoIs of an image."
            )
        if config.side < 0:
            raise UsageError(f"hf-grid: side is 0 or more, not {config.side}.")
        self.config, self.device = config, device
        self.pretrained = load(config.model, config.revision, "AutoModel", device)
        whole = self.pretrained.model
        self.tower = getattr(whole, "vision_model", whole)
        self.side = config.side or self.pretrained.pixels.side
        self.interpolates = getattr(self.tower.config, "image_size", self.side) != self.side

    def identity(self) -> Mapping[str, str]:
        return self.pretrained.identity()

    @torch.inference_mode()
    def rois(self, images: Sequence[Image.Image]) -> list[Float32]:
        pixel_B3SS = self.pretrained.pixels.of(images, (self.side, self.side)).to(self.device)
        map_BDHW = self._map(pixel_B3SS)
        roi_BDGG = F.adaptive_avg_pool2d(map_BDHW, self.config.grid)
        roi_BVF = roi_BDGG.flatten(2).transpose(1, 2).float().cpu().contiguous()
        return [roi_VF.numpy() for roi_VF in roi_BVF]

    def _map(self, pixel_B3SS: Tensor) -> Tensor:
        """States by place, `[B, D, H, W]`."""
        asks = {"interpolate_pos_encoding": True} if self.interpolates and self._can_interpolate() else {}
        states: Tensor = self.tower(pixel_B3SS, **asks).last_hidden_state
        if states.ndim == 4:
            return states
        patch = self.tower.config.patch_size
        height, width = pixel_B3SS.shape[-2] // patch, pixel_B3SS.shape[-1] // patch
        leading = states.shape[1] - height * width  # [CLS], registers: not of any place
        if leading < 0:
            raise UsageError(
                f"hf-grid: {states.shape[1]} states for {height} x {width} patches: they are not of places."
            )
        return states[:, leading:].transpose(1, 2).reshape(len(states), -1, height, width)

    def _can_interpolate(self) -> bool:
        import inspect

        return "interpolate_pos_encoding" in inspect.signature(self.tower.forward).parameters
