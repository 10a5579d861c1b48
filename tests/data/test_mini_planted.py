"""The embedded corpus as an experiment: the planted parts are in the files, are what the truth file says,
and can be learnt.

Suffixes: R reviews of a split, N items, A aspects, F width of a RoI feature.
"""

from __future__ import annotations

import collections
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

from benchmark.data.mini.corpus import PARTS, SPLITS, SUBSETS, MiniSpec, ceilings, mini_root
from benchmark.data.mini.latent import draw_counts, expected_label, label_cuts, part_shares, signal
from benchmark.data.mini.render import Detector
from benchmark.data.mini.words import N_ASPECTS, NUMBERS, WORDS

SPEC = MiniSpec()
CATEGORIES = [(dataset, category) for dataset in SPEC.datasets for category in SPEC.categories]
Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mini_root(tmp_path_factory.mktemp("cache"))


@dataclass(frozen=True)
class Split:
    """One split as read from its files, with its part of the truth."""

    root: Path
    dataset: str
    category: str
    split: str

    def table(self, kind: str) -> pd.DataFrame:
        return pd.read_json(self.root / self.dataset / self.category / f"{self.category}.{kind}.{self.split}")

    @cached_property
    def products(self) -> pd.DataFrame:
        return self.table("prd")

    @cached_property
    def reviews(self) -> pd.DataFrame:
        return self.table("rvw")

    @cached_property
    def label_R(self) -> npt.NDArray[np.int64]:
        return self.table("rel").upvotes.to_numpy()

    @cached_property
    def product_R(self) -> npt.NDArray[np.int64]:
        """Row of the review's product in `products`."""
        row = {name: i for i, name in enumerate(self.products.product_id)}
        return self.table("rel").product_id.map(row).to_numpy()

    @cached_property
    def truth(self) -> pd.DataFrame:
        table = pd.read_json(self.root / self.dataset / self.category / f"{self.category}.truth.json")
        return table[table.split == self.split].reset_index(drop=True)

    def rois(self, item: str) -> npt.NDArray[np.float32]:
        """All RoIs of an item, [V, F]; V = 0 without images."""
        folder = self.root / self.dataset / self.category / "features" / self.split
        path = folder / item / f"{item}.pth"
        if not path.exists():
            return np.zeros((0, SPEC.roi_width), np.float32)
        return torch.cat([image["x"] for image in torch.load(path, weights_only=True)]).numpy()

    @cached_property
    def review_rois(self) -> list[npt.NDArray[np.float32]]:
        return [self.rois(item) for item in self.reviews.review_id]

    @cached_property
    def product_rois(self) -> list[npt.NDArray[np.float32]]:
        return [self.rois(item) for item in self.products.product_id]

    def aspects(self, texts: pd.Series) -> npt.NDArray[np.bool_]:
        """Whether each text names each aspect, [N, A]."""
        words = WORDS[self.dataset][1][self.category].aspects
        found = [texts.str.lower().str.contains(rf"\b{word}\b", regex=True) for word in words]
        return np.stack(found, axis=1)

    @cached_property
    def named_RA(self) -> npt.NDArray[np.bool_]:
        return self.aspects(self.reviews.content)

    @cached_property
    def own_RA(self) -> npt.NDArray[np.bool_]:
        return self.aspects(self.products.name)[self.product_R]


@pytest.fixture(scope="module")
def splits(root: Path) -> dict[tuple[str, str, str], Split]:
    return {(d, c, s): Split(root, d, c, s) for d, c in CATEGORIES for s in SPLITS}


@pytest.fixture(scope="module")
def truth(splits: dict[tuple[str, str, str], Split]) -> pd.DataFrame:
    """The truth of all splits of all categories, and who may be relevant."""
    return pd.concat(split.truth for split in splits.values())


