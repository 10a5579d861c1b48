"""Every command and every Python snippet of the README and the documentation is run.

Shell blocks are carried out page by page in a scratch folder: ROOT is a tiny corpus, which also stands in for the
embedded one, and what trains is kept small (`LIMITS`). What cannot be run says so in a comment before the block.
"""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmark.data import dataset_file
from benchmark.data.mini.corpus import MiniSpec, write_corpus
from tests.command_line import bench
from tests.data.features import models as tiny_models
from tests.data.fetch.server import serving
from tests.docs.snippets import PAGES, ROOT, Block, blocks
from tests.photos import release_with_images

LIMITS = ["--seeds", "0-2", "--set", "train.epochs=1", "--data", "ROOT"]
"""Added to a command that trains and does not say otherwise."""
TRAINS = ("run", "ablate")
PHOTOS = 'name = "photos"\nlanguage = "en"\n[[category]]\nname = "electronics"\n'
BLOCKS = blocks()
RUN_PAGES = sorted({block.page for block in BLOCKS if block.language == "sh" and not block.reason})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ROOT, a tiny corpus."""
    place = tmp_path_factory.mktemp("snippets")
    spec = MiniSpec(
        train_products=24, dev_products=5, test_products=6, roi_width=16, categories=("home", "electronics")
    )
    write_corpus(place / "ROOT", spec)
    rows = [
        f"P{product},Schal {product},gut und warm nummer {review} {'sehr ' * review},{2**review}"
        for product in range(60)
        for review in range(5)
    ]
    (place / "reviews.csv").write_text("\n".join(["product_id,name,review,votes", *rows]) + "\n")
    write_dumps(place)
    return place


def write_dumps(place: Path) -> None:
    """X, Y and Z: small files in the form of the Amazon dumps of 2014, 2018 and 2023, with their metadata."""
    spots = [(product, review) for product in range(6) for review in range(3)]
    of_2014 = [{"asin": f"X{p}", "reviewText": f"good {r}", "helpful": [r, r + 1]} for p, r in spots]
    of_2018 = [{"asin": f"Y{p}", "reviewText": f"good {r}", "vote": f"{r + 1},000"} for p, r in spots]
    of_2023 = [{"parent_asin": f"Z{p}", "text": f"good {r} {p}", "helpful_vote": r} for p, r in spots]
    about = {
        "X": [str({"asin": f"X{p}", "title": "It's"}) for p in range(6)],
        "Y": [json.dumps({"asin": f"Y{p}", "main_cat": "Home &amp; Kitchen"}) for p in range(6)],
        "Z": [json.dumps({"parent_asin": f"Z{p}", "title": "a thing"}) for p in range(6)],
    }
    for name, rows in (("X.json", of_2014), ("Y.json.gz", of_2018), ("Z.jsonl", of_2023)):
        for file, lines in ((name, list(map(json.dumps, rows))), (f"meta_{name}", about[name[0]])):
            content = ("\n".join(lines) + "\n").encode()
            (place / file).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.fixture(scope="module")
def photos(prepared: Path) -> Iterator[None]:
    """SHOP, a release whose images a server on the loopback has; MODEL, a tiny vision model; the page's extractor."""
    with serving() as server:
        release_with_images(prepared / "SHOP", server, "photos")
        (prepared / "SHOP" / "dataset.toml").write_text(PHOTOS)
        tiny_models.dinov2(prepared / "MODEL")
        (block,) = [one for one in BLOCKS if (one.page, one.language) == ("docs/images.md", "python")]
        (prepared / "colours.py").write_text(block.text)
        yield


