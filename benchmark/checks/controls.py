"""Controls: the harness must find nothing where there is nothing, and find what was planted (torch-free).

Negative: methods trained on shuffled labels rank like a random order; equal methods get marks at the nominal
rate. Positive, on a synthetic corpus whose planted parts are known: without images the multimodal methods
fall, to no more than what text can reach, and the text-only ones do not move; a scorer that sees the truth
reaches exactly the stated ceiling.

Seeds S, products P; values are 0..1, arrays `[seeds, products]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from tabulate import tabulate

from benchmark import models
from benchmark.core.errors import DataError
from benchmark.core.files import read_json
from benchmark.core.metrics import PAPER_METRICS, per_product_table
from benchmark.core.seeding import generator
from benchmark.data.datasets import rank
from benchmark.data.mini.corpus import ceilings
from benchmark.report.grid import best_baseline, group_settings
from benchmark.runs.described import data_sets_of
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import StoredRun
from benchmark.stats.correction import holm
from benchmark.stats.crossed import CrossedResult, crossed_test, seed_interval

Floats = NDArray[np.float64]
Kind = Literal["negative", "positive"]
METRIC = "map"
ALPHA = 0.05
WITHOUT_IMAGES = "train.max_rois=0"
"""The override under which every item has "no image"."""


@dataclass(frozen=True)
class Control:
    """One control and how it ended."""

    kind: Kind
    name: str
    ok: bool
    found: str
    """The numbers, in percent or points."""
    expected: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Place:
    """One method on one category: its runs in the order of their seeds."""

    dataset: str
    category: str
    method: str
    runs: tuple[StoredRun, ...]

    @property
    def values(self) -> Floats:
        """MAP, `[S, P]`."""
        return np.stack([run.values(METRIC) for run in self.runs])

    @property
    def random_order(self) -> Floats:
        """Expected value of a random order, `[P]`."""
        values: Floats = self.runs[0].random_values(METRIC)
        return values

    def __str__(self) -> str:
        return f"{models.get(self.method).title} on {self.dataset}/{self.category}"


def places(runs: Sequence[StoredRun]) -> list[Place]:
    """The runs by method, data set and category, in the order of the registry and the descriptors."""
    found: dict[tuple[str, str, str], list[StoredRun]] = {}
    for run in runs:
        found.setdefault((run.spec.method, run.spec.dataset, run.spec.category), []).append(run)
    names, data_sets = list(models.METHODS), data_sets_of(runs)
    order = sorted(
        found,
        key=lambda key: (names.index(key[0]), rank(key[1]), data_sets[key[1]].category_names.index(key[2])),
    )
    return [
        Place(dataset, category, method, tuple(sorted(found[key], key=lambda run: run.spec.seed)))
        for key in order
        for method, dataset, category in [key]
    ]


# Negative ----------------------------------------------------------------------------------------------------


def shuffled_labels(shuffled: Sequence[Place]) -> list[Control]:
    """Each place's interval of (method - random order); it must hold 0, Holm over all of them."""
    results = [against_random_order(place) for place in shuffled]
    adjusted = holm([np.nan if one.p_value is None else one.p_value for one in results])
    return [
        Control(
            "negative",
            f"shuffled labels: {place}",
            bool(p >= ALPHA),  # NaN, where no test was possible, is not a pass
            f"{_points(result)} to a random order's {100 * place.random_order.mean():.1f}, p (Holm) {p:.3f}",
            "no difference",
        )
        for place, result, p in zip(shuffled, results, adjusted, strict=True)
    ]


def against_random_order(place: Place) -> CrossedResult:
    """The crossed test of a method against the random order's expectation, which no seed moves."""
    return crossed_test(place.values, np.tile(place.random_order, (len(place.runs), 1)))


@dataclass(frozen=True)
class Marks:
    """How many of so many comparisons of equal methods carry a mark."""

    comparisons: int
    single: int
    """`*` or `**`."""
    double: int
    """`**`."""


def simulate_marks(
    comparisons: int = 200, *, n_seeds: int = 5, n_products: int = 40, seed_sd: float = 0.01, seed: int = 0
) -> Marks:
    """Marks of results tables made of two equal methods, counted in both directions.

    Each comparison is one table of one category, its mark that of the real tables. A mark says
    "better", so of a two-sided 5% each direction gets half, and the two directions together all of it.
    """
    rng = generator(seed, "marks of equal methods")
    single = double = 0
    for _ in range(comparisons):
        product_P = rng.normal(0.6, 0.25, n_products)
        values = [
            np.clip(
                product_P + rng.normal(0, seed_sd, (n_seeds, 1)) + rng.normal(0, 0.1, (n_seeds, n_products)),
                0,
                1,
            )
            for _ in range(2)
        ]
        for own, other in (values, values[::-1]):
            mark = _table_mark(own, other)
            single += mark != ""
            double += mark == "**"
    return Marks(comparisons, single, double)


