"""The sentences under a table: what was run on what, how it was ranked and tested, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmark import models
from benchmark.core.metrics import PAPER_METRICS
from benchmark.data.dataset_file import from_record
from benchmark.data.features import descriptor
from benchmark.data.published import (
    METRIC_LABELS,
    published_values,
)
from benchmark.report.facts import method_title, significance
from benchmark.report.grid import (
    Cell,
    Comparison,
    Setting,
    best_baseline,
    commits_of,
    manifests,
)
from benchmark.report.paper_data import other_data_sentences, paper_categories
from benchmark.report.table import Column
from benchmark.report.versions import version_sentences
from benchmark.runs.described import data_set_of
from benchmark.runs.store import StoredRun


def reference_sentence(columns: Sequence[Column], cell: Callable[[Column], Cell]) -> list[str]:
    """Random order and label oracle of each group of columns, in words."""
    parts = []
    for column in columns:
        full = cell(column)
        if full.runs:
            random, best = (100 * value for value in (full.random_order(column.keys["metric"]), full.oracle))
            parts.append(f"{column.group} {column.label} {random:.1f} and {best:.1f}")
    return (
        [f"Expected value of a random order, and of the label oracle: {'; '.join(parts)}."] if parts else []
    )


RANKING_SENTENCE = "Best in bold, second best underlined, decided on unrounded values."


def synthetic_title(setting: Setting) -> str:
    return " (synthetic corpus)" if setting.conditions.synthetic else ""


def setting_sentences(setting: Setting, categories: Sequence[str] | None = None) -> list[str]:
    """`categories`: those that the table is about; default: all of the data set."""
    data_set = setting.data_set
    categories = data_set.category_names if categories is None else categories
    conditions = setting.conditions
    synthetic = (
        " (synthetic: generated data, which says nothing about real reviews)" if conditions.synthetic else ""
    )
    prints = ", ".join(
        f"{data_set.category_title(category)} {fingerprint[:12]}"
        for category, fingerprint in setting.fingerprints
        if category in categories
    )
    seen = [run for run in setting.runs if run.spec.category in categories]
    sentences = [
        f"Corpus: {conditions.corpus}{synthetic}; {data_set.title} fingerprints: {prints}.",
        f"Protocol {conditions.protocol}, preset {conditions.preset}, device {conditions.device}, "
        + (f"overrides {' '.join(conditions.overrides)}." if conditions.overrides else "no overrides."),
        *label_sentences(seen),
        *image_sentences(seen),
        *vector_sentences(seen),
        *encoder_sentences(seen),
        *version_sentences(
            seen,
            [run for run in setting.older if run.spec.category in categories],
            data_set.category_title,
        ),
    ]
    if conditions.shuffle_labels:
        sentences.append("NEGATIVE CONTROL: labels of train and dev were shuffled within each product.")
    return sentences


_TIE_WORDS = {
    "expected": "expected value over their orders",
    "file-order": "in file order, as the released code resolves them (a constant score then gets the files' order)",
}


def metric_sentence(setting: Setting) -> str:
    """What counts as relevant, what becomes of ties and of products with nothing relevant; no full stop."""
    threshold = setting.conditions.relevance_threshold
    own = sorted({run.spec.relevance_threshold for run in setting.runs})
    selected = (
        ""
        if own == [threshold]
        else f" (recomputed from the scores; epochs were selected with label > {' and '.join(map(str, own))})"
    )
    ties = " and ".join(_TIE_WORDS[policy] for policy in sorted({run.ties for run in setting.runs}))
    return (
        f"Relevant: label > {threshold}{selected}; tied scores: {ties}; a product with nothing relevant "
        "scores 0 and stays in the mean"
    )


def made_line(setting: Setting) -> str:
    """On what, and by which metric, in one line for what is no table."""
    features = "".join(f" {sentence}" for sentence in feature_sentences(manifests(setting.runs)))
    return f"Corpus {setting.conditions}. {metric_sentence(setting)}.{features}"


def test_sentences(
    setting: Setting,
    families: Mapping[str, Sequence[Comparison]],
    proposed: str,
    seeds: Sequence[int],
    any_cell: Mapping[str, Cell | None],
) -> list[str]:
    title = models.get(proposed).title
    family = families[PAPER_METRICS[0]]
    if not family:
        return [f"No test: it needs complete cells of {title} and of a baseline."]
    if all(one.p_holm is None for one in family):
        return [f"No test: {family[0].result.reason}."]
    baselines = len({one.b.method for one in family})
    products = ", ".join(
        f"{len(cell.products):,} ({setting.data_set.category_title(category)})"
        for category, cell in any_cell.items()
        if cell
    )
    sentence = (
        f"Marks: {title} better than the best baseline run in that cell, * p < 0.05, ** p < 0.01; crossed test over "
        f"seeds and products (two-way random effects), two-sided; unit: seeds x products, n = {len(seeds)} seeds per "
        f"method and {products} products; Holm over the family of {len(family)} comparisons ({baselines} baselines "
        "x categories) of each metric; MAP is primary, N@3 and N@5 are secondary."
    )
    worse = [
        f"{setting.data_set.category_title(category)} {METRIC_LABELS[metric]}"
        for metric, members in families.items()
        for category in any_cell
        if (best := best_baseline(members, category)) is not None
        and best.result.difference < 0
        and significance(best.p_holm)
    ]
    return [
        sentence,
        *([f"{title} is below the best baseline with p < 0.05 in: {', '.join(worse)}."] if worse else []),
    ]


def paper_sentence(with_paper: bool, number: int | None) -> list[str]:
    if not with_paper or number is None:
        return []
    return [
        f"In square brackets: what the MM-SS paper prints in its Table {number}; no published number enters a test "
        "or a ranking."
    ]


def paper_sentences(
    setting: Setting, categories: Sequence[str], with_paper: bool, number: int | None
) -> list[str]:
    """What the square brackets are, and where there are none because the data are not the paper's."""
    if not with_paper:
        return []
    beside = [category for category in paper_categories(setting) if category in categories]
    return [*paper_sentence(bool(beside), number), *other_data_sentences(setting, categories)]


