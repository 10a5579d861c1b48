"""From images on disk to feature files: what is done again, what a damaged image costs, whose features are there."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.core.code import code_of
from benchmark.core.errors import BenchError, DataError, UsageError
from benchmark.data.corpus import open_corpus
from benchmark.data.features import descriptor, extract, registry
from benchmark.data.features.extract import Report, make_features, render
from benchmark.data.features.registry import choose
from benchmark.data.fetch.album import Album, Got
from benchmark.data.pth import loads
from benchmark.data.release import CategoryFolder, find_category
from tests.data.fetch.server import picture, png_bomb
from tests.fixtures_release import read_records, write_release, write_table

MEANS = '''
import numpy as np
from benchmark.data.features.extractor import Extractor
from {helper} import FACTOR
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    rows: int = 2
    scale: float = 1.0

class Means(Extractor):
    """Mean colours of stripes: V rows, 3 wide."""
    config_class = Config
    def __init__(self, config, device):
        self.config = config
    def identity(self):
        return {{"model": "means"}}
    def rois(self, images):
        with open("{calls}", "a") as file:
            file.write("x" * len(images))
        made = []
        for image in images:
            if image.size == (13, 13):
                raise ValueError("unlucky")
            pixels = np.asarray(image, np.float32)
            parts = np.array_split(pixels, self.config.rows)
            made.append(np.stack([part.mean((0, 1)) for part in parts]) * FACTOR * self.config.scale)
        return made
'''


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """An extractor of one's own, which imports a file beside it."""
    folder = tmp_path / "own"
    folder.mkdir()
    name = f"helper_{abs(hash(str(tmp_path)))}"
    (folder / f"{name}.py").write_text("FACTOR = np_free = 0.5\n")
    (folder / "means.py").write_text(MEANS.format(helper=name, calls=tmp_path / "calls"))
    return f"{folder / 'means.py'}:Means"


def images_asked(tmp_path: Path) -> int:
    calls = tmp_path / "calls"
    return len(calls.read_text()) if calls.exists() else 0


@pytest.fixture
def folder(tmp_path: Path) -> CategoryFolder:
    """A release with images for the first two products of each split and their first reviews; one is damaged."""
    root = write_release(tmp_path / "root", images=False, roi_width=0)
    category = find_category(root, "amazon", "electronics")
    number = 0
    with Album(category.path) as album:
        for split in ("train", "dev", "test"):
            for kind in ("prd", "rvw"):
                records = read_records(root, "amazon", "electronics", kind, split)
                for row, record in enumerate(records):
                    record["img_url"] = (
                        [f"http://x/{split}/{kind}/{row}/{i}" for i in range(2)] if row < 2 else []
                    )
                    for url in record["img_url"]:
                        number += 1
                        content = picture(number, (20 + number, 16))
                        album.add(url, content, 20 + number, 16, "PNG", "png")
                write_table(root, "amazon", "electronics", kind, split, records)
    return category


def spoil(folder: CategoryFolder, url: str, content: bytes) -> str:
    """Another content for an image that was fetched, under the name that it should have."""
    with Album(folder.path) as album:
        return album.add(url, content, 1, 1, "PNG", "png").file


def run(folder: CategoryFolder, mine: str, *options: str, **more: Any) -> Report:
    return make_features(folder, choose(mine, "", options), **more)


def rois_of(folder: CategoryFolder, split: str, item: str) -> list[np.ndarray]:
    content = (folder.features(split) / item / f"{item}.pth").read_bytes()
    return [image["x"] for image in loads(content)]


def test_the_features_are_the_extractors_in_the_order_of_the_addresses(
    folder: CategoryFolder, mine: str
) -> None:
    report = run(folder, mine)
    first, second = rois_of(folder, "train", "0tr0")
    assert (first.shape, first.dtype, second.shape) == ((2, 3), np.float16, (2, 3))
    import io

    from PIL import Image

    for made, number in ((first, 1), (second, 2)):
        pixels = np.asarray(Image.open(io.BytesIO(picture(number, (20 + number, 16)))), np.float64)
        expected = np.stack([pixels[:8].mean((0, 1)), pixels[8:].mean((0, 1))]) / 2
        np.testing.assert_allclose(made, expected, rtol=2e-3)
    assert report.items["train"]["product"]["with_features"] == 2
    assert "Features: means means (rows=2, scale=1.0)." in render([report])