def _table_mark(own_SP: Floats, other_SP: Floats) -> str:
    """The mark of the proposed method's MAP in a table of these two."""
    runs = [
        _simulated_run(method, seed, values_P)
        for method, values_SP in ((models.PROPOSED, own_SP), ("mcr", other_SP))
        for seed, values_P in enumerate(values_SP)
    ]
    (setting,) = group_settings(runs)
    best = best_baseline(setting.family(METRIC), "clothing")
    return "" if best is None else best.mark


def _simulated_run(method: str, seed: int, values_P: Floats) -> StoredRun:
    """A run that stands in no folder: its tables are put where they would be read into."""
    spec = RunSpec(
        dataset="lazada",
        category="clothing",
        method=method,
        seed=seed,
        config={"training": {"relevance_threshold": 0}, "model": {}},
        fingerprint="0" * 64,
        protocol="fair",
        preset="quick",
        corpus="simulated",
        synthetic=True,
    )
    return _Simulated(spec.folder(Path("simulated")), spec, {}, values_P=values_P)


@dataclass(frozen=True)
class _Simulated(StoredRun):
    """A run without a folder: these values, whatever the metric."""

    values_P: Floats = field(kw_only=True)

    @property
    def key(self) -> tuple[Any, ...]:
        """No file tells it from others."""
        return (self.values_P.tobytes(),)

    @property
    def products(self) -> tuple[str, ...]:
        return tuple(str(number) for number in range(len(self.values_P)))

    def values(self, metric: str) -> Floats:
        return self.values_P

    @property
    def manifest(self) -> dict[str, Any]:
        counts = {"products": len(self.values_P), "reviews": 9 * len(self.values_P)}
        images = {side: {"with_features": 0} for side in ("product", "review")}
        return {"splits": {"test": {**counts, "images": images}}}


def marks_control(marks: Marks) -> Control:
    """Both marks appear as often as their level says, within the 99.8% binomial range."""
    ranges = [_range(marks.comparisons, level) for level in (0.05, 0.01)]
    ok = all(
        low <= count <= high for count, (low, high) in zip((marks.single, marks.double), ranges, strict=True)
    )
    (low, high), (low_double, high_double) = ranges
    return Control(
        "negative",
        f"marks of {marks.comparisons} comparisons of equal methods (simulated)",
        ok,
        f"{marks.single} at p < 0.05, {marks.double} of them at p < 0.01",
        f"{low} to {high}, and {low_double} to {high_double}",
    )


def _range(n: int, rate: float) -> tuple[int, int]:
    return int(scipy_stats.binom.ppf(0.001, n, rate)), int(scipy_stats.binom.ppf(0.999, n, rate))


# Positive ----------------------------------------------------------------------------------------------------


def images_taken_away(seen: Sequence[Place], blind: Sequence[Place], root: Path) -> list[Control]:
    """Multimodal methods with images against the same without, and against what text alone can reach.

    Args:
        seen, blind: places of the same methods and categories, in the same order.
        root: the corpus, whose `synthetic.json` and truth files tell the planted parts.
    """
    results = [crossed_test(a.values, b.values) for a, b in zip(seen, blind, strict=True)]
    adjusted = holm([np.nan if one.p_value is None else one.p_value for one in results])
    controls = []
    for place, without, result, p in zip(seen, blind, results, adjusted, strict=True):
        best = ceilings(root, place.dataset, place.category, place.runs[0].relevance_threshold)
        every, text = (best[subset][METRIC] for subset in ("all", "text"))
        interval = seed_interval(without.values.mean(axis=1))
        within_text = interval is not None and interval[0] <= text
        controls.append(
            Control(
                "positive",
                f"images taken away: {place}",
                bool(p < ALPHA and result.difference > 0 and within_text),
                f"{100 * place.values.mean():.1f} to {100 * without.values.mean():.1f}: loses {_points(result)}, "
                f"p (Holm) {p:.4f}",
                f"a loss; text alone reaches {100 * text:.1f} of {100 * every:.1f}",
            )
        )
    return controls


def text_only_unmoved(seen: Sequence[Place], blind: Sequence[Place]) -> list[Control]:
    """A method that reads no images gives the same scores, bit for bit, when they are taken away."""
    controls = []
    for place, without in zip(seen, blind, strict=True):
        pairs = zip(place.runs, without.runs, strict=True)
        moved = sum(int((a.scores["score"] != b.scores["score"]).sum()) for a, b in pairs)
        name = f"images taken away: {place}"
        controls.append(Control("positive", name, moved == 0, f"{moved} scores differ", "none"))
    return controls