def incomplete_sentences(
    setting: Setting, incomplete: Mapping[str, Sequence[str]], cells: Mapping[tuple[str, str], Cell]
) -> list[str]:
    """Who lacks seeds where, and so may be the best; `incomplete` is category -> methods."""
    places = [
        f"{setting.data_set.category_title(category)} "
        + ", ".join(f"{method_title(name)} ({cells[name, category].missing})" for name in names)
        for category, names in incomplete.items()
        if names
    ]
    if not places:
        return []
    return [
        f"Not all seeds were run: {'; '.join(places)}. Any of them may be the best there, so nothing is bold, "
        "underlined or marked in these columns."
    ]


def inconsistency_sentences(with_paper: bool, columns: Sequence[Column], method: str) -> list[str]:
    """The full model stands in two of the paper's tables; where they disagree, both values are shown."""
    if not with_paper:
        return []
    sentences = []
    for column in columns:
        keys = column.keys
        values = published_values(keys["dataset"], keys["category"], method, keys["metric"])
        if max((v.value - v.half_unit for v in values), default=0) > min(
            (v.value + v.half_unit for v in values), default=0
        ):
            printed = ", ".join(f"{value.printed} in {value.origin}" for value in values)
            sentences.append(f"The paper contradicts itself on {column.group} {column.label}: {printed}.")
    return sentences


def provenance_sentence(runs: Iterable[StoredRun]) -> str:
    distinct = {run.id: run for run in runs}
    sources = commits_of(distinct.values())
    commits = [name for name in sources if not name.startswith("version ")]  # they sort before the versions
    by = f"at commit{'s' if len(commits) > 1 else ''}" if commits else "by"
    counted = "1 run" if len(distinct) == 1 else f"{len(distinct)} runs"
    return f"Made from {counted} {by} {', '.join(sources)}."


def listed(seeds: Sequence[int]) -> str:
    """`0-4` for a range, else `0, 2, 5`."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(str(seed) for seed in seeds)


# The corpus's manifest --------------------------------------------------------------------------------------


def split_count(manifest: Mapping[str, Any], split: str, what: str) -> int:
    """Number of `products` or `reviews` of a split."""
    return int(manifest["splits"][split][what])


def feature_sentences(seen: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whose features the images' are, where they are not the release's own; `seen`: manifests."""
    made: dict[str, list[str]] = {}
    for manifest in seen:
        if manifest.get("features"):
            made.setdefault(descriptor.title(manifest["features"]), []).append(place(manifest))
    return [
        f"Image features{'' if len(places) == len(seen) else ' in ' + ', '.join(places)}: {title}, not bottom-up "
        "attention."
        for title, places in made.items()
    ]


