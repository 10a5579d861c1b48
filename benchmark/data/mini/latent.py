"""What the embedded corpus plants: the parts of helpfulness, and how reviews come to have them.

A product has its own aspects (of the category's ten) and a look. A review has mention slots, detail slots
and, mostly, images of a few RoIs. Four parts, each a share in [0, 1] with mean 1/2, drawn independently:

- `text`: mention slots that name an aspect of this product; the others name another aspect of the category
  (seen only by matching with the product) or the shop and the courier (seen in the words alone);
- `detail`: detail slots that hold a measurement; the others hold a phrase that says nothing;
- `image_text`: RoIs that show an aspect named in the review's own text; the others show clutter (seen in
  the RoI alone) or another aspect (seen only by matching with the text);
- `image_image`: RoIs with the look of the product's own images; the others have no look at all (seen in
  the RoI alone) or another product's look (seen only by matching with the product's images).

    signal = sum_k weight_k (2 part_k - 1),   latent = signal + N(0, noise^2),   label = #(cuts < latent)

A part that needs images is 1/2 where they are missing, so it adds nothing there and "has an image" tells
nothing about the label (compare defect P16). Since the parts are independent and the noise is the same for
all, ranking by the signal is the best that any method can do in expectation, and ranking by some of its
terms the best that a method can do that sees only these parts.

Suffixes: R reviews of a product, S mention slots, V RoIs of one review.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from benchmark.core.errors import UsageError
from benchmark.core.seeding import generator
from benchmark.data.mini.words import N_ASPECTS

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PARTS = ("text", "detail", "image_text", "image_image")
"""The planted parts, in the order of every table of them."""
OFF_TOPIC = -1
"""In a mention slot: the shop instead of an aspect."""
CALIBRATION_DRAWS = 200_000
"""Simulated reviews from which the cuts between labels come; they then miss a share by 0.2 points or so."""


@dataclass(frozen=True)
class MiniSpec:
    """Everything that decides the content of a synthetic corpus. The defaults are `mini`."""

    train_products: int = 72
    """Products of the train split, per category."""
    dev_products: int = 24
    test_products: int = 40
    min_reviews: int = 8
    """Reviews per product, at least; the number is uniform between the two."""
    max_reviews: int = 10
    datasets: tuple[str, ...] = ("lazada", "amazon")
    categories: tuple[str, ...] = ("clothing", "electronics", "home")
    roi_width: int = 64
    """F. 2048 in the published release."""
    min_images: int = 1
    """Images of an item that has any; the number is uniform between the two."""
    max_images: int = 2
    min_rois: int = 2
    """RoIs of an image; the number is uniform between the two."""
    max_rois: int = 4
    products_with_images: float = 0.95
    """Share of products with images, whatever their reviews."""
    reviews_with_images: float = 0.85
    """Share of reviews with images, whatever their helpfulness."""
    own_aspects: int = 4
    """Aspects of a product, of the category's ten."""
    mention_slots: int = 3
    """Clauses of a review that name an aspect or talk of the shop."""
    detail_slots: int = 2
    """Clauses of a review that measure something or say nothing."""
    filler_share: float = 0.85
    """Of the detail slots without a measurement: the share that holds a phrase; the others stay empty."""
    off_topic_share: float = 0.65
    """Of the mention slots that miss: the share that needs no product to be recognised."""
    clutter_share: float = 0.65
    """Of the RoIs that show nothing named in the text: the share that shows clutter."""
    dull_share: float = 0.65
    """Of the RoIs without the product's look: the share that has no look at all."""
    clutter_kinds: int = 4
    """Different sorts of clutter."""
    looks: int = 5
    """Different looks; a product has one."""
    roi_noise: float = 0.4
    """Standard deviation of a RoI value around its prototype: +-1 for the subject plus +-1 for the look."""
    weight_text: float = 0.65
    """Weight of the part `text` in the latent helpfulness; likewise below."""
    weight_detail: float = 0.65
    weight_image_text: float = 1.25
    weight_image_image: float = 1.25
    noise: float = 0.3
    """Standard deviation of what nothing explains, on the scale of the weights."""
    label_shares: tuple[float, ...] = (0.54, 0.20, 0.12, 0.09, 0.05)
    """Expected shares of the labels 0..4: skewed, like real votes."""
    seed: int = 2024

    def __post_init__(self) -> None:
        _check(self)

    @property
    def weights(self) -> dict[str, float]:
        """Part -> weight, in the order of `PARTS`."""
        return {part: float(getattr(self, f"weight_{part}")) for part in PARTS}

    def products(self, split: str) -> int:
        """Products of one split of one category."""
        return int(getattr(self, f"{split}_products"))

    def as_json(self) -> dict[str, object]:
        """The fields as JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def _check(spec: MiniSpec) -> None:
    """Refuse a spec that cannot be generated, naming the field."""
    for low, high, least in (
        ("min_reviews", "max_reviews", 1),
        ("min_images", "max_images", 1),
        ("min_rois", "max_rois", 1),
    ):
        if not least <= getattr(spec, low) <= getattr(spec, high):
            raise UsageError(
                f"synthetic corpus: {least} <= {low} <= {high} is needed, "
                f"got {low}={getattr(spec, low)}, {high}={getattr(spec, high)}"
            )
    minima = {
        **dict.fromkeys(("train_products", "dev_products", "test_products"), 1),
        **dict.fromkeys(("mention_slots", "detail_slots", "clutter_kinds"), 1),
        "looks": 2,
        "roi_width": 16,
    }
    for name, least in minima.items():
        if getattr(spec, name) < least:
            raise UsageError(f"synthetic corpus: {name} must be at least {least}, got {getattr(spec, name)}")
    slots = spec.mention_slots
    if not slots <= spec.own_aspects <= N_ASPECTS - slots:
        raise UsageError(
            f"synthetic corpus: {slots} mention slots and {N_ASPECTS} aspects need "
            f"{slots} <= own_aspects <= {N_ASPECTS - slots}, got {spec.own_aspects}"
        )
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name.endswith("_share") or field.name.endswith("_with_images"):
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"synthetic corpus: {field.name} must be in [0, 1], got {value}")
        elif isinstance(value, float) and not (math.isfinite(value) and value >= 0.0):
            raise UsageError(f"synthetic corpus: {field.name} must be finite and not negative, got {value}")
    if len(spec.label_shares) != 5 or min(spec.label_shares) <= 0 or abs(sum(spec.label_shares) - 1) > 1e-9:
        raise UsageError(
            f"synthetic corpus: label_shares must be five positive numbers that sum to 1, "
            f"got {spec.label_shares}"
        )


@dataclass(frozen=True)
class Counts:
    """How many slots and RoIs of each review agree; all arrays [R]."""

    text_hits_R: IntArray
    detail_hits_R: IntArray
    images_R: IntArray
    """0 where the review has no image."""
    rois_R: IntArray
    """All images together; 0 where the review has no image."""
    image_text_hits_R: IntArray
    image_image_hits_R: IntArray


def draw_counts(rng: np.random.Generator, spec: MiniSpec, n: int) -> Counts:
    """Counts of n reviews, every hit count uniform on 0..slots, so that a part has mean 1/2 whatever
    the number of slots."""
    images_R = rng.integers(spec.min_images, spec.max_images + 1, n)
    images_R *= rng.random(n) < spec.reviews_with_images
    rois_R = np.zeros(n, np.int64)
    for i in range(spec.max_images):
        rois_R += (i < images_R) * rng.integers(spec.min_rois, spec.max_rois + 1, n)
    return Counts(
        text_hits_R=rng.integers(0, spec.mention_slots + 1, n),
        detail_hits_R=rng.integers(0, spec.detail_slots + 1, n),
        images_R=images_R,
        rois_R=rois_R,
        image_text_hits_R=rng.integers(0, rois_R + 1),
        image_image_hits_R=rng.integers(0, rois_R + 1),
    )


def part_shares(
    counts: Counts, spec: MiniSpec, product_has_images: BoolArray | bool
) -> dict[str, FloatArray]:
    """Part -> share in [0, 1], [R] each; 1/2 where the images that it compares are missing."""
    rois_R = np.maximum(counts.rois_R, 1)
    seen_R = counts.rois_R > 0
    return {
        "text": counts.text_hits_R / spec.mention_slots,
        "detail": counts.detail_hits_R / spec.detail_slots,
        "image_text": np.where(seen_R, counts.image_text_hits_R / rois_R, 0.5),
        "image_image": np.where(seen_R & product_has_images, counts.image_image_hits_R / rois_R, 0.5),
    }


def signal(
    shares: Mapping[str, npt.ArrayLike], weights: Mapping[str, float], parts: Sequence[str] = PARTS
) -> FloatArray:
    """`sum_k weight_k (2 part_k - 1)` over `parts`, [R]: what these parts explain of the latent."""
    terms = [weights[part] * (2.0 * np.asarray(shares[part], np.float64) - 1.0) for part in parts]
    return np.asarray(np.sum(terms, axis=0), np.float64)


def label_cuts(spec: MiniSpec, *purpose: int | str) -> FloatArray:
    """The four cuts between labels, [4]: quantiles of a simulated latent at the cumulated label shares.

    The latent is a sum of a few discrete terms and a normal one; simulating it with the corpus's own
    `draw_counts` keeps the shares right for every spec."""
    rng = generator(spec.seed, "mini cuts", *purpose)
    counts = draw_counts(rng, spec, CALIBRATION_DRAWS)
    with_images = rng.random(CALIBRATION_DRAWS) < spec.products_with_images
    latent = signal(part_shares(counts, spec, with_images), spec.weights)
    latent += spec.noise * rng.standard_normal(CALIBRATION_DRAWS)
    return np.asarray(np.quantile(latent, np.cumsum(spec.label_shares)[:-1]), np.float64)


def expected_label(signal_R: FloatArray, cuts: FloatArray, noise: float) -> FloatArray:
    """E[label | signal], [R]: the sum over the cuts of P(signal + noise > cut)."""
    if noise == 0.0:
        return np.asarray((signal_R[:, None] > cuts).sum(axis=1), np.float64)
    z = (signal_R[:, None] - cuts) / (noise * math.sqrt(2.0))
    return np.asarray((0.5 * (1.0 + np.vectorize(math.erf)(z))).sum(axis=1), np.float64)


@dataclass(frozen=True)
class ProductPlan:
    """A product before it is put into words and RoIs."""

    aspects: tuple[int, ...]
    """Its own aspects, in the order in which its name gives them."""
    look: int
    roi_subjects: tuple[IntArray, ...]
    """Per image, [V]: the aspect that each RoI shows. Empty: no image."""


@dataclass(frozen=True)
class ReviewPlan:
    """A review before it is put into words and RoIs."""

    mentions: tuple[int, ...]
    """Per mention slot: an aspect, or `OFF_TOPIC`."""
    detail_hits: int
    roi_subjects: tuple[IntArray, ...]
    """Per image, [V]: an aspect, or N_ASPECTS + the sort of clutter."""
    roi_looks: tuple[IntArray, ...]
    """Per image, [V]: a look, or `spec.looks` for none."""


@dataclass(frozen=True)
class Truth:
    """The latent side of a product's reviews, [R] each; what the truth file holds."""

    shares: dict[str, FloatArray]
    has_image_R: BoolArray
    signal_R: FloatArray
    expected_R: FloatArray
    """E[label | parts]."""
    latent_R: FloatArray
    label_R: IntArray


