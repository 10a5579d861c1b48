"""Images and subtasks in the report's cases: from where they lie, small, and within the page's size."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.data.fetch.album import Album
from benchmark.data.release import find_category
from benchmark.report.grid import group_settings
from benchmark.report.html import Extras, build, cases, texts
from benchmark.runs.store import StoredRun, load_runs
from tests.data.fetch.server import picture
from tests.fixtures_release import read_records, write_release, write_table
from tests.fixtures_runs import reseal, write_run

METHODS = {"mcr": 0.5, "mmss": 0.6}


class Local:
    """Every item has two images, of noise: they hardly get smaller."""

    def __init__(self, folder: Path, side: int) -> None:
        self.file = folder / "noise.png"
        noise = np.random.default_rng(0).integers(0, 256, (side, 2 * side, 3), np.uint8)
        Image.fromarray(noise).save(self.file)

    def product(self, product_id: str) -> str:
        return "a product"

    def review(self, review_id: str) -> str:
        return "a review"

    def thumbnails(self, item_id: str) -> list[str]:
        return [texts.thumbnail(self.file)] * 2


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRun]:
    """MM-SS's runs have the subtasks' predictions."""
    folder = tmp_path_factory.mktemp("cases")
    for method, value in METHODS.items():
        for category in ("clothing", "home"):
            write_run(folder, method, 0, category=category, value=value)
    found = load_runs(folder)
    for run in found:
        if run.spec.method == "mmss":
            told = run.scores.assign(score_ptrt=1.25, score_rtrv=-0.5)
            told.to_csv(run.folder / "scores.csv", index=False)
            reseal(run.folder)
    return load_runs(folder)


def images(page: str) -> list[str]:
    return re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)


def test_small_images_and_subtasks_stand_in_every_case(runs: list[StoredRun], tmp_path: Path) -> None:
    local = Local(tmp_path, 8)
    page = build(runs, Extras(texts=lambda run: local), plots=())  # type: ignore[arg-type, return-value]
    shown = len(re.findall(r'<article class="case">', page))
    reviews = len(re.findall(r"<li value=", page))
    assert shown == 2 * len(METHODS) * 2
    assert len(images(page)) == 2 * (shown + reviews)
    assert not re.search("not all images", page)
    own = page.count('<abbr title="prediction of subtask ptrt">ptrt</abbr> 1.25')
    assert own == page.count("rtrv</abbr> -0.50") == reviews / len(METHODS)


def test_many_large_images_stay_within_the_pages_size(
    runs: list[StoredRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Local(tmp_path, 400)
    assert local.file.stat().st_size > 900_000
    for most in (cases.MOST_IMAGE_BYTES, 30_000):
        monkeypatch.setattr(cases, "MOST_IMAGE_BYTES", most)
        page = build(runs, Extras(texts=lambda run: local), plots=())  # type: ignore[arg-type, return-value]
        assert len(page.encode()) < 3_000_000
        found = images(page)
        assert 0 < sum(map(len, found)) <= most
        for one in found:
            with Image.open(io.BytesIO(base64.b64decode(one))) as small:
                assert small.size == (texts.THUMBNAIL, texts.THUMBNAIL // 2)
    assert page.count("not all images") == 2, "said of each category"
    articles = re.findall(r'<article class="case">.*?</article>', page, re.DOTALL)
    with_images = [("MM-SS" in one, "<img" in one) for one in articles]
    assert with_images[:4] == [(True, True), (True, False), (False, False), (False, False)], (
        "the proposed method's first"
    )


def test_fetched_images_are_found_by_their_items(tmp_path: Path) -> None:
    root = write_release(tmp_path / "root", images=False, roi_width=0)
    category = find_category(root, "amazon", "electronics")
    wanted: dict[str, list[str]] = {}
    with Album(category.path) as album:
        for kind, key in (("prd", "product_id"), ("rvw", "review_id")):
            rows = read_records(root, "amazon", "electronics", kind, "test")
            for number, row in enumerate(rows):
                urls = [f"https://shop.example/{kind}{number}-{i}.png" for i in range(2)]
                row["img_url"] = urls
                if number == 0:
                    album.add(urls[1], picture(0, (20, 10)), 20, 10, "PNG", "png")
                    wanted[row[key]] = [urls[1]]
                else:
                    album.fail(urls[0], "http 404")
            write_table(root, "amazon", "electronics", kind, "test", rows)
    found = texts.fetched_images(category)
    assert found.keys() == wanted.keys()
    of = texts.Texts(None, category.path / "images" / "test", category)  # type: ignore[arg-type]
    for item in wanted:
        (address,) = of.thumbnails(item)
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as small:
            assert small.size == (20, 10)
    assert of.thumbnails("nobody") == []


def test_case_groups_say_where_texts_are_missing(runs: list[StoredRun]) -> None:
    groups = cases.case_groups(group_settings(runs), lambda run: None)
    assert [(group.with_texts, group.images_left_out) for group in groups] == [(False, False)] * 2
    assert isinstance(runs[0].scores, pd.DataFrame)
