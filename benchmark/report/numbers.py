"""Numbers of a test as the reports print them: points, intervals, p values."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from benchmark.report.grid import Cell, Comparison


def grid(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, "pipe", disable_numparse=True)


def points(value: float, *, signed: bool = False, decimals: int = 1) -> str:
    text = f"{100 * value:{'+' if signed else ''}.{decimals}f}"
    return text.replace("-0.0", "0.0") if float(text) == 0 else text


def interval_words(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"[{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def p_words(p: float | None) -> str:
    return "-" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def sd_words(one: Comparison) -> str:
    spreads = [sd_points(cell, one.metric) for cell in (one.a, one.b)]
    return ", ".join("-" if spread is None else f"{spread:.2f}" for spread in spreads)


def sd_points(cell: Cell, metric: str) -> float | None:
    """Spread over seeds in points; None with one seed."""
    return 100 * cell.sd(metric) if len(cell.runs) > 1 else None


def n_words(one: Comparison) -> str:
    n_A, n_B = one.result.n_seeds
    seeds = f"{n_A}" if n_A == n_B else f"{n_A} and {n_B}"
    return f"{seeds} x {one.result.n_products}"
