"""The registry: an ordered map name -> "module:Class".

Its order is the paper's row order; the command line's choices, the tests' matrix and the tables' rows come
from it. Methods of others join it: those of installed packages by the entry-point group `mrhp_bench.methods`, a
class in a file when it is named (`register`), and those that only stored runs know (`remember`).
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Literal

from benchmark.core.code import class_constants, locate, module_file
from benchmark.core.code import code_of as code_of_target
from benchmark.core.errors import UsageError
from benchmark.core.plugins import load_class
from benchmark.core.words import near_miss

if TYPE_CHECKING:
    from benchmark.core.model import RankingModel

GROUP = "mrhp_bench.methods"
"""The entry-point group: `mynet = "mypackage.mynet:MyNet"`."""

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
    built_in: bool = True

    @property
    def installed(self) -> bool:
        """False for one that only stored runs name: its rows stand, but it cannot be run here."""
        return bool(self.target)


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
    Method("features", "baselines.features:Features", "Hand-made features", "multimodal", in_paper=False),
    Method("frozen", "baselines.frozen:Frozen", "Frozen features", "multimodal", in_paper=False),
    Method(
        "frozenlist", "baselines.frozen:FrozenList", "Frozen features, listwise", "multimodal", in_paper=False
    ),
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
    """Import a method's class (this is where torch gets loaded). UsageError, with file and line, if it cannot be
    imported or is no RankingModel."""
    method = get(name)
    if not method.installed:
        raise UsageError(
            f"{name}: known from stored runs only. Name its class: --method path/to/file.py:Class."
        )
    if method.built_in:
        module, _, attribute = method.target.partition(":")
        loaded: type[RankingModel] = getattr(importlib.import_module(module), attribute)
        return loaded
    from benchmark.core.model import RankingModel

    foreign: type[RankingModel] = load_class(method.target, RankingModel)
    return foreign


def code_of(name: str) -> str:
    """Hash of what the method's source means, see `benchmark.core.code`."""
    return code_of_target(get(name).target)


def register(target: str, name: str = "") -> Method:
    """A method of one's own, by where its class lies; without importing it.

    Its name is the class's `name`, else the class's name in small letters; `title` and `reads_images` are read
    from its body where they stand as plain constants. UsageError if there is no such class, or if another method
    has the name.
    """
    place = locate(target)
    constants = class_constants(target)
    name = name or str(constants.get("name") or place.attribute.lower())
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"{target}: a method's name is of a-z, 0-9 and _, not {name!r}.")
    if target.rpartition(":")[0].endswith(".py"):
        target = f"{place.file}:{place.attribute}"
    before = METHODS.get(name)
    if before is not None and before.installed and before.target != target:
        raise UsageError(
            f"{target}: another method is called {name!r} ({before.target}). "
            f'Give yours a name of its own: name = "..." in class {place.attribute}.'
        )
    title = str(constants.get("title") or place.attribute)
    modality: Modality = "multimodal" if constants.get("reads_images") else "text"
    METHODS[name] = Method(name, target, title, modality, in_paper=False, built_in=False)
    return METHODS[name]


def remember(name: str, title: str, modality: str) -> Method:
    """A method that stored runs are of: itself if it is known, else what the runs say of it, for tables."""
    if name not in METHODS:
        kind: Modality = "text" if modality == "text" else "multimodal"
        METHODS[name] = Method(name, "", title or name, kind, in_paper=False, built_in=False)
    return METHODS[name]


def _installed(point: EntryPoint) -> Method | None:
    """The method of an entry point; None if its source is not there (the package is half removed)."""
    try:
        place = locate(point.value.replace(" ", ""))
        if module_file(place.root, place.module) is None or point.name in METHODS:
            return None
        return register(f"{place.module}:{place.attribute}", point.name)
    except UsageError:
        return None


for _point in sorted(entry_points(group=GROUP)):
    _installed(_point)