def truth_reaches_the_ceiling(runs: Sequence[StoredRun], root: Path) -> list[Control]:
    """Ranking the test reviews by the truth file's expected label gives the stated best attainable values.

    One control per category that the runs saw. DataError where the corpus states none.
    """
    distinct = {(run.spec.dataset, run.spec.category): run for run in runs}
    return [_truth_control(run, root) for run in distinct.values()]


def _truth_control(run: StoredRun, root: Path) -> Control:
    threshold = run.relevance_threshold
    stated = _stated_ceilings(root, run.spec.dataset, run.spec.category, threshold)
    truth = _read_columns(root / run.spec.dataset / run.spec.category / f"{run.spec.category}.truth.json")
    expected = dict(zip(truth["review_id"], truth["expected"], strict=True))
    reviews = run.test_reviews
    number = {product: row for row, product in enumerate(dict.fromkeys(reviews["product_id"]))}
    # Rounded, so that equal sums of different parts are ties and not ordered by their last bit.
    score_R = np.round([expected[review] for review in reviews["review_id"]], 9)
    product_R = reviews["product_id"].map(number).to_numpy(dtype=np.int64)
    table = per_product_table(list(number), product_R, reviews["label"], score_R, threshold)
    found = {metric: float(table[metric].mean()) for metric in PAPER_METRICS}
    return Control(
        "positive",
        f"a scorer that sees the truth: {run.spec.dataset}/{run.spec.category}",
        all(abs(found[metric] - stated[metric]) < 1e-12 for metric in PAPER_METRICS),
        ", ".join(f"{metric} {100 * found[metric]:.4f}" for metric in PAPER_METRICS),
        ", ".join(f"{100 * stated[metric]:.4f}" for metric in PAPER_METRICS),
    )


def _stated_ceilings(root: Path, dataset: str, category: str, threshold: int) -> Mapping[str, float]:
    about = root / "synthetic.json"
    try:
        planted = read_json(about)["categories"][f"{dataset}/{category}"]
        stated: Mapping[str, float] = planted["test_ceilings"][f"threshold {threshold}"]["all"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{about}: states no ceiling of {dataset}/{category} at threshold {threshold} ({error}); the positive "
            "controls need `mini` or a corpus of `bench data make`"
        ) from error
    return stated


def _read_columns(file: Path) -> dict[str, list[Any]]:
    try:
        return {name: list(column.values()) for name, column in read_json(file).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: not the truth of a generated corpus ({error}).") from error


# Both, from what was run -------------------------------------------------------------------------------------


def of_finished_runs(runs: Sequence[StoredRun], root: Path | None) -> list[Control]:
    """The controls that finished runs of `bench controls` allow to judge, without running anything.

    Args:
        root: the corpus that they saw; None where it is not here, and what needs it is left out.
    """
    shuffled = places([run for run in runs if run.spec.shuffle_labels])
    own = [run for run in runs if not run.spec.shuffle_labels]
    seen = {_where(one): one for one in places([run for run in own if not run.spec.overrides])}
    blind = {
        _where(one): one for one in places([run for run in own if run.spec.overrides == (WITHOUT_IMAGES,)])
    }
    both = [where for where in seen if where in blind]
    by_modality = {
        modality: [where for where in both if models.get(seen[where].method).modality == modality]
        for modality in ("multimodal", "text")
    }
    found = shuffled_labels(shuffled) if shuffled else []
    if root is not None and by_modality["multimodal"]:
        pairs = by_modality["multimodal"]
        found += images_taken_away([seen[one] for one in pairs], [blind[one] for one in pairs], root)
    pairs = by_modality["text"]
    found += text_only_unmoved([seen[one] for one in pairs], [blind[one] for one in pairs])
    if root is not None and shuffled:
        found += truth_reaches_the_ceiling([run for place in shuffled for run in place.runs], root)
    return found


def _where(place: Place) -> tuple[str, str, str, tuple[int, ...]]:
    seeds = tuple(run.spec.seed for run in place.runs)
    return place.dataset, place.category, place.method, seeds


# Rendering ---------------------------------------------------------------------------------------------------


def render(controls: Sequence[Control], caption: str) -> str:
    """Markdown: one row per control, the failed ones counted below."""
    rows = [[one.kind, one.name, "ok" if one.ok else "FAILED", one.found, one.expected] for one in controls]
    grid = tabulate(rows, ["", "control", "verdict", "found", "expected"], "pipe", disable_numparse=True)
    failed = sum(not one.ok for one in controls)
    return f"{grid}\n\n{len(controls) - failed} of {len(controls)} controls hold. {caption}"


def _points(result: CrossedResult) -> str:
    if result.interval is None:
        return f"{100 * result.difference:+.1f} (no test: {result.reason})"
    low, high = result.interval
    return f"{100 * result.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