@pytest.fixture
def place(prepared: Path, photos: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with results of two methods on one category of each data set."""
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("MRHP_BENCH_CACHE", str(prepared / "cache"))
    if not (prepared / "results").exists():
        run_command("bench run --category home --method egcnn --method mmss --keep-weights")
    return prepared


def run_command(command: str) -> str:
    """What the command prints, after checking that it did what it says."""
    program, *words = shlex.split(command)
    assert program == "bench", f"only bench can be run here: {command}"
    if words[0] in TRAINS and "--dry-run" not in words:
        for option, value in zip(LIMITS[::2], LIMITS[1::2], strict=True):
            if option not in words:
                words += [option, value]
        if words[0] == "run" and "--method" not in words:
            words += ["--method", "egcnn"]
    if words[:2] == ["data", "images"]:
        words += ["--allow-private"]  # the images of SHOP are on the loopback
    return bench(*words).stdout


@pytest.mark.parametrize("page", RUN_PAGES)
def test_the_commands_of_a_page_do_what_they_say(page: str, place: Path) -> None:
    carry_out(page, place)


READS_FILES = ("docs/ranking.md",)
"""Pages whose Python reads what their commands wrote."""
CARRIED_OUT: set[tuple[Path, str]] = set()


def carry_out(page: str, place: Path) -> None:
    """The commands of a page, once in a folder."""
    if (place, page) in CARRIED_OUT:
        return
    CARRIED_OUT.add((place, page))
    for block in BLOCKS:
        if block.page == page and block.language == "sh" and not block.reason:
            for command in block.commands:
                run_command(command)


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.language == "python"}))
def test_the_python_of_a_page_runs(page: str, place: Path) -> None:
    if page in READS_FILES:
        carry_out(page, place)
    names: dict[str, object] = {"__name__": "snippet"}
    for block in BLOCKS:
        if block.page == page and block.language == "python" and not block.reason:
            exec(compile(block.text, f"{page}:{block.line}", "exec", dont_inherit=True), names)


def test_the_method_of_the_page_scores_and_learns() -> None:
    import numpy as np

    from tests import toy

    (block,) = [one for one in BLOCKS if one.page == "docs/methods-own.md" and one.language == "python"]
    names: dict = {"__name__": "snippet"}
    exec(compile(block.text, "methods-own", "exec", dont_inherit=True), names)
    torch.manual_seed(0)
    model = names["Mine"](names["Config"](embedding=8), toy.SHAPE)
    random = np.random.default_rng(0)
    products = [toy.random_item(random, 5, 2) for _ in range(2)]
    reviews = [[toy.random_item(random, int(n), 1) for n in (3, 7, 4)] for _ in products]
    score_B = model.score(toy.batch(products, reviews))
    alone_B = model.score(toy.batch(products[:1], reviews[:1], extra_tokens=4))
    torch.testing.assert_close(score_B[:3], alone_B)
    assert len(set(score_B.tolist())) == 6


CLUSTER = "docs/clusters.md"
TOML = [one for one in BLOCKS if one.language == "toml"]


@pytest.mark.parametrize("block", [one for one in TOML if one.page != CLUSTER], ids=lambda one: one.page)
def test_a_dataset_file_of_the_documentation_is_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "dataset.toml"
    file.write_text(block.text, encoding="utf-8")
    assert dataset_file.read(file).name == "myshop"


def test_the_cluster_settings_of_the_documentation_are_valid(tmp_path: Path) -> None:
    from benchmark.cluster.settings import read_settings

    (block,) = [one for one in TOML if one.page == CLUSTER]
    file = tmp_path / "cluster.toml"
    file.write_text(block.text, encoding="utf-8")
    settings = read_settings(file)
    assert (settings.partition, settings.wait, settings.resources) == ("gpu", 30, {"LICENCE": 1})
    page = (ROOT / CLUSTER).read_text(encoding="utf-8")
    for name in vars(settings):
        assert re.search(rf"^{name} =|and {name}$|`{name}`|^\[{name}\]", page, re.M), name


def test_blocks_are_run_or_say_why_not() -> None:
    for block in BLOCKS:
        assert block.reason or block.language in ("sh", "python", "toml"), (
            f"{block.page}:{block.line}: {block.language}"
        )
        assert len(block.reason) > 10 or not block.reason, f"{block.page}:{block.line}: a reason, please"
    assert sum(len(block.commands) for block in BLOCKS if block.language == "sh" and not block.reason) > 25
    assert sum(block.language == "python" for block in BLOCKS) >= 4


def test_inline_commands_and_options_exist() -> None:
    """`bench name` and `--option` in running text and tables are those of the command line."""
    import typer

    from benchmark.cli import app

    root = typer.main.get_command(app)
    for page in PAGES:
        for quoted in re.findall(r"`(bench [a-z][^`]*)`", page.read_text(encoding="utf-8")):
            check_words(root, shlex.split(quoted.replace("\\|", "|").replace("[", "").replace("]", "")), page)


def check_words(command: object, words: list[str], page: Path) -> None:
    where = f"{page.relative_to(ROOT)}: {' '.join(words)}"
    for word in words[1:]:
        children = getattr(command, "commands", None)
        if children is None:
            break
        for name in word.split("|"):
            assert name in children or name.isupper(), where
        command = children.get(word.partition("|")[0])
        if command is None:
            return
    known = {option for parameter in getattr(command, "params", []) for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known, where