def test_a_pack_knows_them_and_their_width(folder: CategoryFolder, mine: str, tmp_path: Path) -> None:
    def opened() -> Any:
        return open_corpus(folder.root, "amazon", "electronics", cache=tmp_path / "cache")

    before = opened()
    assert before.manifest["features"] is None
    run(folder, mine)
    after = opened()
    assert after.manifest["roi_width"] == after.shape.roi_width == 3
    assert after.manifest["features"]["extractor"] == "means"
    assert after.train.rois("product")[0].shape == (4, 3)
    assert after.fingerprint != before.fingerprint
    path = folder.path / "features" / descriptor.NAME
    record = json.loads(path.read_text())
    record["made_with"]["torch"] = "another"
    path.write_text(json.dumps(record))
    assert opened().fingerprint == after.fingerprint, "versions are for the record"
    record["extractor"]["weights"] = "another"
    path.write_text(json.dumps(record))
    assert opened().fingerprint != after.fingerprint, (
        "the same numbers, but of another model: it is asked for"
    )
    path.write_text('{"extractor": []}')
    with pytest.raises(DataError, match="not a descriptor") as error:
        opened()
    assert descriptor.NAME in str(error.value)


def test_a_damaged_image_costs_itself_alone(folder: CategoryFolder, mine: str) -> None:
    spoil(folder, "http://x/train/prd/0/0", png_bomb(60_000, 60_000))
    spoil(folder, "http://x/train/prd/1/1", b"no image at all")
    spoil(folder, "http://x/dev/prd/0/0", picture(99, (13, 13)))  # the extractor's own trouble
    gone = spoil(folder, "http://x/dev/prd/0/1", picture(98))
    path = folder.path / "images" / "files" / gone
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    report = run(folder, mine, batch_size=5)
    assert [len(rois_of(folder, "train", item)) for item in ("0tr0", "0tr1")] == [1, 1]
    assert not (folder.features("dev") / "0de0").exists()
    assert report.items["train"]["product"] == {
        **{"items": 12, "with_images": 2, "with_features": 2, "images": 4, "damaged": 2}
    }
    assert report.items["dev"]["product"]["damaged"] == 2
    why = " ".join(report.damaged.values())
    for part in (
        "60,000 x 60,000 pixels",
        "UnidentifiedImageError",
        "unlucky",
        "its content is not what its name says",
    ):
        assert part in why
    before = {file: file.read_bytes() for file in folder.path.rglob("*.pth")}
    run(folder, mine)
    assert before == {file: file.read_bytes() for file in folder.path.rglob("*.pth")}


def test_what_is_done_is_not_done_again(folder: CategoryFolder, mine: str, tmp_path: Path) -> None:
    run(folder, mine)
    whole = {file: file.read_bytes() for file in folder.path.rglob("*.pth")}
    assert images_asked(tmp_path) == 24
    run(folder, mine)
    assert images_asked(tmp_path) == 24
    spoil(folder, "http://x/train/prd/1/1", picture(77))  # fetched anew, with another content
    (folder.features("test") / "0te0" / "0te0.pth").unlink()
    ledger = folder.path / "features" / extract.LEDGER
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([line for line in lines if b'"0de0"' not in line])[:-9])  # and a torn line
    run(folder, mine)
    assert images_asked(tmp_path) == 24 + 4 * 2
    for image in range(2):
        spoil(folder, f"http://x/dev/prd/1/{image}", b"damaged")
    run(folder, mine)
    assert not (folder.features("dev") / "0de1" / "0de1.pth").exists(), (
        "nothing stays of images that are gone"
    )
    del whole[folder.features("dev") / "0de1" / "0de1.pth"]
    now = {file: file.read_bytes() for file in folder.path.rglob("*.pth")}
    assert {file.stem for file in whole if now[file] != whole[file]} == {"0tr1"}


def test_the_bits_do_not_depend_on_jobs(
    folder: CategoryFolder, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "_WORTH", 1)
    run(folder, mine, jobs=2, batch_size=3)
    two = {file: file.read_bytes() for file in folder.path.rglob("*.pth")}
    (folder.path / "features").rename(folder.path / "aside")
    run(folder, mine)
    one = {file: file.read_bytes() for file in folder.path.rglob("*.pth") if "aside" not in file.parts}
    assert len(one) == 12
    assert one == two