def plan_product(rng: np.random.Generator, spec: MiniSpec) -> ProductPlan:
    aspects = rng.permutation(N_ASPECTS)[: spec.own_aspects]
    look = int(rng.integers(spec.looks))
    images = int(rng.integers(spec.min_images, spec.max_images + 1)) * int(
        rng.random() < spec.products_with_images
    )
    subjects = tuple(
        rng.choice(aspects, rng.integers(spec.min_rois, spec.max_rois + 1)).astype(np.int64)
        for _ in range(images)
    )
    return ProductPlan(tuple(aspects.tolist()), look, subjects)


def plan_reviews(
    rng: np.random.Generator, spec: MiniSpec, product: ProductPlan, cuts: FloatArray
) -> tuple[list[ReviewPlan], Truth]:
    """The reviews of one product and their truth."""
    n = int(rng.integers(spec.min_reviews, spec.max_reviews + 1))
    counts = draw_counts(rng, spec, n)
    shares = part_shares(counts, spec, bool(product.roi_subjects))
    signal_R = signal(shares, spec.weights)
    latent_R = signal_R + spec.noise * rng.standard_normal(n)
    truth = Truth(
        shares=shares,
        has_image_R=counts.rois_R > 0,
        signal_R=signal_R,
        expected_R=expected_label(signal_R, cuts, spec.noise),
        latent_R=latent_R,
        label_R=np.searchsorted(cuts, latent_R).astype(np.int64),
    )
    return [_plan_review(rng, spec, product, counts, r) for r in range(n)], truth


