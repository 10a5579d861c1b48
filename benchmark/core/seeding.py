"""Randomness is derived from (run seed, purpose), never ambient.

The same purpose and numbers give the same stream on every machine; two purposes never share one.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from numbers and words, e.g. `derive_seed(run_seed, "pairs", epoch)`.

    SHA-256 over the parts, so neighbouring seeds or epochs give unrelated streams (the released code
    seeds row i of epoch e like row i+1 of epoch e-1).
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.Generator(np.random.PCG64(derive_seed(*parts)))
