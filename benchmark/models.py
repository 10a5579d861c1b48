"""The registry: an ordered map name -> "module:Class".

Its order is the paper's row order; the command line's choices, the tests' matrix and the tables' rows come
from it. A new method is one file and one line here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmark.core.errors import UsageError

if TYPE_CHECKING:
    from benchmark.core.model import RankingModel
from benchmark.core.words import near_miss

Modality = Literal["text", "multimodal"]


@dataclass(frozen=True)
class Method:
    """What can be known of a method without importing torch."""

    name: str
    target: str
    title: str
    modality: Modality
    in_paper: bool = True
    """False: known to the harness, but no row of the paper's tables and outside the default list."""


_ALL = (
    Method("bimpm", "baselines.bimpm:BiMPM", "BiMPM", "text"),
    Method("egcnn", "baselines.egcnn:EGCNN", "EG-CNN", "text"),
    Method("convknrm", "baselines.convknrm:ConvKNRM", "Conv-KNRM", "text"),
    Method("prhnet", "baselines.prhnet:PRHNet", "PRH-Net", "text"),
    Method("ssecross", "baselines.ssecross:SSECross", "SSE-Cross", "multimodal"),
    Method("drnet", "baselines.drnet:DRNet", "D&R Net", "multimodal"),
    Method("mcr", "baselines.mcr:MCR", "MCR", "multimodal"),
    Method("mcl", "baselines.mcl:MCL", "MCL", "multimodal"),
    Method("sancl", "baselines.sancl:SANCL", "SANCL", "multimodal", in_paper=False),
    Method("gbdt", "baselines.gbdt:GBDT", "GBDT-LCM", "multimodal", in_paper=False),
    Method("mmss", "mmss.model:MMSS", "MM-SS", "multimodal"),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
DEFAULT_METHODS: tuple[str, ...] = tuple(method.name for method in _ALL if method.in_paper)
PROPOSED = "mmss"
"""The method that the paper proposes; the others are its baselines."""


def get(name: str) -> Method:
    """The registry line of a method; UsageError with near misses for an unknown name."""
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}.{near_miss(name, METHODS)} Known: {' '.join(METHODS)}.")
    return METHODS[name]


def load(name: str) -> type[RankingModel]:
    """Import a method's class (this is where torch gets loaded)."""
    module, _, attribute = get(name).target.partition(":")
    loaded: type[RankingModel] = getattr(importlib.import_module(module), attribute)
    return loaded
