"""Texts reach a model as packing brings them: imported data, a pre-trained encoder's word pieces, images that fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import benchmark
from benchmark.core.errors import EXIT_DATA, UsageError
from benchmark.data.features import descriptor
from benchmark.data.imports.importer import import_files
from benchmark.data.imports.options import Options
from benchmark.data.source import Source
from benchmark.engine.execute import RunOptions, execute
from benchmark.engine.plan import Choices, expand
from benchmark.rank.export import export
from benchmark.runs.store import load_run
from benchmark.runs.writer import write_data
from tests.command_line import bench
from tests.rank.conftest import Trained

SHOP = [
    {
        "asin": f"p{product}",
        "reviewerID": f"u{review}",
        "reviewText": f"\u3000 good &amp; sturdy &lt;b&gt; case {review} {'very ' * review}nice&#33;  \n",
        "vote": str(2 ** (review + product % 2)),
        "unixReviewTime": 1_400_000_000 + 86_400 * (product + review),
    }
    for product in range(25)
    for review in range(4)
]
ABOUT = [
    {"asin": f"p{n}", "title": f" Case &quot;{n}&quot; ", "description": ["a case", "that&#39;s good"]}
    for n in range(25)
]


def trained_on(root: Path, place: Path, dataset: str, category: str, method: str, *overrides: str) -> Path:
    """A run of one epoch, kept and exported; beside it stand its scores."""
    source = Source(root, place / "cache")
    data = source.open(dataset, category)
    write_data(place / "results", data)
    choices = Choices(
        (dataset,), (category,), (method,), (0,), overrides=("train.epochs=1", *overrides), device="cpu"
    )
    (spec,) = expand(choices, [data])
    outcome = execute(spec, source, place / "results", RunOptions(keep_weights=True))
    assert outcome.ok, outcome.reason
    run = load_run(spec.folder(place / "results"))
    run.scores.to_csv(place / "scores.csv", index=False)
    return export(run, place / "model").path


@pytest.mark.parametrize("method", ["prhnet", "features"])
def test_the_files_of_an_import_give_the_scores_of_the_run(method: str, tmp_path: Path) -> None:
    """Untouched dumps with entities and spaces, by the recipe that the model remembers; `features` sees every
    character of a text, and its time."""
    reviews, products = tmp_path / "reviews.jsonl", tmp_path / "meta.jsonl"
    reviews.write_text("\n".join(map(json.dumps, SHOP)))
    products.write_text("\n".join(map(json.dumps, ABOUT)))
    options = Options(name="shop", recipe="amazon-2018", category="all")
    import_files([str(reviews), f"products={products}"], tmp_path / "root", options)
    model = trained_on(tmp_path / "root", tmp_path, "shop", "all", method)
    out = tmp_path / "ranked.jsonl"
    bench(
        "rank", "--model", str(model), "--input", str(reviews), "--products", str(products), "--out", str(out)
    )
    ranked = pd.DataFrame([json.loads(line) for line in out.read_text().splitlines()])
    # the dump has no review ids: the import makes them of the product and the place within it
    ranked["review_id"] = ranked["asin"] + "-" + (ranked.groupby("asin").cumcount() + 1).astype(str)
    stored = load_run(next((tmp_path / "results" / "runs").glob("*/*/*/seed-0-*"))).scores
    ours = ranked.set_index("review_id").loc[list(stored["review_id"]), "score"]
    np.testing.assert_array_equal(ours, stored["score"])
    from_python = benchmark.load_ranker(model).rank(ABOUT, SHOP)
    np.testing.assert_array_equal(from_python["score"], ranked["score"])
    plain = tmp_path / "plain.jsonl"
    words = [
        "rank",
        "--model",
        str(model),
        "--input",
        str(reviews),
        "--products",
        str(products),
        "--out",
        str(plain),
    ]
    bench(*words, "--recipe", "table", "--column", "name=title")
    assert plain.read_text() != out.read_text(), "the recipe counts"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a tokenizer, and with what no export may take along."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "good",
        "the",
        *letters,
        *(f"##{c}" for c in letters),
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"vocab_size": len(pieces), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(**sizes, intermediate_size=16, max_position_embeddings=140)
    config.save_pretrained(folder)
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(record | {"auto_map": {"AutoModel": "evil.Evil"}}))
    (folder / "evil.py").write_text("raise SystemExit('run')\n")
    torch.manual_seed(0)
    save_file(dict(BertModel(config).state_dict()), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(("method", "field"), [("mmss", "mmss.encoder={}"), ("prhnet", "prhnet.encoder={}")])
def test_a_pre_trained_encoder_goes_along_without_its_weights(
    method: str, field: str, encoder: Path, corpus: Path, trained: Trained, tmp_path: Path
) -> None:
    overrides = [field.format(encoder)] + ["prhnet.text_encoder=bert"] * (method == "prhnet")
    model = trained_on(corpus, tmp_path, "amazon", "home", method, *overrides)
    names = {path.name for path in (model / "encoder").iterdir()}
    assert {"config.json", "tokenizer.json"} <= names
    assert not names & {"evil.py", "model.safetensors"}
    assert "auto_map" not in (model / "encoder" / "config.json").read_text()
    moved = encoder.rename(encoder.with_name("elsewhere"))
    try:
        ranked = benchmark.load_ranker(model).rank(trained.products, trained.reviews, images=trained.images)
    finally:
        moved.rename(encoder)
    stored = load_run(next((tmp_path / "results" / "runs").glob("*/*/*/seed-0-*"))).scores
    np.testing.assert_array_equal(ranked["score"], stored["score"])


def test_an_encoder_that_changed_since_the_run_is_refused(
    encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    import shutil

    from benchmark.encoders import pretrained

    own = Path(shutil.copytree(encoder, tmp_path / "own"))
    trained_on(corpus, tmp_path, "amazon", "home", "mmss", f"mmss.encoder={own}")
    (own / "vocab.txt").write_text("[PAD]\n")
    pretrained._content_hash.cache_clear()
    run = load_run(next((tmp_path / "results" / "runs").glob("*/*/*/seed-0-*")))
    with pytest.raises(Exception, match="changed since the run"):
        export(run, tmp_path / "again")


def test_image_features_that_do_not_fit(trained: Trained, tmp_path: Path) -> None:
    """Another width stops the ranking; a damaged file is an item without images, and is counted."""
    reviews = trained.reviews
    reviews.to_csv(tmp_path / "reviews.csv", index=False)
    words = ["rank", "--model", str(trained.model("mcr")), "--input", str(tmp_path / "reviews.csv")]
    some = reviews["review_id"].iloc[0]
    (tmp_path / "images" / some).mkdir(parents=True)
    file = tmp_path / "images" / some / f"{some}.pth"
    file.write_bytes(b"no features")
    done = bench(*words, "--images", str(tmp_path / "images"), "--json", "--out", str(tmp_path / "a.csv"))
    document = json.loads(done.stdout)
    assert document["images"]["unreadable"] == 1
    assert some in document["bad"][0]["file"]
    bench(*words, "--out", str(tmp_path / "b.csv"))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    descriptor.write(tmp_path / "images", {"extractor": "hf-grid", "model": "other"}, {})
    refused = bench(*words, "--images", str(tmp_path / "images"), code=EXIT_DATA)
    assert "made by hf-grid other, but the model was trained on features of the release" in refused.stderr
    (tmp_path / "images" / descriptor.NAME).unlink()
    torch.save([{"x": torch.zeros(3, 7)}], file)
    refused = bench(*words, "--images", str(tmp_path / "images"), code=EXIT_DATA)
    assert "RoI features 7 wide, but the model was trained on 16" in refused.stderr


def test_a_method_of_ones_own_is_given_again(corpus: Path, trained: Trained, tmp_path: Path) -> None:
    from benchmark import models

    file = tmp_path / "mynet.py"
    bench("new", "method", "mynet", "--out", str(file))
    models.register(f"{file}:Mynet")
    model = trained_on(corpus, tmp_path, "amazon", "home", "mynet")
    assert str(tmp_path) not in (model / "model.json").read_text() + (model / "README.md").read_text()
    del models.METHODS["mynet"]
    with pytest.raises(UsageError, match=r"--method path/to/mynet\.py:Mynet"):
        benchmark.load_ranker(model)
    stored = load_run(next((tmp_path / "results" / "runs").glob("*/*/*/seed-0-*"))).scores
    ranked = benchmark.load_ranker(model, method=f"{file}:Mynet").rank(trained.products, trained.reviews)
    np.testing.assert_array_equal(ranked["score"], stored["score"])
    del models.METHODS["mynet"]
    other = tmp_path / "other" / "mynet.py"
    other.parent.mkdir()
    other.write_text(file.read_text().replace("review_BE * product_BE", "review_BE - product_BE"))
    with pytest.warns(UserWarning, match="the code of mynet is"):
        changed = benchmark.load_ranker(model, method=f"{other}:Mynet")
    assert not np.array_equal(changed.rank(trained.products, trained.reviews)["score"], stored["score"])
