"""`bench data images` and `bench data features`: what they print, refuse and return."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.core.errors import EXIT_DATA, EXIT_INTERRUPTED, EXIT_RUN_FAILED, EXIT_USAGE
from tests.command_line import bench, results_of
from tests.data.fetch.server import Server, serving
from tests.photos import release_with_images

FAST = ("--allow-private", "--interval", "0")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def root(tmp_path: Path, server: Server) -> Path:
    return release_with_images(tmp_path / "root", server)


def test_coverage_as_a_table_and_as_json(root: Path, server: Server) -> None:
    shown = bench("data", "images", "--data", str(root), *FAST)
    assert "Failed:" in shown.stdout
    asked = server.hits.total()
    (report,) = results_of(bench("data", "images", "--data", str(root), *FAST, "--json").stdout)
    assert server.hits.total() == asked, "nothing is asked for twice"
    side = report["splits"]["train"]["product"]
    assert side["failed"] == {"http 404": 1, "too many pixels": 1}
    assert side["got"] == side["wanted"] - 2
    assert f"| {side['wanted']} | {side['got']} | 2 | 0 |" in " ".join(shown.stdout.split())


def test_this_machine_is_not_asked_unless_allowed(root: Path, server: Server) -> None:
    refused = bench("data", "images", "--data", str(root), code=EXIT_RUN_FAILED)
    assert "private address" in refused.stdout
    assert server.hits.total() == 0


def test_the_first_images_of_an_item_alone(root: Path, server: Server) -> None:
    bench("data", "images", "--data", str(root), *FAST, "--per-item", "1")
    assert "/nothing" not in server.hits


def test_ctrl_c_is_an_interrupt_and_the_command_goes_on(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.data.fetch.album import Album

    add, added = Album.add, []

    def interrupted(album: Album, url: str, *more: object) -> object:
        added.append(url)
        if len(added) == 4:
            signal.raise_signal(signal.SIGINT)
        return add(album, url, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Album, "add", interrupted)
    stopped = bench("data", "images", "--data", str(root), *FAST, code=EXIT_INTERRUPTED)
    assert "interrupted." in stopped.stderr
    there = [path for path in server.hits if Album(root / "amazon" / "electronics").has(server.url + path)]
    assert 4 <= len(there) < 20
    monkeypatch.undo()
    bench("data", "images", "--data", str(root), *FAST)
    assert all(server.hits[path] == 1 for path in there)


@pytest.mark.parametrize("command", [("images",), ("features", "--extractor", "hf-grid:x")])
def test_without_the_extra_it_says_what_to_install(
    root: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    refused = bench("data", *command, "--data", str(root), code=EXIT_USAGE)
    assert "pip install 'mrhp-bench[images]'" in refused.stderr


def test_features_say_what_is_missing(root: Path, tmp_path: Path) -> None:
    options = ("--data", str(root), "--jobs", "1", "--device", "cpu")
    assert "hf-grid, hf-detr" in " ".join(
        bench("data", "features", *options, "--extractor", "hf", code=EXIT_USAGE).stderr.split()
    ).replace("hf-detr, hf-grid", "hf-grid, hf-detr")
    own = tmp_path / "flat.py"
    own.write_text(
        "import numpy as np\nfrom benchmark.data.features.extractor import Extractor\n"
        "class Flat(Extractor):\n    def __init__(self, config, device): pass\n"
        "    def identity(self): return {}\n"
        "    def rois(self, images): return [np.ones((1, 4), np.float32) for _ in images]\n"
    )
    choice = ("--extractor", f"{own}:Flat")
    without = bench("data", "features", *options, *choice, code=EXIT_DATA)
    assert "bench data images" in without.stderr
    bench("data", "images", "--data", str(root), *FAST)
    (report,) = results_of(bench("data", "features", *options, *choice, "--json").stdout)
    assert report["items"]["test"]["product"]["with_features"] == 1
    assert report["extractor"]["extractor"] == "flat"
    unknown = bench("data", "features", *options, *choice, "--set", "grid=3", code=EXIT_USAGE)
    assert "no option 'grid'" in unknown.stderr
