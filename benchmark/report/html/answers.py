"""The first screen: what was run on what, and the answer in one sentence per data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark import models
from benchmark.report.captions import image_sentences, listed
from benchmark.report.facts import significance
from benchmark.report.grid import Comparison, Setting, best_baseline, commits_of
from benchmark.report.significance import verdict


@dataclass(frozen=True)
class Answer:
    """Is the proposed method best on one data set, by how much, is it real?"""

    dataset: str
    short: str
    """`Yes`, `No`, `In part`, `Not shown`, `Cannot be said`."""
    sentence: str
    tone: str
    """`win`, `loss` or `open`, for the colour beside the words."""


def answer(setting: Setting, worthwhile: float, proposed: str = models.PROPOSED) -> Answer:
    """By MAP, against the best baseline of each category, corrected over all baselines and categories."""
    family = setting.family("map", proposed=proposed)
    chosen = (best_baseline(family, category) for category in setting.data_set.category_names)
    found = [one for one in chosen if one is not None]
    title, label = models.get(proposed).title, setting.data_set.title
    if not found:
        sentence = (
            f"{label}: no comparison is possible; it needs complete cells of {title} and of a baseline."
        )
        return Answer(label, "Cannot be said", sentence, "open")
    ahead = [one for one in found if one.result.difference > 0]
    real = [one for one in ahead if _real(one)]
    behind = [one for one in found if one.result.difference < 0 and _real(one)]
    baselines = len({one.b.method for one in family})
    against = f"{baselines} {'baselines' if baselines != 1 else 'baseline'}"
    count = _count(len(ahead), len(found))
    details = "; ".join(
        f"{setting.data_set.category_title(one.category)} {_points(one.result.difference)} points against "
        f"{models.METHODS[one.b.method].title}{_interval(one)}, {verdict(one, worthwhile)}"
        for one in found
    )
    reality = [f"the lead is real in {len(real)}"] if ahead else []
    reality += [f"it is really below the best baseline in {len(behind)}"] if behind else []
    real_words = f" ({', '.join(reality)}, by p < 0.05 after Holm)" if reality else ""
    sentence = f"By MAP, {title} is ahead of {against} {count}{real_words}: {details}."
    return Answer(label, *_short(len(found), len(ahead), len(real), len(behind), sentence))


def _short(cells: int, ahead: int, real: int, behind: int, sentence: str) -> tuple[str, str, str]:
    if real == cells:
        return "Yes", sentence, "win"
    if not ahead:
        return "No", sentence, "loss" if behind else "open"
    if real:
        return "In part", sentence, "open"
    return "Not shown", sentence, "open"


def _count(part: int, whole: int) -> str:
    if whole == 1:
        return "in its one category" if part else "not in its one category"
    words = "all" if part == whole else f"{part} of" if part else "none of"
    return f"in {words} {whole} categories"


def _real(one: Comparison) -> bool:
    return bool(significance(one.p_holm))


def _interval(one: Comparison) -> str:
    if one.result.interval is None:
        return ""
    low, high = (_points(bound) for bound in one.result.interval)
    return f" [{low}, {high}]"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def facts(settings: Sequence[Setting]) -> list[tuple[str, str]]:
    """What was run on what, as (name, value)."""
    first = settings[0]
    runs = [run for setting in settings for run in setting.runs]
    corpora = dict.fromkeys((run.spec.corpus, run.spec.synthetic) for run in runs)
    corpus = ", ".join(name + (" (synthetic)" if synthetic else "") for name, synthetic in corpora)
    categories = "; ".join(
        f"{setting.data_set.title}: "
        + ", ".join(setting.data_set.category_title(category) for category, _ in setting.fingerprints)
        for setting in settings
    )
    methods = dict.fromkeys(name for setting in settings for name in setting.methods)
    seeds = sorted({seed for setting in settings for seed in setting.seeds})
    images = [sentence for setting in settings for sentence in image_sentences(setting.runs)]
    conditions = first.conditions
    ablations = sum(bool(run.spec.drop) for run in runs)
    return [
        ("Corpus", corpus),
        ("Data", categories),
        ("Images", " ".join(images)),
        ("Methods", ", ".join(models.METHODS[name].title for name in methods)),
        ("Protocol", f"{conditions.protocol}, preset {conditions.preset}, device {conditions.device}"),
        ("Overrides", " ".join(first.conditions.overrides) or "none"),
        ("Seeds", listed(seeds)),
        ("Runs", f"{len(runs)}, of which {ablations} ablations" if ablations else str(len(runs))),
        ("Commits", ", ".join(commits_of(runs))),
    ]


def warnings(settings: Sequence[Setting]) -> list[str]:
    """What a reader must know before any number."""
    found = []
    synthetic = sorted({setting.conditions.corpus for setting in settings if setting.conditions.synthetic})
    if synthetic:
        found.append(
            f"The corpus {', '.join(synthetic)} is synthetic: generated data, which says nothing about real reviews or "
            "about the paper's numbers."
        )
    if any(setting.conditions.shuffle_labels for setting in settings):
        found.append("Negative control: labels of train and dev were shuffled within each product.")
    changed = [name for name in commits_of(run for s in settings for run in s.runs) if "+changes" in name]
    if changed:
        found.append(f"Runs were made from a changed source tree: {', '.join(changed)}.")
    return found


def answers(
    settings: Sequence[Setting], worthwhile: float, proposed: str = models.PROPOSED
) -> list[dict[str, Any]]:
    return [vars(answer(setting, worthwhile, proposed)) for setting in settings]
