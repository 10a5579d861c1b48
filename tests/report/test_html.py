"""The page: it holds what the tables, tests and claims say, it is one file, and what comes from data is text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.core.errors import UsageError
from benchmark.report.grid import group_settings
from benchmark.report.html import Extras, answers, build, cases, cells, sections, texts
from benchmark.report.tables import results_table
from benchmark.runs.store import StoredRun, load_runs
from tests.command_line import bench
from tests.fixtures_runs import reseal, write_run
from tests.report.report_runs import QUALITY, write_report_runs

HOSTILE = "<script>alert('x')</script> & <img src=x onerror=alert(1)> \"q\""


class Page(HTMLParser):
    """The parts of a page that the tests ask for; fails on a tag that is closed and was not open."""

    VOID = frozenset({"meta", "link", "br", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    def all(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


class FakeTexts:
    """Texts as a data set might hold them."""

    def product(self, product_id: str) -> str:
        return f"product {product_id} {HOSTILE}"

    def review(self, review_id: str) -> str:
        return f"review {review_id} {HOSTILE}"

    def thumbnails(self, item_id: str) -> list[str]:
        return ["data:image/jpeg;base64,AAAA"] if item_id.startswith("R") else []


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRun]:
    return write_report_runs(tmp_path_factory.mktemp("runs"))


def made(runs: list[StoredRun]) -> str:
    extras = Extras(texts=lambda run: FakeTexts())  # type: ignore[arg-type, return-value]
    return build(runs, extras, plots=["forest", "labels", "cd"])


@pytest.fixture(scope="module")
def page(runs: list[StoredRun]) -> str:
    return made(runs)


@pytest.fixture(scope="module")
def parsed(page: str) -> Page:
    return Page(page)


def test_it_loads_nothing(page: str, parsed: Page) -> None:
    assert not [value for value in parsed.all("src") if not value.startswith("data:")]
    linked = [value for tag, name, value in parsed.attributes if name == "href" and tag != "svg"]
    assert {value[0] for value in linked} <= {"#", "d"}
    assert [value for value in linked if value[0] == "d"] == ["data:,"]
    assert "url(" not in re.sub(r"url\(#", "", page)
    assert "@import" not in page
    (policy,) = [value for value in parsed.all("content") if "default-src" in value]
    assert policy.startswith("default-src 'none'")
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_ids_are_unique_and_every_link_leads_somewhere(parsed: Page) -> None:
    ids = Counter(parsed.all("id"))
    assert not [name for name, count in ids.items() if count > 1]
    for name in ("href", "aria-labelledby"):
        for value in parsed.all(name):
            for target in value.removeprefix("#").split():
                assert target in ids or target == "data:,", target


def test_every_number_of_the_tables_is_there_and_leads_to_its_runs(
    runs: list[StoredRun], parsed: Page
) -> None:
    text = " ".join(" ".join(parsed.text).split())
    for setting in group_settings(runs):
        table = results_table(setting, with_sentinels=True, with_paper=True)
        for row in table.rows:
            for entry in row.entries:
                if entry.value is not None:
                    assert f"{entry.value:.1f}" in text
                assert entry.published in text
    assert {run.id for run in runs} <= set(text.split())
    assert "#runs-lazada-clothing-mcr" in parsed.all("href")
    assert "#runs-amazon-clothing-mmss-no-ptrt" in parsed.all("href")
    assert "Oracle (best attainable)" not in text  # a reference row under another name
    assert "Longest review first" in text


def test_tables_have_headers_and_pictures_have_words(page: str, parsed: Page) -> None:
    assert not [tag for tag, name, value in parsed.attributes if name == "scope" and not value]
    heads = len(re.findall(r"<th\b", page))
    assert heads == len(re.findall(r"<th scope=", page))
    assert parsed.tags["svg"] == len(re.findall(r"<svg role=\"img\"[^>]*aria-labelledby", page))
    assert parsed.tags["title"] == parsed.tags["svg"] + 1
    assert all(value for tag, name, value in parsed.attributes if tag == "img" and name == "alt")
    assert parsed.tags["img"] == len(
        [1 for tag, name, _ in parsed.attributes if tag == "img" and name == "alt"]
    )


def test_a_review_is_text(page: str, parsed: Page) -> None:
    assert parsed.tags["script"] == 1
    assert not parsed.all("onerror")
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert any(HOSTILE in text for text in parsed.text)


def test_names_from_runs_are_text(tmp_path: Path) -> None:
    for method in ("mcr", "mmss"):
        for seed in range(3):
            write_run(
                tmp_path,
                method,
                seed,
                corpus=HOSTILE,
                commit=HOSTILE,
                products=[f"{HOSTILE}{i}" for i in range(9)],
            )
    parsed = Page(build(load_runs(tmp_path), plots=["forest"]))
    assert parsed.tags["script"] == 1
    assert parsed.tags["img"] == 0
    assert sum(HOSTILE in text for text in parsed.text) > 3


def test_the_same_runs_give_the_same_bytes(runs: list[StoredRun], page: str) -> None:
    assert made(runs) == page


def test_no_runs_is_an_error() -> None:
    with pytest.raises(UsageError, match="no finished runs to report"):
        build([])


def test_without_matplotlib_the_page_says_what_is_left_out(
    runs: list[StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.report.plots.canvas.available", lambda: False)
    parsed = Page(build(runs))
    assert parsed.tags["svg"] == 0
    assert any("mrhp-bench[plots]" in text for text in parsed.text)
    assert parsed.tags["table"] > 5


# The answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "other", "short"),
    [(0.70, 0.50, "Yes"), (0.50, 0.70, "No"), (0.600, 0.5999, "Not shown")],
)
def test_the_answer(tmp_path: Path, own: float, other: float, short: str) -> None:
    rng = np.random.default_rng(0)
    product_P = rng.normal(0, 0.02, 40)
    for category in ("clothing", "home"):
        for method, value in (("mmss", own), ("mcr", other)):
            for seed in range(4):
                values = value + product_P + 0.01 * (seed - 1.5)
                products = [f"P{i}" for i in range(40)]
                write_run(tmp_path, method, seed, category=category, values=values, products=products)
    (setting,) = group_settings(load_runs(tmp_path))
    found = answers.answer(setting, 0.5)
    assert found.short == short
    sign = "+" if own > other else "\N{MINUS SIGN}"
    assert f"CS&J {sign}{abs(100 * (own - other)):.1f} points against MCR" in found.sentence
    assert ("none of 2" in found.sentence) == (own < other)


def test_without_a_baseline_nothing_can_be_said(tmp_path: Path) -> None:
    write_run(tmp_path, "mmss", 0)
    (setting,) = group_settings(load_runs(tmp_path))
    assert answers.answer(setting, 0.5).short == "Cannot be said"


# Runs --------------------------------------------------------------------------------------------------------


def test_the_command_makes_the_runs_of_a_cell(runs: list[StoredRun]) -> None:
    found = {one["anchor"]: one for one in cells.cell_runs(group_settings(runs))}
    assert len(found) == 2 * (3 * len(QUALITY) + 2)
    assert found["runs-lazada-home-mcr"]["command"] == (
        "bench run --dataset lazada --category home --method mcr --seeds 0-2 --preset quick --protocol fair "
        "--device cpu --data ROOT"
    )
    assert (
        "bench ablate --dataset amazon --category clothing --drop d "
        in found["runs-amazon-clothing-mmss-no-d"]["command"]
    )
    assert found["runs-amazon-clothing-mmss-no-d"]["title"] == "Amazon-MRHP, CS&J: MM-SS w/o module(d)"
    assert [row["seed"] for row in found["runs-lazada-home-mcr"]["runs"]] == [0, 1, 2]


def test_settings_with_overrides_are_effects_and_a_list(tmp_path: Path) -> None:
    write_report_runs(tmp_path)
    for seed in range(3):
        write_run(tmp_path, "mmss", seed, value=0.7, overrides=("mmss.offset=printed",))
        write_run(tmp_path, "mcr", seed, shuffle_labels=True)
    runs = load_runs(tmp_path)
    (found,) = sections.decision_effects(group_settings(runs))
    assert found.variant.startswith("D-OFFSET")
    assert (found.dataset, found.category) == ("lazada", "clothing")
    assert found.result is not None
    own, default = (
        np.mean([run.per_product["map"].mean() for run in runs
                 if run.spec.method == "mmss" and not run.spec.drop and bool(run.spec.overrides) == changed
                 and (run.spec.dataset, run.spec.category) == ("lazada", "clothing")])
        for changed in (True, False)
    )  # fmt: skip
    assert found.result.difference == pytest.approx(own - default)
    text = " ".join(Page(build(runs, plots=[])).text)
    assert "2 further settings" in text
    assert "labels shuffled" in text


# Cases -------------------------------------------------------------------------------------------------------


def test_agreement_is_somers_d() -> None:
    """Of products of every size, in any order of their reviews; the largest by evenly spread reviews."""
    from scipy import stats

    rng = np.random.default_rng(0)
    sizes = [1, 2, 12, 12, 12, 40, cases.MOST_REVIEWS, 2 * cases.MOST_REVIEWS - 1]
    product = np.repeat([f"P{number}" for number in range(len(sizes))], sizes)
    order = rng.permutation(len(product))
    table = pd.DataFrame(
        {
            "product_id": product[order],
            "label": rng.integers(0, 5, len(product)),
            "score": rng.integers(0, 6, len(product)).astype(float),
        }
    )
    table.loc[table["product_id"] == "P2", "label"] = 3
    found = cases.agreements(table)
    expected: dict[str, tuple[float, int]] = {}
    for name, group in table.groupby("product_id"):
        group = group.iloc[::2] if len(group) > cases.MOST_REVIEWS else group
        pairs = sum(a > b for a in group["label"] for b in group["label"])
        if pairs:
            expected[str(name)] = (stats.somersd(group["label"], group["score"]).statistic, -pairs)
    assert len(expected) == len(sizes) - (1 if "P1" in expected else 2) - 1
    assert dict(found) == pytest.approx({name: value for name, (value, _) in expected.items()})
    assert list(found.index) == sorted(expected, key=lambda name: (found[name], expected[name][1]))
    assert cases.agreements(table[table["product_id"] == "P2"]).empty


def case_run(tmp_path: Path, score: Callable[[int], float]) -> StoredRun:
    """One run of three products: ten reviews each, all labels but the last product's differ."""
    write_run(tmp_path, "mmss", 0, products=["A", "B", "C"])
    (run,) = load_runs(tmp_path)
    rows = [
        (f"{product}{i}", product, 0 if product == "C" else i % 5, score(i) * (-1 if product == "B" else 1))
        for product in "ABC"
        for i in range(10)
    ]
    table = pd.DataFrame(rows, columns=["review_id", "product_id", "label", "score"])
    table.to_csv(run.folder / "scores.csv", index=False)
    reseal(run.folder)
    (run,) = load_runs(tmp_path)
    return run


