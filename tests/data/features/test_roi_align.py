"""RoIAlign against a loop over points in NumPy, and against what can be known without computing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.data.features.roi_align import roi_align


def naive(map_CHW: np.ndarray, box_V4: np.ndarray, size: int, samples: int) -> np.ndarray:
    """Point by point: the value at (y, x) is interpolated between the four cell centres around it."""
    channels, height, width = map_CHW.shape
    out = np.zeros((len(box_V4), channels, size, size))
    for v, (left, top, right, bottom) in enumerate(box_V4):
        for row in range(size):
            for column in range(size):
                total = np.zeros(channels)
                for i in range(samples):
                    for j in range(samples):
                        y = top + (bottom - top) * (row + (i + 0.5) / samples) / size - 0.5
                        x = left + (right - left) * (column + (j + 0.5) / samples) / size - 0.5
                        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                        y0, x0 = int(y), int(x)
                        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                        dy, dx = y - y0, x - x0
                        total += (1 - dy) * (1 - dx) * map_CHW[:, y0, x0] + (1 - dy) * dx * map_CHW[:, y0, x1]
                        total += dy * (1 - dx) * map_CHW[:, y1, x0] + dy * dx * map_CHW[:, y1, x1]
                out[v, :, row, column] = total / samples**2
    return out


@pytest.mark.parametrize(("size", "samples"), [(1, 1), (2, 2), (7, 2), (14, 2), (3, 3)])
def test_it_is_the_loop(size: int, samples: int) -> None:
    random = np.random.default_rng(size)
    map_CHW = random.normal(size=(3, 6, 9))
    corner_V22 = random.uniform(0, 1, (12, 2, 2)) * [9, 6]
    box_V4 = np.concatenate([corner_V22.min(1), corner_V22.max(1)], axis=1)
    box_V4[0] = (0, 0, 9, 6)  # everything
    box_V4[1] = (4, 3, 4, 3)  # a point
    box_V4[2] = (8.9, 5.9, 9, 6)  # the last corner
    made = roi_align(torch.from_numpy(map_CHW), torch.from_numpy(box_V4), size, samples)
    np.testing.assert_allclose(made.numpy(), naive(map_CHW, box_V4, size, samples), atol=1e-12)


def test_a_slope_gives_its_value_at_the_centre_of_each_cell() -> None:
    x_W, y_H = torch.arange(10.0, dtype=torch.float64) + 0.5, torch.arange(8.0, dtype=torch.float64) + 0.5
    map_CHW = torch.stack([x_W.expand(8, 10), y_H[:, None].expand(8, 10)])
    made = roi_align(map_CHW, torch.tensor([[2.0, 1.0, 8.0, 7.0]], dtype=torch.float64), 3)
    expected_S = torch.tensor([3.0, 5.0, 7.0], dtype=torch.float64)
    torch.testing.assert_close(made[0, 0], expected_S.expand(3, 3))
    torch.testing.assert_close(made[0, 1], (expected_S - 1)[:, None].expand(3, 3))


def test_boxes_do_not_touch_one_another() -> None:
    map_CHW = torch.randn(4, 5, 5, generator=torch.manual_seed(0))
    box_V4 = torch.tensor([[0.0, 0, 2, 2], [1, 1, 5, 4], [3, 0, 5, 5]])
    together = roi_align(map_CHW, box_V4, 4)
    alone = torch.cat([roi_align(map_CHW, box_V4[v : v + 1], 4) for v in range(3)])
    torch.testing.assert_close(together, alone)