def _plan_review(
    rng: np.random.Generator, spec: MiniSpec, product: ProductPlan, counts: Counts, r: int
) -> ReviewPlan:
    mentions = _mentions(rng, spec, product, int(counts.text_hits_R[r]))
    named = [aspect for aspect in mentions if aspect != OFF_TOPIC]
    n_rois, n_images = int(counts.rois_R[r]), int(counts.images_R[r])
    subject_V = _subjects(rng, spec, named, n_rois, int(counts.image_text_hits_R[r]))
    look_V = _looks(rng, spec, product.look, n_rois, int(counts.image_image_hits_R[r]))
    ends = _image_ends(rng, spec, n_rois, n_images)
    return ReviewPlan(
        mentions,
        int(counts.detail_hits_R[r]),
        tuple(np.split(subject_V, ends)) if n_images else (),
        tuple(np.split(look_V, ends)) if n_images else (),
    )


def _mentions(rng: np.random.Generator, spec: MiniSpec, product: ProductPlan, hits: int) -> tuple[int, ...]:
    """Mention slots in random order. No aspect twice, and at least one aspect, so that images always have
    something to agree with."""
    others = np.setdiff1d(np.arange(N_ASPECTS), product.aspects)
    own = rng.permutation(product.aspects)[:hits]
    other = rng.permutation(others)[: spec.mention_slots - hits]
    off_topic = rng.random(len(other)) < spec.off_topic_share
    if hits == 0:
        off_topic[0] = False
    slots = np.concatenate([own, np.where(off_topic, OFF_TOPIC, other)])
    return tuple(rng.permutation(slots).astype(int).tolist())


