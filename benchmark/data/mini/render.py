"""Plans of products and reviews -> words and RoI features.

V RoIs of one image, F width of a RoI feature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmark.core.seeding import generator
from benchmark.data.mini.latent import OFF_TOPIC, IntArray, MiniSpec, ProductPlan, ReviewPlan
from benchmark.data.mini.words import N_ASPECTS, NUMBERS, WORDS

Float32Array = npt.NDArray[np.float32]


class Writer:
    """Puts plans of one category into words."""

    def __init__(self, dataset: str, category: str) -> None:
        self.language, topics = WORDS[dataset]
        self.topic = topics[category]
        self.aspects = tuple(self.topic.aspects)

    def name(self, rng: np.random.Generator, product: ProductPlan) -> tuple[str, str]:
        """(brand, name). A name gives kind, brand and all aspects, like a shop's title made for search:
        Lazada clothing has no other product text, so the name alone must say what to match."""
        language = self.language
        brand = _pick(rng, language.brands)
        parts = [_pick(rng, self.topic.kinds), brand, _pick(rng, language.audiences)]
        return brand, _capital(" ".join([*parts, *(self.aspects[a] for a in product.aspects)]))

    def description(self, rng: np.random.Generator, product: ProductPlan) -> str:
        """One clause per aspect, in another order than the name's."""
        clauses = [
            self._clause(rng, self.language.features, int(a)) for a in rng.permutation(product.aspects)
        ]
        return f"{_pick(rng, self.language.openings)} {', '.join(clauses)}."

    def review(self, rng: np.random.Generator, spec: MiniSpec, review: ReviewPlan) -> str:
        """All clauses in random order."""
        clauses = [self._mention(rng, aspect) for aspect in review.mentions]
        clauses += [self._detail(rng) for _ in range(review.detail_hits)]
        fillers = rng.binomial(spec.detail_slots - review.detail_hits, spec.filler_share)
        clauses += [_pick(rng, self.language.fillers) for _ in range(fillers)]
        return _sentences(rng, [clauses[i] for i in rng.permutation(len(clauses))])

    def _mention(self, rng: np.random.Generator, aspect: int) -> str:
        if aspect == OFF_TOPIC:
            return _pick(rng, self.language.off_topic)
        return self._clause(rng, self.language.mentions, aspect)

    def _detail(self, rng: np.random.Generator) -> str:
        return _pick(rng, self.topic.details).replace("{n}", str(NUMBERS[rng.integers(len(NUMBERS))]))

    def _clause(self, rng: np.random.Generator, templates: Sequence[str], aspect: int) -> str:
        word = self.aspects[aspect]
        clause = (
            _pick(rng, templates).replace("{a}", word).replace("{w}", _pick(rng, self.topic.aspects[word]))
        )
        while "{o}" in clause:
            clause = clause.replace("{o}", _pick(rng, self.language.opinions), 1)
        return clause


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentences(rng: np.random.Generator, clauses: Sequence[str]) -> str:
    """Clauses joined by a comma or a full stop, at random."""
    text = _capital(clauses[0])
    for clause, stop in zip(clauses[1:], rng.random(len(clauses) - 1) < 0.4, strict=True):
        text += f". {_capital(clause)}" if stop else f", {clause}"
    return f"{text}."


class Detector:
    """Gives the RoI features that an object detector would: subject + look + noise.

    Prototypes are random signs, so nearly orthogonal, fixed per category and the same in all its splits.
    (No matrix factorisation: its last bits depend on the linear algebra library.)"""

    def __init__(self, spec: MiniSpec, dataset: str, category: str) -> None:
        rng = generator(spec.seed, "mini prototypes", dataset, category)
        n_subjects = N_ASPECTS + spec.clutter_kinds
        signs = rng.integers(0, 2, (n_subjects + spec.looks, spec.roi_width)) * 2 - 1
        self.subject_SF: Float32Array = signs[:n_subjects].astype(np.float32)
        """[aspects, then sorts of clutter; F]"""
        no_look = np.zeros((1, spec.roi_width), np.float32)
        self.look_LF: Float32Array = np.concatenate([signs[n_subjects:].astype(np.float32), no_look])
        """[looks, then none; F]"""
        self.noise = np.float32(spec.roi_noise)

    def rois(self, rng: np.random.Generator, subject_V: IntArray, look_V: IntArray) -> Float32Array:
        """Features of one image, float32 [V, F]."""
        roi_VF = self.subject_SF[subject_V] + self.look_LF[look_V]
        return roi_VF + self.noise * rng.standard_normal(roi_VF.shape, dtype=np.float32)
