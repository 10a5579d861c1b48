"""`hf-detr`: the boxes of a DETR-family model with a ResNet backbone, and the backbone's own features of them.

As bottom-up attention does it (Anderson et al., CVPR 2018) with another detector: boxes by score, RoIAlign on the
backbone's third stage (stride 16), its fourth stage on each box, the mean over its cells: 2048 wide with a ResNet-50 or
-101. The detector knows COCO's 80 kinds of things, not Visual Genome's 1,600 with attributes. Imports torch and
transformers; the backbone must be transformers' own ResNet (`facebook/detr-resnet-50`: its revision `no_timm`).

B images, Q queries, K kinds, V boxes, C channels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.data.features.extractor import MOST_ROIS, Extractor, Float32
from benchmark.data.features.roi_align import roi_align
from benchmark.data.features.vision import load

_CELLS = 14
"""Cells of a box's side before stage 4 halves them, as in a ResNet-C4 detector."""
_SOFTMAX = ("detr", "table-transformer")
"""Kinds of model whose last class is "no object"; the others score each class by itself."""


@dataclass(frozen=True)
class Config:
    """Options of `hf-detr`."""

    model: str = "facebook/detr-resnet-50"
    """A folder or a hub name."""
    revision: str = "no_timm"
    """Of a hub name: a branch, a tag or a commit."""
    boxes: int = MOST_ROIS
    """Boxes of an image, those of the highest scores."""
    shortest: int = 0
    """Pixels to which the shorter side is scaled; 0: as the model was trained (800, the longer at most 1333)."""


class HfDetr(Extractor):
    """Backbone features of detected boxes."""

    name = "hf-detr"
    config_class = Config

    def __init__(self, config: Config, device: str) -> None:
        if not 1 <= config.boxes <= MOST_ROIS:
            raise UsageError(f"hf-detr: boxes is 1 to {MOST_ROIS}, what a pack takes of an image.")
        if config.shortest < 0:
            raise UsageError(f"hf-detr: shortest is 0 or more, not {config.shortest}.")
        self.config, self.device = config, device
        self.pretrained = load(config.model, config.revision, "AutoModelForObjectDetection", device)
        self.model = self.pretrained.model
        self.stages = _resnet_stages(self.model)
        self._third: list[Tensor] = []
        self.stages[2].register_forward_hook(lambda module, given, made: self._third.append(made))
        self.softmax = self.model.config.model_type in _SOFTMAX

    def identity(self) -> Mapping[str, str]:
        return self.pretrained.identity()

    def rois(self, images: Sequence[Image.Image]) -> list[Float32]:
        """Images of one scaled size go together: padding one for another would change what is found in it."""
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, image in enumerate(images):
            by_size[self._scaled(image.size)].append(place)
        found: dict[int, Float32] = {}
        for size, places in by_size.items():
            found |= dict(zip(places, self._of_one_size([images[p] for p in places], size), strict=True))
        return [found[place] for place in range(len(images))]

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) with the model's shorter side, unless the longer would be beyond its limit."""
        pixels = self.pretrained.pixels
        shortest = self.config.shortest or pixels.side
        longest = pixels.longest * shortest // pixels.side
        short, long = min(size), max(size)
        if long * shortest > longest * short:
            scaled = (max(1, round(longest * short / long)), longest)
        else:
            scaled = (shortest, shortest * long // short)
        return scaled if size[0] == short else scaled[::-1]

    @torch.inference_mode()
    def _of_one_size(self, images: Sequence[Image.Image], size: tuple[int, int]) -> list[Float32]:
        pixel_B3HW = self.pretrained.pixels.of(images, size).to(self.device)
        self._third.clear()
        answer = self.model(pixel_values=pixel_B3HW)
        map_BCHW = self._third.pop()
        box_BQ4 = corners(answer.pred_boxes)
        score_BQ = _scores(answer.logits, self.softmax)
        stride = _stride(pixel_B3HW.shape[-1], map_BCHW.shape[-1])
        cells_4 = torch.tensor([*size, *size], device=self.device) / stride
        made = []
        for map_CHW, box_Q4, score_Q in zip(map_BCHW, box_BQ4, score_BQ, strict=True):
            best_V = score_Q.argsort(descending=True, stable=True)[: self.config.boxes]
            cut_VCSS = roi_align(map_CHW, box_Q4[best_V] * cells_4, _CELLS)
            roi_VF = self.stages[3](cut_VCSS).mean(dim=(2, 3))
            made.append(roi_VF.float().cpu().numpy())
        return made


def corners(box_BQ4: Tensor) -> Tensor:
    """(centre x, centre y, width, height), shares of the image -> (left, top, right, bottom) within it."""
    x, y, w, h = box_BQ4.unbind(-1)
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1).clamp(0, 1)


def _scores(logit_BQK: Tensor, softmax: bool) -> Tensor:
    """`[B, Q]`: how sure the model is that a query found something."""
    probability_BQK = logit_BQK.softmax(-1)[..., :-1] if softmax else logit_BQK.sigmoid()
    return probability_BQK.amax(-1)


def _stride(pixels: int, cells: int) -> int:
    """Pixels of a cell's side, a power of two; the last cell may reach beyond the picture."""
    stride = 1
    while -(-pixels // stride) > cells:
        stride *= 2
    return stride


def _resnet_stages(model: Any) -> Any:
    """The four stages of the ResNet within a detector."""
    for module in model.modules():
        stages = getattr(getattr(module, "encoder", None), "stages", None)
        if stages is not None and len(stages) == 4 and hasattr(module, "embedder"):
            return stages
    raise UsageError(
        "hf-detr: no ResNet of transformers in this model, whose third and fourth stage make the features. "
        "For facebook/detr-resnet-50: --revision no_timm."
    )
