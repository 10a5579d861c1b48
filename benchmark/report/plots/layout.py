"""Where a picture's axes lie: matplotlib's constrained layout, the same places each time. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

DIGITS = 9
"""Of a share of the figure: far finer than what is drawn, far coarser than how a sum rounds."""


class SettledLayout(ConstrainedLayoutEngine):
    """The constrained layout, rounded: its solver adds in the order of addresses in memory, so the last bits of every
    place differ from one picture to the next, and with them now and then a digit that is written."""

    def execute(self, fig: Figure) -> Any:
        made = super().execute(fig)
        parts: Any = fig.subfigs  # each has a place in the figure, of which matplotlib's types know nothing
        for part in parts:
            part.bbox_relative.set_points(_rounded(part.bbox_relative))
            for text in part.texts:  # its title
                x, y = text.get_position()
                text.set_position((round(x, DIGITS), round(y, DIGITS)))
        for axes in fig.axes:
            axes.set_position(Bbox(_rounded(axes.get_position(original=True))), which="original")
            axes.set_in_layout(True)  # which setting a position ends
        return made


def _rounded(box: BboxBase) -> Any:
    return np.round(box.get_points(), DIGITS)
