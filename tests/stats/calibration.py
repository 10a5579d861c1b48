"""The crossed test's calibration, now and before: `python -m tests.stats.calibration`.

Before: the degrees of freedom had the residual in their denominator, v was floored by the products' part only,
and neither few seeds nor equal seeds were treated apart. Percent; half widths in points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit
from tabulate import tabulate

from benchmark.stats.crossed import Components
from tests.stats.regimes import GROUPS, Half, Regime, difference_for, half_width, outcome


def half_width_before(parts: Components) -> np.ndarray:
    """Of the first version's interval."""
    v = np.maximum(parts.v_S + parts.v_P - parts.v_E, parts.v_P)
    residual_df = (min(parts.seeds) - 1) * (parts.n - 1)
    spread = parts.v_P**2 / (parts.n - 1) + parts.v_E**2 / residual_df
    for v_M, seeds in zip(parts.v_seeds, parts.seeds, strict=True):
        spread = spread + v_M**2 / (seeds - 1)
    df = np.where(spread > 0, v**2 / np.where(spread > 0, spread, 1.0), np.inf)
    return np.where(v > 0, stdtrit(np.minimum(df, 1e12), 0.975) * np.sqrt(v), 0.0)


def row(name: str, regimes: Sequence[Regime], half: Half) -> list[str]:
    found = [outcome(regime, half=half) for regime in regimes]
    powers = [
        outcome(regime, half=half, sims=1000, better_by=difference_for(regime)).size
        for regime in regimes
        if regime.kind == "normal"
    ]
    sizes = [100 * one.size for one in found]
    covers = [100 * one.coverage for one in found]
    return [
        name,
        f"{min(sizes):.1f}..{max(sizes):.1f}",
        f"{min(covers):.1f}..{max(covers):.1f}",
        f"{100 * max(one.half_width for one in found):.3g}",
        f"{100 * np.mean(powers):.0f}" if powers else "-",
    ]


def main() -> None:
    rows = []
    for group, regimes in GROUPS.items():
        for seeds in dict.fromkeys(regime.seeds for regime in regimes):
            chosen = [regime for regime in regimes if regime.seeds == seeds]
            for kind in dict.fromkeys(regime.kind for regime in chosen):
                members = [regime for regime in chosen if regime.kind == kind]
                name = f"{group}: {kind}, {seeds[0]}/{seeds[1]} seeds, {len(members)} regimes"
                before = row(name, members, half_width_before)
                rows.append([*before, *row(name, members, half_width)[1:]])
    headers = [
        "",
        *(f"{what} {when}" for when in ("before", "now") for what in ("size", "coverage", "width", "power")),
    ]
    print(tabulate(rows, headers, "pipe", disable_numparse=True))
    print("\nPower: mean over the regimes with normal effects, of a difference that a test which knows the")
    print("variances finds with 90%. Width: the largest half width of a 95% interval.")


if __name__ == "__main__":
    main()