def test_the_biggest_agreement_and_mistake(tmp_path: Path) -> None:
    run = case_run(tmp_path, lambda i: float(i % 5) + i / 100)
    assert dict(cases.agreements(run.scores)) == {"B": -1.0, "A": 1.0}
    best, worst = cases._extremes(run, None, cases._Album(None, 0))
    assert (best.heading, best.product_id) == ("Biggest agreement", "A")
    assert (worst.heading, worst.product_id) == ("Biggest mistake", "B")
    assert [review.rank for review in best.reviews] == [1, 2, 3, 4, 8, 9, 10]
    assert [review.review_id for review in best.reviews[:2]] == ["A9", "A4"]
    assert best.left_out == 3


def test_long_texts_are_shortened_to_one_line() -> None:
    assert cases.shortened("a\n b\t c") == "a b c"
    assert len(cases.shortened("word " * 200)) <= cases.MOST_CHARACTERS
    assert cases.shortened("word " * 200).endswith("…")


def test_thumbnails_are_small_and_ids_stay_in_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "r1").mkdir(parents=True)
    Image.new("RGBA", (800, 400), "red").save(folder / "r1/a.png")
    (folder / "r1/b.jpg").write_bytes(b"no image")
    (folder / "r1/c.txt").write_text("text")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    of = texts.Texts(split=None, images=folder)  # type: ignore[arg-type]
    (address,) = of.thumbnails("r1")
    assert address.startswith("data:image/jpeg;base64,")
    assert len(address) < 3000
    for name in ("..", "../images", "r2", "", "."):
        assert of.thumbnails(name) == []


def test_another_method_may_be_the_one_that_is_judged(tmp_path: Path) -> None:
    for seed in range(3):
        for method, value in QUALITY.items():
            write_run(tmp_path, method, seed, value=value)
        write_run(tmp_path, "mcr", seed, value=0.5, drop=("images",))
    where = ("--results", str(tmp_path), "--proposed", "MCR")
    bench("report", *where, "--no-pictures", "--out", str(tmp_path / "page.html"))
    page = Page((tmp_path / "page.html").read_text())
    text = " ".join(" ".join(page.text).split())
    assert "Is MCR the best?" in text
    assert "By MAP, MCR is ahead of 4 baselines" in text
    assert "w/o images" in text
    assert "--proposed mcr --out report.html" in text
    title = bench("plot", "forest", *where, "--out", str(tmp_path / "forest.svg")).stderr
    assert "MCR against each baseline" in title