def image_sentences(runs: Sequence[StoredRun]) -> list[str]:
    """What a reader must know of one data set's images: that there were none, how many items had some, and that
    other features than the paper's were made of them."""
    shares = []
    for manifest in manifests(runs):
        items = [split_count(manifest, "test", what) for what in ("products", "reviews")]
        images = manifest["splits"]["test"]["images"]
        seen = [images[side]["with_features"] for side in ("product", "review")]
        shares.append((place(manifest), seen, items))
    without = [label for label, seen, _ in shares if not any(seen)]
    sentences = []
    if without:
        sentences.append(
            f'NO IMAGES in {", ".join(without)}: the multimodal methods ran with "no image" there.'
        )
    covered = ", ".join(
        f"{label} {percent(seen[0], items[0])} of products and {percent(seen[1], items[1])} of reviews"
        for label, seen, items in shares
        if any(seen)
    )
    if covered:
        sentences.append(f"{data_set_of(runs).title} test items with image features: {covered}.")
    return [*sentences, *feature_sentences(manifests(runs))]


def vector_sentences(runs: Sequence[StoredRun]) -> list[str]:
    """Whether word vectors were random or came from a file."""
    sources = {place(manifest): vector_source(manifest) for manifest in manifests(runs)}
    if len(set(sources.values())) == 1:
        return [f"Word vectors: {next(iter(sources.values()))}."]
    return ["Word vectors: " + "; ".join(f"{label} {source}" for label, source in sources.items()) + "."]


def title_of(method: str) -> str:
    """A method's title; its name where this installation does not know it."""
    return models.METHODS[method].title if method in models.METHODS else method


def encoder_of(run: StoredRun) -> str:
    """The pre-trained text encoder that a run's configuration names, with the start of its content's hash; empty
    where it reads words (D-BERT, D-TEXTENC)."""
    model = run.spec.config.get("model", {})
    name = str(model.get("encoder", ""))
    reads_words = model["text_encoder"] == "words" if "text_encoder" in model else name in ("", "scratch")
    if reads_words:
        return ""
    content = run.spec.config.get("files", {}).get("encoder", "")
    return f"{name.rstrip('/').rpartition('/')[2]}" + (f" ({content[:12]})" if content else "")


def encoder_sentences(runs: Sequence[StoredRun]) -> list[str]:
    """Which rows read a pre-trained text encoder; nothing where none does."""
    methods: dict[str, dict[str, None]] = {}
    for run in runs:
        methods.setdefault(encoder_of(run), {})[title_of(run.spec.method)] = None
    if not any(methods):
        return []
    if len(methods) == 1:
        return [f"Text encoder of every row: {next(iter(methods))}, pre-trained."]
    read = "; ".join(
        f"{', '.join(titles)}: {encoder or 'word vectors'}" for encoder, titles in sorted(methods.items())
    )
    return [
        f"ROWS DIFFER IN TEXT ENCODER, and a difference between them is the encoder's in part (D-TEXTENC): {read}."
    ]


def coverage_sentences(runs: Sequence[StoredRun]) -> list[str]:
    """Share of the training reviews that stood in a batch, in an epoch and by the end; means over runs whose log
    says so."""
    logged = [run.log for run in runs if run.log and "coverage" in run.log[-1]]
    if not logged:
        return []
    epoch = sum(sum(entry["coverage"]["epoch"] for entry in log) / len(log) for log in logged) / len(logged)
    end = sum(log[-1]["coverage"]["so_far"] for log in logged) / len(logged)
    return [
        f"Training reviews that stood in a pair: {100 * epoch:.0f}% in an epoch, {100 * end:.0f}% by the end (means "
        "over runs); the pseudo labels of the others never move."
    ]


def place(manifest: Mapping[str, Any]) -> str:
    """The category's title."""
    return from_record(manifest["data_set"], "manifest").category_title(manifest["category"])


def label_sentences(runs: Sequence[StoredRun]) -> list[str]:
    """That labels were made of votes, and how; nothing where they are as released."""
    rules: dict[str, list[str]] = {}
    for manifest in manifests(runs):
        rules.setdefault(str(manifest.get("labels", "as released")), []).append(place(manifest))
    made = {rule: places for rule, places in rules.items() if rule.startswith("from votes")}
    return [
        f"LABELS FROM VOTES{'' if len(rules) == 1 else ' in ' + ', '.join(places)}: "
        f"{rule.removeprefix('from votes, ')}."
        for rule, places in made.items()
    ]


def vector_source(manifest: Mapping[str, Any]) -> str:
    """`random`, or the file's name with the start of its hash."""
    vectors = manifest.get("vectors")
    return f"{vectors['file']} ({vectors['sha256'][:12]})" if vectors else "random"


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "0%"