def test_a_process_that_dies_is_no_riddle(
    folder: CategoryFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dies.py"
    file.write_text(
        "import os\nimport numpy as np\nfrom benchmark.data.features.extractor import Extractor\n"
        "class Dies(Extractor):\n    def __init__(self, config, device): pass\n"
        "    def identity(self): return {}\n    def rois(self, images): os._exit(9)\n"
    )
    monkeypatch.setattr(extract, "_WORTH", 1)
    with pytest.raises(BenchError, match="--jobs 1"):
        run(folder, f"{file}:Dies", jobs=2)


def test_an_installed_package_brings_an_extractor(mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file, _, attribute = mine.rpartition(":")
    monkeypatch.syspath_prepend(Path(file).parent)
    point = EntryPoint("stripes", f"means:{attribute}", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    choice = choose("stripes", "", ["rows=3"])
    record = choice.record(choice.build("cpu"))
    assert (record["extractor"], record["options"]["rows"], len(record["code"])) == ("stripes", 3, 16)
    monkeypatch.delitem(sys.modules, "means")


def test_an_interrupt_leaves_what_is_whole(
    folder: CategoryFolder, mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "_AHEAD", 0)  # nothing is on its way beside what was asked for

    def stop(done: int, total: int, what: str) -> None:
        assert (total, what) == (24, "features of amazon/electronics")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, mine, progress=stop)
    some = len(list(folder.path.rglob("*.pth")))
    assert 0 < some < 12
    run(folder, mine)
    assert len(list(folder.path.rglob("*.pth"))) == 12
    assert images_asked(tmp_path) < 24 + 24


def test_features_of_another_origin_stay_until_told(folder: CategoryFolder, mine: str) -> None:
    run(folder, mine)
    with pytest.raises(UsageError, match=r"holds means means \(rows=2, scale=1.0\), not .*rows=3"):
        run(folder, mine, "rows=3")
    file = Path(mine.rpartition(":")[0])
    file.write_text(file.read_text().replace("FACTOR *", "FACTOR * 2 *"))
    code_of.cache_clear()  # it is read once in a process
    with pytest.raises(UsageError, match="--replace"):
        run(folder, mine)
    run(folder, mine, "rows=3", replace=True)
    assert rois_of(folder, "train", "0tr0")[0].shape == (3, 3)
    assert (folder.path / "features.old-1" / "train" / "0tr0" / "0tr0.pth").is_file()
    (folder.path / "features" / descriptor.NAME).unlink()
    with pytest.raises(UsageError, match="another origin"):
        run(folder, mine, "rows=3")


def test_without_images_it_says_how_to_get_some(tmp_path: Path, mine: str) -> None:
    root = write_release(tmp_path / "bare", images=False)
    with pytest.raises(DataError, match="bench data images"):
        run(find_category(root, "amazon", "electronics"), mine)


BAD = {
    "np.zeros((2, 3))[:, :0].sum(1)": r"returned \[2\]",
    "np.zeros((33, 3), np.float32)": r"returned \[33, 3\] of float32",
    "np.zeros((2, 3), np.int64)": "int64",
    "1 / 0": "fails on any image .ZeroDivisionError",
}


@pytest.mark.parametrize("what", BAD)
def test_an_extractor_that_breaks_its_contract_is_told(
    folder: CategoryFolder, tmp_path: Path, what: str
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(
        "import numpy as np\nfrom benchmark.data.features.extractor import Extractor\n"
        "class Bad(Extractor):\n    def __init__(self, config, device): pass\n"
        f"    def identity(self): return {{}}\n    def rois(self, images): return [{what} for _ in images]\n"
    )
    with pytest.raises(UsageError, match=BAD[what]) as error:
        run(folder, f"{file}:Bad")
    assert "bad" in str(error.value)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("hf-gird", [], "near|hf-grid"),
        ("nowhere.py:X", [], "no such file"),
        ("mine", ["rows=x"], "rows takes int, not 'x'"),
        ("mine", ["cols=3"], "no option 'cols'"),
        ("mine", ["rows"], "KEY=VALUE"),
    ],
)
def test_what_cannot_be_built_says_why(mine: str, given: str, options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose(mine if given == "mine" else given, "", options).build("cpu")


def test_the_album_hands_out_what_was_fetched(folder: CategoryFolder) -> None:
    got = Album(folder.path).known["http://x/train/prd/0/0"]
    assert isinstance(got, Got)
    assert Album(folder.path, read=False).read_file(got.file) == picture(1, (21, 16))