def mean_ap(split: Split, score_R: npt.ArrayLike, threshold: int = 0, rng: int = 0) -> float:
    """MAP by its definition, in a loop; ties broken at random."""
    score_R = np.asarray(score_R, np.float64)
    shuffle = np.random.default_rng(rng)
    values = []
    for product in range(len(split.products)):
        rows = shuffle.permutation(np.flatnonzero(split.product_R == product))
        ranked = split.label_R[rows[np.argsort(-score_R[rows], kind="stable")]] > threshold
        hits = [sum(ranked[: i + 1]) / (i + 1) for i in range(len(ranked)) if ranked[i]]
        values.append(np.mean(hits) if hits else 0.0)
    return float(np.mean(values))


def mean_ndcg(split: Split, score_R: npt.ArrayLike, k: int, rng: int = 0) -> float:
    """NDCG@k at threshold 0 by its definition; ties broken at random."""
    score_R = np.asarray(score_R, np.float64)
    shuffle = np.random.default_rng(rng)
    values = []
    for product in range(len(split.products)):
        rows = shuffle.permutation(np.flatnonzero(split.product_R == product))
        gains = 2.0 ** split.label_R[rows[np.argsort(-score_R[rows], kind="stable")]] - 1
        dcg = sum(g / np.log2(i + 2) for i, g in enumerate(gains[:k]))
        ideal = sum(g / np.log2(i + 2) for i, g in enumerate(sorted(gains, reverse=True)[:k]))
        values.append(dcg / ideal if ideal else 0.0)
    return float(np.mean(values))


