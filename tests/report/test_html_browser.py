"""The page in a real browser, offline: no error, no request; sorting, filtering, folding; dark, narrow, without
JavaScript, printed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.report.html import Extras, build
from tests.report.report_runs import write_report_runs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)
HOSTILE = "<script>document.title = 'taken over'</script>"


class HostileTexts:
    def product(self, product_id: str) -> str:
        return HOSTILE

    def review(self, review_id: str) -> str:
        return HOSTILE

    def thumbnails(self, item_id: str) -> list[str]:
        return []


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    runs = write_report_runs(folder / "results", papers_data=True)
    extras = Extras(texts=lambda run: HostileTexts())  # type: ignore[arg-type, return-value]
    page = folder / "report.html"
    page.write_text(build(runs, extras, plots=["forest", "labels", "cd"]), encoding="utf-8")
    return page.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page in a fresh offline context; at the end there was no error and no other request."""
    contexts, problems = [], []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on(
            "request", lambda request: request.url == address or problems.append(f"request: {request.url}")
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [one for one in problems if not one.startswith("request: data:")] == []


def column(table: Any, number: int) -> list[str]:
    """Texts of one column, as they are seen, section heads left out."""
    return [row.locator("th, td").nth(number).inner_text() for row in table.locator("tbody tr:visible").all()]


def test_sorting(visit: Any) -> None:
    page = visit(viewport={"width": 1280, "height": 900})
    table = page.locator("#tests ~ details table.sortable").first
    head = table.get_by_role("columnheader", name="Difference")
    for order, direction in (("descending", -1), ("ascending", 1)):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order
        values = [float(text.replace("\u2212", "-")) for text in column(table, 3)]
        assert values == sorted(values, key=lambda value: direction * value)
        assert len(values) == 36
    names = table.get_by_role("columnheader", name="Against")
    names.get_by_role("button").press("Enter")
    assert column(table, 0) == sorted(column(table, 0), key=str.lower)
    assert head.get_attribute("aria-sort") is None


def test_sorting_keeps_the_sections_of_a_results_table(visit: Any) -> None:
    table = visit().locator("#part1-table1 ~ .scroll table")
    table.locator("tr.names th button").nth(1).click()
    heads = table.locator("tr.section").all_inner_texts()
    assert [head.strip() for head in heads] == ["Text-only", "Multimodal", "Reference"]
    for body in table.locator("tbody").all():
        assert body.locator("tr").first.get_attribute("class") == "section"


def test_filtering(visit: Any) -> None:
    page = visit()
    block = page.locator("#tests ~ details").first
    block.get_by_role("searchbox").fill("mcr n@3")
    table = block.locator("table").first
    assert set(column(table, 0)) == {"MCR"}
    assert set(column(table, 2)) == {"N@3"}
    assert block.locator("output").first.inner_text() == "3 of 36"
    block.get_by_role("searchbox").fill("")
    assert len(column(table, 0)) == 36
    runs = page.locator("section[aria-labelledby=runs]")
    runs.get_by_role("searchbox").fill("amazon bimpm")
    assert runs.locator("details.run-cell:visible").count() == 3


def test_a_number_opens_to_its_runs(visit: Any) -> None:
    page = visit()
    page.locator("#part1-table1 ~ .scroll a.value").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert "BiMPM" in dialog.locator("h3").inner_text()
    assert "bench run --dataset lazada --category clothing --method bimpm --seeds 0-2" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_folding_and_addresses(visit: Any) -> None:
    page = visit(viewport={"width": 1280, "height": 900})
    page.get_by_role("button", name="Unfold all").click()
    assert page.locator("details:not([open])").count() == 0
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator("details[open]").count() == 0
    page.evaluate("location.hash = 'runs-amazon-home-mcl'")
    page.wait_for_function("document.getElementById('runs-amazon-home-mcl').checkVisibility()")


def test_published_values_on_request(visit: Any) -> None:
    page = visit()
    block = page.locator("section.table-block", has=page.locator("#part1-table1"))
    assert block.locator(".published:visible").count() == 0
    block.get_by_role("checkbox").check()
    assert block.locator(".published:visible").count() > 10


def test_a_review_stays_text(visit: Any) -> None:
    page = visit()
    assert page.title().startswith("Report: ")
    assert page.locator(".case q").first.inner_text() == HOSTILE
    assert page.locator("script").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(visit: Any, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    seen = page.evaluate(
        """() => {
          const rgb = (element, name) => getComputedStyle(element)[name].match(/[0-9.]+/g).slice(0, 3).map(Number);
          const text = document.querySelector("#forest0 svg text");
          return [rgb(document.documentElement, "backgroundColor"), rgb(document.body, "color"), rgb(text, "fill")];
        }"""
    )
    paper, ink, label = (sum(one) / 3 for one in seen)
    assert (
        (paper < 60 and ink > 200 and label > 200)
        if scheme == "dark"
        else (paper > 240 and ink < 60 and label < 60)
    )


def test_400_pixels_wide(visit: Any) -> None:
    page = visit(viewport={"width": 400, "height": 800}, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    smallest = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll("#forest0 svg text, #cd0 svg text")]
          .map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))"""
    )
    assert smallest >= 8.5, "texts of pictures can be read on a phone"
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 16


def test_without_javascript(visit: Any) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("svg:visible").count() >= 7
    assert page.locator("[data-script]:visible").count() == 0, "nothing that does nothing is shown"
    assert page.locator("th button").count() == 0
    block = page.locator("section.table-block", has=page.locator("#part1-table1"))
    block.get_by_role("checkbox").check()
    assert block.locator(".published:visible").count() > 10
    page.locator("#part1-table1 ~ .scroll a.value").first.click()
    assert page.locator("#runs-lazada-clothing-bimpm").is_visible(), "the address opens the fold"


def test_keyboard_and_names(visit: Any) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("[role=region], [role=img], input, nav, section[aria-labelledby]")]
          .filter((one) => !(one.getAttribute("aria-label") || one.closest("label")
            || (one.getAttribute("aria-labelledby") || "").split(" ").some((id) => document.getElementById(id))))
          .length"""
    )
    assert nameless == 0
    levels = page.evaluate(
        """() => [...document.querySelectorAll("h1, h2, h3, h4")].map((h) => Number(h.tagName[1]))"""
    )
    assert levels[0] == 1
    assert levels.count(1) == 1


def test_printed(visit: Any, tmp_path: Path) -> None:
    page = visit(color_scheme="dark")
    page.emulate_media(media="print")
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == "rgb(255, 255, 254)", "paper is white, whatever the screen was"
    assert page.locator("nav").is_hidden()
    file = tmp_path / "report.pdf"
    page.pdf(path=file, format="A4")
    assert file.stat().st_size > 50_000
    if os.environ.get("MRHP_KEEP_SCREENSHOTS"):
        shutil.copy(file, os.environ["MRHP_KEEP_SCREENSHOTS"])
