"""Two-way tables `[seeds, products]`, and what the tests between two methods need of one: no more for fifty seeds than
for one, so that a cell of any size is read once and little of it is kept.

Names follow the equations: S seeds, n products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Margins:
    """What the components of a variance need of a table `[..., S, n]`, whatever leading axes came in."""

    product_mean: Floats
    """Over seeds, `[..., n]`."""
    seed_mean: Floats
    """Over products, `[..., S]`."""
    residual: Floats
    """`residual_mean_square` of the table."""


@dataclass(frozen=True)
class Side:
    """What the unpaired test needs of one side's table `[seeds, products]`, as small for fifty seeds as for one."""

    margins: Margins
    low_P: Floats
    high_P: Floats
    """The lowest and the highest value that any seed has on a product, `[n]`."""

    @property
    def seed_means(self) -> Floats:
        """`[seeds]`"""
        return self.margins.seed_mean

    @property
    def product_means(self) -> Floats:
        """`[n]`"""
        return self.margins.product_mean

    @property
    def nbytes(self) -> int:
        """All that it holds."""
        arrays = (self.product_means, self.seed_means, self.low_P, self.high_P)
        return sum(one.nbytes for one in arrays)

    @property
    def scale(self) -> float:
        """The largest absolute value."""
        return float(max(self.high_P.max(), -self.low_P.min()))


def side(table: ArrayLike, name: str = "the table") -> Side:
    """Of a table `[seeds, products]`; ValueError, with the name, if it is none, is empty or not finite."""
    x = check_table(table, name)
    return Side(margins(x), x.min(axis=0), x.max(axis=0))


def fixed_side(values_P: ArrayLike, seeds: int) -> Side:
    """Of a scorer without seeds, `[products]`, against a side with so many: `seeds` equal rows, which show no variance
    between seeds and no residual, so that this side adds nothing to v."""
    return side(np.tile(np.asarray(values_P, dtype=np.float64), (seeds, 1)))


def sides(a: ArrayLike | Side, b: ArrayLike | Side) -> tuple[Side, Side]:
    """Both as a `Side`; ValueError as `side`, or if they are not of the same number of products."""
    found = (
        a if isinstance(a, Side) else side(a, "a"),
        b if isinstance(b, Side) else side(b, "b"),
    )
    _check_products(*(len(one.low_P) for one in found))
    return found


def margins(x: Floats) -> Margins:
    """Of a table `[..., S, n]`."""
    return Margins(x.mean(axis=-2), x.mean(axis=-1), residual_mean_square(x))


def residual_mean_square(x: Floats) -> Floats:
    """sum (x - seed mean - product mean + grand mean)^2 / ((S-1)(n-1)) of `[..., S, n]`; 0 if S or n is 1."""
    n_seeds, n = x.shape[-2:]
    if n_seeds < 2 or n < 2:
        return np.zeros(x.shape[:-2])
    by_product = x - x.mean(axis=-2, keepdims=True)
    # centred along both axes in turn, which is the double centring with the grand mean
    residual = by_product - by_product.mean(axis=-1, keepdims=True)
    total = np.einsum("...sp,...sp->...", residual, residual)
    mean_square: Floats = total / ((n_seeds - 1) * (n - 1))
    return mean_square


def check_tables(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 `[seeds, products]`; ValueError if they are not two tables over the same products."""
    x_A, x_B = check_table(a, "a"), check_table(b, "b")
    _check_products(x_A.shape[1], x_B.shape[1])
    return x_A, x_B


def check_table(table: ArrayLike, name: str) -> Floats:
    """As float64 `[seeds, products]`; ValueError, with the name, if it is not that, is empty or not finite."""
    x = np.asarray(table, dtype=np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"{name} must be [seeds, products] and not empty, its shape is {list(x.shape)}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds values that are not finite")
    return x


def _check_products(n_A: int, n_B: int) -> None:
    if n_A != n_B:
        raise ValueError(f"a has {n_A} products, b has {n_B}: they must be the same ones")