# The truth file agrees with the other files


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_parts_can_be_read_off_the_files(
    splits: dict[tuple[str, str, str], Split], dataset: str, category: str
) -> None:
    """Texts by looking for words; RoIs by the nearest sum of a subject and a look."""
    detector = Detector(SPEC, dataset, category)
    n_looks = len(detector.look_LF)
    sums = (detector.subject_SF[:, None] + detector.look_LF[None]).reshape(-1, SPEC.roi_width)

    def decode(roi_VF: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        nearest = (-2 * roi_VF @ sums.T + (sums**2).sum(axis=1)).argmin(axis=1)
        return nearest // n_looks, nearest % n_looks

    split = splits[dataset, category, "test"]
    assert list(split.truth.review_id) == list(split.reviews.review_id)
    np.testing.assert_array_equal(split.truth.label, split.label_R)
    text_R = (split.named_RA & split.own_RA).sum(axis=1) / SPEC.mention_slots
    np.testing.assert_allclose(split.truth.text, text_R)
    np.testing.assert_allclose(
        split.truth.detail, split.reviews.content.str.count(r"\d+") / SPEC.detail_slots
    )

    own_aspects = split.aspects(split.products.name)
    look_of_product = {}
    for product, rois in enumerate(split.product_rois):
        subjects, looks = decode(rois)
        assert len(np.unique(looks)) <= 1  # a product has one look, and shows its own aspects
        assert own_aspects[product][subjects].all()
        look_of_product[product] = looks[0] if len(looks) else None
    for row, rois in enumerate(split.review_rois):
        subjects, looks = decode(rois)
        assert split.truth.has_image[row] == (len(rois) > 0)
        named = np.flatnonzero(split.named_RA[row])
        shown = np.isin(subjects, named).mean() if len(rois) else 0.5
        own_look = look_of_product[split.product_R[row]]
        alike = (looks == own_look).mean() if len(rois) and own_look is not None else 0.5
        assert split.truth.image_text[row] == pytest.approx(shown)
        assert split.truth.image_image[row] == pytest.approx(alike)


def test_every_review_names_an_aspect(splits: dict[tuple[str, str, str], Split]) -> None:
    assert all(split.named_RA.any(axis=1).all() for split in splits.values())


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_words_occur_often_enough_for_the_vocabulary(
    splits: dict[tuple[str, str, str], Split], dataset: str, category: str
) -> None:
    """Frequency >= 5 in train per field: all aspects, all numbers, and nearly every token of a review."""
    split = splits[dataset, category, "train"]
    of_names, of_reviews = (
        [re.findall(r"\w+|[^\w\s]", text.lower()) for text in texts]
        for texts in (split.products.name, split.reviews.content)
    )
    name_counts, review_counts = (
        collections.Counter(w for words in texts for w in words) for texts in (of_names, of_reviews)
    )
    for aspect in WORDS[dataset][1][category].aspects:
        assert min(name_counts[aspect], review_counts[aspect]) >= 5
    assert min(review_counts[str(number)] for number in NUMBERS) >= 5
    assert sum(n for n in review_counts.values() if n < 5) < 0.02 * review_counts.total()
    assert 15 <= np.median([len(words) for words in of_reviews]) <= 25


# The latent helpfulness is what the spec says


def test_latent_is_the_weighted_sum_of_the_parts(truth: pd.DataFrame) -> None:
    """Least squares finds the weights (within four standard errors) and the noise."""
    design = np.column_stack([np.ones(len(truth)), *(2 * truth[part] - 1 for part in PARTS)])
    found, residual, _, _ = np.linalg.lstsq(design, truth.latent.to_numpy(), rcond=None)
    noise = np.sqrt(residual[0] / (len(truth) - 5))
    error = noise * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    assert np.all(np.abs(found - [0.0, *SPEC.weights.values()]) < 4 * error)
    assert noise == pytest.approx(SPEC.noise, rel=0.05)
    np.testing.assert_allclose(truth.signal, design[:, 1:] @ list(SPEC.weights.values()), atol=1e-12)


def test_parts_are_independent_and_centred(truth: pd.DataFrame) -> None:
    seen = truth[truth.has_image]
    bound = 4 / np.sqrt(len(seen))
    correlation = seen[list(PARTS)].corr().to_numpy()
    assert np.abs(correlation - np.eye(len(PARTS))).max() < bound
    assert np.abs(seen[list(PARTS)].mean() - 0.5).max() < bound


def test_labels_are_the_latent_cut_at_the_published_cuts(root: Path, truth: pd.DataFrame) -> None:
    about = json.loads((root / "synthetic.json").read_text())
    for dataset, category in CATEGORIES:
        cuts = about["categories"][f"{dataset}/{category}"]["label_cuts"]
        rows = truth[truth.product_id.str.startswith(f"{dataset[0]}{category[0]}-")]
        np.testing.assert_array_equal(rows.label, (rows.latent.to_numpy()[:, None] > cuts).sum(axis=1))


def test_labels_are_skewed_as_specified(
    truth: pd.DataFrame, splits: dict[tuple[str, str, str], Split]
) -> None:
    shares = truth.label.value_counts(normalize=True).sort_index()
    np.testing.assert_allclose(shares, SPEC.label_shares, atol=0.02)
    for split in splits.values():
        # A product with fewer than three distinct labels gives no training pair at label gap 1.
        distinct = pd.Series(split.label_R).groupby(split.product_R).nunique()
        assert (distinct >= 3).mean() > 0.7


def test_expected_label_is_the_mean_over_the_noise() -> None:
    rng = np.random.default_rng(5)
    cuts = label_cuts(SPEC, "amazon", "home")
    signal_R = np.array([-1.5, 0.0, 0.4, 2.0, 3.0])
    draws = signal_R[:, None] + SPEC.noise * rng.standard_normal((5, 100_000))
    simulated = np.searchsorted(cuts, draws).mean(axis=1)
    np.testing.assert_allclose(expected_label(signal_R, cuts, SPEC.noise), simulated, atol=0.01)
    exact = expected_label(signal_R, cuts, 0.0)
    np.testing.assert_array_equal(exact, np.searchsorted(cuts, signal_R))


def test_cuts_give_the_label_shares_for_any_spec() -> None:
    spec = MiniSpec(noise=1.0, reviews_with_images=0.3, label_shares=(0.2, 0.2, 0.2, 0.2, 0.2))
    cuts = label_cuts(spec, "lazada", "home")
    rng = np.random.default_rng(6)
    counts = draw_counts(rng, spec, 50_000)
    latent = signal(part_shares(counts, spec, rng.random(50_000) < spec.products_with_images), spec.weights)
    labels = np.searchsorted(cuts, latent + rng.standard_normal(50_000))
    np.testing.assert_allclose(np.bincount(labels) / 50_000, spec.label_shares, atol=0.01)


# Ceilings


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_ceilings_by_another_route(
    root: Path, splits: dict[tuple[str, str, str], Split], dataset: str, category: str
) -> None:
    """Loops instead of closed forms, random orders of ties instead of their expectation."""
    split = splits[dataset, category, "test"]
    known = ceilings(root, dataset, category)
    for subset, draws in (("all", 3), ("text", 40)):
        score = sum(SPEC.weights[part] * split.truth[part] for part in SUBSETS[subset]).round(9)
        maps = [mean_ap(split, score, rng=i) for i in range(draws)]
        assert known[subset]["map"] == pytest.approx(np.mean(maps), abs=0.01)
        ndcgs = [mean_ndcg(split, score, 3, rng=i) for i in range(draws)]
        assert known[subset]["ndcg@3"] == pytest.approx(np.mean(ndcgs), abs=0.02)
    above_one = mean_ap(split, split.truth.expected, threshold=1)
    assert ceilings(root, dataset, category, 1)["all"]["map"] == pytest.approx(above_one, abs=0.01)
    about = json.loads((root / "synthetic.json").read_text())["categories"][f"{dataset}/{category}"]
    assert about["test_ceilings"] == {f"threshold {t}": ceilings(root, dataset, category, t) for t in (0, 1)}


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_each_modality_has_its_own_share(root: Path, dataset: str, category: str) -> None:
    best = {subset: values["map"] for subset, values in ceilings(root, dataset, category).items()}
    assert best["all"] > 0.94
    assert best["all"] > best["text"] + 0.15
    for one_image_part in ("text+image_text", "text+image_image"):
        assert best["text"] + 0.04 < best[one_image_part] < best["all"] - 0.04
    assert best["text"] > max(best["only text"], best["only detail"]) + 0.005


def test_has_image_tells_nothing(root: Path, splits: dict[tuple[str, str, str], Split]) -> None:
    gains, room = [], []
    for dataset, category in CATEGORIES:
        split = splits[dataset, category, "test"]
        by_image = np.mean([mean_ap(split, split.truth.has_image, rng=i) for i in range(5)])
        at_random = np.mean([mean_ap(split, np.zeros(len(split.label_R)), rng=i) for i in range(20)])
        gains.append(by_image - at_random)
        room.append(ceilings(root, dataset, category)["all"]["map"] - at_random)
    assert abs(np.mean(gains)) < 0.015
    assert np.abs(gains).max() < 0.05
    assert min(room) > 0.3


# What simple learners find


class Learner:
    """Ridge regression of the label on hand-made features, by what it is allowed to see."""

    def __init__(self, train: Split, test: Split) -> None:
        self.train, self.test = train, test
        words = CountVectorizer(min_df=5, token_pattern=r"\w+|[^\w\s]")
        self.words = (
            words.fit_transform(train.reviews.content).toarray(),
            words.transform(test.reviews.content).toarray(),
        )

    def features(self, see: str, split: Split) -> Array:
        if see == "words":
            return self.words[0 if split is self.train else 1]
        if see == "matching":
            return (split.named_RA & split.own_RA).sum(axis=1, keepdims=True)
        mean_RF = np.stack(
            [rois.mean(axis=0) if len(rois) else np.zeros(SPEC.roi_width) for rois in split.review_rois]
        )
        if see == "rois":
            return mean_RF
        assert see == "roi matching"
        named = split.named_RA / split.named_RA.sum(axis=1, keepdims=True)
        product_RF = np.stack(
            [rois.mean(axis=0) if len(rois) else np.zeros(SPEC.roi_width) for rois in split.product_rois]
        )[split.product_R]
        # Bilinear forms: review text x review image, product image x review image.
        prototypes = np.linalg.lstsq(self._shown(self.train), self._rows(self.train), rcond=None)[0]
        in_text = ((named @ prototypes[:N_ASPECTS]) * mean_RF).sum(axis=1)
        alike = (product_RF * mean_RF).sum(axis=1)
        return np.column_stack([in_text, alike])

    def _rows(self, split: Split) -> Array:
        return np.concatenate([rois.mean(axis=0, keepdims=True) for rois in split.product_rois if len(rois)])

    def _shown(self, split: Split) -> Array:
        """Aspects of each product with images, [N, A]: its mean RoI is about the mean of their prototypes."""
        own = split.aspects(split.products.name)[[len(rois) > 0 for rois in split.product_rois]]
        return own / own.sum(axis=1, keepdims=True)

    def predict(self, see: tuple[str, ...], target_R: npt.ArrayLike, alpha: float = 20.0) -> Array:
        train = np.hstack([self.features(s, self.train) for s in see])
        test = np.hstack([self.features(s, self.test) for s in see])
        scale = train.std(axis=0) + 1e-9
        model = Ridge(alpha=alpha).fit(train / scale, target_R)
        return np.asarray(model.predict(test / scale))


@pytest.fixture(scope="module")
def learners(splits: dict[tuple[str, str, str], Split]) -> list[Learner]:
    return [Learner(splits[d, c, "train"], splits[d, c, "test"]) for d, c in CATEGORIES]


def test_text_is_learnable_and_images_add_to_it(learners: list[Learner]) -> None:
    """Words alone beat a random order; RoIs add much; matching adds more on either side."""
    maps = {
        see: np.array([mean_ap(x.test, x.predict(see, x.train.label_R)) for x in learners])
        for see in (
            ("words",),
            ("words", "matching"),
            ("words", "rois"),
            ("words", "matching", "rois", "roi matching"),
        )
    }
    at_random = np.array([mean_ap(x.test, np.zeros(len(x.test.label_R)), rng=1) for x in learners])
    words, matched, rois, everything = maps.values()
    assert np.mean(words - at_random) > 0.06
    assert np.mean(matched - words) > 0.01
    assert np.mean(rois - words) > 0.08
    assert np.sum(rois > words + 0.03) >= 5
    assert np.mean(everything - rois) > 0.02


def test_shuffled_labels_teach_nothing(learners: list[Learner]) -> None:
    """Labels permuted within products: six categories by ten permutations end at a random order's value.

    The target is the label less its product's mean, which is all that a pairwise loss sees. (A pointwise
    loss still learns from permuted labels: products with more helpful reviews keep a higher mean.)"""
    rng = np.random.default_rng(11)
    gains = []
    for learner in learners:
        at_random = np.mean(
            [mean_ap(learner.test, np.zeros(len(learner.test.label_R)), rng=i) for i in range(10)]
        )
        for _ in range(10):
            label_R = learner.train.label_R.astype(np.float64)
            for product in range(len(learner.train.products)):
                rows = np.flatnonzero(learner.train.product_R == product)
                label_R[rows] = rng.permutation(label_R[rows] - label_R[rows].mean())
            gains.append(mean_ap(learner.test, learner.predict(("words", "rois"), label_R)) - at_random)
    assert abs(np.mean(gains)) < 0.015


def test_a_linear_probe_finds_the_image_parts(learners: list[Learner]) -> None:
    """Mean RoIs show a good part of each image part, and matching shows what they cannot."""
    for part, least in (("image_text", 0.2), ("image_image", 0.2)):
        first_order, matched, from_words = [], [], []
        for learner in learners:
            seen_train = learner.train.truth.has_image.to_numpy()
            seen_test = learner.test.truth.has_image.to_numpy()
            target = learner.test.truth[part].to_numpy()[seen_test]
            source = np.where(seen_train, learner.train.truth[part], 0.5)
            for see, found in (
                (("rois",), first_order),
                (("rois", "roi matching"), matched),
                (("words",), from_words),
            ):
                guess = learner.predict(see, source)[seen_test]
                found.append(np.corrcoef(guess, target)[0, 1] ** 2)
        assert np.mean(first_order) > least
        assert np.mean(matched) > np.mean(first_order) + 0.05
        assert np.mean(from_words) < 0.03
