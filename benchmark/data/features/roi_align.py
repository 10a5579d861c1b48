"""RoIAlign (He et al., Mask R-CNN, ICCV 2017, section 3): bilinear samples within each box, without rounding.

Imports torch. C channels, H x W cells of a map, V boxes, S cells of a side, R samples of a cell's side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align(map_CHW: Tensor, box_V4: Tensor, size: int, samples: int = 2) -> Tensor:
    """`[V, C, S, S]`: each box cut into `size` x `size` cells, each the mean of `samples` x `samples` points.

    `box_V4` are (left, top, right, bottom) in cells of the map, where cell (i, j) covers [j, j + 1] x [i, i + 1] and
    its value stands at its centre; a point beyond the outermost centres takes the nearest value.
    """
    channels, height, width = map_CHW.shape
    points = size * samples
    step_R = (torch.arange(points, device=map_CHW.device, dtype=map_CHW.dtype) + 0.5) / points
    left_V, top_V, right_V, bottom_V = box_V4.unbind(1)
    x_VR = left_V[:, None] + (right_V - left_V)[:, None] * step_R
    y_VR = top_V[:, None] + (bottom_V - top_V)[:, None] * step_R
    # grid_sample's -1 and 1 are the outer edges of the outermost cells
    grid_VRR2 = torch.stack(
        [
            (2 * x_VR / width - 1)[:, None, :].expand(-1, points, -1),
            (2 * y_VR / height - 1)[:, :, None].expand(-1, -1, points),
        ],
        dim=-1,
    )
    # all boxes below one another in one picture, so that the map is not copied for each
    sampled_1CXR = F.grid_sample(
        map_CHW[None],
        grid_VRR2.reshape(1, -1, points, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    cell_CXS = F.avg_pool2d(sampled_1CXR, samples)[0]
    return cell_CXS.reshape(channels, len(box_V4), size, size).transpose(0, 1).contiguous()