def _subjects(rng: np.random.Generator, spec: MiniSpec, named: Sequence[int], n: int, hits: int) -> IntArray:
    """What each RoI shows, [V]: `hits` of them an aspect named in the text."""
    unnamed = np.setdiff1d(np.arange(N_ASPECTS), named)
    misses = n - hits
    clutter = N_ASPECTS + rng.integers(0, spec.clutter_kinds, misses)
    miss = np.where(rng.random(misses) < spec.clutter_share, clutter, rng.choice(unnamed, misses))
    return rng.permutation(np.concatenate([rng.choice(named, hits), miss])).astype(np.int64)


def _looks(rng: np.random.Generator, spec: MiniSpec, own: int, n: int, hits: int) -> IntArray:
    """The look of each RoI, [V]: `hits` of them the product's own."""
    misses = n - hits
    other = (own + rng.integers(1, spec.looks, misses)) % spec.looks
    miss = np.where(rng.random(misses) < spec.dull_share, spec.looks, other)
    return rng.permutation(np.concatenate([np.full(hits, own), miss])).astype(np.int64)


def _image_ends(rng: np.random.Generator, spec: MiniSpec, n_rois: int, n_images: int) -> list[int]:
    """Where to cut n_rois into images, each of them of an allowed size."""
    ends: list[int] = []
    start = 0
    for image in range(n_images - 1):
        left = n_images - image - 1
        low = max(spec.min_rois, n_rois - start - left * spec.max_rois)
        high = min(spec.max_rois, n_rois - start - left * spec.min_rois)
        start += int(rng.integers(low, high + 1))
        ends.append(start)
    return ends
